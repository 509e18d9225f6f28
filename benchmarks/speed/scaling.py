"""Seconds an epoch, and peak memory, against the number of training images."""

from __future__ import annotations

import numpy as np

from benchmarks.speed.inputs import LITE0, WIDE_RESNET
from benchmarks.speed.memory import SHAPE, measure_apart
from benchmarks.speed.timing import Row, row

EPOCH, MEMORY = "epoch", "peak memory"
LITE0_SHAPE = (112, 16, 16)  # at stride 16 and 256 px


def curve(numbers: tuple[int, ...], repeats: int, shape=LITE0_SHAPE, size: int = 256) -> list[Row]:
    """Epochs through `training.fit`, of a FastFlow of one block, from a sparse memory map."""
    rows, note = [], "with its statistics, features on disk, one block, CPU time of one thread"
    seconds = measure_apart("epochs", numbers, shape, size, repeats=repeats)["seconds"]
    for n_images, each in zip(numbers, map(np.array, seconds), strict=True):
        case = f"{n_images} images"
        peak = measure_apart("epochs", (n_images,), shape, size)["rise_mb"]
        rows += [
            row(EPOCH, LITE0, case, "time", "s", each, note),
            row(EPOCH, LITE0, case, "time an image", "ms", 1e3 * each / n_images, note),
            row(EPOCH, LITE0, case, "peak memory", "MB", [peak], note),
        ]
        if n_images > numbers[0]:
            relative = each / n_images / (np.array(seconds[0]) / numbers[0])
            case = f"{n_images:,} against {numbers[0]:,} images"
            rows.append(row(EPOCH, LITE0, case, "time an image", "ratio", relative, note))
    return rows


def peak_memory(numbers: tuple[int, ...], shape=SHAPE, size: int = 256) -> list[Row]:
    """AE-FLOW on Wide ResNet-50-2 at batch 16: statistics of all images, two steps, one score."""
    rows = []
    for n_images in numbers:
        found = measure_apart("full", (n_images,), shape, size)
        note = f"anonymous memory beside the framework's {found['framework_mb']:.0f} MB, batch 16"
        case = f"{n_images} images"
        rows.append(row(MEMORY, WIDE_RESNET, case, "memory", "MB", [found["rise_mb"]], note))
    return rows
