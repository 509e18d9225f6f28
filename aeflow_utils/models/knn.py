"""Nearest neighbours of whole images."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors

from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import System

N_NEIGHBORS = 5


class KNN(System):
    """Mean distance to the k nearest training images; features pooled to mean and deviation."""

    def _pooled(self, batch: Batch) -> np.ndarray:
        """(N, 2 C)."""
        maps = batch.features[self.config.strides[0]].flatten(2)
        return torch.cat([maps.mean(2), maps.std(2)], dim=1).cpu().numpy()

    def fit_statistics(self, train: ImageSet) -> None:
        bank = np.concatenate([self._pooled(batch) for batch in train.batches(64)])
        self.neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(bank))).fit(bank)

    def score(self, batch: Batch) -> Scores:
        distances, _ = self.neighbors.kneighbors(self._pooled(batch))
        return Scores(torch.from_numpy(distances.mean(axis=1)))
