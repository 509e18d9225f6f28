"""Plots of the ensemble's uncertainty; they take tables, not runs.

`per_image` are per-image tables by data set, each as `ensemble_tables.per_image` gives it.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

from aeflow_utils.config import DataConfig
from aeflow_utils.data.images import prepare_images
from aeflow_utils.data.table import list_images
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.ensemble_calibration import CALIBRATIONS
from aeflow_utils.show.ensemble_tables import PERFECT, TITLES
from aeflow_utils.show.style import (
    GUIDE,
    LABEL_NAMES,
    RIGHT,
    WRONG,
    in_percent,
    panels,
    show_image,
    subplots,
)
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import MEASURES
from aeflow_utils.study.results import label_title

SCALES = (  # columns of mean and deviation, title
    ("mean_raw", "sigma_raw", "raw scores"),
    ("mean_standardised", "sigma_standardised", "standardised scores"),
    ("mean_logistic", "sigma_probability", "probabilities (labels seen)"),
)


def mu_sigma(per_image: dict[str, pd.DataFrame]) -> Figure:
    """Mean against deviation over members in three scales, right and wrong decisions apart."""
    size = (3.7 * len(SCALES), 3.5 * len(per_image))
    figure, axes = subplots(len(per_image), len(SCALES), figsize=size, squeeze=False)
    texts = []
    for row, (name, table) in zip(axes, per_image.items(), strict=True):
        for axis, (mean, sigma, title) in zip(row, SCALES, strict=True):
            for correct, color, label in ((True, RIGHT, "right"), (False, WRONG, "wrong")):
                part = table[table["correct"] == correct]
                axis.scatter(part[mean], part[sigma], s=9, color=color, alpha=0.5, label=label)
            # A few clear anomalies lie far out: the view ends at the 99th percentile.
            axis.set(xlim=_view(table[mean]), ylim=(0, table[sigma].quantile(0.99) * 1.05))
            axis.set(xlabel="mean μ", ylabel="deviation σ")
            trend = spearmanr(table[mean], table[sigma]).statistic
            auroc = ensemble.error_auroc(table, table[sigma])
            told = f"rank correlation of μ and σ {trend:+.2f}", f"error AUROC of σ {auroc:.2f}"
            heading = f"{label_title(name)}, {title}"
            axis.set_title("\n".join((heading, *told)), fontsize=9)
            texts.append(f"{heading}: {', '.join(told)}")
    axes[0, 0].legend(frameon=False, fontsize=9)
    text = (
        "Scatter plots of the members' mean and deviation, right and wrong verdicts in two colours."
    )
    return described(figure, text, texts)


def _view(values: pd.Series) -> tuple[float, float]:
    low, high = values.min(), values.quantile(0.99)
    margin = 0.03 * (high - low)
    return low - margin, high + margin


def risk_coverage_curves(per_image: dict[str, pd.DataFrame], chosen: dict[str, str]) -> Figure:
    """Share of errors among the most certain images, by how many of them are kept.

    The line below all others puts every error last: no measure can be under it.

    Args:
        chosen: by data set, the measure chosen for the decision that the tables judge.
    """
    labels = "images kept, %", "errors among them, %"
    figure, axes = panels(len(per_image), (5, 3.8), *labels, columns=2)
    texts = []
    for axis, (name, table) in zip(axes, per_image.items(), strict=True):
        wrong, parts = ~table["correct"], []
        keys = dict.fromkeys(("sigma_raw", "sigma_rank", "closeness", "entropy", chosen[name]))
        for key in (key for key in keys if key in table):
            title, labels = MEASURES[key]
            title += " (labels seen)" if labels else ""
            curve, is_chosen = uncertainty.risk_coverage(wrong, table[key]), key == chosen[name]
            style = {"linewidth": 2.2 if is_chosen else 1.3, "linestyle": "--" if labels else "-"}
            axis.plot(*curve, label=title + (" *" if is_chosen else ""), **style)
            parts.append(f"{100 * curve[1][len(wrong) // 2 - 1]:.1f} by {title}")
        best = uncertainty.risk_coverage(wrong, wrong.astype(float))
        axis.plot(*best, color="0.5", linestyle=":", label=TITLES[PERFECT])
        axis.axhline(wrong.mean(), color=GUIDE, linestyle="--", linewidth=1, label="at random")
        axis.axvline(1 - uncertainty.REFERRED, color="0.85", linewidth=1, zorder=0)
        axis.set(title=label_title(name), xlim=(0, 1), ylim=(0, min(1, 2.2 * wrong.mean())))
        in_percent(axis.xaxis, axis.yaxis)
        axis.legend(frameon=False, fontsize=8)
        parts.append(f"{100 * best[1][len(wrong) // 2 - 1]:.1f} at best")
        texts.append(f"{label_title(name)}: {', '.join(parts)}, of all {100 * wrong.mean():.1f}")
    text = "Risk-coverage curves. Percent of errors among the more certain half of the images."
    return described(figure, text, texts)


def reliability_curves(per_image: dict[str, pd.DataFrame], title: str) -> Figure:
    """Share of abnormal images against mean probability; larger dots stand for more images."""
    labels = "mean probability", "share of abnormal images"
    figure, axes = panels(len(per_image), (3.9, 3.8), *labels)
    texts = []
    for axis, (name, table) in zip(axes, per_image.items(), strict=True):
        for color, (scale, label) in enumerate(CALIBRATIONS.items()):
            pair = table["label"], table[f"mean_{scale}"]
            bins, ece = uncertainty.reliability(*pair), uncertainty.calibration(*pair)["ece"]
            text = f"{label}: ECE {100 * ece:.1f} %"
            axis.plot(bins["forecast"], bins["observed"], color=f"C{color}", label=text)
            sizes = 400 * bins["images"] / len(table)
            axis.scatter(bins["forecast"], bins["observed"], s=sizes, color=f"C{color}", alpha=0.7)
            texts.append(f"{label_title(name)}, {text}")
        axis.plot([0, 1], [0, 1], color=GUIDE, linewidth=1, zorder=0)
        axis.set(title=label_title(name), xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    figure.suptitle(title)
    text = "Reliability diagram: share of abnormal images by mean probability."
    return described(figure, text, texts)


def member_curves(table: pd.DataFrame) -> Figure:
    """Quality by number of members: mean and range over all choices of so many, a panel a figure.

    Args:
        table: as `ensemble_tables.member_table` gives it.
    """
    parts = list(table.groupby("figure", sort=False))
    figure, axes = panels(len(parts), (3.4, 2.9), "members")
    texts = []
    for axis, (name, rows) in zip(axes, parts, strict=True):
        for number, (dataset, part) in enumerate(rows.groupby("data set", sort=False)):
            color, title, n = f"C{number}", label_title(dataset), part["members"]
            axis.plot(n, part["mean"], "o-", color=color, label=title)
            axis.fill_between(n, part["low"], part["high"], color=color, alpha=0.2)
            ends = " to ".join(f"{part['mean'].iloc[end]:.3f}" for end in (0, -1))
            texts.append(f"{name}, {title}: {ends}")
        axis.set_title(name, fontsize=9)
        axis.set_xticks(sorted(set(table["members"])))
    axes[0].legend(frameon=False, fontsize=8)
    text = f"Quality by number of members, mean with one and with {table['members'].max()}."
    return described(figure, text, texts)


def doubtful_images(table: pd.DataFrame, measure: str, data: DataConfig, n: int = 12) -> Figure:
    """The images that a person would be shown first, the least certain ones, from the files.

    Args:
        table: the per-image table.
        measure: key of `ensemble.MEASURES`.
        data: of the runs; its images must be here.
    """
    rows = table.iloc[np.argsort(-table[measure].to_numpy(), kind="stable")[:n]]
    listed = list_images(data)
    prepared = prepare_images(listed)
    pixels = dict(zip(listed.table["path"][prepared.readable], prepared.images, strict=True))
    figure, axes = subplots(2, -(-n // 2), figsize=(0.95 * n, 4.2), squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for axis, row in zip(axes.flat, rows.itertuples(), strict=False):
        show_image(axis, pixels[row.path])
        verdict = f"is {LABEL_NAMES[row.label]}\ncalled {LABEL_NAMES[row.predicted]}"
        axis.set_title(verdict, fontsize=8, color=RIGHT if row.correct else WRONG)
    n_wrong = int((~rows["correct"]).sum())
    found = f"{n_wrong} of the {len(rows)} least certain verdicts are wrong"
    title = f"{label_title(data.label)}: {found}"
    figure.suptitle(title)
    return described(figure, f"{title}. Images with their label and verdict.")
