"""Pictures of the audit: what an error does to a number, and how the claims fared."""

from __future__ import annotations

import textwrap

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aeflow_utils.metrics.verdicts import NOT_TESTABLE, VERDICTS
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.comparison_figures import draw_interval, shade_zero
from aeflow_utils.show.style import AHEAD, BEHIND, OPEN, SAME, WRONG, subplots

# In the order of VERDICTS.
VERDICT_COLORS = (AHEAD, "#b799c9", BEHIND, SAME, OPEN, "#8c2d04", "0.9")
VIEW = 45  # points on each side of 0
ABOVE = {"frameon": False, "loc": "lower left", "bbox_to_anchor": (0, 1)}  # a legend's place


def right_and_wrong(table: pd.DataFrame) -> Figure:
    """Every row of `errors_shown.error_table` as a line from the right number to the wrong one."""
    table = table.iloc[::-1].reset_index(drop=True)
    figure, axis = subplots(figsize=(9.5, 0.42 * len(table) + 1))
    right, wrong = 100 * table["right"], 100 * table["wrong"]
    axis.hlines(table.index, right, wrong, color="0.75", lw=2, zorder=1)
    axis.plot(right, table.index, "o", color="0.3", label="right")
    axis.plot(wrong, table.index, "X", color=WRONG, label="with the error", ms=8)
    names = table["error"] + ", " + table["data set"]
    told = [textwrap.fill(name, 60) for name in names + " (" + table["measured"] + ")"]
    axis.set_yticks(table.index, told, fontsize=8)
    axis.axvline(50, color="0.85", lw=1, zorder=0)
    axis.set(xlabel="%", ylim=(-0.7, len(table) - 0.3))
    axis.legend(ncols=2, **ABOVE)
    each = "; ".join(f"{n} {r:.1f} to {w:.1f}" for n, r, w in zip(names, right, wrong, strict=True))
    text = f"From the right number to the one with the error, in percent: {each}."
    return described(figure, text)


def claims_forest(ledger: pd.DataFrame) -> Figure:
    """Every claim that was measured and tested, a line each: by what, and its verdict.

    A dot a measurement with its interval, in points for the claim (right) or against it. The view
    ends at `VIEW` points.
    """
    table = ledger[(ledger["measured"].map(len) > 0) & (ledger["verdict"] != NOT_TESTABLE)]
    table = table.sort_values("verdict", key=lambda each: each.map(VERDICTS.index), kind="stable")
    figure, axis = subplots(figsize=(9.5, 0.42 * len(table) + 1))
    shade_zero(axis)
    for y, found in enumerate(table["measured"]):
        places = np.linspace(-0.25, 0.25, len(found)) if len(found) > 1 else [0]
        for place, m in zip(places, found, strict=True):
            ends = (m.estimate.low, m.estimate.value, m.estimate.high)
            draw_interval(axis, y + place, ends, m.relation)
    names = [textwrap.fill(claim, 58) for claim in table["claim"]]
    axis.set_yticks(range(len(table)), names, fontsize=8)
    for y, verdict in enumerate(table["verdict"]):
        axis.text(VIEW + 0.6, y, verdict, va="center", fontsize=8)
    axis.set(xlim=(-VIEW, VIEW), xlabel="points for the claim", ylim=(len(table) - 0.4, -0.6))
    axis.tick_params(axis="y", length=0)
    counted = table["verdict"].value_counts()
    each = [f"{counted[word]} {word}" for word in VERDICTS if word in counted]
    return described(figure, f"Forest plot of {len(table)} measured claims: {', '.join(each)}.")


def verdict_bars(counts: pd.DataFrame) -> Figure:
    """How many claims got each verdict, a bar for whose they are; from `claims.counts`."""
    figure, axis = subplots(figsize=(9, 0.6 * len(counts) + 1.3))
    left = pd.Series(0, index=counts.index)
    for word, color in zip(VERDICTS, VERDICT_COLORS, strict=True):
        bars = axis.barh(counts.index, counts[word], left=left, color=color, label=word)
        axis.bar_label(bars, [n or "" for n in counts[word]], label_type="center", fontsize=10)
        left = left + counts[word]
    axis.invert_yaxis()
    axis.set(xlabel="claims")
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.tick_params(axis="y", length=0)
    axis.legend(ncols=4, fontsize=10, **ABOVE)
    each = [
        f"{whose}: {', '.join(f'{n} {word}' for word, n in row.items() if n)}"
        for whose, row in counts.iterrows()
    ]
    return described(figure, f"Claims by verdict. {'; '.join(each)}.")
