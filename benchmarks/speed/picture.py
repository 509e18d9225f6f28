"""The table of benchmarks as one picture."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from benchmarks.speed.inputs import LITE0, WIDE_RESNET

TITLES = {WIDE_RESNET: "Wide ResNet-50-2", LITE0: "EfficientNet-lite0"}


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Train steps and scoring above, stages and the number of images below."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    _bars(axes[0, 0], table, "train step", "s an image", "seconds of training an image (log)")
    _bars(axes[0, 1], table, "scoring", "images/s", "images scored a second (log)")
    _stages(axes[1, 0], table)
    _number_of_images(axes[1, 1], table)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside upper right")
    figure.suptitle(table["machine"].iloc[0], fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _bars(axis: Axes, table: pd.DataFrame, section: str, unit: str, title: str) -> None:
    rows = table[(table["section"] == section) & (table["unit"] == unit)]
    cases = list(dict.fromkeys(rows["case"]))[::-1]
    for shift, (encoder, part) in enumerate(rows.groupby("encoder")):
        part = part.set_index("case").reindex(cases)
        height = [place + 0.38 * shift for place in range(len(cases))]
        spread = [part["median"] - part["low"], part["high"] - part["median"]]
        axis.barh(height, part["median"], 0.36, xerr=spread, label=TITLES.get(encoder, encoder))
    axis.set_yticks([place + 0.19 for place in range(len(cases))], cases)
    axis.set_xscale("log")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_title(title, fontsize=10)


def _stages(axis: Axes, table: pd.DataFrame) -> None:
    rows = table[table["section"].str.startswith("stages")]
    colours = dict(zip(dict.fromkeys(rows["case"]), plt.get_cmap("tab10").colors, strict=False))
    labels, seen = [], set()
    for place, ((encoder, section), part) in enumerate(rows.groupby(["encoder", "section"])):
        left, total = 0.0, part["median"].sum()
        for case, value in zip(part["case"], part["median"], strict=True):
            share, label = 100 * value / total, None if case in seen else case
            axis.barh(place, share, 0.7, left, color=colours[case], label=label)
            seen.add(case)
            left += share
        work = section.removeprefix("stages of ").removeprefix("a ")
        labels.append(f"{TITLES.get(encoder, encoder)}\n{work}, {total:.0f} ms an image")
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.set_title("where AE-FLOW's time goes, float32 (%)", fontsize=10)
    axis.legend(fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.4, -0.08))


def _number_of_images(axis: Axes, table: pd.DataFrame) -> None:
    epochs = table[table["section"] == "epoch"]
    number = epochs["case"].str.split().str[0].astype(int)
    for quantity, marker in (("time an image", "o"), ("peak memory", "s")):
        part = epochs["quantity"] == quantity
        unit = epochs.loc[part, "unit"].iloc[0]
        label = f"{quantity} ({unit}), one block on lite0"
        axis.plot(number[part], epochs.loc[part, "median"], marker=marker, label=label)
    full = table[table["section"] == "peak memory"]
    number = full["case"].str.split().str[0].astype(int)
    label = "peak memory (MB), AE-FLOW on Wide ResNet-50-2"
    axis.plot(number, full["median"], marker="^", label=label)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("training images")
    axis.set_title("time an image, and peak memory (log)", fontsize=10)
    axis.legend(fontsize=8)
