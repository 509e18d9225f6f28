"""AE-FLOW: a normalizing flow between a frozen encoder and a decoder (Zhao et al., ICLR 2023)."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.flow import SUBNETS, Flow
from aeflow_utils.models.layers import Decoder, FeatureScaler
from aeflow_utils.models.scores import (
    Parts,
    Scores,
    bits_per_dim,
    flow_score,
    likelihood_map,
    recon_score,
    score_parts,
    upsample,
)
from aeflow_utils.models.system import Losses, Shapes, System
from aeflow_utils.options import AEFlowConfig


class AEFlow(System):
    """z = f(x), z' = h(z), x' = g(z'): encoder f (frozen), flow h, decoder g.

    Loss: ``alpha * bits_per_dim + (1 - alpha) * MSE(x, x')``. In bits per dimension, because the
    plain log-likelihood is a sum over C h w dimensions and would drown the other term.
    Score: ``beta * S_flow + (1 - beta) * S_recon`` with ``S_recon = -SSIM(x, x')``.

    With `tune_encoder` the encoder is a part of the system and trained with it. The likelihood is
    then no longer one of fixed data: it can be raised by making features more alike.
    """

    def __init__(self, config: AEFlowConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.scaler = FeatureScaler(shapes, config.strides, config.features)
        self.flow = Flow(self.scaler.shape, [SUBNETS[config.subnet]] * config.n_blocks)
        self.decoder = Decoder(self.scaler.shape[0], min(config.strides), config.last_activation)
        self.encoder = None
        if config.tune_encoder:
            self.encoder = Encoder(config.encoder, config.strides).requires_grad_(True)

    def fit_statistics(self, train: ImageSet) -> None:
        self.scaler.fit(train)

    def features(self, batch: Batch) -> Tensor:
        """The scaled features that the flow reads, (N, C, h, w)."""
        maps = batch.features if self.encoder is None else self.encoder.maps(batch.image)
        return self.scaler(maps)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """z' (N, C, h, w), log_jac_det (N,), x' (N, 3, H, W)."""
        z, log_jac_det = self.flow(self.features(batch))
        return z, log_jac_det, self.decoder(z)

    def loss(self, batch: Batch) -> Losses:
        z, log_jac_det, reconstruction = self(batch)
        flow = bits_per_dim(z, log_jac_det).mean()
        recon = F.mse_loss(reconstruction, batch.image)
        nats = z[0].numel() * math.log(2) if self.config.likelihood_unit == "nats" else 1
        alpha = self.config.alpha
        total = alpha * nats * flow + (1 - alpha) * recon
        return {"total": total, "flow": flow, "recon": recon}

    def score(self, batch: Batch) -> Scores:
        z, log_jac_det, reconstruction = self(batch)
        reconstruction = reconstruction.clamp(0, 1)
        parts = score_parts(z, log_jac_det, batch.image, reconstruction)
        image_score, s_flow, s_recon = mix(parts, self.config)
        anomaly_map = upsample(likelihood_map(z), batch.image.shape[-2:])
        return Scores(image_score, anomaly_map, s_flow, s_recon, parts, reconstruction)


def mix(parts: Parts, config: AEFlowConfig) -> tuple[Tensor, Tensor, Tensor]:
    """S = beta S_flow + (1 - beta) S_recon, S_flow and S_recon, each (N,), as `config` has them."""
    s_flow = flow_score(parts, config.flow_score, config.pooling)
    s_recon = recon_score(parts, config.recon_score)
    return config.beta * s_flow + (1 - config.beta) * s_recon, s_flow, s_recon
