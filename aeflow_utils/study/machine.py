"""The machine of a run: what it is, the peak of its memory, variables of its processes."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "timm", "FrEIA", "numpy", "scikit-learn", "scipy", "pillow")
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def machine() -> dict:
    """Versions and processor, JSON-ready."""
    return {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "packages": {name: version(name) for name in PACKAGES},
    }


def reset_peak_memory() -> None:
    """Count from here; where the system cannot, the peak is that since the process began."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        try:
            _CLEAR.write_text("5")  # Linux: VmHWM falls to what is resident now
        except OSError:  # not allowed in some containers
            return


def peak_memory_mb() -> float | None:
    """Megabytes at the peak, framework and mapped features included; None where unknown.

    Of the GPU where there is one, else of the process.
    """
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    if not _STATUS.exists():  # not Linux
        return None
    lines = _STATUS.read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return round(int(kilobytes) * 1024 / 1e6)


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Processes started inside have these environment variables."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
