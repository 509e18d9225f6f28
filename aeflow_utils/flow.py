"""The normalizing flow. The only file that imports FrEIA.

FrEIA 0.2 from PyPI is meant: its clamp is ``clamp * tanh(0.1 a)`` and it draws permutations from
numpy's global generator; the later git version differs in both, and checkpoints do not cross.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn

from aeflow_utils.errors import UserError

Subnet = Callable[[int, int], nn.Module]


def conv_subnet(
    c_in: int, c_out: int, kernels: tuple[int, int] = (3, 1), hidden_ratio: float = 1.0
) -> nn.Module:
    """Conv, ReLU, conv with the given (odd) kernels: (N, c_in, H, W) -> (N, c_out, H, W)."""
    hidden = max(1, round(hidden_ratio * c_in))
    first, second = kernels
    return nn.Sequential(
        nn.Conv2d(c_in, hidden, first, padding=first // 2),
        nn.ReLU(),
        nn.Conv2d(hidden, c_out, second, padding=second // 2),
    )


class ResNetLike(nn.Module):
    """3x3 conv + BatchNorm + ReLU, plus a 1x1 conv shortcut: the paper's second subnet."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.BatchNorm2d(c_out), nn.ReLU()
        )
        self.shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


class Flow(nn.Module):
    """A chain of coupling blocks on feature maps; volume-changing, invertible, float32.

    Args:
        shape: (C, H, W) of the features; C of at least 2.
        subnets: one constructor ``(c_in, c_out) -> Module`` a block.
        clamp: FrEIA's `affine_clamping`.
    """

    def __init__(self, shape: tuple[int, int, int], subnets: list[Subnet], clamp: float) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.blocks = SequenceINN(*shape)
        for subnet in subnets:
            self.blocks.append(
                AllInOneBlock,
                subnet_constructor=subnet,
                affine_clamping=clamp,
                permute_soft=False,
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features to latent: (N, C, H, W) -> z (N, C, H, W), log_jac_det (N,)."""
        return self._run(x, rev=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latent to features, with the log-determinant of this direction."""
        return self._run(z, rev=True)

    def _run(self, x: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        if tuple(x.shape[1:]) != self.shape:  # FrEIA 0.2 would accept any height and width
            raise ValueError(f"the flow was built for {self.shape}, got {tuple(x.shape[1:])}")
        with torch.autocast(x.device.type, enabled=False):  # bf16 would shift the log-determinant
            return self.blocks(x, rev=rev)


def ae_flow_subnets(subnet: str, n_blocks: int, hidden_ratio: float) -> list[Subnet]:
    """AE-FLOW's blocks: all ``conv_like`` (3x3 then 1x1) or all ``resnet_like``."""
    kinds = {
        "conv_like": partial(conv_subnet, hidden_ratio=hidden_ratio),
        "resnet_like": ResNetLike,
    }
    if subnet not in kinds:
        raise UserError(f"unknown subnet '{subnet}': choose one of {', '.join(kinds)}")
    return [kinds[subnet]] * n_blocks


def fastflow_subnets(n_blocks: int, hidden_ratio: float) -> list[Subnet]:
    """FastFlow's blocks: 3x3 kernels and 1x1 kernels in turn."""
    kernels = [(3, 3) if block % 2 == 0 else (1, 1) for block in range(n_blocks)]
    return [partial(conv_subnet, kernels=pair, hidden_ratio=hidden_ratio) for pair in kernels]
