"""Where the time of a step, and of a score, goes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F

from aeflow_utils.config import TrainConfig
from aeflow_utils.methods import AEFlowConfig
from aeflow_utils.models import build_system
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.models.scores import bits_per_dim, likelihood_map, score_parts, upsample
from aeflow_utils.precision import default_device, use_bf16
from aeflow_utils.study.training import seed_everything
from benchmarks.speed.comparison import default_arithmetic
from benchmarks.speed.inputs import Inputs, fused_encoder, pixels_at
from benchmarks.speed.machine import describe
from benchmarks.speed.timing import Row, clock, row


class Stopwatch:
    """Seconds by stage, a list over rounds."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = clock()
        yield
        self.seconds.setdefault(stage, []).append(clock() - start)


def breakdown(inputs: Inputs, repeats: int) -> list[Row]:
    """AE-FLOW in its default arithmetic, stage by stage: milliseconds an image."""
    seed_everything(0)
    system = build_system(AEFlowConfig(), inputs.shapes, inputs.size).to(default_device())
    encoder = fused_encoder(inputs.encoder, (16,))
    kind = default_arithmetic(inputs.encoder, describe())
    for part in (system, encoder):
        use_bf16(part, kind == "bf16")
    optimizer = system.optimizers(TrainConfig())[0]
    positions = np.arange(inputs.batch_size)
    training, scoring = Stopwatch(), Stopwatch()
    for round_ in range(-1, repeats):
        if round_ == 0:
            training, scoring = Stopwatch(), Stopwatch()
        _train(system.train(), optimizer, inputs, positions, training)
        _score(system.eval(), encoder, inputs, positions, scoring)
    rows = []
    for section, watch in (("stages of a train step", training), ("stages of scoring", scoring)):
        for stage, seconds in watch.seconds.items():
            values = 1e3 * np.array(seconds) / inputs.batch_size
            rows.append(row(section, inputs.encoder, stage, "time", "ms an image", values, kind))
    return rows


def _train(system: AEFlow, optimizer, inputs: Inputs, positions: np.ndarray, watch: Stopwatch):
    with watch("read a batch"):
        batch = inputs.images.batch(positions).to(default_device())
    with watch("flow forward"):
        z, log_jac_det = system.flow(system.features(batch))
        flow_loss = bits_per_dim(z, log_jac_det).mean()
    with watch("decoder forward"):
        loss = 0.5 * flow_loss + 0.5 * F.mse_loss(system.decoder(z), batch.image)
    with watch("backward"):
        optimizer.zero_grad()
        loss.backward()
    with watch("optimizer"):
        optimizer.step()


@torch.inference_mode()
def _score(system: AEFlow, encoder, inputs: Inputs, positions: np.ndarray, watch: Stopwatch):
    with watch("read pixels"):
        image = pixels_at(inputs, positions)
    with watch("encoder"):
        maps = encoder(image)
    with watch("flow"):
        z, log_jac_det = system.flow(system.scaler(maps))
    with watch("decoder"):
        reconstruction = system.decoder(z).clamp(0, 1)
    with watch("SSIM, pooling and map"):
        score_parts(z, log_jac_det, image, reconstruction)
        upsample(likelihood_map(z), image.shape[-2:])
