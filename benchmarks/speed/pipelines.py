"""The pipelines that are compared, and the images and encoders that all of them are given."""

import math
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec

import numpy as np
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils.config import DataConfig, TrainConfig
from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import Batch, ImageSet, load_splits
from aeflow_utils.data.precision import default_device, use_bf16
from aeflow_utils.models import build_system
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.models.flow import SUBNETS
from aeflow_utils.models.layers import Decoder, FeatureScaler
from aeflow_utils.models.scores import Scores
from aeflow_utils.options import AEFlowConfig, FastFlowConfig, PaDiMConfig
from aeflow_utils.study.training import seed_everything
from benchmarks.speed.measuring import clock

# No weights can be fetched here, and none are needed: time does not depend on their values.
WIDE_RESNET, LITE0 = "wide_resnet50_2", "efficientnet_lite0"
TITLES = {WIDE_RESNET: "Wide ResNet-50-2", LITE0: "EfficientNet-lite0"}
ENCODERS = {WIDE_RESNET: "wide_resnet50_2_untrained", LITE0: LITE0}
FASTFLOW_STRIDES = {WIDE_RESNET: (4, 8, 16), LITE0: (8, 16, 32)}
PLAIN = "plain AE-FLOW"
OURS = ("AE-FLOW fp32", "AE-FLOW bf16", "FastFlow fp32", "FastFlow bf16")
HAS_PEERS = find_spec("anomalib") is not None
VERSION = version("anomalib") if HAS_PEERS else "is not installed"
PEERS = (f"anomalib {VERSION} FastFlow", f"anomalib {VERSION} PaDiM")
NAMES = (PLAIN, *OURS, *(PEERS if HAS_PEERS else ()), "PaDiM fp32")


@dataclass(frozen=True)
class Inputs:
    """One encoder's side of the comparison: training images with their features."""

    encoder: str
    size: int  # of images, in pixels
    batch_size: int  # images a step
    images: ImageSet

    @property
    def shapes(self) -> dict[int, tuple[int, int, int]]:
        return {stride: maps.shape[1:] for stride, maps in self.images.features.items()}

    @property
    def first(self) -> np.ndarray:
        """Positions of a batch."""
        return np.arange(self.batch_size)

    def pixels(self, positions: np.ndarray) -> Tensor:
        """Images (N, 3, H, W) in [0, 1], as they come from disk: before any encoder."""
        return replace(self.images, features={}).batch(positions, default_device()).image


def elpv(encoder: str, size: int, batch_size: int, n_images: int) -> tuple[Inputs, ImageSet]:
    """As many training images, all normal, and at most as many validation images a label.

    Of every encoder's features those that FastFlow reads, from the cache, as in a run.
    """
    data = DataConfig("elpv", image_size=size, limit=n_images)
    splits = load_splits(data, ENCODERS[encoder], FASTFLOW_STRIDES[encoder])
    return Inputs(encoder, size, batch_size, splits.train), splits.val


@dataclass(frozen=True)
class Pipeline:
    """One way to train on images and to score new ones.

    Args:
        system: what trains and scores, given batches; encodes by itself where there is no `encode`.
        optimizers: of its steps; none where all it has is statistics.
        encode: images to the features that the system reads; its steps read the cache's.
    """

    inputs: Inputs
    system: nn.Module
    optimizers: list[torch.optim.Optimizer]
    encode: Encoder | None = None

    def step(self, positions: np.ndarray) -> None:
        """One training step on the images at these positions."""
        pixels = self.inputs.pixels
        batch = self._cached(positions) if self.encode else Batch(pixels(positions), {})
        self.system.train().train_step(batch, self.optimizers, 0.0)

    @torch.inference_mode()
    def score(self, image: Tensor) -> Tensor:
        """Scores (N,) of images (N, 3, H, W) in [0, 1], the encoder's work included."""
        batch = Batch(image, self.encode(image) if self.encode else {})
        return self.system.eval().score(batch).image_score

    @torch.inference_mode()
    def score_cached(self, positions: np.ndarray) -> Tensor:
        """Scores (N,) of the images at these positions, whose features are there already."""
        return self.system.eval().score(self._cached(positions)).image_score

    def fit(self) -> float:
        """Seconds to encode all images and take their statistics: the training of a PaDiM."""
        inputs, read, start = self.inputs, self.encode or self.system.train(), clock()
        images = replace(inputs.images, features={})
        for batch in images.batches(inputs.batch_size, device=default_device()):
            read(batch.image)
        self.system.fit_statistics(inputs.images)
        self.system.to(default_device())  # statistics are taken where the maps are read
        return clock() - start

    def _cached(self, positions: np.ndarray) -> Batch:
        return self.inputs.images.batch(positions, default_device())


class PlainEncoder(Encoder):
    """As timm builds it: channels first, norms not folded into convolutions."""

    def __init__(self, name: str, strides: tuple[int, ...]) -> None:
        super().__init__(name, strides)
        self.to(memory_format=torch.contiguous_format)

    def train(self, mode: bool = True) -> Encoder:
        return super().train(False)  # frozen, whatever the system around it does

    @torch.no_grad()
    def maps(self, images: Tensor) -> dict[int, Tensor]:
        maps = self.network((images - self.mean) / self.std)
        return dict(zip(self.strides, maps, strict=True))


class PlainAEFlow(AEFlow):
    """AE-FLOW as one would write it down first: torch's defaults, features in every step.

    FrEIA's own blocks, dense permutations and all, and torchmetrics' SSIM; channels first. From
    the same seed its weights are those of `AEFlow`.
    """

    def __init__(self, config: AEFlowConfig, shapes: dict[int, tuple], image_size: int) -> None:
        nn.Module.__init__(self)
        self.config = config
        self.scaler = FeatureScaler(shapes, config.strides, config.features)
        self.flow = SequenceINN(*self.scaler.shape)
        for _ in range(config.n_blocks):
            self.flow.append(AllInOneBlock, subnet_constructor=SUBNETS[config.subnet])
        self.decoder = Decoder(self.scaler.shape[0], min(config.strides), "tanh")
        self.decoder.layers = nn.Sequential(*self.decoder.layers)  # torch's own layout
        self.encoder = PlainEncoder(config.encoder, config.strides)  # last: it draws numbers too

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        z, log_jac_det = self.flow(self.features(batch))
        return z, log_jac_det, (torch.tanh(self.decoder.layers(z)) + 1) / 2

    def optimizers(self, config: TrainConfig) -> list[torch.optim.Optimizer]:
        weights = [p for p in self.parameters() if p.requires_grad]
        return [torch.optim.AdamW(weights, config.lr, weight_decay=config.weight_decay)]

    def score(self, batch: Batch) -> Scores:
        z, _, reconstruction = self(batch)
        similarity = structural_similarity_index_measure(
            reconstruction.clamp(0, 1), batch.image, sigma=1.5, data_range=1.0, reduction="none"
        )
        square = z.flatten(1).square().mean(dim=1)
        likelihood = -torch.exp(-0.5 * (square + math.log(2 * math.pi)))
        beta = self.config.beta
        return Scores(beta * likelihood - (1 - beta) * similarity)


def build(name: str, inputs: Inputs) -> Pipeline:
    """The pipeline of that name, one of `NAMES`; a PaDiM has yet to `fit`."""
    seed_everything(0)
    if name in PEERS:
        from benchmarks.speed.anomalib_pipelines import build_peer

        return build_peer(name, inputs)
    configs = {
        "FastFlow": partial(FastFlowConfig, strides=tuple(inputs.shapes)),
        "PaDiM": PaDiMConfig,
    }
    config = configs.get(name.split()[0], AEFlowConfig)(encoder=ENCODERS[inputs.encoder])
    make_system = PlainAEFlow if name == PLAIN else build_system
    system, encoder = make_system(config, inputs.shapes, inputs.size), None
    if name != PLAIN:
        encoder = Encoder(config.encoder, config.strides).fuse().to(default_device())
        for part in (system, encoder):
            use_bf16(part, name.endswith("bf16"))
    if isinstance(config, PaDiMConfig):
        return Pipeline(inputs, system, [], encoder)
    system.fit_statistics(inputs.images)
    optimizers = system.to(default_device()).optimizers(TrainConfig())
    return Pipeline(inputs, system, optimizers, encoder)
