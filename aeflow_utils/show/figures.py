"""Plots of runs: one style, PNG, returned as figures and saved by `save_figure`.

Each figure says in its alt text what it shows, with the numbers it shows. Nothing here needs
torch, whose import takes longer than most plots; `image_figures` does.
"""

from __future__ import annotations

from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn.metrics import roc_curve

from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.methods import method_title
from aeflow_utils.paths import paths
from aeflow_utils.profiles import Profile
from aeflow_utils.show import alt_texts
from aeflow_utils.show.alt_texts import alt_text, described, listed, show_alt_texts
from aeflow_utils.study.results import grouped, run_title
from aeflow_utils.study.runs import RunResult

subplots = partial(plt.subplots, layout="constrained")

NORMAL, ABNORMAL = "#3b6ea5", "#c8553d"
LABEL_NAMES = {0: "normal", 1: "abnormal", UNLABELLED: "unlabelled"}
REGIME_LINES = {"normal_quantile": ":", "val_f1": "--", "oracle_f1": "-."}


def use_style() -> None:
    """The bundle's look, for plots and for tables; called once by each notebook."""
    pd.set_option("display.max_colwidth", None, "display.max_rows", 200)
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update(
        {
            "figure.dpi": 80,
            "savefig.dpi": 120,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 12,
        }
    )
    show_alt_texts()


def save_figure(figure: Figure, name: str, profile: Profile) -> None:
    """Write ``<name>.png`` to the profile's figure folder, with its alt text inside."""
    folder = paths().images(profile.name)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(
        folder / f"{name}.png",
        bbox_inches="tight",
        facecolor="white",
        metadata={"Description": alt_text(figure)},
    )


def show_image(axis: plt.Axes, pixels: np.ndarray, **options: object) -> None:
    """An image (C, H, W) in its full range, or a map (H, W), without ticks."""
    if pixels.ndim == 3:
        top = 255 if pixels.dtype == np.uint8 else 1
        options |= {"cmap": "gray", "vmin": 0, "vmax": top}  # never stretch an image's contrast
        pixels = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    axis.imshow(pixels, **options)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)


def loss_curves(results: list[RunResult]) -> Figure:
    """Each loss term by epoch, training (solid) and validation normals (dashed), a line a seed."""
    terms = {"flow": "flow, bits per dimension", "recon": "reconstruction, MSE"}
    groups = {k: v for k, v in grouped(results).items() if len(v[0].history)}
    figure, axes = subplots(1, len(terms), figsize=(11, 3.6))
    for axis, (term, label) in zip(axes, terms.items(), strict=True):
        for color, runs in enumerate(groups.values()):
            for number, run in enumerate(runs):
                if f"train_{term}" not in run.history:
                    continue
                for part, style in (("train", "-"), ("val", "--")):
                    name = run_title(run) if number == 0 and part == "train" else None
                    line = run.history[f"{part}_{term}"]
                    axis.plot(run.history["epoch"], line, style, color=f"C{color}", label=name)
        axis.set(xlabel="epoch", ylabel=label)
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle("solid: training, dashed: validation normals")
    return described(
        figure, alt_texts.curves_text([run for r in groups.values() for run in r], terms)
    )


def term_curves(results: list[RunResult], terms: dict[str, str], title: str) -> Figure:
    """Training terms by epoch, a panel a term, a line a seed, one colour a data set.

    Args:
        terms: {name in the history: what it is called}.
    """
    figure, axes = subplots(1, len(terms), figsize=(3.4 * len(terms), 2.9), squeeze=False)
    datasets = list(dict.fromkeys(result.config.data.label for result in results))
    for axis, (term, label) in zip(axes[0], terms.items(), strict=True):
        for result in results:
            number = datasets.index(result.config.data.label)
            name = datasets[number] if result.config.seed == 0 else None
            history = result.history.dropna(subset=[f"train_{term}"])
            axis.plot(
                history["epoch"],
                history[f"train_{term}"],
                color=f"C{number}",
                label=name,
                alpha=0.8,
            )
        axis.set(xlabel="epoch", title=label)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.suptitle(title)
    return described(figure, alt_texts.curves_text(results, terms))


def fold_losses(folds: pd.DataFrame) -> Figure:
    """Training and validation loss at the end of each fold, a panel a data set, a colour a way."""
    datasets = list(dict.fromkeys(folds["data set"]))
    figure, axes = subplots(1, len(datasets), figsize=(4.6 * len(datasets), 3.2), squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        ways = folds[folds["data set"] == dataset].groupby("way")
        for color, (way, part) in zip((NORMAL, ABNORMAL), ways, strict=False):
            axis.plot(part["fold"], part["validation loss"], "o--", color=color, label=way)
            axis.plot(part["fold"], part["training loss"], "-", color=color)
        axis.set(title=dataset, xlabel="fold", ylabel="loss", xticks=sorted(set(folds["fold"])))
        axis.legend(fontsize=9, frameon=False)
    figure.suptitle("solid: training, dashed: validation normals")
    return described(figure, alt_texts.folds_text(folds))


def score_histograms(results: list[RunResult], columns: int = 3) -> Figure:
    """Test scores of normal and abnormal images, with the three thresholds, a panel a run."""
    rows = -(-len(results) // columns)
    figure, axes = subplots(rows, columns, figsize=(4.2 * columns, 2.8 * rows), squeeze=False)
    for axis, result in zip(axes.flat, results, strict=False):
        test = result.split("test")
        # A few abnormal scores can be huge: the view ends at the 97th percentile.
        low, high = np.quantile(test["image_score"], [0, 0.97])
        bins = np.linspace(low, high, 30)
        for label, color in ((0, NORMAL), (1, ABNORMAL), (UNLABELLED, "0.6")):
            part = test.loc[test["label"] == label, "image_score"].clip(upper=high)
            if len(part):
                name = LABEL_NAMES[label]
                axis.hist(part, bins, density=True, color=color, alpha=0.6, label=name)
        for regime, style in REGIME_LINES.items():
            cut = result.metrics["thresholds"][regime]
            if np.isfinite(cut):
                axis.axvline(cut, color="0.25", linestyle=style, label=regime)
        axis.set(title=f"{result.config.data.label}: {run_title(result)}", yticks=[])
        axis.set_xlabel("image score")
        axis.xaxis.set_major_locator(MaxNLocator(4))
    axes[0, 0].legend(fontsize=8, frameon=False)
    for axis in axes.flat[len(results) :]:
        axis.set_visible(False)
    return described(figure, alt_texts.histograms_text(results))


def roc_curves(results: list[RunResult]) -> Figure:
    """ROC curves on the test split, a panel a data set, a curve a method (first seed)."""
    datasets = list(dict.fromkeys(result.config.data.label for result in results))
    size = (4.6 * len(datasets), 4.8)
    figure, axes = subplots(1, len(datasets), figsize=size, squeeze=False)
    for axis, dataset in zip(axes[0], datasets, strict=True):
        groups = {k: v for k, v in grouped(results).items() if k[0] == dataset}
        for runs in groups.values():
            test = runs[0].split("test")
            x, y, _ = roc_curve(test["label"], test["image_score"])
            mean = np.mean([run.metrics["auroc"] for run in runs])
            axis.plot(x, y, label=f"{run_title(runs[0])} ({100 * mean:.1f})")
        axis.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
        axis.set(title=dataset, xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
        axis.legend(fontsize=8, frameon=False, loc="lower right")
    return described(figure, alt_texts.roc_text(results))


def auroc_dots(summary: pd.DataFrame) -> Figure:
    """Test AUROC with its 95 % interval (dot and bar) and validation AUROC (ring) by method."""
    table = summary.dropna(subset=["auroc_low"])
    datasets = list(dict.fromkeys(table["dataset"]))
    figure, axes = subplots(
        1, len(datasets), figsize=(3.2 + 3.4 * len(datasets), 3.8), squeeze=False, sharey=True
    )
    methods = table[["model", "variant"]].drop_duplicates().itertuples(index=False)
    positions = {method_title(*method): -number for number, method in enumerate(methods)}
    for axis, dataset in zip(axes[0], datasets, strict=True):
        for row in table[table["dataset"] == dataset].itertuples():
            y = positions[method_title(row.model, row.variant)]
            axis.plot([row.auroc_low, row.auroc_high], [y, y], color=NORMAL, linewidth=2)
            axis.plot(row.auroc, y, "o", color=NORMAL, label="test, 95 % interval")
            axis.plot(row.val_auroc, y, "o", mfc="none", color=ABNORMAL, label="validation")
        axis.axvline(0.5, color="0.7", linewidth=1, zorder=0)
        axis.set(title=dataset, xlabel="AUROC", yticks=list(positions.values()))
        axis.set_yticklabels(list(positions))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    figure.legend(
        unique.values(), unique, fontsize=10, frameon=False, loc="outside lower center", ncols=2
    )
    return described(figure, alt_texts.dots_text(table))


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
