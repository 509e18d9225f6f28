"""Nearest neighbours of whole images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.options import KNNConfig

N_NEIGHBORS = 5


class KNN(System):
    """Mean distance to the k nearest training images; features pooled to mean and deviation."""

    def __init__(self, config: KNNConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.register_buffer("bank", torch.empty(0, 2 * shapes[config.strides[0]][0]))

    def _pooled(self, batch: Batch) -> np.ndarray:
        """(N, 2 C)."""
        maps = batch.features[self.config.strides[0]].flatten(2)
        return torch.cat([maps.mean(2), maps.std(2)], dim=1).cpu().numpy()

    def fit_statistics(self, train: ImageSet) -> None:
        bank = np.concatenate([self._pooled(batch) for batch in train.batches(64)])
        self.load_state_dict({"bank": torch.from_numpy(bank)})

    def load_state_dict(self, state_dict: Mapping[str, Tensor], **options: bool) -> object:
        """As for any module; the size of the bank comes with the state."""
        self.bank = torch.empty_like(state_dict["bank"])
        loaded = super().load_state_dict(state_dict, **options)
        bank = self.bank.cpu().numpy()
        self.neighbors = NearestNeighbors(n_neighbors=min(N_NEIGHBORS, len(bank))).fit(bank)
        return loaded

    def score(self, batch: Batch) -> Scores:
        distances, _ = self.neighbors.kneighbors(self._pooled(batch))
        return Scores(torch.from_numpy(distances.mean(axis=1)))
