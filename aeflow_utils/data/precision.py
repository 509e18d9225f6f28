"""Convolutions in bfloat16, where a run allows it and the processor has units for it.

Encoder, subnets and decoder are nearly all of the arithmetic and may be rounded so; coupling,
log-determinant, statistics, losses and the formulas of scores are float32 whatever happens.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from aeflow_utils.errors import UserError

# A GPU would convolve in TF32, ten bits of mantissa, where float32 is asked for.
torch.backends.cudnn.allow_tf32 = False


def default_device() -> str:
    """What ``AEFLOW_DEVICE`` says, ``cpu`` or ``cuda``; else ``cuda`` where there is one.

    Raises:
        UserError: it says something else, or there is none.
    """
    asked, cuda = os.environ.get("AEFLOW_DEVICE", "auto"), torch.cuda.is_available()
    if asked not in ("auto", "cpu", "cuda") or (asked == "cuda" and not cuda):
        here = "cpu or cuda" if cuda else "cpu, for this PyTorch sees no card"
        raise UserError(f"AEFLOW_DEVICE is '{asked}': choose auto, {here}")
    return "cuda" if cuda and asked != "cpu" else "cpu"


@lru_cache
def bf16_is_fast(device: str) -> bool:
    """Whether convolutions in bfloat16 are faster than in float32, not merely possible.

    Intel's AVX-512 alone takes 1.5 to 1.9 times as long in bfloat16, with AMX or on AMD's Zen 4
    about half as long.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return False
    return "amx_bf16" in cpu or ("avx512_bf16" in cpu and "AuthenticAMD" in cpu)


def bf16_here(allowed: bool) -> bool:
    """Whether a run that allows bfloat16 computes in it on this machine."""
    return allowed and bf16_is_fast(default_device())


def use_bf16(system: nn.Module, enabled: bool) -> None:
    """Have every part of `system` that can (it has an attribute `bf16`) do so from now on."""
    for part in system.modules():
        if hasattr(part, "bf16"):
            part.bf16 = enabled


def autocast(x: Tensor, bf16: bool) -> torch.autocast:
    """Inside, convolutions of what is on the device of `x` run in bfloat16, or all in float32."""
    return torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=bf16)
