"""The pipelines that are compared: each trains on a batch and scores one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from aeflow_utils.methods import AEFlowConfig, FastFlowConfig, ModelConfig
from aeflow_utils.models import build_system, flow, scores
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.models.layers import Decoder
from aeflow_utils.models.scores import Scores
from aeflow_utils.precision import default_device, use_bf16
from aeflow_utils.study.training import seed_everything
from benchmarks.speed.inputs import (
    Inputs,
    encode_plain,
    fused_encoder,
    pixels_at,
    plain_encoder,
)

PLAIN = "plain AE-FLOW"


@dataclass(frozen=True)
class Pipeline:
    """One way to train on images and to score new ones.

    Args:
        step: one training step on the images at these positions.
        score: scores (N,) of images (N, 3, H, W) in [0, 1], the encoder's work included.
        score_cached: scores of the images at these positions, whose features are there already.
    """

    name: str
    step: Callable[[np.ndarray], object]
    score: Callable[[Tensor], Tensor]
    system: nn.Module
    score_cached: Callable[[np.ndarray], Tensor] | None = None


class PlainDecoder(Decoder):
    """Channels first throughout."""

    def forward(self, z: Tensor) -> Tensor:
        return (torch.tanh(self.layers(z)) + 1) / 2


class PlainAEFlow(AEFlow):
    """AE-FLOW with FrEIA's own blocks, dense permutations and all, and torchmetrics' SSIM."""

    def score(self, batch: Batch) -> Scores:
        z, _, reconstruction = self(batch)
        similarity = structural_similarity_index_measure(
            reconstruction.clamp(0, 1),
            batch.image,
            sigma=1.5,
            data_range=1.0,
            reduction="none",
        )
        likelihood = -torch.exp(scores.gaussian_log_prob(z) / z[0].numel())
        beta = self.config.beta
        return Scores(beta * likelihood - (1 - beta) * similarity)


def use_freias_blocks(system: nn.Module) -> None:
    """Put FrEIA's blocks in place of ours, with the same weights and permutations."""
    for module in system.modules():
        if isinstance(module, flow.Flow):
            blocks = SequenceINN(*module.shape)
            for block in module.blocks:
                blocks.append(
                    AllInOneBlock,
                    subnet_constructor=lambda *_, subnet=block.subnet: subnet,
                    affine_clamping=block.clamp,
                    permute_soft=False,
                )
                blocks[-1].load_state_dict(_with_dense_permutation(block))
            module.blocks = blocks


def _with_dense_permutation(block: nn.Module) -> dict[str, Tensor]:
    state = block.state_dict()
    dense = torch.eye(len(block.order))[state.pop("order")][..., None, None]
    return state | {"w_perm": dense, "w_perm_inv": dense.transpose(0, 1)}


def ours(inputs: Inputs, config: ModelConfig, name: str, bf16: bool = False) -> Pipeline:
    """This bundle: cached features in training, the fused encoder in scoring."""
    seed_everything(0)
    system = build_system(config, inputs.shapes, inputs.size)
    system.fit_statistics(inputs.images)
    device = default_device()
    optimizers = system.to(device).optimizers(TrainConfig())
    encoder = fused_encoder(inputs.encoder, config.strides)
    use_bf16(system, bf16)
    use_bf16(encoder, bf16)

    def step(positions: np.ndarray) -> None:
        batch = inputs.images.batch(positions).to(device)
        system.train().train_step(batch, optimizers, 0.0)

    @torch.inference_mode()
    def score_batch(batch: Batch) -> Tensor:
        return system.eval().score(batch).image_score

    def score(image: Tensor) -> Tensor:
        return score_batch(Batch(image, encoder(image)))

    def score_cached(positions: np.ndarray) -> Tensor:
        return score_batch(inputs.images.batch(positions).to(device))

    return Pipeline(name, step, score, system, score_cached)


def plain(inputs: Inputs, name: str = "plain") -> Pipeline:
    """AE-FLOW as one would write it down first: float32, features computed in every step,
    torch's defaults everywhere."""
    seed_everything(0)
    system, strides = PlainAEFlow(AEFlowConfig(), inputs.shapes, inputs.size), (16,)
    encoder = plain_encoder(inputs.encoder, strides)
    use_freias_blocks(system)
    system.fit_statistics(inputs.images)
    system.decoder.__class__ = PlainDecoder
    weights = [p for p in system.to(default_device()).parameters() if p.requires_grad]
    rates = TrainConfig()
    optimizers = [torch.optim.AdamW(weights, rates.lr, weight_decay=rates.weight_decay)]

    def batch(image: Tensor) -> Batch:
        return Batch(image, encode_plain(encoder, image))

    def step(positions: np.ndarray) -> None:
        system.train().train_step(batch(pixels_at(inputs, positions)), optimizers, 0.0)

    def score(image: Tensor) -> Tensor:
        with torch.no_grad():
            return system.eval().score(batch(image)).image_score

    return Pipeline(name, step, score, system)


def builders(inputs: Inputs) -> dict[str, Callable[[], Pipeline]]:
    """The plain pipeline and this bundle's, AE-FLOW and FastFlow, by name."""
    fastflow = FastFlowConfig(strides=tuple(inputs.shapes))
    found = {PLAIN: partial(plain, inputs, PLAIN)}
    for title, config in (("AE-FLOW", AEFlowConfig()), ("FastFlow", fastflow)):
        for kind, bf16 in (("fp32", False), ("bf16", True)):
            name = f"{title} {kind}"
            found[name] = partial(ours, inputs, config, name, bf16)
    return found
