"""Cases timed in turn in one process, so that whatever else the machine does meets them all."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch


@dataclass(frozen=True)
class Row:
    """One line of results/benchmarks.csv.

    Args:
        section: what was compared with what.
        encoder: the network, or empty.
        case: the pipeline or stage.
        quantity, unit: what was measured.
        median, low, high: over `repeats` rounds; low and high are the extremes.
        note: what a reader must know to read the number.
    """

    section: str
    encoder: str
    case: str
    quantity: str
    unit: str
    median: float
    low: float
    high: float
    repeats: int
    note: str = ""


def clock() -> float:
    """Seconds, for differences: of this process's work if it has one thread, else of the wall.

    With ``OMP_NUM_THREADS=1`` a busy machine can be measured on: what others do does not count.
    With a GPU it is the wall's, after what the GPU was given is done.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def interleaved(
    cases: dict[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """Seconds of each case in each round: case by case within a round, rounds after warm-ups."""
    timed = {name: partial(seconds_of, case) for name, case in cases.items()}
    return in_rounds(timed, repeats, warmup)


def in_rounds(
    cases: dict[str, Callable[[], float]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """What each case returns in each round; `interleaved` for cases that time themselves."""
    found = {name: [] for name in cases}
    for round_ in range(-warmup, repeats):
        for name, case in cases.items():
            value = case()
            if round_ >= 0:
                found[name].append(value)
    return found


def seconds_of(case: Callable[[], object]) -> float:
    """How long one call takes, by `clock`."""
    start = clock()
    case()
    return clock() - start


def row(
    section: str,
    encoder: str,
    case: str,
    quantity: str,
    unit: str,
    values: list[float] | np.ndarray,
    note: str = "",
) -> Row:
    """The median of `values` and their extremes."""
    median, low, high = np.median(values), np.min(values), np.max(values)
    return Row(
        section, encoder, case, quantity, unit, median, low, high, int(np.size(values)), note
    )


def ratios(slow: list[float], fast: list[float]) -> np.ndarray:
    """How many times as fast, round by round: both of a round met the same machine."""
    return np.asarray(slow) / np.asarray(fast)
