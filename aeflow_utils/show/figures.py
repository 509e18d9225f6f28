"""Plots of runs: each function returns a figure, which says in its alt text what it shows.

Nothing here needs torch, whose import takes longer than most plots; `image_figures` does.
"""

from __future__ import annotations

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from aeflow_utils.methods import METHODS, method_title
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import (
    AE_FLOW,
    GUIDE,
    LABEL_COLORS,
    LABEL_NAMES,
    RIVAL,
    TRIVIAL,
    UNTRAINED,
    VALIDATION,
    in_percent,
    panels,
    subplots,
)
from aeflow_utils.study.results import grouped, label_title, run_title
from aeflow_utils.study.runs import RunResult

ROC_GRID = np.linspace(0, 1, 1001)  # 1 - specificity
REGIME_LINES = {  # name in the legend, line
    "normal_quantile": ("95 % quantile of normals", ":"),
    "val_f1": ("F1-max on validation", "--"),
    "oracle_f1": ("F1-max on test", "-."),
}
KIND_COLORS = {"trained": RIVAL, "gan": RIVAL, "untrained": UNTRAINED, "trivial": TRIVIAL}
ROC_ROWS = {"trained by gradient": ("trained", "gan"), "not trained": ("untrained", "trivial")}


def method_color(model: str) -> str:
    """AE-FLOW's colour, or that of the method's kind."""
    return AE_FLOW if model == "ae_flow" else KIND_COLORS[METHODS[model].kind]


def loss_curves(results: list[RunResult]) -> Figure:
    """AE-FLOW's loss terms by epoch, a row a data set; mean over seeds and their range.

    Solid is training, dashed validation normals.
    """
    terms = {"flow": "flow, bits per dimension", "recon": "reconstruction, MSE"}
    datasets, groups = _datasets(results), grouped(results)
    size = (10, 0.5 + 2.7 * len(datasets))
    figure, axes = subplots(len(datasets), 2, figsize=size, squeeze=False, sharex="row")
    for row, dataset in zip(axes, datasets, strict=True):
        of_set = [runs for (label, *_), runs in groups.items() if label == dataset]
        for axis, (term, label) in zip(row, terms.items(), strict=True):
            for color, runs in enumerate(of_set):
                for split, line in (("train", "-"), ("val", "--")):
                    name = run_title(runs[0]) if split == "train" else None
                    if (column := f"{split}_{term}") in runs[0].history:
                        _band(axis, runs, column, f"C{color}", line, name)
            axis.set(title=f"{label_title(dataset)}: {label}", xlabel="epoch")
            axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes[0, 0].legend(fontsize=9, frameon=False)
    return _with_ends(figure, results, terms)


def _band(
    axis: Axes, runs: list[RunResult], column: str, color: str, line: str, name: str | None
) -> None:
    """A history's column by epoch, mean over runs and their range, on a log axis where it can."""
    columns = [run.history.set_index("epoch")[column].dropna() for run in runs]
    table = pd.concat(columns, axis=1)
    axis.plot(table.index, table.mean(axis=1), line, color=color, label=name)
    low, high = table.min(axis=1), table.max(axis=1)
    axis.fill_between(table.index, low, high, color=color, alpha=0.2, linewidth=0)
    if (low > 0).all():
        axis.set_yscale("log")


def term_curves(results: list[RunResult], terms: dict[str, str], title: str) -> Figure:
    """Training terms by epoch, a row a data set, a column a term; mean over seeds and their range.

    Args:
        terms: {name in the history: what it is called}.
    """
    datasets = _datasets(results)
    size = (3.4 * len(terms), 0.6 + 2.1 * len(datasets))
    figure, axes = subplots(len(datasets), len(terms), figsize=size, squeeze=False)
    for row, dataset in zip(axes, datasets, strict=True):
        runs = [run for run in results if run.config.data.label == dataset]
        for axis, (term, label) in zip(row, terms.items(), strict=True):
            _band(axis, runs, f"train_{term}", RIVAL, "-", None)
            axis.set_yscale("linear")
            axis.set_title(f"{label_title(dataset)}\n{label}", fontsize=9)
            axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in axes[-1]:
        axis.set_xlabel("epoch")
    figure.suptitle(title)
    return _with_ends(figure, results, terms)


def _datasets(runs: Iterable[RunResult]) -> list[str]:
    return list(dict.fromkeys(run.config.data.label for run in runs))


def _with_ends(figure: Figure, results: list[RunResult], terms: dict[str, str]) -> Figure:
    """`described` by where each method's terms begin and end, on each set (first seed of each)."""
    ends = []
    for (dataset, *_), runs in grouped(results).items():
        for term, label in terms.items():
            line = runs[0].history.get(f"train_{term}", pd.Series(dtype=float)).dropna()
            if len(line):
                change = f"{label} from {line.iloc[0]:.3g} to {line.iloc[-1]:.3g}"
                ends.append(f"{run_title(runs[0])} on {label_title(dataset)}: {change}")
    return described(figure, "Training loss by epoch, first and last epoch.", ends)


def fold_losses(folds: pd.DataFrame) -> Figure:
    """Training and validation loss at the end of each fold, a panel a data set, a colour a way.

    Args:
        folds: as `grid.fold_table` gives it.
    """
    parts = list(folds.groupby("data set", sort=False))
    figure, axes = panels(len(parts), (3.6, 3.0), "fold", "loss")
    for axis, (dataset, of_set) in zip(axes, parts, strict=True):
        for color, (way, part) in enumerate(of_set.groupby("way")):
            look = {"color": f"C{color}"}
            axis.plot(part["fold"], part["validation loss"], "o--", label=way, **look)
            axis.plot(part["fold"], part["training loss"], "-", **look)
        axis.set(title=label_title(dataset), xticks=sorted(set(folds["fold"])))
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle("solid: training, dashed: validation normals")
    ranges = [
        f"{label_title(dataset)}, {way}: {losses.min():.3g} to {losses.max():.3g}"
        for (dataset, way), losses in folds.groupby(["data set", "way"])["validation loss"]
    ]
    text = "Training and validation loss at the end of each fold. Range of the validation loss:"
    return described(figure, text, ranges)


def score_distributions(results: list[RunResult]) -> Figure:
    """Share of normal and of abnormal test images below each score, with the thresholds.

    A panel a run. A few abnormal scores can be huge: the view ends at the 97th percentile of all,
    and where a line ends says how many images lie beyond.
    """
    labels = "image score", "images below, %"
    figure, axes = panels(len(results), (3.6, 2.8), *labels, sharey=True)
    texts = []
    for axis, result in zip(axes, results, strict=True):
        test, medians = result.split("test"), dict.fromkeys(("normal", "abnormal"), "none")
        for label, name in LABEL_NAMES.items():
            part = test.loc[test["label"] == label, "image_score"]
            if len(part):
                axis.ecdf(part, color=LABEL_COLORS[label], label=name)
                medians[name] = f"{part.median():.3g}"
        for regime, (name, line) in REGIME_LINES.items():
            cut = result.metrics["thresholds"][regime]
            if np.isfinite(cut):
                axis.axvline(cut, color="0.25", linestyle=line, linewidth=1, label=name)
        where, title = label_title(result.config.data.label), run_title(result)
        axis.set_xlim(np.quantile(test["image_score"], [0, 0.97]))
        in_percent(axis.yaxis)
        axis.set_title(f"{where}\n{title}", fontsize=10)
        axis.xaxis.set_major_locator(MaxNLocator(4))
        told = f"normal {medians['normal']}, abnormal {medians['abnormal']}"
        texts.append(f"{where}, {title}: {told}")
    axes[0].legend(fontsize=8, frameon=False)
    text = "Share of normal and of abnormal test images below each score, with the thresholds."
    return described(figure, f"{text} Median scores.", texts)


def roc_curves(results: list[RunResult]) -> Figure:
    """ROC curves on the test split, a row a data set: mean over seeds, and their range.

    Left what is trained by gradient, right what is not. At each specificity the seeds'
    sensitivities are averaged, so the area under a curve is the mean AUROC that its label gives.
    """
    datasets, texts = _datasets(results), []
    here = {run.config.method.kind for run in results}
    headings = {name: kinds for name, kinds in ROC_ROWS.items() if here & set(kinds)}
    size = (3.7 * len(headings), 3.4 * len(datasets))
    figure, axes = subplots(len(datasets), len(headings), figsize=size, squeeze=False)
    for line, dataset in zip(axes, datasets, strict=True):
        aurocs = []
        for axis, (heading, kinds) in zip(line, headings.items(), strict=True):
            rows = [runs for (label, *_), runs in grouped(results).items() if label == dataset]
            rows = [runs for runs in rows if runs[0].config.method.kind in kinds]
            for color, runs in enumerate(rows):
                mean = 100 * np.mean([run.metrics["auroc"] for run in runs])
                title, curves = run_title(runs[0]), _rocs(runs)
                look = {"color": f"C{color}"}
                axis.plot(ROC_GRID, curves.mean(axis=0), label=f"{title} {mean:.1f} %", **look)
                ends = curves.min(axis=0), curves.max(axis=0)
                axis.fill_between(ROC_GRID, *ends, alpha=0.15, linewidth=0, **look)
                aurocs.append(f"{title} {mean:.1f}")
            axis.plot([0, 1], [0, 1], color=GUIDE, linewidth=1, zorder=0)
            axis.set(xlabel="1 − specificity, %", ylabel="sensitivity, %", aspect="equal")
            in_percent(axis.xaxis, axis.yaxis)
            axis.set_title(f"{label_title(dataset)}: {heading}", fontsize=11)
            axis.legend(fontsize=7, frameon=False, loc="lower right")
        texts.append(f"{label_title(dataset)}: {', '.join(aurocs)}")
    return described(figure, "ROC curves, a row a data set. AUROC in percent.", texts)


def _rocs(runs: list[RunResult]) -> np.ndarray:
    """Sensitivity at each of `ROC_GRID`, a row a run."""
    curves = []
    for run in runs:
        test = run.labelled("test")
        x, y, _ = roc_curve(test["label"], test["image_score"], drop_intermediate=False)
        curves.append(np.interp(ROC_GRID, x, y))
    return np.array(curves)


def auroc_dots(summary: pd.DataFrame) -> Figure:
    """Test AUROC with its 95 % interval (dot and bar) and validation AUROC (ring) by method.

    A panel a data set; a colour a kind of method. Nothing is drawn below 40 %.
    """
    table = summary.dropna(subset=["auroc_low"])
    table = table.assign(title=list(map(method_title, table["model"], table["variant"])))
    positions = {title: -number for number, title in enumerate(table["title"].unique())}
    parts = list(table.groupby("dataset", sort=False))
    size = (2.7, 1.1 + 0.24 * len(positions))
    options = {"margin": 2.2, "sharey": True, "sharex": True}
    figure, axes = panels(len(parts), size, "AUROC, %", **options)
    for axis, (dataset, rows) in zip(axes, parts, strict=True):
        for row in rows.itertuples():
            y, color = positions[row.title], method_color(row.model)
            axis.plot([100 * row.auroc_low, 100 * row.auroc_high], [y, y], color=color, lw=2)
            axis.plot(100 * row.auroc, y, "o", color=color)
            axis.plot(100 * row.val_auroc, y, "o", mfc="none", color=VALIDATION)
        axis.axvline(50, color=GUIDE, linewidth=1, zorder=0)
        axis.set(yticks=list(positions.values()), xlim=(40, 101))
        axis.set_title(label_title(dataset), fontsize=11)
        axis.set_yticklabels(list(positions))
        axis.tick_params(axis="y", length=0)
    marks = {"test, 95 % interval": {"color": "0.3"}, "validation": {"color": VALIDATION}}
    marks["validation"]["mfc"] = "none"
    handles = [plt.Line2D([], [], marker="o", linestyle="", **mark) for mark in marks.values()]
    place = {"loc": "outside lower center", "ncols": 2}
    figure.legend(handles, list(marks), fontsize=10, frameon=False, **place)
    text = "Dot plot of the AUROC by method, a panel a data set: test with its 95 % interval, "
    text += "validation as a ring. In percent, on test:"
    each = [f"{label_title(name)}: {_auroc_range(rows)}" for name, rows in parts]
    return described(figure, text, each)


def _auroc_range(rows: pd.DataFrame) -> str:
    """The best and the worst method of a data set, and how far validation is from test."""
    best, worst = rows.loc[rows["auroc"].idxmax()], rows.loc[rows["auroc"].idxmin()]
    ends = (f"{100 * row['auroc']:.1f} ({row['title']})" for row in (best, worst))
    gap = 100 * (rows["val_auroc"] - rows["auroc"]).median()
    note = f", validation higher by {gap:.1f} in the median" if np.isfinite(gap) else ""
    return f"{len(rows)} methods from {' down to '.join(ends)}{note}"
