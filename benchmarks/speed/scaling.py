"""Seconds an epoch, and peak memory, against the number of training images."""

from __future__ import annotations

import numpy as np

from benchmarks.speed.inputs import LITE0, WIDE_RESNET
from benchmarks.speed.memory import SHAPE, measure_apart
from benchmarks.speed.timing import Row, row

LITE0_SHAPE = (112, 16, 16)  # at stride 16 and 256 px


def curve(numbers: tuple[int, ...], repeats: int, shape=LITE0_SHAPE, size: int = 256) -> list[Row]:
    """Epochs through `training.fit`, of a FastFlow of one block, from a sparse memory map."""
    rows, note = [], "an epoch and its statistics, features on disk, a flow of one block"
    for n_images in numbers:
        found = measure_apart("epoch", n_images, shape, size, repeats=repeats)
        case, seconds = f"{n_images} images", np.array(found["seconds"])
        an_image = 1e3 * seconds / n_images
        rows += [
            row("epoch", LITE0, case, "time", "s", seconds, note),
            row("epoch", LITE0, case, "time an image", "ms", an_image, note),
            row("epoch", LITE0, case, "peak memory", "MB", [found["rise_mb"]], note),
        ]
    return rows


def peak_memory(numbers: tuple[int, ...], shape=SHAPE, size: int = 256) -> list[Row]:
    """AE-FLOW on Wide ResNet-50-2 at batch 16: statistics of all images, two steps, one score."""
    rows = []
    for n_images in numbers:
        found = measure_apart("full", n_images, shape, size)
        note = f"anonymous memory beside the framework's {found['framework_mb']:.0f} MB, batch 16"
        case = f"{n_images} images"
        rows.append(row("peak memory", WIDE_RESNET, case, "memory", "MB", [found["rise_mb"]], note))
    return rows
