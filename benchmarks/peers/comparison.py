"""What every check shares: a row of the table, the inputs, and how weights are copied."""

from importlib.metadata import version

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

TOLERANCE = 1e-4
SIZE = 64
ANOMALIB = f"anomalib {version('anomalib')}"
TORCHMETRICS = f"torchmetrics {version('torchmetrics')}"


Row = dict[str, object]  # one line of results/peers.csv


def compare(
    what: str, peer: str, quantity: str, ours: object, theirs: object, known_difference: str = ""
) -> Row:
    """How far two arrays of the same shape are apart; NaN never agrees."""
    ours, theirs = (np.asarray(values, dtype=np.float64) for values in (ours, theirs))
    if ours.shape != theirs.shape:
        raise ValueError(f"{what}, {quantity}: {ours.shape} here but {theirs.shape} there")
    difference = float(np.abs(ours - theirs).max())
    relative = difference / float(np.abs(theirs).max())
    return {
        "what": what,
        "peer": peer,
        "quantity": quantity,
        "n_values": ours.size,
        "max_abs_difference": difference,
        "max_rel_difference": relative,
        "tolerance": TOLERANCE,
        "agrees": relative <= TOLERANCE,
        "known_difference": known_difference,
    }


def shake(module: nn.Module) -> None:
    """Move every trainable value off its start, where scales and offsets are all alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Every parameter and buffer of `source`, for layers that stand in the same order.

    Raises:
        ValueError: the two have different numbers of tensors.
        RuntimeError: two tensors have different shapes.
    """
    names, values = target.state_dict(), source.state_dict().values()
    target.load_state_dict(dict(zip(names, values, strict=True)))


def images_of(n: int) -> Tensor:
    """Seeded pictures with structure at several scales, so that their features vary in space."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(n, 3, SIZE, SIZE))
    layers = [gaussian_filter(noise, (0, 0, sigma, sigma)) * sigma for sigma in (1, 3, 8)]
    return torch.from_numpy(sum(layers)).float().sigmoid()


def flat(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts])
