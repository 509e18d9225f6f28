"""PaDiM-style Gaussian at each position of the feature map (Defard et al., arXiv:2011.08785)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.layers import stack
from aeflow_utils.models.scores import Scores, pool_map, upsample
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.options import CHOICES, PaDiMConfig

REGULARISATION = 0.01  # PaDiM's, added to every covariance


class PaDiM(System):
    """Map: the Mahalanobis distance of a position's features to the training images' there.

    Deterministic, because the random choice of channels, for encoders with many, has a fixed seed.
    """

    def __init__(self, config: PaDiMConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        channels = sum(shapes[stride][0] for stride in config.strides)
        self.size = height, width = shapes[min(config.strides)][1:]
        kept = np.random.default_rng(0).permutation(channels)[: config.max_channels]
        self.register_buffer("channels", torch.from_numpy(np.sort(kept)))
        self.register_buffer("mean", torch.zeros(height * width, len(kept)))
        self.register_buffer("whitening", torch.zeros(height * width, len(kept), len(kept)))

    def _columns(self, batch: Batch) -> Tensor:
        """Features by position, (P, N, C)."""
        maps = stack(batch.features, self.config.strides)
        return maps[:, self.channels].flatten(2).permute(2, 0, 1)

    def fit_statistics(self, train: ImageSet) -> None:
        count, total, products = 0, 0.0, 0.0
        for batch in train.batches(64):
            x = self._columns(batch).double()
            count += x.shape[1]
            total = total + x.sum(1)
            products = products + x.transpose(1, 2) @ x
        mean = total / count
        covariance = (products - count * mean[:, :, None] * mean[:, None]) / max(count - 1, 1)
        identity = torch.eye(len(self.channels), dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance + REGULARISATION * identity)
        inverse = torch.linalg.solve_triangular(factor, identity.expand_as(factor), upper=False)
        self.mean.copy_(mean)
        self.whitening.copy_(inverse)

    def score(self, batch: Batch) -> Scores:
        centred = self._columns(batch) - self.mean[:, None]
        distance = (centred @ self.whitening.transpose(1, 2)).norm(dim=2)  # (P, N)
        distance_map = distance.T.reshape(-1, 1, *self.size)
        pooled = {pooling: pool_map(distance_map, pooling) for pooling in CHOICES["pooling"]}
        return Scores(
            image_score=pooled[self.config.pooling],
            anomaly_map=upsample(distance_map, batch.image.shape[-2:]),
            parts={f"distance_{pooling}": scores for pooling, scores in pooled.items()},
        )
