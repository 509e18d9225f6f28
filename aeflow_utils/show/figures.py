"""Plots of runs: each function returns a figure, which says in its alt text what it shows.

Nothing here needs torch, whose import takes longer than most plots; `image_figures` does.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from aeflow_utils.methods import method_title
from aeflow_utils.show.alt_texts import described, listed
from aeflow_utils.show.style import (
    ABNORMAL,
    GUIDE,
    LABEL_COLORS,
    LABEL_NAMES,
    NORMAL,
    TEST,
    VALIDATION,
    subplots,
)
from aeflow_utils.study.results import grouped, run_title
from aeflow_utils.study.runs import RunResult

ROC_GRID = np.linspace(0, 1, 1001)  # 1 - specificity
REGIME_LINES = {"normal_quantile": ":", "val_f1": "--", "oracle_f1": "-."}


def loss_curves(results: list[RunResult]) -> Figure:
    """Each loss term by epoch, training (solid) and validation normals (dashed), a line a seed."""
    terms = {"flow": "flow, bits per dimension", "recon": "reconstruction, MSE"}
    groups = {k: v for k, v in grouped(results).items() if len(v[0].history)}
    figure, axes = subplots(1, len(terms), figsize=(11, 3.6))
    for axis, (term, label) in zip(axes, terms.items(), strict=True):
        for color, runs in enumerate(groups.values()):
            for run in (run for run in runs if f"train_{term}" in run.history):
                x, name = run.history["epoch"], run_title(run) if run is runs[0] else None
                axis.plot(x, run.history[f"train_{term}"], "-", color=f"C{color}", label=name)
                axis.plot(x, run.history[f"val_{term}"], "--", color=f"C{color}")
        axis.set(xlabel="epoch", ylabel=label)
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle("solid: training, dashed: validation normals")
    return _with_ends(figure, results, terms)


def term_curves(results: list[RunResult], terms: dict[str, str], title: str) -> Figure:
    """Training terms by epoch, a panel a term, a line a seed, one colour a data set.

    Args:
        terms: {name in the history: what it is called}.
    """
    figure, axes = subplots(1, len(terms), figsize=(3.4 * len(terms), 2.9), squeeze=False)
    datasets = list(dict.fromkeys(result.config.data.label for result in results))
    for axis, (term, label) in zip(axes[0], terms.items(), strict=True):
        for run in results:
            dataset, column = run.config.data.label, f"train_{term}"
            history = run.history.dropna(subset=[column])
            color = f"C{datasets.index(dataset)}"
            name = dataset if run.config.seed == 0 else None
            axis.plot(history["epoch"], history[column], color=color, label=name, alpha=0.8)
        axis.set(xlabel="epoch", title=label)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.suptitle(title)
    return _with_ends(figure, results, terms)


def _with_ends(figure: Figure, results: list[RunResult], terms: dict[str, str]) -> Figure:
    """`described` by where each method's terms begin and end, on each set (first seed of each)."""
    ends = []
    for (dataset, *_), runs in grouped(results).items():
        for term, label in terms.items():
            line = runs[0].history.get(f"train_{term}", pd.Series(dtype=float)).dropna()
            if len(line):
                change = f"{label} from {line.iloc[0]:.3g} to {line.iloc[-1]:.3g}"
                ends.append(f"{run_title(runs[0])} on {dataset}: {change}")
    return described(figure, "Training loss by epoch, first and last epoch.", ends)


def fold_losses(folds: pd.DataFrame) -> Figure:
    """Training and validation loss at the end of each fold, a panel a data set, a colour a way.

    Args:
        folds: as `grid.fold_table` gives it.
    """
    panels = list(folds.groupby("data set", sort=False))
    figure, axes = subplots(1, len(panels), figsize=(4.6 * len(panels), 3.2), squeeze=False)
    for axis, (dataset, of_set) in zip(axes[0], panels, strict=True):
        for color, (way, part) in zip((NORMAL, ABNORMAL), of_set.groupby("way"), strict=False):
            axis.plot(part["fold"], part["validation loss"], "o--", color=color, label=way)
            axis.plot(part["fold"], part["training loss"], "-", color=color)
        axis.set(title=dataset, xlabel="fold", ylabel="loss", xticks=sorted(set(folds["fold"])))
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle("solid: training, dashed: validation normals")
    ranges = [
        f"{dataset}, {way}: {losses.min():.3g} to {losses.max():.3g}"
        for (dataset, way), losses in folds.groupby(["data set", "way"])["validation loss"]
    ]
    text = "Training and validation loss at the end of each fold. Range of the validation loss:"
    return described(figure, text, ranges)


def score_histograms(results: list[RunResult], columns: int = 3) -> Figure:
    """Test scores of normal and abnormal images, with the three thresholds, a panel a run."""
    rows = -(-len(results) // columns)
    figure, axes = subplots(rows, columns, figsize=(4.2 * columns, 2.8 * rows), squeeze=False)
    texts = []
    for axis, result in zip(axes.flat, results, strict=False):
        test = result.split("test")
        # A few abnormal scores can be huge: the view ends at the 97th percentile.
        low, high = np.quantile(test["image_score"], [0, 0.97])
        bins, medians = np.linspace(low, high, 30), dict.fromkeys(("normal", "abnormal"), "none")
        for label, name in LABEL_NAMES.items():
            part = test.loc[test["label"] == label, "image_score"]
            if len(part):
                look = {"color": LABEL_COLORS[label], "alpha": 0.6, "label": name}
                axis.hist(part.clip(upper=high), bins, density=True, **look)
                medians[name] = f"{part.median():.3g}"
        for regime, style in REGIME_LINES.items():
            cut = result.metrics["thresholds"][regime]
            if np.isfinite(cut):
                axis.axvline(cut, color="0.25", linestyle=style, label=regime)
        where, title = result.config.data.label, run_title(result)
        axis.set(title=f"{where}: {title}", yticks=[], xlabel="image score")
        axis.xaxis.set_major_locator(MaxNLocator(4))
        told = f"normal {medians['normal']}, abnormal {medians['abnormal']}"
        texts.append(f"{where}, {title}: {told}")
    axes[0, 0].legend(fontsize=8, frameon=False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    text = "Histograms of the test scores of normal and abnormal images with their thresholds."
    return described(figure, f"{text} Median scores.", texts)


def roc_curves(results: list[RunResult]) -> Figure:
    """ROC curves on the test split, a panel a data set, a curve a method: the mean over seeds.

    At each specificity the seeds' sensitivities are averaged, so that the area under the curve
    is the mean AUROC that its label gives.
    """
    datasets = list(dict.fromkeys(result.config.data.label for result in results))
    figure, axes = subplots(1, len(datasets), figsize=(4.6 * len(datasets), 4.8), squeeze=False)
    texts = []
    for axis, dataset in zip(axes[0], datasets, strict=True):
        aurocs = []
        for runs in (v for k, v in grouped(results).items() if k[0] == dataset):
            title, mean = run_title(runs[0]), 100 * np.mean([r.metrics["auroc"] for r in runs])
            axis.plot(ROC_GRID, _mean_roc(runs), label=f"{title} ({mean:.1f})")
            aurocs.append(f"{title} {mean:.1f}")
        axis.plot([0, 1], [0, 1], color=GUIDE, linewidth=1, zorder=0)
        axis.set(title=dataset, xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axis.legend(fontsize=8, frameon=False, loc="lower right")
        texts.append(f"{dataset}: {', '.join(aurocs)}")
    return described(figure, "ROC curves, a panel a data set. AUROC in percent.", texts)


def _mean_roc(runs: list[RunResult]) -> np.ndarray:
    """Sensitivity at each of `ROC_GRID`, mean over runs."""
    curves = []
    for run in runs:
        test = run.labelled("test")
        x, y, _ = roc_curve(test["label"], test["image_score"], drop_intermediate=False)
        curves.append(np.interp(ROC_GRID, x, y))
    return np.mean(curves, axis=0)


def auroc_dots(summary: pd.DataFrame) -> Figure:
    """Test AUROC with its 95 % interval (dot and bar) and validation AUROC (ring) by method."""
    table = summary.dropna(subset=["auroc_low"])
    table = table.assign(title=list(map(method_title, table["model"], table["variant"])))
    positions = {title: -number for number, title in enumerate(table["title"].unique())}
    panels = list(table.groupby("dataset", sort=False))
    size = (3.2 + 3.4 * len(panels), 3.8)
    figure, axes = subplots(1, len(panels), figsize=size, squeeze=False, sharey=True)
    for axis, (dataset, rows) in zip(axes[0], panels, strict=True):
        for row in rows.itertuples():
            y = positions[row.title]
            axis.plot([row.auroc_low, row.auroc_high], [y, y], color=TEST, linewidth=2)
            axis.plot(row.auroc, y, "o", color=TEST, label="test, 95 % interval")
            axis.plot(row.val_auroc, y, "o", mfc="none", color=VALIDATION, label="validation")
        axis.axvline(0.5, color=GUIDE, linewidth=1, zorder=0)
        axis.set(title=dataset, xlabel="AUROC", yticks=list(positions.values()))
        axis.set_yticklabels(list(positions))
    handles, labels = axes[0, 0].get_legend_handles_labels()  # one pair for each method
    place = {"loc": "outside lower center", "ncols": 2}
    figure.legend(handles[:2], labels[:2], fontsize=10, frameon=False, **place)
    text = "Dot plot of the AUROC by method, a panel a data set: test with its 95 % interval, "
    text += "validation as a ring. In percent, on test:"
    return described(figure, text, [f"{name}: {_auroc_range(rows)}" for name, rows in panels])


def _auroc_range(rows: pd.DataFrame) -> str:
    """The best and the worst method of a data set, and how far validation is from test."""
    best, worst = rows.loc[rows["auroc"].idxmax()], rows.loc[rows["auroc"].idxmin()]
    ends = (f"{100 * row['auroc']:.1f} ({row['title']})" for row in (best, worst))
    gap = 100 * (rows["val_auroc"] - rows["auroc"]).median()
    note = f", validation higher by {gap:.1f} in the median" if np.isfinite(gap) else ""
    return f"{len(rows)} methods from {' down to '.join(ends)}{note}"


def table_image(table: pd.DataFrame, title: str) -> Figure:
    """A table as a picture, for readers who see images only."""
    widths = [max(len(str(v)) for v in [name, *table[name]]) + 2 for name in table.columns]
    height = 0.29 * (len(table) + 2)
    figure = plt.figure(figsize=(0.1 * sum(widths), height))
    axis = figure.add_axes((0, 0, 1, 1))
    axis.axis("off")
    axis.text(0, 1, title, fontsize=11, va="top")
    drawn = axis.table(
        cellText=table.astype(str).to_numpy(),
        colLabels=list(table.columns),
        colWidths=[width / sum(widths) for width in widths],
        cellLoc="left",
        colLoc="left",
        bbox=(0, 0, 1, 1 - 0.29 / height),
    )
    drawn.auto_set_font_size(False)
    drawn.set_fontsize(10)
    for (row, _), cell in drawn.get_celld().items():
        cell.set_edgecolor("0.85")
        cell.visible_edges = "B"
        if row == 0:
            cell.set_text_props(weight="bold")
    columns, rows = listed(list(table.columns)), len(table)
    return described(figure, f"{title}: a table of {rows} rows as a picture, with {columns}.")
