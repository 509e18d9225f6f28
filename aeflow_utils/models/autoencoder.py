"""The plain autoencoder: AE-FLOW's encoder and decoder with nothing between them."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.layers import Decoder, FeatureScaler
from aeflow_utils.models.scores import Scores, ssim
from aeflow_utils.models.system import Losses, Shapes, System
from aeflow_utils.options import AutoencoderConfig


class Autoencoder(System):
    """Score: the mean squared error of the reconstruction; -SSIM is kept beside it."""

    def __init__(self, config: AutoencoderConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.scaler = FeatureScaler(shapes, config.strides, "channel")
        self.decoder = Decoder(self.scaler.shape[0], min(config.strides), "tanh")

    def fit_statistics(self, train: ImageSet) -> None:
        self.scaler.fit(train)

    def forward(self, batch: Batch) -> Tensor:
        """x' (N, 3, H, W)."""
        return self.decoder(self.scaler(batch.features))

    def loss(self, batch: Batch) -> Losses:
        recon = F.mse_loss(self(batch), batch.image)
        return {"total": recon, "recon": recon}

    def score(self, batch: Batch) -> Scores:
        reconstruction = self(batch).clamp(0, 1)
        error = ((batch.image - reconstruction) ** 2).mean(dim=1, keepdim=True)
        return Scores(
            image_score=error.mean(dim=(1, 2, 3)),
            anomaly_map=error,
            recon_score=-ssim(batch.image, reconstruction),
            reconstruction=reconstruction,
        )
