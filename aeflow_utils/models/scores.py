"""Scores and maps: tensors in, tensors out. Higher is more anomalous, always.

No score looks beyond its own image: nothing here depends on what else is in the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

POOLINGS = ("mean", "top10", "max")

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Scores:
    """What a system says of a batch of N images.

    Args:
        image_score: (N,), the score that decides.
        flow_score: (N,), the likelihood part, NaN where a system has none.
        recon_score: (N,), the reconstruction part, NaN where a system has none.
        anomaly_map: (N, 1, H, W) at the size of the image, None where a system has none.
        parts: what the score was made of, each (N,), stored beside it.
    """

    image_score: Tensor
    flow_score: Tensor
    recon_score: Tensor
    anomaly_map: Tensor | None = None
    parts: Parts = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        image_score: Tensor,
        anomaly_map: Tensor | None = None,
        flow_score: Tensor | None = None,
        recon_score: Tensor | None = None,
        parts: Parts | None = None,
    ) -> Scores:
        """Fill the parts that a system does not have with NaN."""
        missing = torch.full_like(image_score, float("nan"))
        return cls(
            image_score,
            missing if flow_score is None else flow_score,
            missing if recon_score is None else recon_score,
            anomaly_map,
            parts or {},
        )


BAND = 32  # positions blurred by one product


@lru_cache(maxsize=4)
def _gaussian_band(window: int, sigma: float) -> Tensor:
    """(BAND, BAND + window - 1) matrix whose product with a column blurs it, borders left out."""
    offsets = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    kernel = torch.exp(-0.5 * (offsets / sigma) ** 2)
    band = torch.zeros(BAND, BAND + window - 1, dtype=torch.float64)
    for row in range(BAND):
        band[row, row : row + window] = kernel / kernel.sum()
    return band


def _blur_rows(maps: Tensor, band: Tensor) -> Tensor:
    """(..., H, W) -> (..., H - window + 1, W); band by band, or most products would be with 0."""
    border = band.shape[1] - BAND
    n_rows = maps.shape[-2] - border
    parts = []
    for start in range(0, n_rows, BAND):
        size = min(BAND, n_rows - start)
        rows = maps[..., start : start + size + border, :]
        parts.append(band[:size, : size + border] @ rows)
    return torch.cat(parts, dim=-2)


def ssim_map(x: Tensor, y: Tensor, window: int = 11, sigma: float = 1.5) -> Tensor:
    """Structural similarity at every position where the window fits.

    Wang et al., IEEE TIP 2004, with a Gaussian window. The data range is fixed to 1: taking it
    from the batch would make an image's score depend on its neighbours. The blur is separable,
    so it is products with a banded matrix, of rows and then of columns.

    Args:
        x, y: (N, C, H, W) in [0, 1].

    Returns:
        (N, C, H - window + 1, W - window + 1).
    """
    height, width = x.shape[-2:]
    if min(height, width) < window:
        raise ValueError(
            f"images of {height}x{width} are smaller than SSIM's {window}-pixel window"
        )
    band = _gaussian_band(window, sigma).to(x)
    moments = _blur_rows(torch.stack([x, y, x * x + y * y, x * y]), band)
    moments = _blur_rows(moments.transpose(-1, -2), band).transpose(-1, -2)
    mu_x, mu_y, squares, product = moments.unbind()
    means, mean_squares = 2 * mu_x * mu_y, mu_x**2 + mu_y**2
    c1, c2 = 0.01**2, 0.03**2
    luminance = (means + c1) / (mean_squares + c1)
    return luminance * (2 * product - means + c2) / (squares - mean_squares + c2)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Mean of `ssim_map` for each image, (N,)."""
    size = 1 if x.device.type == "cpu" else len(x)  # one image's maps stay in a CPU's cache
    pairs = zip(x.split(size), y.split(size), strict=True)
    return torch.cat([ssim_map(*pair).mean(dim=(1, 2, 3)) for pair in pairs])


def gaussian_log_prob(z: Tensor) -> Tensor:
    """log N(z; 0, I) of each image, (N, ...) -> (N,)."""
    n_dims = z[0].numel()
    return -0.5 * (z.flatten(1).square().sum(dim=1) + n_dims * math.log(2 * math.pi))


def bits_per_dim(z: Tensor, log_jac_det: Tensor) -> Tensor:
    """-log2 p(x) / D with log p(x) = log N(z; 0, I) + log|det dz/dx|, (N,).

    Args:
        z: (N, C, H, W) output of the flow; D = C H W.
        log_jac_det: (N,).
    """
    n_dims = z[0].numel()
    return -(gaussian_log_prob(z) + log_jac_det) / (n_dims * math.log(2))


def score_parts(z: Tensor, log_jac_det: Tensor, x: Tensor, reconstruction: Tensor) -> Parts:
    """Everything that any form of AE-FLOW's score is made of, each (N,).

    ``energy_<pooling>`` is -log N(z) per dimension, with the mean over positions, that over the
    10 % least likely ones, or the least likely one; ``log_jac_det`` is per dimension too;
    ``ssim`` and ``mse`` compare x with its reconstruction, both (N, 3, H, W) in [0, 1].
    """
    energies = likelihood_map(z) + 0.5 * math.log(2 * math.pi)
    parts = {f"energy_{pooling}": pool_map(energies, pooling) for pooling in POOLINGS}
    parts["log_jac_det"] = log_jac_det / z[0].numel()
    parts["ssim"] = ssim(x, reconstruction)
    parts["mse"] = ((x - reconstruction) ** 2).mean(dim=(1, 2, 3))
    return parts


def flow_score(parts: Parts, form: str = "exp", pooling: str = "mean") -> Tensor:
    """Likelihood part of AE-FLOW's score, (N,), per dimension.

    ``exp`` is -exp(log N(z)/D), the reading of the paper in public reproductions; ``nll`` is
    -log N(z)/D; ``full`` keeps the log-determinant, -(log N(z) + log|det|)/D.
    """
    energy = parts[f"energy_{pooling}"]
    if form == "exp":
        return -torch.exp(-energy)
    if form == "nll":
        return energy
    if form == "full":
        return energy - parts["log_jac_det"]
    raise ValueError(f"unknown flow score '{form}': choose one of exp, nll, full")


def recon_score(parts: Parts, form: str = "ssim") -> Tensor:
    """Reconstruction part of AE-FLOW's score, (N,): -SSIM (the paper's), or the squared error."""
    return -parts["ssim"] if form == "ssim" else parts["mse"]


def likelihood_map(z: Tensor) -> Tensor:
    """Mean squared deviation at each position of the latent, (N, C, h, w) -> (N, 1, h, w)."""
    return 0.5 * (z**2).mean(dim=1, keepdim=True)


def upsample(anomaly_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a (N, 1, h, w) map to the image's size."""
    return F.interpolate(anomaly_map, size=size, mode="bilinear", align_corners=False)


def pool_map(anomaly_map: Tensor, pooling: str) -> Tensor:
    """Image score (N,) of a (N, 1, H, W) map: its ``mean``, ``max``, or that of the ``top10`` %."""
    values = anomaly_map.flatten(1)
    if pooling == "max":
        return values.amax(dim=1)
    if pooling == "mean":
        return values.mean(dim=1)
    if pooling == "top10":
        return values.topk(math.ceil(values.shape[1] / 10), dim=1).values.mean(dim=1)
    raise ValueError(f"unknown pooling '{pooling}': choose one of {', '.join(POOLINGS)}")
