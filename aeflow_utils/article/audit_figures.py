"""Pictures of the audit: what an error does to a number, and how the claims fared."""

from __future__ import annotations

import textwrap
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aeflow_utils.metrics.verdicts import NOT_TESTABLE, VERDICTS
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.comparison_figures import draw_interval, shade_zero
from aeflow_utils.show.style import AHEAD, BEHIND, GUIDE, OPEN, SAME, subplots

# In the order of VERDICTS.
VERDICT_COLORS = (AHEAD, "#b799c9", BEHIND, SAME, OPEN, "#8c2d04", "0.9")
VIEW = 45  # points on each side of 0
ABOVE = {"frameon": False, "loc": "lower left", "bbox_to_anchor": (0, 1)}  # a legend's place


def what_errors_change(table: pd.DataFrame) -> Figure:
    """What each error of `errors_shown.error_table` adds to a number, in points, a dot a data set.

    Rows that an error moves most are on top.
    """
    table = table.assign(change=100 * (table["wrong"] - table["right"]))
    table["row"] = table["error"] + ": " + table["measured"]
    largest = table["change"].abs().groupby(table["row"]).max().sort_values()
    rows = {name: y for y, name in enumerate(largest.index)}
    figure, axis = subplots(figsize=(9.5, 0.4 * len(rows) + 1))
    axis.axvline(0, color=GUIDE, linewidth=1, zorder=0)
    by_dataset = table.groupby("data set", sort=False)
    for marker, (dataset, part) in zip(cycle("osD^v"), by_dataset, strict=False):
        y = [rows[name] for name in part["row"]]
        axis.plot(part["change"], y, marker, mfc="none", mew=1.6, ms=7, label=dataset)
    axis.set_yticks(list(rows.values()), [textwrap.fill(name, 52) for name in rows], fontsize=9)
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="points that the error adds", ylim=(-0.7, len(rows) - 0.3))
    axis.legend(ncols=3, fontsize=10, **ABOVE)
    each = [
        f"{row['row']}, {row['data set']}: {100 * row['right']:.1f} to {100 * row['wrong']:.1f}"
        for row in table.to_dict("records")
    ]
    return described(figure, "Numbers without and with an error, in percent:", each)


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
