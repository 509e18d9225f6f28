"""Metrics on random labels, scores, masks and maps; SSIM on random images."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from anomalib.metrics.aupro import _AUPRO
from anomalib.metrics.auroc import _AUROC
from anomalib.metrics.f1_score import _F1Max
from scipy.ndimage import gaussian_filter
from torch import nn
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils import metrics
from aeflow_utils.models.scores import ssim, ssim_map
from benchmarks.peers.comparison import ANOMALIB, TORCHMETRICS, Row, compare, images_of


def random_maps(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks (8, 48, 48) with several regions each, one left empty, and maps that half know them.

    The maps lie in [0, 1], because torchmetrics puts others through a sigmoid without a word, and
    in steps of 1/500, so that there are ties.
    """
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(8, 48, 48)), (0, 3, 3))
    masks = field > np.quantile(field, 0.9)
    masks[0] = False
    maps = gaussian_filter(rng.normal(size=masks.shape), (0, 2, 2)) + 0.2 * masks
    maps = (maps - maps.min()) / np.ptp(maps)
    return masks, np.round(500 * maps).astype("f4") / 500


def check_metrics() -> list[Row]:
    """Twenty draws of maps with masks; image labels and scores are what the maps make of them."""

    def best_f1(labels: np.ndarray, scores: np.ndarray) -> float:
        threshold = metrics.f1_max_threshold(labels, scores)
        return metrics.classification(labels, scores >= threshold)["f1"]

    def peers(metric: nn.Module, scores: np.ndarray, truth: np.ndarray) -> float:
        metric.update(torch.from_numpy(scores), torch.from_numpy(truth).int())
        return metric.compute().item()

    pixels, images = [random_maps(seed) for seed in range(20)], []
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = rng.integers(0, 2, 200)
        scores = np.clip(0.5 + 0.1 * labels + 0.1 * rng.normal(size=200), 0, 1)
        images.append((labels, np.round(scores, 2).astype("f4")))  # in hundredths: with ties

    cases: list[tuple[str, Callable, Callable, list]] = [
        ("image AUROC", metrics.auroc, _AUROC, images),
        ("F1 at the best threshold", best_f1, _F1Max, images),
        ("pixel AUROC", metrics.pixel_auroc, _AUROC, pixels),
        ("AUPRO up to 30 % false positives", metrics.aupro, _AUPRO, pixels),
    ]
    return [
        compare(
            "metrics",
            ANOMALIB,
            quantity,
            [ours(truth, scores) for truth, scores in draws],
            [peers(peer(), scores, truth) for truth, scores in draws],
        )
        for quantity, ours, peer, draws in cases
    ]


def check_ssim() -> list[Row]:
    """Images against noisy copies, in float64: variances are small differences of large numbers."""
    x = images_of(8).double()
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    y = (x + 0.1 * noise).clamp(0, 1)
    mean, full = structural_similarity_index_measure(
        y, x, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = full[..., 5:-5, 5:-5]  # where the 11-pixel window fits

    row = partial(compare, "SSIM", TORCHMETRICS)
    border = "torchmetrics mirrors the border and averages over all pixels, ours leaves it out"
    return [
        row("value at each pixel, border left out", ssim_map(x, y), inside),
        row("value of an image, border left out", ssim(x, y), inside.mean(dim=(1, 2, 3))),
        row("value of an image", ssim(x, y), mean, border),
    ]
