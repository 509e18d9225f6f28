"""Detectors that look at one number an image. What one of them beats has learnt nothing."""

from __future__ import annotations

import torch.nn.functional as F

from aeflow_utils.data.features import Batch
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import System


class Brightness(System):
    """Minus the mean intensity. A method that this beats has learnt nothing."""

    def score(self, batch: Batch) -> Scores:
        return Scores(-batch.image.mean(dim=(1, 2, 3)))


class Smoothness(System):
    """Minus the mean standard deviation of intensity in 11 x 11 windows (those of SSIM)."""

    def score(self, batch: Batch) -> Scores:
        grey = batch.image.mean(dim=1, keepdim=True)
        mean = F.avg_pool2d(grey, 11, stride=1)
        variance = (F.avg_pool2d(grey**2, 11, stride=1) - mean**2).clamp_min(0)
        return Scores(-variance.sqrt().mean(dim=(1, 2, 3)))
