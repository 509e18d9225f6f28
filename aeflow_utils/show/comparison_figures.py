"""Forest plots of differences, and what training does to loss and AUROC."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aeflow_utils.methods import method_title
from aeflow_utils.metrics.verdicts import MARGIN
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import AGAINST, FOR, GUIDE, OPEN, subplots
from aeflow_utils.study.results import label_title

RELATION_COLORS = {"for": FOR, "against": AGAINST, "same": OPEN, "open": OPEN}
POLICY_TITLES = {"overnight": "converged", "as_published": "constant rate, three times as long"}
AUROCS = {
    "auroc_image_score": ("score", "-"),
    "auroc_flow_score": ("flow part", "--"),
    "auroc_recon_score": ("reconstruction part", ":"),
}


def forest(table: pd.DataFrame, by: list[str], xlabel: str) -> Figure:
    """Differences with their intervals, a panel a data set, a line a row; 0 and its margin shaded.

    Args:
        table: columns data set, difference, low, high, relation, and those of `by`.
        by: columns that name a row.
    """
    panels = list(table.groupby("data set", sort=False))
    names = table[by].astype(str).agg(", ".join, axis=1)
    rows = {name: -number for number, name in enumerate(names.unique())}
    size = (2.4 + 3.1 * len(panels), 1.3 + 0.27 * len(rows))
    figure, axes = subplots(1, len(panels), figsize=size, squeeze=False, sharey=True, sharex=True)
    texts = []
    for axis, (dataset, part) in zip(axes[0], panels, strict=True):
        axis.axvspan(-MARGIN, MARGIN, color="0.93", zorder=0)
        axis.axvline(0, color=GUIDE, linewidth=1, zorder=1)
        for row in part.itertuples():
            y, color = rows[names[row.Index]], RELATION_COLORS[row.relation]
            axis.plot([row.low, row.high], [y, y], color=color, linewidth=2)
            axis.plot(row.difference, y, "o", color=color, markersize=5)
        axis.set(title=label_title(dataset), xlabel=xlabel, yticks=list(rows.values()))
        axis.set_yticklabels(list(rows))
        axis.tick_params(axis="y", length=0)
        kinds = part["relation"].value_counts()
        ahead, behind = kinds.get("for", 0), kinds.get("against", 0)
        texts.append(f"{label_title(dataset)}: {ahead} of {len(part)} above 0, {behind} below")
    text = f"Forest plot, a panel a data set: {xlabel}, with 95 % intervals. Told from 0:"
    return described(figure, text, texts)


def loss_and_auroc(curves: pd.DataFrame, model: str, variant: str) -> Figure:
    """Validation loss (above) and test AUROC (below) by step, a data set a column, by policy.

    Args:
        curves: as `study.curves.run_curves` gives them.
    """
    curves = curves[(curves["model"] == model) & (curves["variant"].fillna("") == variant)]
    datasets = list(dict.fromkeys(curves["dataset"]))
    size = (1.2 + 3.1 * len(datasets), 5)
    figure, axes = subplots(2, len(datasets), figsize=size, squeeze=False, sharex="col")
    texts = []
    for column, dataset in zip(axes.T, datasets, strict=True):
        for number, (policy, part) in enumerate(
            curves[curves["dataset"] == dataset].groupby("policy")
        ):
            color = f"C{number}"
            column[0].plot(part["step"], part["val_flow"], color=color, label=POLICY_TITLES[policy])
            for name, (title, line) in AUROCS.items():
                points = part.dropna(subset=[name]) if name in part else part.iloc[:0]
                values = 100 * points.get(name, pd.Series(dtype=float))
                label = title if number == 0 else None
                column[1].plot(points["step"], values, line, color=color, label=label)
            ends = part.dropna(subset=["auroc_image_score"]).iloc[[0, -1]]
            loss, auroc = ends["val_flow"], 100 * ends["auroc_image_score"]
            texts.append(
                f"{label_title(dataset)}, {POLICY_TITLES[policy]}: loss {loss.iloc[0]:.2f} to "
                f"{loss.iloc[1]:.2f}, AUROC {auroc.iloc[0]:.1f} to {auroc.iloc[1]:.1f} %"
            )
        column[0].set(title=label_title(dataset))
        column[1].set(xlabel="steps")
    axes[0, 0].set(ylabel="validation normals,\nbits per dimension")
    axes[1, 0].set(ylabel="test AUROC, %")
    for axis in axes[:, 0]:
        axis.legend(fontsize=8, frameon=False)
    title = method_title(model, variant)
    return described(figure, f"{title}: loss on validation normals and test AUROC by step.", texts)


def trial_losses(trials: pd.DataFrame) -> Figure:
    """Loss on validation normals by peak of the rate, a panel a method; the lowest is filled."""
    keys = ["model", "variant", "strides"]
    panels = list(trials.fillna("").groupby(keys, sort=False))
    rows = -(-len(panels) // 4)
    figure, axes = subplots(rows, 4, figsize=(12, 2.6 * rows), squeeze=False)
    texts = []
    for axis, ((model, variant, strides), part) in zip(axes.flat, panels, strict=False):
        name = ", ".join(
            filter(None, [method_title(model, variant), strides and f"stride {strides}"])
        )
        for number, (dataset, of_set) in enumerate(part.groupby("dataset", sort=False)):
            fall = of_set["loss"] - of_set["loss"].min()
            axis.plot(
                of_set["rate"],
                fall,
                "o-",
                mfc="none",
                color=f"C{number}",
                label=label_title(dataset),
            )
            best = of_set.loc[of_set["loss"].idxmin()]
            axis.plot(best["rate"], 0, "o", color=f"C{number}")
            texts.append(f"{name} on {label_title(dataset)}: {best['rate']:g}")
        axis.set(title=name, xscale="log", yscale="symlog", xlabel="peak of the rate")
        axis.set_ylim(bottom=-0.05 * np.ptp(axis.get_ylim()))
    for axis in axes.flat[len(panels) :]:
        axis.set_visible(False)
    axes[0, 0].legend(fontsize=8, frameon=False)
    return described(figure, "Loss above the lowest by peak of the rate. Lowest at:", texts)
