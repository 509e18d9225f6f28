"""What all systems share: the protocol that training and scoring rely on."""

from __future__ import annotations

from torch import Tensor, nn

from aeflow_utils.features import Batch, ImageSet
from aeflow_utils.scores import Scores

Shapes = dict[int, tuple[int, int, int]]


class System(nn.Module):
    """An anomaly detector on prepared images and frozen features.

    A subclass is built from its configuration, the feature shapes {stride: (C, h, w)} and the
    image size. It implements `score`; `fit_statistics` where it needs statistics of the training
    images; `loss` where it is trained by gradient.
    """

    def fit_statistics(self, train: ImageSet) -> None:
        """One pass over the (normal) training images, before any gradient step."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar terms of a training step; ``total`` is minimised, all are recorded."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def score(self, batch: Batch) -> Scores:
        """Scores of each image; higher is more anomalous."""
        raise NotImplementedError
