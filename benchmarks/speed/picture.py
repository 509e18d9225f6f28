"""The table of benchmarks as one picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from benchmarks.speed.comparison import SCORE, STEP
from benchmarks.speed.inputs import LITE0, TITLES, WIDE_RESNET
from benchmarks.speed.scaling import EPOCH, MEMORY

COLOURS = {WIDE_RESNET: "#b5651d", LITE0: "#1f6f8b"}
STAGES = {
    "read a batch": "#555555",
    "read pixels": "#555555",
    "encoder": "#b5651d",
    "flow forward": "#1f6f8b",
    "flow": "#1f6f8b",
    "decoder forward": "#7fb069",
    "decoder": "#7fb069",
    "backward": "#c8553d",
    "SSIM, pooling and map": "#e6aa68",
    "optimizer": "#aaaaaa",
}


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Train steps and scoring above, stages and the number of images below."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for axis, section, title in (
        (axes[0, 0], STEP, "images trained on in a second (log)"),
        (axes[0, 1], SCORE, "images scored in a second (log)"),
    ):
        _bars(axis, _speeds(table, section), title)
    _stages(axes[1, 0], table)
    _number_of_images(axes[1, 1], table)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], fontsize=9, ncols=2, loc="outside lower center")
    figure.suptitle(f"{table['machine'].iloc[0]}; bars: medians, lines: extremes", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _speeds(table: pd.DataFrame, section: str) -> pd.DataFrame:
    """Rows of a section that are speeds, in images a second."""
    rows = table[(table["section"] == section) & (table["unit"] != "ratio")].copy()
    times = rows["quantity"] == "time"
    low, high = 1 / rows.loc[times, "high"], 1 / rows.loc[times, "low"]
    rows.loc[times, ["low", "high"]] = np.column_stack([low, high])
    rows.loc[times, "median"] = 1 / rows.loc[times, "median"]
    return rows


def _bars(axis: Axes, rows: pd.DataFrame, title: str) -> None:
    cases = list(dict.fromkeys(rows["case"]))[::-1]
    for shift, (encoder, part) in enumerate(rows.groupby("encoder")):
        part = part.set_index("case").reindex(cases)
        height = [place + 0.38 * shift for place in range(len(cases))]
        spread = [part["median"] - part["low"], part["high"] - part["median"]]
        bars = axis.barh(
            height,
            part["median"],
            0.36,
            xerr=spread,
            label=TITLES.get(encoder, encoder),
            color=COLOURS.get(encoder),
            error_kw={"elinewidth": 1},
        )
        labels = ["" if np.isnan(value) else f" {value:.3g}" for value in part["median"]]
        axis.bar_label(bars, labels, fontsize=7, padding=4)
    axis.set_yticks([place + 0.19 for place in range(len(cases))], cases, fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(right=2.2 * rows["high"].max())
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(title, fontsize=10)


def _stages(axis: Axes, table: pd.DataFrame) -> None:
    rows = table[table["section"].str.startswith("stages")]
    labels, seen = [], set()
    for place, ((encoder, section), part) in enumerate(rows.groupby(["encoder", "section"])):
        left, total = 0.0, part["median"].sum()
        for case, value in zip(part["case"], part["median"], strict=True):
            share, colour = 100 * value / total, STAGES[case]
            name = case.removesuffix(" forward").removesuffix(" a batch").removesuffix(" pixels")
            label = None if colour in seen else name
            bar = axis.barh(place, share, 0.7, left, color=colour, label=label)
            text = [f"{share:.0f}" if share > 6 else ""]
            axis.bar_label(bar, text, label_type="center", fontsize=7, color="white")
            seen.add(colour)
            left += share
        work = section.removeprefix("stages of ").removeprefix("a ")
        title, kind = TITLES.get(encoder, encoder), part["note"].iloc[0]
        labels.append(f"{title}, {kind}\n{work}, {total:.0f} ms an image")
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.set_xlim(0, 100)
    axis.set_title("where AE-FLOW's time goes (%)", fontsize=10)
    axis.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.06), frameon=False)


def _number_of_images(axis: Axes, table: pd.DataFrame) -> None:
    """Everything relative to the fewest images: a flat line does not grow with the data."""
    table = table[table["unit"] != "ratio"]
    epochs, full = (table[table["section"] == section] for section in (EPOCH, MEMORY))
    shown = set()
    for rows, what, encoder, marker in (
        (epochs[epochs["quantity"] == "time an image"], "an epoch, an image", LITE0, "o"),
        (epochs[epochs["quantity"] == "peak memory"], "peak memory, one block", LITE0, "s"),
        (full, "peak memory, AE-FLOW", WIDE_RESNET, "^"),
    ):
        number = rows["case"].str.split().str[0].astype(int)
        shown |= set(number)
        first = rows["median"].iloc[0]
        label = f"{what}, {TITLES[encoder]}: {first:,.4g} {rows['unit'].iloc[0]}"
        style = {"linestyle": "--" if marker == "s" else "-", "color": COLOURS[encoder]}
        axis.plot(number, rows["median"] / first, marker=marker, label=label, **style)
    axis.axhspan(0.9, 1.1, color="black", alpha=0.07, linewidth=0)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(FixedLocator(sorted(shown)))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.set_ylim(0, 1.6)
    axis.set_xlabel("training images")
    axis.set_title("against the fewest images (band: 10 %)", fontsize=10)
    axis.legend(fontsize=8, loc="lower center", frameon=False)
