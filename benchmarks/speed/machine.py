"""What the machine can do at most, and how much work a step is."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from aeflow_utils.precision import bf16_here, default_device
from benchmarks.speed.timing import clock

BF16_IS_FAST = "bfloat16 is fast"
# Large convolutions of the flow on Wide ResNet-50-2: (channels in, out, kernel, side, batch).
PEAK_SHAPES = ((512, 512, 3, 16, 8), (512, 1024, 1, 16, 8), (256, 256, 3, 32, 4))


def convolution_peak(dtype: torch.dtype, repeats: int) -> list[float]:
    """GFLOP/s of the fastest of a few convolutions, forward, in each of `repeats` rounds."""
    rounds = []
    for _ in range(repeats):
        rounds.append(
            max(_speed(shape, layout, dtype) for shape in PEAK_SHAPES for layout in LAYOUTS)
        )
    return rounds


LAYOUTS = (torch.contiguous_format, torch.channels_last)


@torch.inference_mode()
def _speed(shape: tuple[int, ...], layout: torch.memory_format, dtype: torch.dtype) -> float:
    c_in, c_out, kernel, side, batch = shape
    x = torch.randn(batch, c_in, side, side).to(default_device(), dtype, memory_format=layout)
    weight = torch.randn(c_out, c_in, kernel, kernel).to(x.device, dtype, memory_format=layout)
    F.conv2d(x, weight, padding=kernel // 2)
    start = clock()
    for _ in range(3):
        F.conv2d(x, weight, padding=kernel // 2)
    seconds = (clock() - start) / 3
    return 2 * batch * side**2 * c_in * c_out * kernel**2 / seconds / 1e9


def gflops(step: Callable[[np.ndarray], object], positions: np.ndarray) -> float:
    """Billions of floating point operations in the convolutions and products of one step."""
    with FlopCounterMode(display=False) as counter:
        step(positions)
    return counter.get_total_flops() / 1e9


def describe() -> str:
    """The GPU, or the processor, whether bfloat16 is fast there, and how busy it is otherwise."""
    bf16 = BF16_IS_FAST if bf16_here(True) else "bfloat16 is slow"
    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, {bf16}, torch {torch.__version__}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "CPU")
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    n_threads = torch.get_num_threads()
    threads = f"{n_threads} threads" if n_threads > 1 else "one thread's CPU time"
    return ", ".join([name, threads, bf16, f"torch {torch.__version__}", load])
