"""Forest plots of differences, and what training does to loss and AUROC."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aeflow_utils.methods import method_title
from aeflow_utils.metrics.verdicts import MARGIN
from aeflow_utils.options import AEFlowConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import AHEAD, BEHIND, GUIDE, OPEN, SAME, panels, subplots
from aeflow_utils.study.results import label_title

RELATION_COLORS = {"for": AHEAD, "against": BEHIND, "same": SAME, "open": OPEN}
AUROCS = {
    "auroc_image_score": ("score", "-"),
    "auroc_flow_score": ("flow part", "--"),
    "auroc_recon_score": ("reconstruction part", ":"),
}


def forest(table: pd.DataFrame, by: list[str], xlabel: str) -> Figure:
    """Differences with their intervals, a panel a data set, a line a row; 0 and its margin shaded.

    Purple is told from 0 on its right, orange on its left, dark grey is no difference; hollow and
    light is not told.

    Args:
        table: columns data set, difference, low, high, relation, and those of `by`.
        by: columns that name a row.
    """
    if table.empty:
        figure, (axis,) = panels(1, (4, 0.5))
        axis.set_axis_off()
        axis.text(0, 0.5, "no runs to compare")
        return described(figure, f"{xlabel}: there are no runs to compare.")
    parts = list(table.groupby("data set", sort=False))
    names = table[by].astype(str).agg(", ".join, axis=1)
    rows = {name: -number for number, name in enumerate(names.unique())}
    size = (2.9, 1.1 + 0.27 * len(rows))
    figure, axes = panels(len(parts), size, xlabel, margin=1.6, sharey=True, sharex=True)
    texts = []
    for axis, (dataset, part) in zip(axes, parts, strict=True):
        shade_zero(axis)
        for row in part.itertuples():
            ends = (row.low, row.difference, row.high)
            draw_interval(axis, rows[names[row.Index]], ends, row.relation)
        axis.set(title=label_title(dataset), yticks=list(rows.values()))
        axis.set_ylim(0.6 - len(rows), 0.4)
        axis.set_yticklabels(list(rows))
        axis.tick_params(axis="y", length=0)
        kinds = part["relation"].value_counts()
        ahead, behind = kinds.get("for", 0), kinds.get("against", 0)
        texts.append(f"{label_title(dataset)}: {ahead} of {len(part)} above 0, {behind} below")
    text = f"Forest plot, a panel a data set: {xlabel}, with 95 % intervals. Told from 0:"
    return described(figure, text, texts)


def shade_zero(axis: Axes) -> None:
    """A line at 0 and the margin within which a difference is none."""
    axis.axvspan(-MARGIN, MARGIN, color="0.93", zorder=0)
    axis.axvline(0, color=GUIDE, linewidth=1, zorder=1)


def draw_interval(axis: Axes, y: float, ends: tuple[float, float, float], relation: str) -> None:
    """A difference, (low, value, high), in the colour of its `Measurement.relation`."""
    low, value, high = ends
    color = RELATION_COLORS[relation]
    fill = "white" if relation == "open" else color
    axis.plot([low, high], [y, y], color=color, linewidth=2)
    axis.plot(value, y, "o", color=color, mfc=fill, markersize=5)


def beta_curves(table: pd.DataFrame) -> Figure:
    """AUROC by the weight of S_flow, a panel a data set, a colour a reading of S_flow.

    Left is the reconstruction alone, right the flow alone; the upright line is the paper's weight.
    Solid is the first subnet, with its range over seeds, dashed the other.

    Args:
        table: as `study.like_with_like.by_beta` gives it.
    """
    parts = list(table.groupby("data set", sort=False))
    labels = "β, weight of the flow part", "test AUROC, %"
    figure, axes = panels(len(parts), (3.2, 2.7), *labels, sharex=True)
    texts = []
    for axis, (dataset, part) in zip(axes, parts, strict=True):
        readings = list(dict.fromkeys(part["reading of S_flow"]))
        lines = dict(zip(dict.fromkeys(part["subnet"]), ("-", "--"), strict=False))
        for (subnet, reading), line in part.groupby(["subnet", "reading of S_flow"], sort=False):
            color, name = f"C{readings.index(reading)}", f"{reading}, {subnet}"
            axis.plot(line["beta"], line["mean"], lines[subnet], color=color, label=name)
            if lines[subnet] == "-":
                ends = line["lowest"], line["highest"]
                axis.fill_between(line["beta"], *ends, color=color, alpha=0.2, lw=0)
            best = line.loc[line["mean"].idxmax()]
            texts.append(
                f"{label_title(dataset)}, {subnet}, {reading}: {line['mean'].iloc[0]:.1f} to "
                f"{line['mean'].iloc[-1]:.1f}, highest {best['mean']:.1f} at {best['beta']:.2f}"
            )
        axis.axvline(AEFlowConfig().beta, color=GUIDE, linewidth=1, zorder=0)
        axis.set_title(label_title(dataset), fontsize=11)
    named = axes[0].get_legend_handles_labels()
    figure.legend(*named, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return described(figure, "Test AUROC by β, from the reconstruction alone to the flow:", texts)


def loss_and_auroc(curves: pd.DataFrame, model: str, variant: str) -> Figure:
    """Validation loss (above) and test AUROC (below) by step, a data set a column, by training.

    Where a loss can be lowered without a better density, the density's own is dashed.

    Args:
        curves: as `study.curves.run_curves` gives them.
    """
    curves = curves[(curves["model"] == model) & (curves["variant"].fillna("") == variant)]
    datasets = list(dict.fromkeys(curves["dataset"]))
    size = (1.2 + 3.1 * len(datasets), 5)
    figure, axes = subplots(2, len(datasets), figsize=size, squeeze=False, sharex="col")
    texts = []
    for column, dataset in zip(axes.T, datasets, strict=True):
        of_set = curves[curves["dataset"] == dataset]
        for number, ((policy, steps), part) in enumerate(of_set.groupby(["policy", "steps"])):
            name = f"{PROFILES[policy].policy}, {steps / of_set['steps'].min():.0f} × the steps"
            _loss_line(column[0], part, f"C{number}", name)
            _auroc_lines(column[1], part, f"C{number}", titles=number == 0)
            ends = part.dropna(subset=["auroc_image_score"]).iloc[[0, -1]]
            loss, auroc = ends["val_flow"], 100 * ends["auroc_image_score"]
            texts.append(
                f"{label_title(dataset)}, {name}: loss {loss.iloc[0]:.2f} to {loss.iloc[1]:.2f}, "
                f"AUROC {auroc.iloc[0]:.1f} to {auroc.iloc[1]:.1f} %"
            )
        column[0].set(title=label_title(dataset))
        column[1].set(xlabel="steps")
    axes[0, 0].set(ylabel="validation normals,\nbits per dimension")
    axes[1, 0].set(ylabel="test AUROC, %")
    named = [h for axis in axes[:, 0] for h in axis.get_legend_handles_labels()[0]]
    figure.legend(handles=named, loc="outside lower center", fontsize=8, ncols=2, frameon=False)
    title = method_title(model, variant)
    return described(figure, f"{title}: loss on validation normals and test AUROC by step.", texts)


def _loss_line(axis: Axes, part: pd.DataFrame, color: str, name: str) -> None:
    axis.plot(part["step"], part["val_flow"], color=color, label=name)
    if "val_density" in part and part["val_density"].notna().all():
        bits = part["val_density"] * part["val_flow"] / part["val_total"]  # of nats, as the other
        axis.plot(part["step"], bits, "--", color=color)


def _auroc_lines(axis: Axes, part: pd.DataFrame, color: str, titles: bool) -> None:
    whole = part["auroc_image_score"]
    for name, (title, line) in AUROCS.items():
        is_whole = name != whole.name and name in part and part[name].equals(whole)
        if name in part and part[name].notna().any() and not is_whole:
            points = part.dropna(subset=[name])
            label = title if titles else None
            axis.plot(points["step"], 100 * points[name], line, color=color, label=label)
