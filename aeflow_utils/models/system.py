"""What all systems share: the protocol that training and scoring rely on."""

from __future__ import annotations

from itertools import chain
from typing import ClassVar

import torch
from torch import Tensor, nn

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.methods import METHODS
from aeflow_utils.models.scores import Scores, upsample
from aeflow_utils.options import ModelConfig

Shapes = dict[int, tuple[int, int, int]]  # {stride: (C, h, w)} of the encoder's maps
Losses = dict[str, Tensor]  # scalar terms, by name
Optimizers = list[torch.optim.Optimizer]


class System(nn.Module):
    """An anomaly detector on prepared images and frozen features.

    A subclass implements `score`; `fit_statistics` where it needs statistics of the training
    images; `loss` where it is trained by gradient; `optimizers` and `train_step` where its parts
    are trained against each other or one after the other.

    A system that is trained in several `phases`, each as long as the others, has its rate rise and
    fall in each.
    """

    phases: ClassVar[int] = 1

    def __init__(self, config: ModelConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__()
        self.config = config

    @property
    def judged_by(self) -> str:
        """`Method.judged_by`: the validation term that says which epoch is the best."""
        return METHODS[self.config.name].judged_by

    @property
    def device(self) -> str:
        """The kind of device that its tensors are on; ``cpu`` where it has none."""
        return next(chain(self.parameters(), self.buffers(), [torch.empty(0)])).device.type

    def fit_statistics(self, train: ImageSet) -> None:
        """One pass over the (normal) training images, before any gradient step."""

    def optimizers(self, config: TrainConfig) -> Optimizers:
        """What `train_step` steps with: one optimizer over all trainable parameters."""
        # By default AdamW: Adam's coupled decay of 1e-4 outweighs the small gradients of the
        # reconstruction loss and leaves the decoder painting an average image.
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.optimizer]
        parameters = [p for p in self.parameters() if p.requires_grad]
        return [kind(parameters, lr=config.lr, weight_decay=config.weight_decay, fused=True)]

    def train_step(self, batch: Batch, optimizers: Optimizers, progress: float) -> Losses:
        """One step on one batch: the scalar terms to record, ``total`` among them.

        Args:
            optimizers: those of `optimizers`, in that order.
            progress: share of all steps that are over, in [0, 1).
        """
        losses = self.loss(batch)
        descend(losses["total"], optimizers[0])
        return losses

    def loss(self, batch: Batch) -> Losses:
        """Scalar terms without a step, for validation; ``total`` is what training lowers."""
        raise NotImplementedError(f"{type(self).__name__} is not trained by gradient")

    def score(self, batch: Batch) -> Scores:
        """Scores of each image; higher is more anomalous."""
        raise NotImplementedError

    @torch.inference_mode()
    def reconstruct(self, batch: Batch) -> Tensor:
        """x' in [0, 1] at the image's size, (N, 3, H, W), of a system that makes one."""
        return upsample(self.score(batch).reconstruction, batch.image.shape[-2:])


def descend(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    """One step of `optimizer`; the gradient reaches its own parameters and no others."""
    optimizer.zero_grad()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    loss.backward(inputs=parameters)
    optimizer.step()
