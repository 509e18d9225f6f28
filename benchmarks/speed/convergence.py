"""Steps to a fixed validation AUROC on ELPV, and what they take at the speeds measured beside.

How many steps a pipeline needs does not depend on how busy the machine is, so each is trained
once; the seconds are steps times the seconds a step. Who reads a cache pays for filling it: one
pass of the encoder over the training images.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

from aeflow_utils.config import DataConfig
from aeflow_utils.data.features import ImageSet, stream
from aeflow_utils.data.images import prepare_images
from aeflow_utils.data.table import load_table
from aeflow_utils.metrics import auroc
from aeflow_utils.precision import default_device
from benchmarks.speed.inputs import LITE0, Inputs, features_of
from benchmarks.speed.pipelines import Pipeline

TARGET = 0.80
CHECK_EVERY = 10


def elpv(size: int, batch_size: int, n_train: int, n_val: int) -> tuple[Inputs, ImageSet]:
    """ELPV's first `n_train` training images, all normal, and `n_val` validation images a label."""
    table = load_table(DataConfig("elpv", image_size=size))
    train = _images(table[table["split"] == "train"].head(n_train), size)
    val = _images(table[table["split"] == "val"].groupby("label").head(n_val), size)
    features = features_of(LITE0, train.images)
    train = ImageSet(train.table, train.rows, train.images, features)
    return Inputs(LITE0, train, batch_size), val


def _images(table: pd.DataFrame, size: int) -> ImageSet:
    table = table.reset_index(drop=True)
    prepared = prepare_images(DataConfig("elpv", image_size=size), table["path"].to_list())
    pixels = np.repeat(prepared.images[prepared.rows], 3, axis=1)  # grey, served as three
    return ImageSet(table, np.arange(len(table)), pixels, {})


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
