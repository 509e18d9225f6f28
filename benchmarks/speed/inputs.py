"""What every pipeline is given: seeded images, and an encoder in two forms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import ImageSet
from aeflow_utils.precision import default_device

# No weights can be fetched here, and none are needed: time does not depend on their values.
WIDE_RESNET, LITE0 = "wide_resnet50_2", "efficientnet_lite0"
TITLES = {WIDE_RESNET: "Wide ResNet-50-2", LITE0: "EfficientNet-lite0"}
ENCODERS = {WIDE_RESNET: "wide_resnet50_2_untrained", LITE0: LITE0}
FASTFLOW_STRIDES = {WIDE_RESNET: (4, 8, 16), LITE0: (8, 16, 32)}


@dataclass(frozen=True)
class Inputs:
    """One encoder's side of the comparison.

    Args:
        encoder: its name.
        images: seeded pictures with their features at FastFlow's strides.
        batch_size: images a step.
    """

    encoder: str
    images: ImageSet
    batch_size: int

    @property
    def shapes(self) -> dict[int, tuple[int, int, int]]:
        return {stride: maps.shape[1:] for stride, maps in self.images.features.items()}

    @property
    def size(self) -> int:
        return self.images.images.shape[-1]


def make_inputs(encoder: str, size: int, batch_size: int, n_images: int) -> Inputs:
    """Build encoders and images; features are float16, as in the cache."""
    pixels = pictures(n_images, size)
    features = features_of(encoder, pixels)
    table = pd.DataFrame({"label": np.zeros(n_images, int)})
    images = ImageSet(table, np.arange(n_images), pixels, features)
    return Inputs(encoder, images, batch_size)


@torch.inference_mode()
def features_of(encoder: str, pixels: np.ndarray) -> dict[int, np.ndarray]:
    """Maps at FastFlow's strides, float16 as in the cache, of images (N, 3, H, W) uint8."""
    network, parts = fused_encoder(encoder, FASTFLOW_STRIDES[encoder]), []
    for start in range(0, len(pixels), 4):
        images = _on_device(pixels[start : start + 4])
        parts.append({stride: maps.half().cpu() for stride, maps in network(images).items()})
    return {
        stride: torch.cat([part[stride] for part in parts]).contiguous().numpy()
        for stride in parts[0]
    }


def pictures(n_images: int, size: int) -> np.ndarray:
    """Smoothed seeded noise, (N, 3, H, W) uint8."""
    noise = np.random.default_rng(0).normal(size=(n_images, 3, size, size))
    smooth = gaussian_filter(noise, (0, 0, 3, 3)) * 6
    return (255 / (1 + np.exp(-smooth))).astype(np.uint8)


def plain_encoder(encoder: str, strides: tuple[int, ...]) -> Encoder:
    """As timm builds it: channels first, norms not folded into convolutions."""
    network = Encoder(ENCODERS[encoder], strides)
    return network.to(default_device(), memory_format=torch.contiguous_format)


def fused_encoder(encoder: str, strides: tuple[int, ...]) -> Encoder:
    """As `features.encode_images` uses it."""
    return Encoder(ENCODERS[encoder], strides).fuse().to(default_device())


@torch.no_grad()
def encode_plain(encoder: Encoder, images: Tensor) -> dict[int, Tensor]:
    """`Encoder.maps` without its change of layout."""
    maps = encoder.network((images - encoder.mean) / encoder.std)
    return dict(zip(encoder.strides, maps, strict=True))


def pixels_at(inputs: Inputs, positions: np.ndarray) -> Tensor:
    """Images (N, 3, H, W) in [0, 1], as they come from disk: before any encoder."""
    rows = inputs.images.rows[positions]
    return _on_device(inputs.images.images[rows])


def _on_device(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).to(default_device()).float().div_(255)
