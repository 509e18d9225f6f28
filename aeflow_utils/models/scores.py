"""Scores and maps: tensors in, tensors out. Higher is more anomalous, always.

No score looks beyond its own image: nothing here depends on what else is in the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from aeflow_utils.models.kernels import gaussian_blur
from aeflow_utils.options import CHOICES

WINDOW, SIGMA = 11, 1.5  # pixels, of SSIM's Gaussian window

Parts = dict[str, Tensor]


@dataclass
class Scores:
    """What a system says of a batch of N images.

    Args:
        image_score: (N,), the score that decides.
        anomaly_map: (N, 1, H, W) at the size of the image, None where a system has none.
        flow_score: (N,), the likelihood part, NaN where a system has none.
        recon_score: (N,), the reconstruction part, NaN where a system has none.
        parts: what the score was made of, each (N,), stored beside it.
        reconstruction: x' in [0, 1], (N, 3, h, w), None where a system makes none.
    """

    image_score: Tensor
    anomaly_map: Tensor | None = None
    flow_score: Tensor | None = None
    recon_score: Tensor | None = None
    parts: Parts = field(default_factory=dict)
    reconstruction: Tensor | None = None

    def __post_init__(self) -> None:
        missing = torch.full_like(self.image_score, float("nan"))
        self.flow_score = missing if self.flow_score is None else self.flow_score
        self.recon_score = missing if self.recon_score is None else self.recon_score


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity at every position where the window fits (Wang et al., TIP 2004).

    Means mu, variances and covariance s are taken in a Gaussian window around the position:

        (2 mu_x mu_y + c1) / (mu_x^2 + mu_y^2 + c1)  *  (2 s_xy + c2) / (s_x^2 + s_y^2 + c2)

    The range of values is fixed to 1: taking it from the batch would make an image's score depend
    on its neighbours. Images x, y are (N, C, H, W) in [0, 1], their map (N, C, H - 10, W - 10).
    """
    height, width = x.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"images of {height}x{width} are smaller than SSIM's window of {WINDOW}")
    moments = gaussian_blur(torch.stack([x, y, x * x + y * y, x * y]), WINDOW, SIGMA)
    mu_x, mu_y, squares, product = moments.unbind()
    # squares is E[x^2 + y^2] and product E[xy]: less the squares and the product of the means,
    # they are s_x^2 + s_y^2 and s_xy. One blur of four maps costs less than five.
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

    The flow gives z (N, C, h, w), D = C h w numbers an image, and the log-determinant (N,).
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
    parts = {f"energy_{pooling}": pool_map(energies, pooling) for pooling in CHOICES["pooling"]}
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
    forms = {"exp": -torch.exp(-energy), "nll": energy, "full": energy - parts["log_jac_det"]}
    return forms[form]


def recon_score(parts: Parts, form: str = "ssim") -> Tensor:
    """Reconstruction part of AE-FLOW's score, (N,): -SSIM (the paper's), or the squared error."""
    return -parts["ssim"] if form == "ssim" else parts["mse"]


def likelihood_map(z: Tensor) -> Tensor:
    """z^2 / 2, mean over channels, (N, C, h, w) -> (N, 1, h, w): -log N(z) but for a constant."""
    return 0.5 * (z**2).mean(dim=1, keepdim=True)


def upsample(anomaly_map: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a (N, 1, h, w) map to the image's size."""
    return F.interpolate(anomaly_map, size=size, mode="bilinear", align_corners=False)


def pool_map(anomaly_map: Tensor, pooling: str) -> Tensor:
    """Image score (N,) of a (N, 1, H, W) map: its ``mean``, ``max``, or that of the ``top10`` %."""
    if pooling not in CHOICES["pooling"]:
        raise ValueError(f"unknown pooling '{pooling}': not one of {CHOICES['pooling']}")
    values = anomaly_map.flatten(1)
    if pooling == "max":
        return values.amax(dim=1)
    if pooling == "top10":
        values = values.topk(math.ceil(values.shape[1] / 10), dim=1).values
    return values.mean(dim=1)
