"""Configuration of a run, in frozen dataclasses.

A `RunConfig` says everything that a run depends on, so its hash names the run's folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from dataclasses import asdict, dataclass, field, fields, replace
from typing import ClassVar

from aeflow_utils.errors import UserError
from aeflow_utils.methods import METHODS, Method, get_method
from aeflow_utils.options import ModelConfig, check_choices
from aeflow_utils.paths import switch
from aeflow_utils.profiles import PROFILES, Profile

N_FOLDS = 5
WARM_UP = 0.1  # of a cosine schedule: share of the steps in which the rate rises
UNTRAINED = "_untrained"  # suffix of an encoder's name: its architecture with random weights


@dataclass(frozen=True)
class DataConfig:
    """Which images a run sees.

    Args:
        dataset: key of `catalog.SPECS`.
        category: product of a data set that has several (MVTec AD), else empty.
        split: named alternative to the study's split, else empty.
        image_size: side in pixels of every image that a system sees.
        limit: images kept per split and label, 0 for all (the `smoke` profile).
        resize: 0 resizes an image to a square of `image_size` at once, without cropping; another
            value resizes its shorter side to that many pixels and crops the centre (the 2023
            study: 256, then 224).
        skip_unreadable: go on without images that cannot be decoded, instead of stopping.
        fold: 0, or which of `N_FOLDS` parts of training and validation images is validation.

    Attributes:
        own: whether the images are a reader's own.

    Raises:
        UserError: `resize` is smaller than the crop, or there is no such fold.
    """

    own: ClassVar[bool] = False

    dataset: str
    category: str = ""
    split: str = ""
    image_size: int = 128
    limit: int = 0
    resize: int = 0
    skip_unreadable: bool = False
    fold: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.fold <= N_FOLDS:
            raise UserError(f"there is no fold {self.fold}: choose 1 to {N_FOLDS}, or 0 for none")
        if self.resize and self.resize < self.image_size:
            raise UserError(
                f"resize {self.resize} is smaller than the {self.image_size} px that are cropped "
                "from it: choose a larger one, or 0"
            )

    @property
    def label(self) -> str:
        """Name for folders and tables: ``elpv``, ``mvtec-bottle``, ``elpv-blocks``."""
        fold = f"fold{self.fold}" if self.fold else ""
        return "-".join(part for part in (self.dataset, self.category, self.split, fold) if part)

    @property
    def whole_label(self) -> str:
        """`label` without the fold: folds are runs of the same data set."""
        return replace(self, fold=0).label


@dataclass(frozen=True)
class FolderConfig(DataConfig):
    """A reader's own images.

    Args:
        source: folder of images, or CSV file with the columns path, label, split.
        name: for tables and folders.
        normal, abnormal: names of label folders; empty guesses them.
    """

    own: ClassVar[bool] = True

    dataset: str = "folder"
    source: str = ""
    name: str = ""
    normal: tuple[str, ...] = ()
    abnormal: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[\w-][\w. -]{0,99}", self.name):  # it names a folder of results
            raise UserError(f"{self.name!r} is no name for results: use letters, digits and -")

    @property
    def label(self) -> str:
        return self.name


@dataclass(frozen=True)
class TrainConfig:
    """How a system is trained.

    Args:
        threads: CPU threads of one run, 0 for all. One thread makes a run's numbers independent
            of the number of cores, and lets several runs share a machine.
        lr: rate; of a ``cosine`` schedule its peak.
        optimizer: ``adamw``, or ``adam`` with its coupled weight decay, for systems that do not
            bring their own.
        schedule: of the rate: ``constant``, or ``cosine`` with a warm-up before it; counted in
            steps, see `training.rate_factor`.
        keep: the weights of the ``last`` epoch, or of the one with the ``lowest`` loss on
            validation normals.
        carry_over: in cross-validation, go on with the weights of the fold before, as the 2023
            study did. Wrong: each validation fold has then been trained on.
        min_steps: epochs are added where they would have fewer gradient steps than this.
        bf16: allow convolutions of encoder, subnets and decoder in bfloat16, in training and in
            scoring, on machines where that is fast; see `precision`.
    """

    epochs: int = 12
    batch_size: int = 16
    lr: float = 2e-3
    weight_decay: float = 1e-4
    threads: int = 1
    optimizer: str = "adamw"
    schedule: str = "constant"
    keep: str = "last"
    carry_over: bool = False
    min_steps: int = 0
    bf16: bool = False

    def __post_init__(self) -> None:
        check_choices(self)


def training_of(
    profile: Profile, method: Method, variant: str, dataset: str, strides: tuple[int, ...]
) -> TrainConfig:
    """How a profile trains a variant of a method on a data set and on the maps at `strides`.

    Its authors' way, or its converged schedule if the profile says so; then the profile's sizes.
    """
    names = ("epochs", "batch_size", "threads", "bf16", "min_steps")
    sizes = {name: getattr(profile, name) for name in names}
    recipe = method.training | method.training_on.get(dataset, {})
    if profile.converged:
        recipe |= {"schedule": "cosine", "keep": method.keep} | method.converged
        recipe |= method.variants[variant].converged if variant in method.variants else {}
        recipe |= method.converged_on_maps.get(strides, {})
    return TrainConfig(**sizes | recipe | profile.training.get(method.config.name, {}))


@dataclass(frozen=True)
class RunConfig:
    """Everything one run depends on: data, model, training and seed.

    `variant` is a label for readers (``resnet_like``; of an ablation, ``conv_like+alpha=0.1``);
    the hash covers the options themselves.
    """

    profile: str
    data: DataConfig
    model: ModelConfig
    train: TrainConfig = field(default_factory=TrainConfig)
    seed: int = 0
    variant: str = ""

    @classmethod
    def build(
        cls,
        profile: Profile,
        dataset: str,
        model: str,
        seed: int = 0,
        category: str = "",
        variant: str = "",
        split: str = "",
        **options: object,
    ) -> RunConfig:
        """A run in a profile's sizes; `options` are fields of the model's own configuration.

        Raises:
            UserError: unknown model, or an option that the model does not have.
        """
        if not 0 <= seed < 2**32:
            raise UserError(f"seed {seed} is out of range: choose one from 0 to {2**32 - 1}")
        method = get_method(model)
        options = {**profile.options.get(model, {}), **options}
        try:
            model_config = method.config(encoder=profile.encoder, **options)
        except TypeError as error:
            raise UserError(f"model '{model}' has no such option: {error}") from None
        skip = switch("AEFLOW_SKIP_UNREADABLE")
        data = DataConfig(dataset, category, split, profile.image_size, profile.limit)
        data = replace(data, skip_unreadable=skip)
        train = training_of(profile, method, variant, dataset, model_config.strides)
        return cls(profile.name, data, model_config, train, seed, variant)

    def to_dict(self) -> dict:
        """Plain, JSON-ready; `from_dict` inverts it."""
        return {**asdict(self), "model": {"name": self.model.name, **asdict(self.model)}}

    @classmethod
    def from_dict(cls, content: dict) -> RunConfig:
        """The configuration in `content`; a field that it lacks has its default.

        Raises:
            UserError, ValueError, KeyError, TypeError, AttributeError: it is none, or what it
                names would be a folder elsewhere.
        """
        data, model = dict(content["data"]), dict(content["model"])
        kind = FolderConfig if data["dataset"] == FolderConfig.dataset else DataConfig
        parts = {
            "data": _made(kind, data),
            "model": _made(METHODS[model.pop("name")].config, model),
            "train": _made(TrainConfig, content["train"]),
        }
        config = _made(cls, content | parts)
        name = config.run_name
        if config.profile not in PROFILES or not re.fullmatch(r"(?!\.)[^/\\\0-\x1f]+", name):
            raise ValueError(f"{config.profile!r} and {name!r} are no name for results")
        return config

    @property
    def method(self) -> Method:
        """The registry's entry of the method."""
        return METHODS[self.model.name]

    @property
    def beside(self) -> bool:
        """Whether the images are split in a way that the profile runs beside the study's."""
        split = self.data.split
        return bool(split) and PROFILES[self.profile].also.get(self.data.dataset) == split

    @property
    def is_side_run(self) -> bool:
        """Whether the run is an ablation or a fold: those have tables of their own."""
        return "+" in self.variant or self.data.fold > 0

    @property
    def run_name(self) -> str:
        """``<dataset>--<model>--seed<k>[--<variant>]-<hash8>``, the run's folder.

        The hash covers every option that differs from its default, so an option that is added
        later does not rename the runs made before it.
        """
        parts = {"data": self.data, "model": self.model, "train": self.train}
        options = {name: _not_default(part) for name, part in parts.items()}
        options |= {"profile": self.profile, "seed": self.seed, "variant": self.variant}
        text = json.dumps({**options, "system": self.model.name}, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        parts = [self.data.label, self.model.name, f"seed{self.seed}", self.variant]
        return "--".join(part for part in parts if part) + f"-{digest}"


def _not_default(config: DataConfig | ModelConfig | TrainConfig) -> dict:
    """The fields of a configuration that differ from their defaults."""
    values = asdict(config)
    return {f.name: values[f.name] for f in fields(config) if values[f.name] != f.default}


def _made(kind: type, content: dict) -> object:
    """A dataclass from what JSON made of it: lists are tuples again, and no value of another kind.

    Raises:
        ValueError: a value is; names its field.
    """
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
    for f in fields(kind):
        if f.name in values and not _is_of(values[f.name], f.type):
            raise ValueError(f"{f.name} is {str(values[f.name])[:60]}, and must be {f.type}")
    return kind(**values)


def _is_of(value: object, kind: str) -> bool:
    if kind.startswith("tuple["):
        inner = kind.removeprefix("tuple[").split(",")[0]
        return isinstance(value, tuple) and all(_is_of(each, inner) for each in value)
    if kind == "float":  # JSON has NaN, and whole numbers of any length
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind == "int":
        return type(value) is int and abs(value) < 2**63
    return kind not in ("str", "bool") or type(value).__name__ == kind
