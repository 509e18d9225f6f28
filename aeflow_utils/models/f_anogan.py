"""f-AnoGAN: a Wasserstein GAN, then an encoder into it (Schlegl et al., MedIA 54, 2019).

The paper's networks are residual; these are the plain ones of `dcgan`, at a fifteenth of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from aeflow_utils.models.dcgan import image_to_vector, shrink, vector_to_image
from aeflow_utils.models.scores import Scores, upsample
from aeflow_utils.models.system import Losses, Optimizers, Shapes, System, descend
from aeflow_utils.options import FAnoGANConfig

PENALTY_WEIGHT = 10.0  # lambda of WGAN-GP (arXiv:1704.00028)
KAPPA = 1.0  # weight of the feature residual, in loss and score
N_LATENT = 128  # dimensions of the noise; both as in the paper's code
BETAS = (0.0, 0.9)


class FAnoGAN(System):
    """In the first half of the epochs a GAN learns to make normal images, as WGAN-GP.

    In the second half generator and critic are frozen, and an encoder learns to find the vector
    from which the generator remakes an image: ``izi_f`` of the paper. Its loss for a pair of
    images x and x' = G(E(x)), with f the critic's last features, is also the anomaly score:

        A(x) = mean (x - x')^2 + kappa mean (f(x) - f(x'))^2

    Map: (x - x')^2, mean over channels.
    """

    phases = 2

    def __init__(self, config: FAnoGANConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.side, width = config.image_size, config.n_features
        self.generator = vector_to_image(self.side, width, N_LATENT)
        self.critic = image_to_vector(self.side, width, 1, critic=True)
        self.encoder = image_to_vector(self.side, width, N_LATENT)
        self.register_buffer("critic_steps", torch.tensor(0))  # so that a resumed run goes on

    def optimizers(self, config: TrainConfig) -> Optimizers:
        """Adam for critic and generator; RMSprop at half the rate for the encoder.

        The rates 1e-4 and 5e-5 are those of the paper's code, as are the kinds of optimizer.
        """
        options = {"betas": BETAS, "weight_decay": config.weight_decay, "fused": True}
        parts = self.critic, self.generator
        adams = [torch.optim.Adam(part.parameters(), config.lr, **options) for part in parts]
        return [*adams, torch.optim.RMSprop(self.encoder.parameters(), config.lr / 2, alpha=0.9)]

    def train_step(self, batch: Batch, optimizers: Optimizers, progress: float) -> Losses:
        """``total`` is the critic's loss in the first half, the encoder's in the second."""
        critic, generator, encoder = optimizers
        if progress >= 0.5:
            self.generator.eval()  # frozen, its running statistics too
            losses = self.loss(batch)
            descend(losses["total"], encoder)
            return losses
        x = shrink(batch.image, self.side)
        losses = self._critic_losses(x)
        descend(losses["total"], critic)
        self.critic_steps += 1
        if self.critic_steps % self.config.n_critic == 0:
            losses["generator"] = -self.critic(self._sample(len(x))).mean()
            descend(losses["generator"], generator)
        return losses

    def _sample(self, n: int) -> Tensor:
        """n generated images, (n, 3, side, side) in [-1, 1]."""
        noise = torch.randn(n, N_LATENT, 1, 1, device=self.critic_steps.device)
        return self.generator(noise)

    def _critic_losses(self, x: Tensor) -> Losses:
        """E[D(x~)] - E[D(x)] + lambda E[(|grad D(x^)| - 1)^2], arXiv:1704.00028 equation 3."""
        with torch.no_grad():
            fake = self._sample(len(x))
        share = torch.rand(len(x), 1, 1, 1, device=x.device)
        mixed = (share * x + (1 - share) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(self.critic(mixed).sum(), mixed, create_graph=True)
        penalty = ((gradient.flatten(1).norm(dim=1) - 1) ** 2).mean()
        wasserstein = self.critic(x).mean() - self.critic(fake).mean()
        total = PENALTY_WEIGHT * penalty - wasserstein
        return {"total": total, "wasserstein": wasserstein, "penalty": penalty}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x' (N, 3, side, side); (x - x')^2, mean over channels; mean (f(x) - f(x'))^2, (N,)."""
        remade = self.generator(self.encoder(x))
        features = self.critic[:-1]
        feature_residual = ((features(x) - features(remade)) ** 2).mean(dim=(1, 2, 3))
        return remade, ((x - remade) ** 2).mean(dim=1, keepdim=True), feature_residual

    def loss(self, batch: Batch) -> Losses:
        """The encoder's loss, in both halves; in the first it is that of an untrained encoder."""
        _, image_residual, feature_residual = self(shrink(batch.image, self.side))
        recon, feature = image_residual.mean(), feature_residual.mean()
        return {"total": recon + KAPPA * feature, "recon": recon, "feature": feature}

    def score(self, batch: Batch) -> Scores:
        remade, image_residual, feature_residual = self(shrink(batch.image, self.side))
        recon_score = image_residual.mean(dim=(1, 2, 3))
        return Scores(
            image_score=recon_score + KAPPA * feature_residual,
            anomaly_map=upsample(image_residual, batch.image.shape[-2:]),
            recon_score=recon_score,
            reconstruction=(remade + 1) / 2,
        )
