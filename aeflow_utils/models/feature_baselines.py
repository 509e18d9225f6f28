"""Baselines that train nothing: a Gaussian a position, nearest neighbours, and trivial ones."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from aeflow_utils.features import Batch, ImageSet
from aeflow_utils.model_configs import BrightnessConfig, KNNConfig, PaDiMConfig, SmoothnessConfig
from aeflow_utils.models.layers import stack
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.scores import Scores, pool_map, upsample

REGULARISATION = 0.01  # PaDiM's, added to every covariance


class PaDiM(System):
    """A Gaussian for each position of the feature map (Defard et al., arXiv:2011.08785).

    Map: the Mahalanobis distance. Deterministic, because the random choice of channels, for
    encoders with many, has a fixed seed.
    """

    def __init__(self, config: PaDiMConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__()
        self.config = config
        channels = sum(shapes[stride][0] for stride in config.strides)
        self.size = height, width = shapes[min(config.strides)][1:]
        kept = np.random.default_rng(0).permutation(channels)[: config.max_channels]
        self.register_buffer("channels", torch.from_numpy(np.sort(kept)))
        n_kept, n_positions = len(kept), height * width
        self.register_buffer("mean", torch.zeros(n_positions, n_kept))
        self.register_buffer("whitening", torch.zeros(n_positions, n_kept, n_kept))

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
        covariance += REGULARISATION * torch.eye(len(self.channels), dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance)
        identity = torch.eye(len(self.channels), dtype=torch.float64).expand_as(factor)
        inverse = torch.linalg.solve_triangular(factor, identity, upper=False)
        self.mean.copy_(mean)
        self.whitening.copy_(inverse)

    def score(self, batch: Batch) -> Scores:
        centred = self._columns(batch) - self.mean[:, None]
        distance = (centred @ self.whitening.transpose(1, 2)).norm(dim=2)  # (P, N)
        distance_map = distance.T.reshape(-1, 1, *self.size)
        image_score = pool_map(distance_map, self.config.pooling)
        return Scores.of(image_score, upsample(distance_map, batch.image.shape[-2:]))


class KNN(System):
    """Mean distance to the k nearest training images; features pooled to mean and deviation."""

    def __init__(self, config: KNNConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__()
        self.config = config

    def _pooled(self, batch: Batch) -> np.ndarray:
        """(N, 2 C)."""
        maps = batch.features[self.config.strides[0]].flatten(2)
        return torch.cat([maps.mean(2), maps.std(2)], dim=1).cpu().numpy()

    def fit_statistics(self, train: ImageSet) -> None:
        bank = np.concatenate([self._pooled(batch) for batch in train.batches(64)])
        self.neighbors = NearestNeighbors(n_neighbors=min(self.config.n_neighbors, len(bank)))
        self.neighbors.fit(bank)

    def score(self, batch: Batch) -> Scores:
        distances, _ = self.neighbors.kneighbors(self._pooled(batch))
        return Scores.of(torch.from_numpy(distances.mean(axis=1)))


class Brightness(System):
    """Minus the mean intensity. A method that this beats has learnt nothing."""

    def __init__(self, config: BrightnessConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__()

    def score(self, batch: Batch) -> Scores:
        return Scores.of(-batch.image.mean(dim=(1, 2, 3)))


class Smoothness(System):
    """Minus the mean standard deviation of intensity in 11 x 11 windows (those of SSIM)."""

    def __init__(self, config: SmoothnessConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__()

    def score(self, batch: Batch) -> Scores:
        grey = batch.image.mean(dim=1, keepdim=True)
        mean = F.avg_pool2d(grey, 11, stride=1)
        variance = (F.avg_pool2d(grey**2, 11, stride=1) - mean**2).clamp_min(0)
        return Scores.of(-variance.sqrt().mean(dim=(1, 2, 3)))
