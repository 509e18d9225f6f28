"""Clocks, rounds and processes, rows of the table, and what the machine can do at most."""

import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from aeflow_utils.data.precision import bf16_here, default_device
from aeflow_utils.profiles import PROFILES

BF16_IS_FAST = "bfloat16 is fast"
# Large convolutions of the flow on Wide ResNet-50-2: (channels in, out, kernel, side, batch).
PEAK_SHAPES = ((512, 512, 3, 16, 8), (512, 1024, 1, 16, 8), (256, 256, 3, 32, 4))


@dataclass(frozen=True)
class Row:
    """One line of results/benchmarks.csv."""

    section: str  # what was compared with what
    encoder: str
    case: str  # the pipeline, the stage, or slow pipeline / fast pipeline
    quantity: str
    unit: str
    values: Sequence[float]  # one a round
    note: str = ""  # what a reader must know to read the number


def table_of(rows: list[Row]) -> pd.DataFrame:
    """A line a row: the median and the extremes of its values, and how many there are."""
    table = pd.DataFrame([asdict(row) for row in rows])
    values, note = table.pop("values"), table.pop("note")
    spread = {"median": np.median, "low": np.min, "high": np.max, "repeats": np.size}
    return table.assign(**{name: values.map(of) for name, of in spread.items()}, note=note)


def clock() -> float:
    """Seconds, for differences: of this process's work if it has one thread, else of the wall.

    With ``OMP_NUM_THREADS=1`` a busy machine can be measured on: what others do does not count.
    With a GPU it is the wall's, after what the GPU was given is done.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def seconds_of(work: Callable, *arguments: object) -> float:
    """How long one call takes, by `clock`."""
    start = clock()
    work(*arguments)
    return clock() - start


def in_rounds(cases: dict[str, Callable[[], object]], repeats: int) -> dict[str, np.ndarray]:
    """What each case returns in each round, case by case; a first round is not counted."""
    rounds = [{name: case() for name, case in cases.items()} for _ in range(1 + repeats)]
    return {name: np.array([each[name] for each in rounds[1:]]) for name in cases}


def own_process() -> Callable:
    """Calls functions in a new process, whose heap nothing else has grown.

    The process ends when nobody refers to it any more.
    """
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    return lambda function, *arguments: pool.submit(function, *arguments).result()


def describe_machine() -> str:
    """The GPU, or the processor, whether bfloat16 is fast there, and how busy it is otherwise."""
    bf16 = BF16_IS_FAST if bf16_here(True) else "bfloat16 is slow"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {bf16}, torch {torch.__version__}"
    names = re.findall("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    n_threads, load = torch.get_num_threads(), os.getloadavg()[0]
    threads = f"{n_threads} threads" if n_threads > 1 else "one thread's CPU time"
    return f"{(*names, 'CPU')[0]}, {threads}, {bf16}, torch {torch.__version__}, load {load:.1f}"


def default_arithmetic(encoder: str, machine: str) -> str:
    """What an encoder's profile computes in, on a machine that `describe_machine` calls so."""
    allowed = any(p.bf16 for p in PROFILES.values() if p.encoder == encoder)
    return "bf16" if allowed and BF16_IS_FAST in machine else "fp32"


@torch.inference_mode()
def peak_speed(dtype: torch.dtype) -> float:
    """GFLOP/s of the fastest of a few convolutions, forward."""
    speeds, on = [], {"device": default_device(), "dtype": dtype}
    layouts = (torch.contiguous_format, torch.channels_last)
    for (c_in, c_out, kernel, side, batch), layout in product(PEAK_SHAPES, layouts):
        x = torch.randn(batch, c_in, side, side, **on).contiguous(memory_format=layout)
        weight = torch.randn(c_out, c_in, kernel, kernel, **on).contiguous(memory_format=layout)
        work = partial(F.conv2d, x, weight, padding=kernel // 2)
        seconds = in_rounds({"": partial(seconds_of, work)}, 3)[""].mean()
        speeds.append(2 * batch * side**2 * weight.numel() / seconds / 1e9)
    return max(speeds)
