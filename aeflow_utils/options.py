"""The options of each method, in frozen dataclasses, and the values that they may have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aeflow_utils.errors import UserError

CHOICES = {
    "subnet": ("conv_like", "resnet_like"),
    "features": ("channel", "zca", "raw"),
    "flow_score": ("exp", "nll", "full"),
    "last_activation": ("tanh", "linear"),
    "pooling": ("mean", "top10", "max"),
    "recon_score": ("ssim", "mse"),
    "optimizer": ("adamw", "adam"),
    "schedule": ("constant", "cosine"),
    "keep": ("last", "lowest"),
    "likelihood_unit": ("bits_per_dim", "nats"),
}


@dataclass(frozen=True)
class ModelConfig:
    """What every system shares; each subclass adds only the options its system reads.

    `strides` are the encoder's maps that the system reads, and `pooling` is how an image's score
    comes from its positions.

    Raises:
        UserError: an option has a value that is not among its `CHOICES`.
    """

    name: ClassVar[str] = ""
    strides: ClassVar[tuple[int, ...]] = (16,)
    pooling: ClassVar[str] = "mean"
    encoder: str = "efficientnet_lite0"

    @property
    def reads(self) -> str:
        """Maps and pooling, for tables: only rows that read the same are like with like."""
        if not self.strides:
            return "pixels"
        return f"stride {'+'.join(map(str, self.strides))}, {self.pooling}"

    def __post_init__(self) -> None:
        check_choices(self)


def check_choices(config: object) -> None:
    """Raise UserError where an option of `config` is not among its `CHOICES`."""
    for option, allowed in CHOICES.items():
        value = getattr(config, option, allowed[0])
        if value not in allowed:
            raise UserError(f"unknown {option} '{value}': choose one of {', '.join(allowed)}")


@dataclass(frozen=True)
class AEFlowConfig(ModelConfig):
    """AE-FLOW (Zhao, Ding, Zhang, ICLR 2023).

    Args:
        subnet: ``conv_like`` (3x3 conv, ReLU, 1x1 conv) or ``resnet_like``.
        n_blocks: coupling blocks.
        features: ``channel`` (standardised per channel with training statistics), ``zca``
            (whitened) or ``raw``, which is what the paper's silence says when taken literally.
        alpha: weight of the flow loss against the reconstruction loss.
        beta: weight of the flow score against the reconstruction score.
        flow_score: ``exp`` (-exp(log N(z')/D)), ``nll`` (-log N(z')/D) or ``full`` (with the
            log-determinant).
        last_activation: of the decoder, ``tanh`` or ``linear``.
        pooling: of -log N(z') over positions in the flow score: ``mean`` (the plain likelihood),
            ``top10`` (per cent least likely positions) or ``max``.
        recon_score: ``ssim`` (-SSIM) or ``mse``.
        strides: maps of the encoder that the flow reads, stacked at the finest one's positions.
        tune_encoder: train the encoder too, instead of leaving it frozen.
        likelihood_unit: of the flow loss, ``bits_per_dim``, or ``nats`` summed over all
            dimensions, which is the negative log-likelihood taken literally.
    """

    name: ClassVar[str] = "ae_flow"
    subnet: str = "conv_like"
    n_blocks: int = 8
    features: str = "channel"
    alpha: float = 0.5
    beta: float = 0.9
    flow_score: str = "exp"
    last_activation: str = "tanh"
    pooling: str = "mean"
    recon_score: str = "ssim"
    strides: tuple[int, ...] = (16,)
    tune_encoder: bool = False
    likelihood_unit: str = "bits_per_dim"


@dataclass(frozen=True)
class AutoencoderConfig(ModelConfig):
    """AE-FLOW without its flow: the decoder reads the encoder's features."""

    name: ClassVar[str] = "autoencoder"


@dataclass(frozen=True)
class FastFlowConfig(ModelConfig):
    """FastFlow (arXiv:2111.07677): one flow a scale, 3x3 and 1x1 kernels in turn.

    Args:
        strides: maps of the encoder, one flow each.
        n_blocks: coupling blocks of each flow.
        hidden_ratio: hidden width of a subnet over its input width; the paper's depends on the
            encoder.
    """

    name: ClassVar[str] = "fastflow"
    pooling: ClassVar[str] = "max"
    strides: tuple[int, ...] = (8, 16, 32)
    n_blocks: int = 8
    hidden_ratio: float = 1.0


@dataclass(frozen=True)
class PaDiMConfig(ModelConfig):
    """PaDiM-style Gaussian a position (arXiv:2011.08785).

    Args:
        strides: maps of the encoder that are stacked, at the positions of the finest.
        max_channels: a seeded random subset of channels beyond this many, as in PaDiM.
        pooling: image score from the distance map: ``max``, ``mean`` or ``top10`` (per cent).
    """

    name: ClassVar[str] = "padim"
    strides: tuple[int, ...] = (16,)
    max_channels: int = 550
    pooling: str = "max"


@dataclass(frozen=True)
class KNNConfig(ModelConfig):
    """Mean distance to the five nearest training images, on pooled features."""

    name: ClassVar[str] = "knn"


@dataclass(frozen=True)
class PatchCoreConfig(ModelConfig):
    """PatchCore-style nearest neighbours of patches (arXiv:2106.08265).

    Args:
        strides: maps of the encoder that are stacked, at the positions of the finest.
        coreset_fraction: training patches kept, as a share of all.
        n_neighbors: b of the paper's equation 7, neighbours that weigh an image's score.
    """

    name: ClassVar[str] = "patchcore"
    pooling: ClassVar[str] = "max"
    strides: tuple[int, ...] = (8, 16)
    coreset_fraction: float = 0.01
    n_neighbors: int = 9


@dataclass(frozen=True)
class GANomalyConfig(ModelConfig):
    """GANomaly (arXiv:1805.06725), on images and without the frozen encoder.

    Args:
        image_size: side to which images are resized, a power of two from 32; the paper's code
            has 32, for small photographs.
        n_features: channels of the first convolution; 64 in the paper's code.
    """

    name: ClassVar[str] = "ganomaly"
    strides: ClassVar[tuple[int, ...]] = ()
    image_size: int = 64
    n_features: int = 16


@dataclass(frozen=True)
class FAnoGANConfig(ModelConfig):
    """f-AnoGAN (Schlegl et al., MedIA 54, 2019), on images and without the frozen encoder.

    Args:
        image_size: side to which images are resized, a power of two from 32; 64 in the paper.
        n_features: channels of the first convolution; 64 in the paper's code.
        n_critic: steps of the critic for one of the generator, 5 as in WGAN-GP.
    """

    name: ClassVar[str] = "f_anogan"
    strides: ClassVar[tuple[int, ...]] = ()
    image_size: int = 64
    n_features: int = 8
    n_critic: int = 5


@dataclass(frozen=True)
class BrightnessConfig(ModelConfig):
    """A trivial detector: dark images are abnormal."""

    name: ClassVar[str] = "brightness"
    strides: ClassVar[tuple[int, ...]] = ()


@dataclass(frozen=True)
class SmoothnessConfig(ModelConfig):
    """A trivial detector: images with little local contrast are abnormal."""

    name: ClassVar[str] = "smoothness"
    strides: ClassVar[tuple[int, ...]] = ()
