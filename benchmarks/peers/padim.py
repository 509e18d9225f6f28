"""PaDiM on the features, and with the channels, of anomalib's."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from anomalib.models.image.padim.torch_model import PadimModel

from aeflow_utils.data.cache import Rows
from aeflow_utils.data.features import ImageSet
from aeflow_utils.models import padim
from aeflow_utils.models.padim import PaDiM
from aeflow_utils.options import PaDiMConfig
from aeflow_utils.study.training import seed_everything
from benchmarks.peers.comparison import ANOMALIB, SIZE, Row, compare, images_of

STRIDES = (4, 8, 16)  # of ResNet-18's first three stages


@contextmanager
def double_precision() -> Iterator[None]:
    """Tensors made in this block are float64: anomalib inverts in the precision it allocates."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@torch.no_grad()
def check_padim() -> list[Row]:
    """Both fitted on 40 images with 100 channels: covariances that only regularisation inverts."""
    seed_everything(0)
    peer = PadimModel("resnet18", pre_trained=False, n_features=100)
    images = images_of(60)
    by_layer = peer.feature_extractor(images)
    features = dict(zip(STRIDES, (maps.numpy() for maps in by_layer.values()), strict=True))
    shapes = {stride: maps.shape[1:] for stride, maps in features.items()}
    pixels = np.zeros((60, 3, SIZE, SIZE), np.uint8)
    rows = {stride: Rows.every(maps) for stride, maps in features.items()}
    every = ImageSet(pd.DataFrame({"label": [0] * 60}), Rows.every(pixels), rows)
    train, test = every.select(np.arange(60) < 40), every.batch(np.arange(40, 60))
    system = PaDiM(PaDiMConfig(strides=STRIDES, max_channels=100), shapes, SIZE)
    system.fit_statistics(train)
    plain = system.score(test)
    with patch.object(padim, "REGULARISATION", 0.01 + 1e-5):
        system.fit_statistics(train)
    scores = system.score(test)

    peer.idx = system.channels
    with double_precision():
        embedding = peer.generate_embedding(by_layer).double()
        statistics = peer.gaussian.fit(embedding[:40])
        generator = peer.anomaly_map_generator
        distance = generator.compute_distance(embedding[40:], statistics)
        raw = generator.up_sample(distance, (SIZE, SIZE))
    smooth = generator.blur(raw.float())

    row = partial(compare, "PaDiM, three layers", ANOMALIB)
    largest = distance.amax(dim=(1, 2, 3))
    extra = "anomalib adds another 1e-5 to the variances that both enlarge by 0.01"
    blur = "anomalib blurs the map (sigma 4) and takes the maximum afterwards, ours does not blur"
    return [
        row("distance map before blurring, same regularisation", scores.anomaly_map, raw),
        row("largest distance, same regularisation", scores.image_score, largest),
        row("distance map before blurring", plain.anomaly_map, raw, extra),
        row("image score", plain.image_score, smooth.amax(dim=(1, 2, 3)), blur),
    ]
