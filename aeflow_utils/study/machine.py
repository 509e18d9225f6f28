"""The machine of a run: what it is, the peak of its memory, variables of its processes."""

from __future__ import annotations

import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import joblib
import torch
from tqdm.auto import tqdm

from aeflow_utils.data.precision import default_device

PACKAGES = ("torch", "torchvision", "timm", "FrEIA", "numpy", "scikit-learn", "scipy", "pillow")


def machine() -> dict:
    """Versions and processor, JSON-ready."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if default_device() == "cuda" else "cpu",
        "packages": {name: version(name) for name in PACKAGES},
    }


def reset_peak_memory() -> None:
    """Count from here; where the system cannot, the peak is that since the process began."""
    if default_device() == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):  # not Linux, or a container that does not allow it
            Path("/proc/self/clear_refs").write_text("5")  # VmHWM falls to what is resident now


def peak_memory_mb() -> float | None:
    """Megabytes at the peak, framework and mapped features included; None where unknown.

    Of the GPU where there is one, else of the process.
    """
    if default_device() == "cuda":
        return round(torch.cuda.max_memory_allocated() / 1e6)
    status = Path("/proc/self/status")
    if not status.exists():  # not Linux
        return None
    kilobytes = int(re.search(r"VmHWM:\s*(\d+)", status.read_text()).group(1))
    return round(kilobytes * 1024 / 1e6)


def in_parallel(
    task: Callable, arguments: Sequence[tuple], label: str, workers: int = 0, ordered: bool = False
) -> Iterator:
    """What `task` gives for each of `arguments`, in processes: as it comes, or in their order.

    One bar is shown here and none in the processes. `workers` 0 is one a core.
    """
    kind = "generator" if ordered else "generator_unordered"
    # joblib replaces a worker whose memory has grown; no work is lost by it.
    warnings.filterwarnings("ignore", message="A worker stopped while some jobs")
    with environment(TQDM_DISABLE="1"):  # children read it when they import tqdm
        jobs = joblib.Parallel(n_jobs=workers or os.cpu_count(), return_as=kind)(
            joblib.delayed(task)(*each) for each in arguments
        )
        yield from tqdm(jobs, label, len(arguments))


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Processes started inside have these environment variables."""
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            os.environ.pop(name, None)
        os.environ.update(before)
