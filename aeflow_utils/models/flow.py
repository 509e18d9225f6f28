"""The normalizing flow: a chain of coupling blocks, and the subnets inside them.

FrEIA 0.2 from PyPI is meant: its clamp is ``clamp * tanh(0.1 s)`` and it draws permutations from
numpy's global generator; the later git version differs in both, and checkpoints do not cross.
"""

from __future__ import annotations

from collections.abc import Callable

from FrEIA.framework import SequenceINN
from torch import Tensor, nn

from aeflow_utils.data.precision import autocast
from aeflow_utils.models.coupling import IndexedBlock

CLAMP = 2.0  # bounds the logarithm of a block's factors; FrEIA's `affine_clamping`

Subnet = Callable[[int, int], nn.Module]  # made with its numbers of channels, in and out


def conv_like(
    c_in: int, c_out: int, kernels: tuple[int, int] = (3, 1), hidden_ratio: float = 1.0
) -> nn.Module:
    """Conv, ReLU, conv with the given (odd) kernels: (N, c_in, H, W) -> (N, c_out, H, W)."""
    hidden = max(1, round(hidden_ratio * c_in))
    first, second = kernels
    return nn.Sequential(
        nn.Conv2d(c_in, hidden, first, padding=first // 2),
        nn.ReLU(inplace=True),
        nn.Conv2d(hidden, c_out, second, padding=second // 2),
    )


class ResNetLike(nn.Module):
    """3x3 conv + BatchNorm + ReLU, plus a 1x1 conv shortcut: the paper's second subnet."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(c_in, c_out, 3, padding=1, bias=False),
            nn.BatchNorm2d(c_out),
            nn.ReLU(inplace=True),
        )
        self.shortcut = nn.Conv2d(c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


SUBNETS: dict[str, Subnet] = {"conv_like": conv_like, "resnet_like": ResNetLike}


class Flow(nn.Module):
    """A chain of coupling blocks on feature maps; volume-changing, invertible, float32.

    A block halves its channels into z1 and z2 and lets a subnet say, from z1, how to scale and
    shift z2 at each position; then each channel has a scale and an offset, and a permutation that
    was drawn once mixes the channels for the next block:

        s, t = subnet(z1)
        z1', z2' = z1, z2 * exp(CLAMP tanh(0.1 s)) + 0.1 t
        output = permute(scale * (z1', z2') + offset)
        log|det| = sum CLAMP tanh(0.1 s) + H W sum log(scale)

    z1 is not changed, so the inverse runs the same subnet on it. The block is FrEIA's
    `AllInOneBlock`; `coupling.IndexedBlock` computes it.

    Args:
        shape: (C, H, W) of the features; C of at least 2.
        subnets: one constructor ``(c_in, c_out) -> Module`` a block.
    """

    def __init__(self, shape: tuple[int, int, int], subnets: list[Subnet]) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.blocks = SequenceINN(*shape)
        for subnet in subnets:
            self.blocks.append(IndexedBlock, subnet_constructor=subnet, affine_clamping=CLAMP)

    def forward(self, x: Tensor, rev: bool = False) -> tuple[Tensor, Tensor]:
        """Features to latent: (N, C, H, W) -> z (N, C, H, W), log_jac_det (N,)."""
        if tuple(x.shape[1:]) != self.shape:  # FrEIA 0.2 would accept any height and width
            raise ValueError(f"the flow was built for {self.shape}, got {tuple(x.shape[1:])}")
        with autocast(x, False):  # bf16 would shift the log-determinant
            return self.blocks(x, rev=rev)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latent to features, with the log-determinant of this direction."""
        return self(z, rev=True)
