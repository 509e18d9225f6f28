"""FrEIA's coupling block, the same numbers faster: skip this file on first reading.

The tests compare it with FrEIA's own: bit by bit where the arithmetic is the same, else within a
stated tolerance.
"""

from __future__ import annotations

import torch
from FrEIA.modules import AllInOneBlock
from torch import Tensor
from torch.autograd.function import once_differentiable

from aeflow_utils.data.precision import autocast

CHANNELS_LAST_UP_TO = 64  # channels; with more, the copies cost a CPU more than they save it


class IndexedBlock(AllInOneBlock):
    """FrEIA's block with a hard permutation that is indexed, not multiplied by.

    FrEIA 0.2 keeps the permutation and its inverse as dense C x C matrices and convolves with
    them. Draws, outputs, log-determinants and gradients are the same to the last bit, as long as
    the subnet computes the same: on a CPU, `CHANNELS_LAST_UP_TO` channels are given to it with the
    channels last, where convolutions round differently. FrEIA's state_dict is read too.
    """

    bf16 = False  # run the subnet, and nothing else, in bfloat16; see `precision.use_bf16`

    def __init__(self, dims_in: list[tuple[int, ...]], **options: object) -> None:
        super().__init__(dims_in, permute_soft=False, **options)
        order = _order_of(self.w_perm)
        del self.w_perm, self.w_perm_inv
        self.register_buffer("order", order)

    def forward(
        self, x: tuple[Tensor], c: tuple = (), rev: bool = False, jac: bool = True
    ) -> tuple[tuple[Tensor], Tensor]:
        """As FrEIA's: ((N, C, H, W),) -> ((N, C, H, W),), log-determinant (N,)."""
        x = x[0]
        scale = self.global_scale_activation(self.global_scale)
        of_scale = x[0, :1].numel() * scale.log().sum()
        if rev:
            x = (x.index_select(1, self.order.argsort()) - self.global_offset) / scale
        x1, x2 = x.split(self.splits, dim=1)
        output = self._run_subnet(x1)
        if rev:
            x2, of_coupling = self._affine(x2, output, rev=True)
            return (torch.cat((x1, x2), dim=1),), of_coupling - of_scale
        z, of_coupling = _Couple.apply(
            x1, x2, output, scale, self.global_offset, self.order, float(self.clamp)
        )
        return (z,), of_coupling + of_scale

    def _run_subnet(self, x1: Tensor) -> Tensor:
        """(N, C1, H, W) -> (N, 2 C2, H, W), float32 and contiguous whatever it is computed in."""
        if x1.device.type == "cpu" and x1.shape[1] <= CHANNELS_LAST_UP_TO:
            x1 = _ChannelsLast.apply(x1)
        with autocast(x1, self.bf16):
            output = self.subnet(x1)
        return output.to(x1.dtype, memory_format=torch.contiguous_format)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: object) -> None:
        matrix = state.pop(f"{prefix}w_perm", None)
        state.pop(f"{prefix}w_perm_inv", None)
        if matrix is not None:
            state[f"{prefix}order"] = _order_of(matrix)
        super()._load_from_state_dict(state, prefix, *args)


def _order_of(matrix: Tensor) -> Tensor:
    """From which channel each one comes, (C,), of FrEIA's permutation matrix (C, C, 1, 1)."""
    if not ((matrix == 0) | (matrix == 1)).all():
        raise ValueError("w_perm is a soft permutation, these blocks have hard ones")
    return matrix.flatten(1).argmax(dim=1)


class _ChannelsLast(torch.autograd.Function):
    """Lay a map out as convolutions like it, and its gradient as all else does."""

    @staticmethod
    def forward(ctx, x):
        return x.contiguous(memory_format=torch.channels_last)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.contiguous()


class _Couple(torch.autograd.Function):
    """All of a block behind its subnet: affine coupling, scale and offset, permutation.

    FrEIA's operations in FrEIA's order, so that every bit agrees, with the gradient written out:
    autograd would keep more maps and fill two with zeros for each slice it takes.
    """

    @staticmethod
    def forward(ctx, x1, x2, output, scale, offset, order, clamp):
        """Halves x1, x2 (N, C1 or C2, H, W) and the subnet's output (N, 2 C2, H, W) to the block's
        (N, C, H, W) and the log-determinant of the coupling (N,); scale, offset (1, C, 1, 1)."""
        n_active = x2.shape[1]
        tanh = (output[:, :n_active] * 0.1).tanh_()
        log_factor = clamp * tanh
        log_jac_det = log_factor.sum(dim=(1, 2, 3))
        factor = log_factor.exp_()
        x2_out = (x2 * factor).add_(output[:, n_active:] * 0.1)
        ctx.save_for_backward(x1, x2, tanh, factor, x2_out, scale, order)
        ctx.clamp = clamp
        z = torch.cat((x1, x2_out), dim=1).index_select(1, order)  # first, then all in place
        return z.mul_(scale[:, order]).add_(offset[:, order]), log_jac_det

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient, of_log_jac_det):
        x1, x2, tanh, factor, x2_out, scale, order = ctx.saved_tensors
        n_passive, gradient = x1.shape[1], gradient.contiguous()
        inverse = order.argsort().tensor_split((n_passive,))
        halves = [gradient.index_select(1, channels) for channels in inverse]
        of_offset = _sum_by_channel(*halves)
        of_scale = _sum_by_channel(halves[0] * x1, halves[1] * x2_out)
        of_x1 = halves[0].mul_(scale[:, :n_passive])
        of_x2_out = halves[1].mul_(scale[:, n_passive:])
        of_log = (of_x2_out * x2).mul_(factor).add_(of_log_jac_det.view(-1, 1, 1, 1))
        of_log = torch.ops.aten.tanh_backward(of_log.mul_(ctx.clamp), tanh)
        of_output = torch.cat((of_log, of_x2_out), dim=1).mul_(0.1)
        of_x2 = of_x2_out.mul_(factor)
        return of_x1, of_x2, of_output, of_scale, of_offset, None, None


def _sum_by_channel(*parts: Tensor) -> Tensor:
    """Maps of some channels each, (N, C_i, H, W) -> (1, sum of C_i, 1, 1)."""
    return torch.cat([part.sum(dim=(0, 2, 3), keepdim=True) for part in parts], dim=1)
