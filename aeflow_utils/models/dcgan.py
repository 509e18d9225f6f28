"""Convolutions that both GANs are made of: image to vector, and vector to image.

The layers are GANomaly's (arXiv:1805.06725), which are DCGAN's (arXiv:1511.06434): 4x4 kernels
that halve or double the side, from or to maps of 4 x 4 positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aeflow_utils.errors import UserError


def image_to_vector(
    side: int, n_features: int, n_outputs: int, critic: bool = False
) -> nn.Sequential:
    """Layers from (N, 3, side, side) to (N, n_outputs, 1, 1).

    Args:
        side: of the image in pixels, a power of two from 32.
        n_features: channels at half the side; they double as the side halves.
        critic: of a Wasserstein GAN, whose penalty is on each image: LayerNorm, where BatchNorm
            would tie the images of a batch; with biases, without which LayerNorm would hide an
            image's contrast, D(x / 2) = D(x); and with PyTorch's own initial weights, beside
            which DCGAN's are so small that the biases would drown the image.

    Raises:
        UserError: the side is not a power of two from 32.
    """
    width, bias = n_features, critic
    # The paper's code pads the first convolution by 1. Four, as in anomalib 2.7, makes weights
    # interchangeable with it; the maps still end at 4 x 4.
    layers = [nn.Conv2d(3, width, 4, stride=2, padding=4, bias=bias), nn.LeakyReLU(0.2)]
    for _ in range(_n_halvings(side)):
        layers.append(nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=bias))
        width *= 2
        norm = nn.GroupNorm(1, width) if critic else nn.BatchNorm2d(width)
        layers += [norm, nn.LeakyReLU(0.2)]
    layers.append(nn.Conv2d(width, n_outputs, 4, bias=bias))
    return nn.Sequential(*layers) if critic else _initialised(layers)


def vector_to_image(side: int, n_features: int, n_inputs: int) -> nn.Sequential:
    """Layers from (N, n_inputs, 1, 1) to (N, 3, side, side) in [-1, 1].

    Arguments and errors are those of `image_to_vector`; channels halve as the side doubles.
    """
    width = n_features * 2 ** _n_halvings(side)
    layers = [nn.ConvTranspose2d(n_inputs, width, 4, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    while width > n_features:
        layers.append(nn.ConvTranspose2d(width, width // 2, 4, stride=2, padding=1, bias=False))
        width //= 2
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
    layers += [nn.ConvTranspose2d(width, 3, 4, stride=2, padding=1, bias=False), nn.Tanh()]
    return _initialised(layers)


def _n_halvings(side: int) -> int:
    """How often half the side is halved before 4 is left."""
    if side < 32 or side & (side - 1):
        raise UserError(f"image_size {side} of a GAN must be a power of two, 32 or more")
    return side.bit_length() - 4


def _initialised(layers: list[nn.Module]) -> nn.Sequential:
    """DCGAN's weights: N(0, 0.02), and N(1, 0.02) for the scales of the normalisations."""
    for layer in layers:
        weight = getattr(layer, "weight", None)
        if weight is not None:
            nn.init.normal_(weight, mean=1.0 if weight.ndim == 1 else 0.0, std=0.02)
    return nn.Sequential(*layers)


def shrink(image: Tensor, side: int) -> Tensor:
    """(N, 3, H, W) in [0, 1] to (N, 3, side, side) in [-1, 1], smoothed against aliasing."""
    small = F.interpolate(image, (side, side), mode="bilinear", antialias=True)
    # Channels last: the convolutions that follow keep it, and are a quarter faster on a CPU.
    return (2 * small - 1).contiguous(memory_format=torch.channels_last)
