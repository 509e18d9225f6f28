"""What the table says: a picture of it, and aims against what was reached.

Aims are floors that were set before anything was measured; none was moved. Where there are two
arithmetics, the one that the encoder's profile computes in on that machine is held to the aim.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from benchmarks.speed.comparison import ALONE, CACHED, PEAK, SCORE, STEP
from benchmarks.speed.measuring import default_arithmetic
from benchmarks.speed.pipelines import LITE0, TITLES, WIDE_RESNET
from benchmarks.speed.scaling import EPOCH, MEMORY

BROWN, BLUE = "#b5651d", "#1f6f8b"
COLOURS = {WIDE_RESNET: BROWN, LITE0: BLUE}
STAGES = {"read": "#555555", "encoder": BROWN, "flow": BLUE, "decoder": "#7fb069",
          "backward": "#c8553d", "SSIM, pooling and map": "#e6aa68",
          "optimizer": "#aaaaaa"}  # fmt: skip


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Train steps and scoring above, stages and the number of images below."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    _speeds(axes[0, 0], table, STEP, "images trained on in a second (log)")
    _speeds(axes[0, 1], table, SCORE, "images scored in a second (log)")
    _stages(axes[1, 0], table)
    _number_of_images(axes[1, 1], table[table["unit"] != "ratio"])
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], fontsize=9, ncols=2, loc="outside lower center")
    figure.suptitle(f"{table['machine'].iloc[0]}; bars: medians, lines: extremes", fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _speeds(axis: Axes, table: pd.DataFrame, section: str, title: str) -> None:
    """Bars of images a second, the inverse of where the table has times."""
    rows = table[(table["section"] == section) & (table["unit"] != "ratio")]
    if section == STEP:
        inverse = {"median": 1 / rows["median"], "low": 1 / rows["high"], "high": 1 / rows["low"]}
        rows = rows.assign(**inverse)
    cases = rows["case"].unique()[::-1]
    for shift, (encoder, part) in enumerate(rows.groupby("encoder")):
        part = part.set_index("case").reindex(cases)
        spread = [part["median"] - part["low"], part["high"] - part["median"]]
        style = {"color": COLOURS[encoder], "error_kw": {"elinewidth": 1}}
        places = np.arange(len(cases)) + 0.38 * shift
        label = TITLES[encoder]
        bars = axis.barh(places, part["median"], 0.36, xerr=spread, label=label, **style)
        labels = ["" if np.isnan(value) else f" {value:.3g}" for value in part["median"]]
        axis.bar_label(bars, labels, fontsize=7, padding=4)
    axis.set_yticks(np.arange(len(cases)) + 0.19, cases, fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(right=2.2 * rows["high"].max())
    axis.tick_params(which="minor", labelbottom=False)
    axis.set_title(title, fontsize=10)


def _stages(axis: Axes, table: pd.DataFrame) -> None:
    rows = table[table["section"].str.startswith("stages")]
    labels, seen = [], set()
    for place, ((encoder, section), part) in enumerate(rows.groupby(["encoder", "section"])):
        left, total = 0.0, part["median"].sum()
        names = part["case"].str.replace(" (forward|a batch|pixels)$", "", regex=True)
        for name, share in zip(names, 100 * part["median"] / total, strict=True):
            label = None if name in seen else name
            bar = axis.barh(place, share, 0.7, left, color=STAGES[name], label=label)
            text = [f"{share:.0f}" if share > 6 else ""]
            axis.bar_label(bar, text, label_type="center", fontsize=7, color="white")
            seen.add(name)
            left += share
        work = section.removeprefix("stages of ").removeprefix("a ")
        kind = part["note"].iloc[0]
        labels.append(f"{TITLES[encoder]}, {kind}\n{work}, {total:.0f} ms an image")
    axis.set_yticks(range(len(labels)), labels, fontsize=8)
    axis.set_xlim(0, 100)
    axis.set_title("where AE-FLOW's time goes (%)", fontsize=10)
    axis.legend(fontsize=8, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.06), frameon=False)


def _number_of_images(axis: Axes, table: pd.DataFrame) -> None:
    """Everything relative to the fewest images: a flat line does not grow with the data."""
    shown = set()
    for section, quantity, what, encoder, style in (
        (EPOCH, "time an image", "an epoch, an image", LITE0, "o-"),
        (EPOCH, "peak memory", "peak memory, one block", LITE0, "s--"),
        (MEMORY, "memory", "peak memory, AE-FLOW", WIDE_RESNET, "^-"),
    ):
        rows = table[(table["section"] == section) & (table["quantity"] == quantity)]
        number, first = rows["case"].str.split().str[0].astype(int), rows["median"].iloc[0]
        label = f"{what}, {TITLES[encoder]}: {first:,.4g} {rows['unit'].iloc[0]}"
        axis.plot(number, rows["median"] / first, style, label=label, color=COLOURS[encoder])
        shown |= set(number)
    axis.axhspan(0.9, 1.1, color="black", alpha=0.07, linewidth=0)
    axis.set(xscale="log", xlabel="training images", ylim=(0, 1.6))
    axis.set_xticks(sorted(shown), [f"{number:,}" for number in sorted(shown)])
    axis.set_xticks([], minor=True)
    axis.set_title("against the fewest images (band: 10 %)", fontsize=10)
    axis.legend(fontsize=8, loc="lower center", frameon=False)


# Which section of results/benchmarks.csv, what against what, how many times as fast, with what.
AIMS = (
    (STEP, "plain AE-FLOW", "AE-FLOW", "", 3.0, [WIDE_RESNET]),
    (STEP, "anomalib FastFlow", "FastFlow", "", 2.5, TITLES),
    (STEP, "anomalib FastFlow", "AE-FLOW", "", 8.0, TITLES),
    (SCORE, "plain AE-FLOW", "AE-FLOW", "", 2.0, [WIDE_RESNET]),
    (SCORE, "plain AE-FLOW", "AE-FLOW", CACHED, 2.0, [WIDE_RESNET]),
    (SCORE, "anomalib FastFlow", "AE-FLOW", "", 1.5, [LITE0]),
    (SCORE, "anomalib FastFlow", "FastFlow", "", 1.5, [LITE0]),
)
SHARES = {"fp32": 0.75, "bf16": 0.65}  # of the convolution peak, AE-FLOW's train step
MOST_BESIDE = 0.10  # an epoch of many images against one of few, an image
MOST_MEMORY = 3000  # MB beside the framework
HEADS = ("", "encoder", "aim", "float32", "bfloat16", "each alone", "reached")
RULE = ["---"] * len(HEADS)


def aims_table(table: pd.DataFrame) -> str:
    """A Markdown table of all aims, from the rows of results/benchmarks.csv."""
    case = table["case"].str.replace(r"anomalib \S+", "anomalib", regex=True)  # of any version
    rows = table.assign(case=case).set_index(["section", "encoder", "case"], drop=False)
    ratios = [_ratio(rows, encoder, *aim) for *aim, encoders in AIMS for encoder in encoders]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADS, RULE, *ratios, *_others(rows)))


def _ratio(rows, encoder, section, slow, fast, cached, least) -> list[str]:
    default, alone = default_arithmetic(encoder, rows["machine"].iloc[0]), ""
    case = f"{slow} / {fast} {{}}{cached}"
    found = {kind: rows.loc[[(section, encoder, case.format(kind))]].iloc[0] for kind in SHARES}
    cells = [_spread(row, bold=kind == default) for kind, row in found.items()]
    held = [found[default]]
    if not cached:
        held.append(rows.loc[[(section + ALONE, encoder, case.format(default))]].iloc[0])
        alone = _spread(held[1])
    what = f"{section}{cached}, {fast} against {slow}"
    reached = _verdict(*(row["median"] >= least for row in held))
    return [what, TITLES[encoder], f"{least:g}", *cells, alone, reached]


def _others(rows: pd.DataFrame) -> list[list[str]]:
    """The share of the peak, and what an epoch and memory depend on the number of images."""
    shares = [
        rows.loc[[(PEAK, WIDE_RESNET, f"AE-FLOW {kind}")], "median"].iloc[0] for kind in SHARES
    ]
    least = list(SHARES.values())
    epoch = rows[(rows["section"] == EPOCH) & (rows["unit"] == "ratio")].iloc[-1]
    memory = rows[rows["section"] == MEMORY]
    numbers = " and ".join(f"{int(case.split()[0]):,}" for case in memory["case"])
    found = " and ".join(f"{value:,.0f}" for value in memory["median"])
    return [
        ["AE-FLOW's train step, share of the convolution peak", TITLES[WIDE_RESNET],
         " and ".join(f"{share:.0%}" for share in least), *(f"**{share:.0%}**" for share in shares),
         "", _verdict(all(np.greater_equal(shares, least)))],
        [f"an epoch's time an image, {epoch['case']}", TITLES[LITE0],
         f"within {MOST_BESIDE:.0%} of 1", _spread(epoch), "", "",
         _verdict(abs(epoch["median"] - 1) <= MOST_BESIDE)],
        [f"peak memory beside the framework, batch 16, {numbers} images", TITLES[WIDE_RESNET],
         f"{MOST_MEMORY:,} MB", "", "", f"**{found} MB**",
         _verdict(memory["median"].max() < MOST_MEMORY)],
    ]  # fmt: skip


def _spread(row: pd.Series, bold: bool = True) -> str:
    text = f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"**{text}**" if bold else text


def _verdict(*reached: bool) -> str:
    """One word, or two where a process of its own says otherwise than a shared one."""
    return "; alone ".join(dict.fromkeys("yes" if each else "no" for each in reached))
