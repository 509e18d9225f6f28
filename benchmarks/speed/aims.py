"""What was aimed at and what was reached, as the table of benchmarks/README.md.

Aims are floors that were set before anything was measured; none was moved. Where there are two
arithmetics, the one that the encoder's profile computes in on that machine is held to the aim.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from aeflow_utils.paths import paths
from benchmarks.speed.comparison import (
    CACHED,
    PEAK,
    SCORE,
    SCORE_ALONE,
    STEP,
    STEP_ALONE,
    default_arithmetic,
)
from benchmarks.speed.inputs import LITE0, TITLES, WIDE_RESNET
from benchmarks.speed.scaling import EPOCH, MEMORY

BOTH, ARITHMETICS = (WIDE_RESNET, LITE0), ("fp32", "bf16")
ALONE = {STEP: STEP_ALONE, SCORE: SCORE_ALONE}


@dataclass(frozen=True)
class Aim:
    """How many times as fast one pipeline should be as another.

    Args:
        what: in words.
        section: of results/benchmarks.csv.
        case: the end of its name (a peer's begins with its version), ``{}`` for the arithmetic.
        least: what it should show at least.
        encoders: where it should.
    """

    what: str
    section: str
    case: str
    least: float
    encoders: tuple[str, ...] = BOTH


AIMS = (
    Aim("train step, AE-FLOW against plain", STEP, "plain AE-FLOW / AE-FLOW {}", 3.0,
        (WIDE_RESNET,)),
    Aim("train step, FastFlow against anomalib's", STEP, " FastFlow / FastFlow {}", 2.5),
    Aim("train step, AE-FLOW against anomalib's FastFlow (not like for like)", STEP,
        " FastFlow / AE-FLOW {}", 8.0),
    Aim("scoring from pixels, AE-FLOW against plain", SCORE, "plain AE-FLOW / AE-FLOW {}", 2.0,
        (WIDE_RESNET,)),
    Aim("scoring from cached features, AE-FLOW against plain", SCORE,
        f"plain AE-FLOW / AE-FLOW {{}}{CACHED}", 2.0, (WIDE_RESNET,)),
    Aim("scoring from pixels, AE-FLOW against anomalib's FastFlow", SCORE,
        " FastFlow / AE-FLOW {}", 1.5, (LITE0,)),
    Aim("scoring from pixels, FastFlow against anomalib's", SCORE, " FastFlow / FastFlow {}", 1.5,
        (LITE0,)),
)  # fmt: skip
SHARES = {"fp32": 0.75, "bf16": 0.65}  # of the convolution peak, AE-FLOW's train step
MOST_BESIDE = 0.10  # an epoch of many images against one of few, an image
MOST_MEMORY = 3000  # MB beside the framework


def aims_table(table: pd.DataFrame) -> str:
    """A Markdown table of all aims, from the rows of results/benchmarks.csv."""
    heads = ["", "encoder", "aim", "float32", "bfloat16", "each alone", "reached"]
    lines = [_line(*heads), _line(*["---"] * len(heads))]
    for aim in AIMS:
        lines += [_ratio_line(table, aim, encoder) for encoder in aim.encoders]
    return "\n".join([*lines, _share_line(table), *_size_lines(table)])


def _ratio_line(table: pd.DataFrame, aim: Aim, encoder: str) -> str:
    default = default_arithmetic(encoder, table["machine"].iloc[0])
    rows = {kind: _row(table, aim.section, encoder, aim.case.format(kind)) for kind in ARITHMETICS}
    cells = [_spread(row, bold=kind == default) for kind, row in rows.items()]
    reached, alone = [rows[default]["median"] >= aim.least], ""
    if aim.section in ALONE and not aim.case.endswith(CACHED):
        row = _row(table, ALONE[aim.section], encoder, aim.case.format(default))
        alone = _spread(row, bold=True)
        reached.append(row["median"] >= aim.least)
    return _line(aim.what, TITLES[encoder], f"{aim.least:g}", *cells, alone, _verdict(*reached))


def _share_line(table: pd.DataFrame) -> str:
    shares = {
        kind: _row(table, PEAK, WIDE_RESNET, f"AE-FLOW {kind}")["median"] for kind in ARITHMETICS
    }
    return _line(
        "AE-FLOW's train step, share of the convolution peak",
        TITLES[WIDE_RESNET],
        " and ".join(f"{least:.0%}" for least in SHARES.values()),
        *(f"**{share:.0%}**" for share in shares.values()),
        "",
        _verdict(all(shares[kind] >= least for kind, least in SHARES.items())),
    )


def _size_lines(table: pd.DataFrame) -> list[str]:
    """How little an epoch and the peak memory depend on the number of images."""
    epoch = table[(table["section"] == EPOCH) & (table["unit"] == "ratio")].iloc[-1]
    rows = table[table["section"] == MEMORY]
    memory = rows["median"].tolist()
    numbers = " and ".join(f"{int(case.split()[0]):,}" for case in rows["case"])
    return [
        _line(
            f"an epoch's time an image, {epoch['case']}",
            TITLES[LITE0],
            f"within {MOST_BESIDE:.0%} of 1",
            _spread(epoch, bold=True),
            "",
            "",
            _verdict(abs(epoch["median"] - 1) <= MOST_BESIDE),
        ),
        _line(
            f"peak memory beside the framework, batch 16, {numbers} images",
            TITLES[WIDE_RESNET],
            f"{MOST_MEMORY:,} MB",
            "",
            "",
            f"**{memory[0]:,.0f} and {memory[-1]:,.0f} MB**",
            _verdict(max(memory) < MOST_MEMORY),
        ),
    ]


def _row(table: pd.DataFrame, section: str, encoder: str, case: str) -> pd.Series:
    rows = table[(table["section"] == section) & (table["encoder"] == encoder)]
    rows = rows[
        rows["case"].str.endswith(case) & (rows["case"].str.contains("plain") == ("plain" in case))
    ]
    if len(rows) != 1:
        raise LookupError(f"{len(rows)} rows of '{section}' end with '{case}' for {encoder}")
    return rows.iloc[0]


def _spread(row: pd.Series, bold: bool) -> str:
    text = f"{row['median']:.2f} ({row['low']:.2f} to {row['high']:.2f})"
    return f"**{text}**" if bold else text


def _verdict(*reached: bool) -> str:
    """One word, or two where a process of its own says otherwise than a shared one."""
    words = dict.fromkeys("yes" if each else "no" for each in reached)
    return "; alone ".join(words)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(aims_table(pd.read_csv(paths().home / "results" / "benchmarks.csv")))
