"""The README's table of results/own_benchmarks.csv: a line a folder and detector."""

import numpy as np
import pandas as pd

STOPPED = "stopped at the limit: would have taken more"  # the note of a row
AIMS = {"PaDiM": 2, "PatchCore": 10, "FastFlow": 3}  # times as fast, set before it was measured
MOST_MEMORY = 1500  # MB
HEADS = "images | detector | ours | anomalib | times as fast | aim | CPU time | memory, MB | "
HEADS += "images/s on one core: ours by ONNX, by torch, anomalib | reached"


def table(rows: pd.DataFrame) -> str:
    """Markdown; numbers that rest on a process that was stopped are "at least"."""
    lines = [HEADS, " | ".join(["---"] * (HEADS.count("|") + 1))]
    ratios = rows[rows["unit"] == "ratio"]
    lines_of = ratios[["section", "case"]].drop_duplicates().itertuples(index=False)
    for section, case in sorted(
        lines_of, key=lambda line: (len(line[0]), *line)
    ):  # few images first
        of_section = rows[rows["section"] == section].set_index(["case", "quantity"])
        lines.append(f"{section} | {_line(of_section, case)}")
    return "\n".join(f"| {line} |" for line in lines)


def _line(rows: pd.DataFrame, ratio: str) -> str:
    peer, ours = ratio.split(" / ")
    more = "> " if rows.loc[(ratio, "wall time"), "note"] == STOPPED else ""

    def both(quantity: str) -> np.ndarray:
        return rows["median"].reindex([(ours, quantity), (peer, quantity)]).to_numpy()

    def times(quantity: str) -> str:
        return more + "{:.1f} ({:.1f} to {:.1f})".format(
            *rows.loc[(ratio, quantity), ["median", "low", "high"]]
        )

    (ours_s, peer_s), memory, speeds = map(both, ("wall time", "peak memory", "one core"))
    speeds = [both("one core by ONNX")[0], *speeds]
    reached = ["memory " + ("yes" if memory[0] < MOST_MEMORY else "no")]
    if ours in AIMS:
        fast = rows.loc[(ratio, "wall time"), "median"] >= AIMS[ours]
        reached.insert(0, "speed " + ("yes" if fast else "not known" if more else "no"))
    return " | ".join(
        [
            ours,
            f"{ours_s:.0f} s",
            f"{more}{peer_s:.0f} s",
            times("wall time"),
            f"{AIMS.get(ours, '')}",
            times("CPU time"),
            f"{memory[0]:,.0f} and {more}{memory[1]:,.0f}",
            ", ".join(f"{speed:.0f}" for speed in speeds if np.isfinite(speed)),
            ", ".join(reached),
        ]
    )
