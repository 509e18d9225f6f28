"""Steps to a fixed validation AUROC on ELPV, and what they take at the speeds measured beside.

How many steps a pipeline needs does not depend on how busy the machine is, so each is trained
once; the seconds are steps times the seconds a step. Who reads a cache pays for filling it: one
pass of the encoder over the training images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from aeflow_utils.config import DataConfig
from aeflow_utils.data.features import ImageSet, load_splits, stream
from aeflow_utils.metrics import auroc
from aeflow_utils.precision import default_device
from benchmarks.speed.inputs import LITE0, Inputs, features_of
from benchmarks.speed.pipelines import Pipeline

TARGET = 0.80
CHECK_EVERY = 10


def elpv(size: int, batch_size: int, n_train: int, n_val: int) -> tuple[Inputs, ImageSet]:
    """ELPV's first `n_train` training images, all normal, and `n_val` validation images a label."""
    splits = load_splits(DataConfig("elpv", image_size=size), LITE0, ())
    train, val = _first(splits.train, n_train), _first(splits.val, n_val)
    features = features_of(LITE0, train.images)
    train = ImageSet(train.table, train.rows, train.images, features)
    return Inputs(LITE0, train, batch_size), val


def _first(images: ImageSet, n: int) -> ImageSet:
    """The first `n` images a label, their grey served as three channels."""
    chosen = images.select((images.table.groupby("label").cumcount() < n).to_numpy())
    pixels = np.repeat(chosen.images[chosen.rows], 3, axis=1)
    return ImageSet(chosen.table, np.arange(len(chosen)), pixels, {})


def steps_to_target(
    pipeline: Pipeline, train: Inputs, val: ImageSet, max_steps: int
) -> tuple[int | None, float]:
    """First step looked at where validation AUROC is `TARGET`, or None; the best AUROC seen."""
    best = 0.0
    for step, positions in zip(range(1, max_steps + 1), _batches(train), strict=False):
        pipeline.step(positions)
        if step % CHECK_EVERY == 0:
            best = max(best, validation_auroc(pipeline, val, train.batch_size))
            if best >= TARGET:
                return step, best
    return None, best


def _batches(inputs: Inputs) -> Iterator[np.ndarray]:
    """Whole epochs without end, each in an order of its own."""
    n_images, epoch = len(inputs.images), 0
    while True:
        order = np.random.default_rng([0, epoch]).permutation(n_images)
        yield from np.array_split(order, max(1, n_images // inputs.batch_size))
        epoch += 1


def validation_auroc(pipeline: Pipeline, val: ImageSet, batch_size: int) -> float:
    """AUROC of a pipeline's scores, from pixels."""
    batches = stream(val.batches(batch_size), default_device())
    scores = [pipeline.score(batch.image) for batch in batches]
    return auroc(val.labels, torch.cat(scores).float().cpu().numpy())
