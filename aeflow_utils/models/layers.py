"""Parts that several systems use: the feature scaler and the decoder."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from aeflow_utils.features import ImageSet


class FeatureScaler(nn.Module):
    """Affine map of encoder features, from statistics of the training images.

    ``channel`` subtracts each channel's mean and divides by its deviation; ``zca`` whitens the
    channels (covariance over images and positions); ``raw`` leaves the features alone.

    Args:
        channels: C of the features.
        form: ``channel``, ``zca`` or ``raw``.
        stride: which features to read from an `ImageSet`.
    """

    def __init__(self, channels: int, form: str, stride: int) -> None:
        super().__init__()
        self.form, self.stride = form, stride
        self.register_buffer("mean", torch.zeros(channels))
        shape = (channels, channels) if form == "zca" else (channels,)
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, train: ImageSet, batch_size: int = 64) -> None:
        """Set the statistics from the training features, summed in float64."""
        if self.form == "raw":
            return
        count, total, products = 0, 0.0, 0.0
        for batch in train.batches(batch_size):
            x = batch.features[self.stride].double().transpose(0, 1).flatten(1)  # (C, N h w)
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

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, h, w)."""
        if self.form == "raw":
            return x
        centred = x - self.mean.view(1, -1, 1, 1)
        if self.form == "channel":
            return centred * self.scale.view(1, -1, 1, 1)
        return torch.einsum("dc,nchw->ndhw", self.scale, centred)


class Decoder(nn.Module):
    """Four transposed convolutions, each doubling the side: (N, C, h, w) -> (N, 3, 16h, 16w).

    The first three are followed by a 3x3 convolution of equal width. Widths fall as in the
    paper's 1024 -> 512 -> 256 -> 64 -> 3, in proportion to C. The image is in [0, 1]: ``tanh`` is
    rescaled to it, ``linear`` is left unbounded.

    Args:
        channels: C.
        last_activation: ``tanh`` or ``linear``.
    """

    def __init__(self, channels: int, last_activation: str) -> None:
        super().__init__()
        self.last_activation = last_activation
        widths = [channels, channels // 2, channels // 4, max(16, channels // 16)]
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise(widths):
            layers += [nn.ConvTranspose2d(c_in, c_out, 2, stride=2), nn.ReLU()]
            layers += [nn.Conv2d(c_out, c_out, 3, padding=1), nn.ReLU()]
        layers.append(nn.ConvTranspose2d(widths[-1], 3, 2, stride=2))
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Latent to image."""
        image = self.layers(z)
        return (torch.tanh(image) + 1) / 2 if self.last_activation == "tanh" else image
