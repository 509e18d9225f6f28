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
from torch.autograd.function import FunctionCtx, once_differentiable

from aeflow_utils.errors import UserError
from aeflow_utils.precision import autocast

CLAMP = 2.0  # FrEIA's `affine_clamping`
CHANNELS_LAST_UP_TO = 64  # channels; with more, the copies cost a CPU more than they save it

Subnet = Callable[[int, int], nn.Module]


def conv_subnet(
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


class _Couple(torch.autograd.Function):
    """All of a block behind its subnet: affine coupling, scale and offset, permutation.

    FrEIA's operations in FrEIA's order, so that every bit agrees, with the gradient written out:
    autograd would keep more maps and fill two with zeros for each slice it takes.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x1: Tensor,
        x2: Tensor,
        subnet_output: Tensor,
        scale: Tensor,
        offset: Tensor,
        order: Tensor,
        inverse: Tensor,
        clamp: float,
    ) -> tuple[Tensor, Tensor]:
        """x1, x2 (N, C1 or C2, H, W) -> (N, C, H, W), log-determinant of the coupling (N,)."""
        n_active = x2.shape[1]
        tanh = (subnet_output[:, :n_active] * 0.1).tanh_()
        log_factor = clamp * tanh
        log_jac_det = log_factor.sum(dim=(1, 2, 3))
        factor = log_factor.exp_()
        x2_out = (x2 * factor).add_(subnet_output[:, n_active:] * 0.1)
        ctx.save_for_backward(x1, x2, tanh, factor, x2_out, scale, inverse)
        ctx.clamp = clamp
        z = torch.cat((x1, x2_out), dim=1).index_select(1, order)  # first, then all in place
        return z.mul_(scale[:, order]).add_(offset[:, order]), log_jac_det

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor, of_log_jac_det: Tensor) -> tuple:
        x1, x2, tanh, factor, x2_out, scale, inverse = ctx.saved_tensors
        n_passive, gradient = x1.shape[1], gradient.contiguous()
        halves = [gradient.index_select(1, some) for some in inverse.tensor_split((n_passive,))]
        of_offset = _sum_by_channel(*halves)
        of_scale = _sum_by_channel(halves[0] * x1, halves[1] * x2_out)
        of_x1 = halves[0].mul_(scale[:, :n_passive])
        of_x2_out = halves[1].mul_(scale[:, n_passive:])
        of_log = (of_x2_out * x2).mul_(factor).add_(of_log_jac_det.view(-1, 1, 1, 1))
        of_log = torch.ops.aten.tanh_backward(of_log.mul_(ctx.clamp), tanh)
        of_subnet = torch.cat((of_log, of_x2_out), dim=1).mul_(0.1)
        of_x2 = of_x2_out.mul_(factor)
        return of_x1, of_x2, of_subnet, of_scale, of_offset, None, None, None


def _sum_by_channel(*parts: Tensor) -> Tensor:
    """Maps of some channels each, (N, C_i, H, W) -> (1, sum of C_i, 1, 1)."""
    return torch.cat([part.sum(dim=(0, 2, 3), keepdim=True) for part in parts], dim=1)


class _ChannelsLast(torch.autograd.Function):
    """Lay a map out as convolutions like it, and its gradient as all else does."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        return gradient.contiguous()


class IndexedBlock(AllInOneBlock):
    """FrEIA's block with a hard permutation that is indexed, not multiplied by.

    FrEIA 0.2 keeps the permutation and its inverse as dense C x C matrices and convolves with
    them. Draws, outputs, log-determinants and gradients are the same to the last bit, as long as
    the subnet computes the same: on a CPU, `CHANNELS_LAST_UP_TO` channels are given to it with the
    channels last, where convolutions round differently. FrEIA's state_dict is read too.

    Attributes:
        bf16: run the subnet, and nothing else, in bfloat16; see `precision.use_bf16`.
    """

    bf16 = False

    def __init__(self, dims_in: list[tuple[int, ...]], **options: object) -> None:
        super().__init__(dims_in, permute_soft=False, **options)
        order = _order_of(self.w_perm)
        del self.w_perm, self.w_perm_inv
        self.register_buffer("order", order)
        self.register_buffer("inverse_order", order.argsort(), persistent=False)

    def forward(
        self, x: tuple[Tensor], c: tuple = (), rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        """As FrEIA's: ((N, C, H, W),) -> ((N, C, H, W),), log-determinant (N,)."""
        x = x[0]
        scale = self.global_scale_activation(self.global_scale)
        log_jac_det = x[0, :1].numel() * torch.sum(torch.log(scale))
        if rev:
            x = (x.index_select(1, self.inverse_order) - self.global_offset) / scale
        x1, x2 = x.split(self.splits, dim=1)
        if rev:
            x2, of_coupling = self._affine(x2, self._coefficients(x1), rev=True)
            return (torch.cat((x1, x2), dim=1),), of_coupling - log_jac_det
        order, inverse, offset = self.order, self.inverse_order, self.global_offset
        output = self._coefficients(x1)
        z, of_coupling = _Couple.apply(
            x1, x2, output, scale, offset, order, inverse, float(self.clamp)
        )
        return (z,), of_coupling + log_jac_det

    def _coefficients(self, x1: Tensor) -> Tensor:
        """The subnet's output, float32 and contiguous whatever it was computed in."""
        if x1.device.type == "cpu" and x1.shape[1] <= CHANNELS_LAST_UP_TO:
            x1 = _ChannelsLast.apply(x1)
        with autocast(x1, self.bf16):
            output = self.subnet(x1)
        return output.to(x1.dtype, memory_format=torch.contiguous_format)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        dense = state.pop(f"{prefix}w_perm", None)
        state.pop(f"{prefix}w_perm_inv", None)
        if dense is not None:
            state[f"{prefix}order"] = _order_of(dense)
            if not (dense.flatten(1).amax(dim=1) == 1).all():
                args[-1].append(
                    f"{prefix}w_perm is a soft permutation, these blocks have hard ones"
                )
        super()._load_from_state_dict(state, prefix, *args)
        self.inverse_order.copy_(self.order.argsort())


def _order_of(permutation: Tensor) -> Tensor:
    """From which channel each one comes, (C,), of FrEIA's matrix (C, C, 1, 1)."""
    return permutation.flatten(1).argmax(dim=1)


class Flow(nn.Module):
    """A chain of coupling blocks on feature maps; volume-changing, invertible, float32.

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

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features to latent: (N, C, H, W) -> z (N, C, H, W), log_jac_det (N,)."""
        return self._run(x, rev=False)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Latent to features, with the log-determinant of this direction."""
        return self._run(z, rev=True)

    def _run(self, x: Tensor, rev: bool) -> tuple[Tensor, Tensor]:
        if tuple(x.shape[1:]) != self.shape:  # FrEIA 0.2 would accept any height and width
            raise ValueError(f"the flow was built for {self.shape}, got {tuple(x.shape[1:])}")
        with autocast(x, False):  # bf16 would shift the log-determinant
            return self.blocks(x, rev=rev)


def ae_flow_subnets(subnet: str, n_blocks: int) -> list[Subnet]:
    """AE-FLOW's blocks: all ``conv_like`` (3x3 then 1x1) or all ``resnet_like``."""
    kinds = {
        "conv_like": conv_subnet,
        "resnet_like": ResNetLike,
    }
    if subnet not in kinds:
        raise UserError(f"unknown subnet '{subnet}': choose one of {', '.join(kinds)}")
    return [kinds[subnet]] * n_blocks


def fastflow_subnets(n_blocks: int, hidden_ratio: float) -> list[Subnet]:
    """FastFlow's blocks: 3x3 kernels and 1x1 kernels in turn."""
    kernels = [(3, 3) if block % 2 == 0 else (1, 1) for block in range(n_blocks)]
    return [partial(conv_subnet, kernels=pair, hidden_ratio=hidden_ratio) for pair in kernels]
