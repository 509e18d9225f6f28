"""anomalib's FastFlow and PaDiM, driven as its trainer drives them: features in every step."""

import torch
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import FastflowModel, create_fast_flow_block
from anomalib.models.image.padim.torch_model import PadimModel
from torch import Tensor, nn

from aeflow_utils.data.encoders import get_encoder_spec
from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.data.precision import default_device
from aeflow_utils.models.scores import Scores
from benchmarks.speed.pipelines import ENCODERS, Inputs, Pipeline, PlainEncoder


class Peer(nn.Module):
    """What a `Pipeline` asks of a system, of a model of anomalib."""

    def __init__(self, model: nn.Module, encoder: PlainEncoder) -> None:
        super().__init__()
        self.model, self.loss = model, FastflowLoss()
        self.register_buffer("mean", encoder.mean)
        self.register_buffer("std", encoder.std)

    def forward(self, image: Tensor) -> object:
        return self.model((image - self.mean) / self.std)

    def train_step(self, batch: Batch, optimizers: list, progress: float) -> None:
        optimizers[0].zero_grad()
        self.loss(*self(batch.image)).backward()
        optimizers[0].step()

    def fit_statistics(self, train: ImageSet) -> None:
        self.model.fit()

    def score(self, batch: Batch) -> Scores:
        return Scores.of(self(batch.image).pred_score.flatten())


def build_peer(name: str, inputs: Inputs) -> Pipeline:
    """FastFlow has the scales, blocks and rate of ours, and anomalib's optimizer."""
    if name.endswith("PaDiM"):
        return Pipeline(inputs, _padim(inputs).to(default_device()), [])
    peer = _fastflow(inputs).to(default_device())
    weights = [p for p in peer.parameters() if p.requires_grad]
    return Pipeline(inputs, peer, [torch.optim.Adam(weights, lr=1e-3, weight_decay=1e-5)])


def _fastflow(inputs: Inputs) -> Peer:
    """On any encoder: its constructor knows but two convolutional ones."""
    shapes, size = inputs.shapes, (inputs.size, inputs.size)
    encoder = PlainEncoder(ENCODERS[inputs.encoder], tuple(shapes))
    model = FastflowModel(size, "resnet18", pre_trained=False, flow_steps=1)
    model.feature_extractor = encoder.network
    model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes.values())
    model.fast_flow_blocks = nn.ModuleList(
        create_fast_flow_block(shape, conv3x3_only=False, hidden_ratio=1.0, flow_steps=8)
        for shape in shapes.values()
    )
    return Peer(model, encoder)


def _padim(inputs: Inputs) -> Peer:
    """On the map of stride 16, at most 550 channels.

    With all three of Wide ResNet-50-2's layers, its covariances alone take 5 GB at 256 px.
    """
    encoder = PlainEncoder(ENCODERS[inputs.encoder], (16,))
    name, n_features = (
        get_encoder_spec(inputs.encoder).timm_name,
        min(550, *encoder.channels.values()),
    )
    model = PadimModel(name, [3], pre_trained=False, n_features=n_features)
    weights = encoder.network.state_dict()
    model.feature_extractor.feature_extractor.load_state_dict(weights, strict=False)
    return Peer(model, encoder)
