"""The methods of the study: `METHODS`, the one registry of what each is. It imports no torch.

To add a method: its options here or in `options`, one file in `models/` with its system, and one
`Method` here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module

from aeflow_utils.errors import UserError
from aeflow_utils.options import (
    AEFlowConfig,
    AutoencoderConfig,
    BrightnessConfig,
    FAnoGANConfig,
    FastFlowConfig,
    GANomalyConfig,
    KNNConfig,
    ModelConfig,
    PaDiMConfig,
    PatchCoreConfig,
    SmoothnessConfig,
)

FLOOR, FLOOR_TITLE = "all_abnormal", "trivial: all abnormal"  # a row of tables, not a detector
KINDS = ("trained", "gan", "untrained", "trivial")  # the slowest to run first


@dataclass(frozen=True)
class Variant:
    """One row of the study: its name for readers, the options that make it, its converged rate."""

    title: str = ""
    options: dict = field(default_factory=dict)
    converged: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Method:
    """What a method is.

    Args:
        title: its name in tables and figures.
        kind: one of `KINDS`: trained by gradient, adversarially, fitted without training, or a
            floor that looks at one number an image.
        config: its options; their `name` is the method's key.
        system: where its `System` is: ``module:class``, in `aeflow_utils.models`.
        training: fields of `TrainConfig` that are its authors', where the profile's are not.
        variants: its rows in the study, by key.
        training_on: as `training`, for single data sets.
        judged_by: the loss term on validation normals by which rate and epoch of a converged run
            are chosen. A GAN's total hangs on its critic's scale, FastFlow's on its LayerNorm's.
        converged: fields of `TrainConfig` with which its loss on validation normals falls
            furthest (see `study.trials`); of a variant; on other maps of the encoder, by strides.
        has_map: whether it gives an anomaly map, and not a score alone.
    """

    title: str
    kind: str
    config: type[ModelConfig]
    system: str
    training: dict = field(default_factory=dict)
    variants: dict[str, Variant] = field(default_factory=lambda: {"": Variant()})
    training_on: dict[str, dict] = field(default_factory=dict)
    judged_by: str = "total"
    converged: dict = field(default_factory=dict)
    converged_on_maps: dict[tuple[int, ...], dict] = field(default_factory=dict)
    has_map: bool = True

    @property
    def deterministic(self) -> bool:
        """Whether a seed changes nothing, so that one run is all there is."""
        return self.kind in ("untrained", "trivial")

    @property
    def keep(self) -> str:
        """`TrainConfig.keep` of a converged run: a GAN's losses say of no epoch that it is best."""
        return "lowest" if self.kind == "trained" else "last"

    def load_system(self) -> type:
        """The `models.system.System` behind the method; imports torch."""
        module, _, name = self.system.partition(":")
        return getattr(import_module(f"aeflow_utils.models.{module}"), name)


def _rate(lr: float, weight_decay: float = 0.0) -> dict[str, float]:
    return {"lr": lr, "weight_decay": weight_decay}


_SUBNETS = {
    "conv_like": Variant("conv_like", {"subnet": "conv_like"}, {"lr": 1.6e-2}),
    "resnet_like": Variant("resnet_like", {"subnet": "resnet_like"}, {"lr": 4e-2}),
}
_STRIDES = {
    "stride_16": Variant("stride 16", {"strides": (16,)}),
    "stride_32": Variant("stride 32", {"strides": (32,)}),
    "strides_16_32": Variant("strides 16+32", {"strides": (16, 32)}),
}
_FEW_STEPS = {"epochs": 1, "min_steps": 300}  # fifteen times as dear: 432 channels at stride 16
# What the reproductions quote from section 3.2 of AE-FLOW's paper.
_ON_CHEST_XRAY = {"chest_xray": _rate(1e-3)}

METHODS: dict[str, Method] = {
    method.config.name: method
    for method in (
        Method(
            "AE-FLOW",
            "trained",
            AEFlowConfig,
            "ae_flow:AEFlow",
            {},
            _SUBNETS,
            _ON_CHEST_XRAY,
            converged_on_maps={(32,): {"lr": 2e-3}, (16, 32): {"lr": 2e-3} | _FEW_STEPS},
        ),
        Method(
            "plain autoencoder",
            "trained",
            AutoencoderConfig,
            "autoencoder:Autoencoder",
            converged={"lr": 1.6e-2},
        ),
        Method(
            "FastFlow",
            "trained",
            FastFlowConfig,
            "fastflow:FastFlow",
            _rate(1e-3, 1e-5),
            judged_by="density",
            converged={"lr": 3e-3},
        ),
        Method(
            "GANomaly",
            "gan",
            GANomalyConfig,
            "ganomaly:GANomaly",
            _rate(2e-4),
            judged_by="recon",
            converged={"lr": 6e-4},
        ),
        Method(
            "f-AnoGAN",
            "gan",
            FAnoGANConfig,
            "f_anogan:FAnoGAN",
            _rate(1e-4),
            judged_by="recon",
            converged={"lr": 2e-3},
        ),
        Method("PaDiM", "untrained", PaDiMConfig, "padim:PaDiM", {}, _STRIDES),
        Method("PatchCore", "untrained", PatchCoreConfig, "patchcore:PatchCore"),
        Method("kNN, pooled features", "untrained", KNNConfig, "knn:KNN", has_map=False),
        Method("trivial: dark", "trivial", BrightnessConfig, "trivial:Brightness", has_map=False),
        Method("trivial: smooth", "trivial", SmoothnessConfig, "trivial:Smoothness", has_map=False),
    )
}


def get_method(name: str) -> Method:
    """The method called `name`.

    Raises:
        UserError: there is none; names those that there are.
    """
    if name not in METHODS:
        raise UserError(f"unknown method '{name}': choose one of {', '.join(METHODS)}")
    return METHODS[name]


def methods_of(*kinds: str) -> tuple[str, ...]:
    """The keys of the methods of these kinds, in the order of the study."""
    return tuple(key for key, method in METHODS.items() if method.kind in kinds)


def method_title(name: str, variant: str = "") -> str:
    """A method's name for readers: ``AE-FLOW, conv_like``; a changed variant is its own title."""
    if name == FLOOR:
        return FLOOR_TITLE
    method = get_method(name)
    known = method.variants.get(variant, Variant(variant))
    return f"{method.title}, {known.title}" if known.title else method.title
