"""Parts that several systems use: the feature scaler and the decoder."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

from aeflow_utils.data.features import ImageSet
from aeflow_utils.precision import autocast


def stack(features: dict[int, Tensor], strides: tuple[int, ...]) -> Tensor:
    """Maps of several strides as one, (N, sum of C, h, w) at the positions of the finest."""
    size = features[min(strides)].shape[-2:]
    return torch.cat([F.interpolate(features[s], size=size) for s in sorted(strides)], dim=1)


class FeatureScaler(nn.Module):
    """Affine map of (stacked) encoder features, from statistics of the training images.

    ``channel`` subtracts each channel's mean and divides by its deviation; ``zca`` whitens the
    channels (covariance over images and positions); ``raw`` leaves the features alone.

    Args:
        shapes: {stride: (C, h, w)} of the features that there are.
        strides: which of them to read.
        form: ``channel``, ``zca`` or ``raw``.

    Attributes:
        shape: (C, h, w) of what comes out.
    """

    def __init__(
        self, shapes: dict[int, tuple[int, int, int]], strides: tuple[int, ...], form: str
    ) -> None:
        super().__init__()
        self.form, self.strides = form, strides
        channels = sum(shapes[stride][0] for stride in strides)
        self.shape = (channels, *shapes[min(strides)][1:])
        self.register_buffer("mean", torch.zeros(channels))
        shape = (channels, channels) if form == "zca" else (channels,)
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, train: ImageSet, batch_size: int = 64) -> None:
        """Set the statistics from the training features, summed in float64."""
        if self.form == "raw":
            return
        count, total, products = 0, 0.0, 0.0
        for batch in train.batches(batch_size):
            x = stack(batch.features, self.strides).double()
            x = x.transpose(0, 1).flatten(1)  # (C, N h w)
            count += x.shape[1]
            total = total + x.sum(1)
            products = products + (x @ x.T if self.form == "zca" else (x**2).sum(1))
        mean = total / count
        self.mean.copy_(mean)
        if self.form == "channel":
            deviation = (products / count - mean**2).clamp_min(0).sqrt()
            self.scale.copy_(1 / deviation.clamp_min(1e-6))
        else:
            covariance = products / count - torch.outer(mean, mean)
            values, vectors = torch.linalg.eigh(covariance)
            values = values.clamp_min(1e-6 * values[-1])
            self.scale.copy_(vectors @ torch.diag(values.rsqrt()) @ vectors.T)

    def forward(self, features: dict[int, Tensor]) -> Tensor:
        """{stride: (N, C, h, w)} -> (N, *shape)."""
        x = stack(features, self.strides)
        if self.form == "raw":
            return x
        centred = x - self.mean.view(1, -1, 1, 1)
        if self.form == "channel":
            return centred * self.scale.view(1, -1, 1, 1)
        return torch.einsum("dc,nchw->ndhw", self.scale, centred)


class _Doubling(torch.autograd.Function):
    """A transposed convolution of kernel and stride 2, with its gradient as two products.

    The squares that positions paint do not overlap, so the gradient of a square and of a kernel is
    a product of matrices. oneDNN's own gradient takes 1.4 times as long in bfloat16.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv_transpose2d(x, weight, bias, stride=2)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        (n, c_in, height, width), c_out = x.shape, weight.shape[1]
        squares = gradient.permute(0, 2, 3, 1).reshape(n, height, 2, width, 2 * c_out)
        squares = squares.transpose(2, 3).reshape(-1, 4 * c_out)  # a row a position
        positions = x.to(gradient.dtype).permute(0, 2, 3, 1).reshape(-1, c_in)
        kernel = weight.to(gradient.dtype).permute(0, 2, 3, 1).reshape(c_in, -1)
        of_x = (squares @ kernel.T).view(n, height, width, c_in).permute(0, 3, 1, 2)
        of_weight = (positions.T @ squares).view(c_in, 2, 2, c_out).permute(0, 3, 1, 2)
        of_bias = gradient.sum(dim=(0, 2, 3))
        return of_x.to(x.dtype), of_weight.to(weight.dtype), of_bias.to(weight.dtype)


class Doubling(nn.ConvTranspose2d):
    """(N, c_in, h, w) -> (N, c_out, 2h, 2w), each position painting a square of 2 x 2.

    Attributes:
        bf16: the gradients may come in bfloat16; see `precision.use_bf16`.
    """

    bf16 = False

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__(c_in, c_out, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        if self.bf16 and x.device.type == "cpu":
            return _Doubling.apply(x, self.weight, self.bias)
        return super().forward(x)


class Decoder(nn.Module):
    """Transposed convolutions, each doubling the side: (N, C, h, w) -> (N, 3, stride h, stride w).

    All but the last are followed by a 3x3 convolution of equal width. At stride 16, widths fall as
    in the paper's 1024 -> 512 -> 256 -> 64 -> 3, in proportion to C. The image is in [0, 1]:
    ``tanh`` is rescaled to it, ``linear`` is left unbounded.

    Args:
        channels: C.
        stride: a power of two, the paper's 16 or more.
        last_activation: ``tanh`` or ``linear``.

    Attributes:
        bf16: run all but the last activation in bfloat16; see `precision.use_bf16`.
    """

    bf16 = False

    def __init__(self, channels: int, stride: int, last_activation: str) -> None:
        super().__init__()
        self.last_activation = last_activation
        n_halvings = int(math.log2(stride)) - 1
        widths = [channels // 2**k for k in range(n_halvings)] + [max(16, channels // 16)]
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [Doubling(c_in, c_out), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(c_out, c_out, 3, padding=1), nn.ReLU(inplace=True)]
        layers.append(Doubling(widths[-1], 3))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Latent to image."""
        z = z.contiguous(memory_format=torch.channels_last)  # 1.2 to 1.4 times as fast on a CPU
        with autocast(z, self.bf16):
            image = self.layers(z)
        image = image.float().contiguous()
        return (torch.tanh(image) + 1) / 2 if self.last_activation == "tanh" else image
