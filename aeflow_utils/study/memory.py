"""Peak memory of one run: of the GPU where there is one, else of the process."""

from __future__ import annotations

from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


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
    """Megabytes at the peak, framework and mapped features included; None where unknown."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    if not _STATUS.exists():  # not Linux
        return None
    lines = _STATUS.read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM"))
    return round(int(kilobytes) * 1024 / 1e6)
