"""Parts that several systems use: the feature scaler and the decoder."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aeflow_utils.data.features import ImageSet
from aeflow_utils.models.kernels import FastSequential
from aeflow_utils.models.system import Shapes


def stack(features: dict[int, Tensor], strides: tuple[int, ...], mode: str = "nearest") -> Tensor:
    """Maps of several strides as one, (N, sum of C, h, w) at the positions of the finest."""
    size = features[min(strides)].shape[-2:]
    return torch.cat([F.interpolate(features[s], size, mode=mode) for s in sorted(strides)], dim=1)


class FeatureScaler(nn.Module):
    """Affine map of (stacked) encoder features, from statistics of the training images.

    Args:
        shapes, strides: of the features that there are, and which of them to read.
        form: ``channel`` subtracts each channel's mean and divides by its deviation; ``zca``
            whitens the channels (covariance over images and positions); ``raw`` does nothing.
    """

    def __init__(self, shapes: Shapes, strides: tuple[int, ...], form: str) -> None:
        super().__init__()
        self.form, self.strides = form, strides
        channels = sum(shapes[stride][0] for stride in strides)
        self.shape = (channels, *shapes[min(strides)][1:])  # of what comes out
        self.register_buffer("mean", torch.zeros(channels))
        shape = (channels, channels) if form == "zca" else (channels,)
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, train: ImageSet) -> None:
        """Set the statistics from the training features, summed in float64."""
        if self.form == "raw":
            return
        count, total, products = 0, 0.0, 0.0
        for batch in train.batches(64):
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
        centred = stack(features, self.strides) - self.mean.view(1, -1, 1, 1)
        if self.form == "zca":
            return torch.einsum("dc,nchw->ndhw", self.scale, centred)
        return centred * self.scale.view(1, -1, 1, 1)


class Decoder(nn.Module):
    """Transposed convolutions, each doubling the side: (N, C, h, w) -> (N, 3, stride h, stride w).

    All but the last are followed by a 3x3 convolution of equal width. At stride 16, widths fall as
    in the paper's 1024 -> 512 -> 256 -> 64 -> 3, in proportion to C.

    Args:
        channels, stride: C, and a power of two, the paper's 16 or more.
        last_activation: ``tanh``, rescaled to [0, 1], or ``linear``, which is not bounded.
    """

    def __init__(self, channels: int, stride: int, last_activation: str) -> None:
        super().__init__()
        self.last_activation = last_activation
        n_halvings = int(math.log2(stride)) - 1
        widths = [channels // 2**k for k in range(n_halvings)] + [max(16, channels // 16)]
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [nn.ConvTranspose2d(c_in, c_out, 2, stride=2), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(c_out, c_out, 3, padding=1), nn.ReLU(inplace=True)]
        layers.append(nn.ConvTranspose2d(widths[-1], 3, 2, stride=2))
        self.layers = FastSequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Latent to image."""
        image = self.layers(z)
        return (torch.tanh(image) + 1) / 2 if self.last_activation == "tanh" else image
