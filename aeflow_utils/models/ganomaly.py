"""GANomaly: encoder, decoder, encoder, and a discriminator (Akcay et al., arXiv:1805.06725)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from aeflow_utils.models.dcgan import image_to_vector, shrink, vector_to_image
from aeflow_utils.models.scores import Scores, upsample
from aeflow_utils.models.system import Losses, Optimizers, Shapes, System, descend
from aeflow_utils.options import GANomalyConfig

WEIGHTS = {"adversarial": 1.0, "recon": 50.0, "latent": 1.0}  # the paper's
N_LATENT = 100  # dimensions of z, as in the paper's code
BETAS = (0.5, 0.999)


class GANomaly(System):
    """x is encoded to z, decoded to x', and encoded again to z'; normal images have z' near z.

    Score: the mean of (z - z')^2 over the latent dimensions, as in the paper's code but without
    its min-max over the test set, which would let an image's score depend on the others. Map:
    |x - x'|, mean over channels.

    The paper's code starts its discriminator anew when the loss comes near 0. This does not: the
    adversarial loss matches features and keeps its gradient where a sure discriminator's
    probabilities have none, and a restart by a threshold hangs on luck.
    """

    def __init__(self, config: GANomalyConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.side, width = config.image_size, config.n_features
        self.encoder = image_to_vector(self.side, width, N_LATENT)
        self.decoder = vector_to_image(self.side, width, N_LATENT)
        self.second_encoder = image_to_vector(self.side, width, N_LATENT)
        self.discriminator = image_to_vector(self.side, width, 1)

    def optimizers(self, config: TrainConfig) -> Optimizers:
        """One Adam for the discriminator, one for the two encoders and the decoder."""
        generator = nn.ModuleList([self.encoder, self.decoder, self.second_encoder])
        options = {"betas": BETAS, "weight_decay": config.weight_decay, "fused": True}
        parts = self.discriminator, generator
        return [torch.optim.Adam(part.parameters(), config.lr, **options) for part in parts]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (N, 3, side, side) in [-1, 1] to x' of its shape, z and z' (N, 100)."""
        z = self.encoder(x)
        remade = self.decoder(z)
        return remade, z.flatten(1), self.second_encoder(remade).flatten(1)

    def train_step(self, batch: Batch, optimizers: Optimizers, progress: float) -> Losses:
        """A step of the discriminator, then one of the generator against its new features."""
        x = shrink(batch.image, self.side)
        latents = self(x)
        discriminator_loss = self._discriminator_loss(x, latents[0].detach())
        descend(discriminator_loss, optimizers[0])
        losses = self._generator_losses(x, *latents)
        descend(losses["total"], optimizers[1])
        return {**losses, "discriminator": discriminator_loss}

    def loss(self, batch: Batch) -> Losses:
        """``total`` is the generator's; ``discriminator`` stands beside it."""
        x = shrink(batch.image, self.side)
        latents = self(x)
        losses = self._generator_losses(x, *latents)
        return {**losses, "discriminator": self._discriminator_loss(x, latents[0])}

    def _generator_losses(self, x: Tensor, remade: Tensor, z: Tensor, z_again: Tensor) -> Losses:
        """The three terms of the paper's section on training, and their weighted sum."""
        features = self.discriminator[:-1]
        losses = {
            "adversarial": F.mse_loss(features(remade), features(x).detach()),
            "recon": F.l1_loss(remade, x),
            "latent": F.mse_loss(z_again, z),
        }
        total = sum(WEIGHTS[name] * loss for name, loss in losses.items())
        return {"total": total, **losses}

    def _discriminator_loss(self, x: Tensor, remade: Tensor) -> Tensor:
        """Binary cross-entropy of real against remade; ln 2 where it cannot tell them."""
        real, fake = self.discriminator(x), self.discriminator(remade)
        bce = F.binary_cross_entropy_with_logits
        return (bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))) / 2

    def score(self, batch: Batch) -> Scores:
        x = shrink(batch.image, self.side)
        remade, z, z_again = self(x)
        error = (x - remade).abs().mean(dim=1, keepdim=True)
        return Scores(
            image_score=((z - z_again) ** 2).mean(dim=1),
            anomaly_map=upsample(error, batch.image.shape[-2:]),
            recon_score=error.mean(dim=(1, 2, 3)),
            reconstruction=(remade + 1) / 2,
        )
