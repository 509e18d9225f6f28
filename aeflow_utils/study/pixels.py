"""How well maps find the defect, where a data set has masks."""

from __future__ import annotations

import numpy as np

from aeflow_utils import metrics
from aeflow_utils.data.features import Splits
from aeflow_utils.data.images import load_masks
from aeflow_utils.models.system import System
from aeflow_utils.study.training import residual_maps, score_maps


def pixel_maps(system: System, splits: Splits) -> dict[str, np.ndarray]:
    """Maps (N, H, W) of the test images: anomaly map, residual |x - x'|, and ``mask``.

    Empty where the set has no masks; without the maps that a system does not have.
    """
    masks = load_masks(splits.listed, splits.test.table)
    if masks is None or not masks.any():
        return {}
    found = {"map": score_maps(system, splits.test), "residual": residual_maps(system, splits.test)}
    return {"mask": masks} | {name: maps for name, maps in found.items() if maps is not None}


def evaluate_pixels(maps: dict[str, np.ndarray]) -> dict[str, float]:
    """Pixel AUROC and AUPRO over all test images, of `pixel_maps`."""
    values = {}
    for name in ("map", "residual"):
        if name in maps:
            pair, ending = (maps["mask"], maps[name]), "" if name == "map" else f"_{name}"
            values |= {f"pixel_auroc{ending}": metrics.pixel_auroc(*pair)}
            values |= {f"aupro{ending}": metrics.aupro(*pair)}
    return values


def pixel_columns(maps: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Pixel AUROC within each test image, NaN where it has no defect: a column a kind of map."""
    return {
        f"{name}_auroc": [
            metrics.auroc(mask.ravel().astype(int), values.ravel())
            for mask, values in zip(maps["mask"], maps[name], strict=True)
        ]
        for name in maps
        if name != "mask"
    }
