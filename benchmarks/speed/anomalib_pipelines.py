"""anomalib's FastFlow and PaDiM, driven as its trainer drives them: features in every step."""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch
from anomalib.models.image.fastflow.anomaly_map import AnomalyMapGenerator
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import FastflowModel, create_fast_flow_block
from anomalib.models.image.padim.torch_model import PadimModel
from torch import Tensor, nn

from aeflow_utils.data.features import Batch
from aeflow_utils.methods import PaDiMConfig
from aeflow_utils.models import build_system
from aeflow_utils.precision import default_device
from aeflow_utils.study.training import seed_everything
from benchmarks.speed.inputs import (
    LITE0,
    WIDE_RESNET,
    Inputs,
    fused_encoder,
    pixels_at,
    plain_encoder,
)
from benchmarks.speed.pipelines import Pipeline
from benchmarks.speed.timing import clock

ANOMALIB = f"anomalib {version('anomalib')}"
_LAYERS = {WIDE_RESNET: "layer3", LITE0: "blocks.4"}  # of stride 16
_TIMM = {WIDE_RESNET: "wide_resnet50_2", LITE0: "tf_efficientnet_lite0"}


class PeerFastFlow(FastflowModel):
    """anomalib's FastFlow on any encoder: its own constructor knows but two convolutional ones."""

    def __init__(self, inputs: Inputs) -> None:
        nn.Module.__init__(self)
        shapes = inputs.shapes
        encoder = plain_encoder(inputs.encoder, tuple(shapes))
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("std", encoder.std)
        self.input_size = (inputs.size, inputs.size)
        self.feature_extractor = encoder.network
        self.norms = nn.ModuleList([nn.LayerNorm(shape) for shape in shapes.values()])
        self.fast_flow_blocks = nn.ModuleList(
            [
                create_fast_flow_block(shape, conv3x3_only=False, hidden_ratio=1.0, flow_steps=8)
                for shape in shapes.values()
            ]
        )
        self.anomaly_map_generator = AnomalyMapGenerator(input_size=self.input_size)


def fastflow(inputs: Inputs) -> Pipeline:
    """FastFlow with the scales, blocks and rate of ours, and anomalib's optimizer."""
    seed_everything(0)
    model, loss = PeerFastFlow(inputs).to(default_device()), FastflowLoss()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-5)

    def step(positions: np.ndarray) -> None:
        optimizer.zero_grad()
        image = pixels_at(inputs, positions)
        loss(*model.train()((image - model.mean) / model.std)).backward()
        optimizer.step()

    def score(image: Tensor) -> Tensor:
        with torch.no_grad():
            return model.eval()((image - model.mean) / model.std).pred_score.flatten()

    return Pipeline(f"{ANOMALIB} FastFlow", step, score, model)


def padim_pair(inputs: Inputs, n_images: int) -> list[tuple[float, Pipeline]]:
    """PaDiM of both on the map of stride 16: seconds to fit `n_images`, and how each scores.

    With all three of Wide ResNet-50-2's layers, anomalib's covariances alone take 5 GB at 256 px.
    """
    positions = np.arange(n_images)
    return [_peer_padim(inputs, positions), _our_padim(inputs, positions)]


def _peer_padim(inputs: Inputs, positions: np.ndarray) -> tuple[float, Pipeline]:
    layer = _LAYERS[inputs.encoder]
    channels = inputs.shapes[16][0]
    seed_everything(0)
    peer = PadimModel(
        _TIMM[inputs.encoder], [layer], pre_trained=False, n_features=min(550, channels)
    )
    encoder = plain_encoder(inputs.encoder, (16,))
    weights = encoder.network.state_dict()
    peer.feature_extractor.feature_extractor.load_state_dict(weights, strict=False)

    start = clock()
    peer.to(default_device()).train()
    for some in np.array_split(positions, max(1, len(positions) // inputs.batch_size)):
        peer((pixels_at(inputs, some) - encoder.mean) / encoder.std)
    peer.fit()
    seconds = clock() - start

    def score(image: Tensor) -> Tensor:
        with torch.no_grad():
            return peer.eval()((image - encoder.mean) / encoder.std).pred_score.flatten()

    return seconds, Pipeline(f"{ANOMALIB} PaDiM", _no_step, score, peer)


def _our_padim(inputs: Inputs, positions: np.ndarray) -> tuple[float, Pipeline]:
    seed_everything(0)
    config = PaDiMConfig()
    system = build_system(config, inputs.shapes, inputs.size)
    encoder = fused_encoder(inputs.encoder, config.strides)
    keep = np.isin(np.arange(len(inputs.images)), positions)
    start = clock()
    for some in np.array_split(positions, max(1, len(positions) // inputs.batch_size)):
        encoder(pixels_at(inputs, some))  # what the cache was filled with
    system.fit_statistics(inputs.images.select(keep))
    system.to(default_device())  # statistics are taken where the maps are read
    seconds = clock() - start

    def score(image: Tensor) -> Tensor:
        with torch.inference_mode():
            return system.eval().score(Batch(image, encoder(image))).image_score

    return seconds, Pipeline("PaDiM fp32", _no_step, score, system)


def _no_step(positions: np.ndarray) -> None:
    """PaDiM has statistics, and nothing to step."""
