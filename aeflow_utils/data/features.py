"""Images to features: an `ImageSet` serves prepared images and the frozen encoder's maps.

Decoding, resizing and encoding happen once for an image; every model, seed and split that asks
for it reads the same memory maps.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aeflow_utils.config import DataConfig
from aeflow_utils.data.cache import BLOCK, Rows, cached_rows
from aeflow_utils.data.encoders import Encoder, get_encoder_spec, weights_hash
from aeflow_utils.data.images import Prepared, prepare_images
from aeflow_utils.data.precision import bf16_here, default_device
from aeflow_utils.data.table import SPLITS, ImageList, list_images
from aeflow_utils.errors import UserError, warn_once
from aeflow_utils.paths import paths

log = logging.getLogger(__name__)

ENCODING_BATCH = 32
UNREADABLE_SHOWN = 20


@dataclass(frozen=True)
class Batch:
    """What a system is given.

    Args:
        image: (N, 3, H, W) in [0, 1].
        features: {stride: (N, C, H/stride, W/stride)} float32.
    """

    image: Tensor
    features: dict[int, Tensor]

    def to(self, device: str) -> Batch:
        """The batch on `device`."""
        features = {stride: maps.to(device) for stride, maps in self.features.items()}
        return Batch(self.image.to(device), features)


def one_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The same batches; the next is made, and sent to its device, behind the one in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


@dataclass(frozen=True)
class ImageSet:
    """Some rows of a data set with their images and features.

    Args:
        table: the rows, as `list_images` gives them.
        images: (N, 1 or 3, H, W) uint8.
        features: {stride: (N, C, h, w)} float16.

    Both are memory maps, or tensors of a card that `held` them.
    """

    table: pd.DataFrame
    images: Rows
    features: dict[int, Rows]

    def __len__(self) -> int:
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        return self.table["label"].to_numpy()

    def select(self, keep: np.ndarray) -> ImageSet:
        """The rows where the boolean array `keep` (N,) holds."""
        features = {stride: maps.select(keep) for stride, maps in self.features.items()}
        return ImageSet(self.table[keep].reset_index(drop=True), self.images.select(keep), features)

    def held(self, device: str, room: int) -> ImageSet:
        """The set in the memory of `device`, where `room` bytes hold it; else as it is."""
        if self.images.nbytes + sum(maps.nbytes for maps in self.features.values()) > room:
            return self
        features = {stride: _on_device(maps, device) for stride, maps in self.features.items()}
        return ImageSet(self.table, _on_device(self.images, device), features)

    def batch(self, positions: np.ndarray, device: str = "cpu") -> Batch:
        """The images at `positions` (indices into this set), in that order.

        They are sent as they are stored, and become float32 on the device.
        """

        def read(rows: Rows) -> Tensor:
            stored = torch.as_tensor(rows[positions])
            if stored.device.type != device:  # pinned, a GPU reads it by itself
                stored = stored.pin_memory().to(device, non_blocking=True)
            return stored.float()

        image = read(self.images).div_(255).expand(-1, 3, -1, -1)
        return Batch(image, {stride: read(maps) for stride, maps in self.features.items()})

    def batches(
        self, size: int, order: np.ndarray | None = None, device: str = "cpu"
    ) -> Iterator[Batch]:
        """All images in batches of `size`, in `order` (default: as they stand)."""
        order = np.arange(len(self)) if order is None else order
        starts = range(0, len(order), size)
        parts = (self.batch(order[start : start + size], device) for start in starts)
        return parts if device == "cpu" else one_ahead(parts)


def _on_device(rows: Rows, device: str) -> Rows:
    """A copy in the device's memory, by parts: the host never holds it all."""
    first = torch.from_numpy(rows[:1])
    copy = torch.empty(rows.shape, dtype=first.dtype, device=device)
    for start in range(0, len(rows), BLOCK):
        part = slice(start, start + BLOCK)
        copy[part] = torch.from_numpy(rows[part])
    return Rows.every(copy)


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set.

    Args:
        listed: the image files behind them.
        skipped: paths of images that were left out because they cannot be decoded.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    listed: ImageList
    skipped: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        return self.listed.fingerprint


def load_splits(
    data: DataConfig, encoder: str, strides: tuple[int, ...], bf16: bool = False
) -> Splits:
    """`encoded_splits` of a data set that is looked up for it."""
    return encoded_splits(list_images(data), encoder, strides, bf16)


def encoded_splits(
    listed: ImageList, encoder: str, strides: tuple[int, ...], bf16: bool = False
) -> Splits:
    """Prepare and encode the images of a list, or find them in the cache.

    Args:
        bf16: allow the encoder to convolve in bfloat16, as `TrainConfig.bf16` does.

    Raises:
        UserError: images that cannot be read, and the configuration does not say to skip them;
            names them.
    """
    prepared = prepare_images(listed)
    if prepared.errors:
        _say_unreadable(prepared)
    features = encode_images(prepared, encoder, strides, bf16)
    table = listed.table[prepared.readable].reset_index(drop=True)
    every = ImageSet(table, prepared.images, features)
    parts = (every.select((table["split"] == split).to_numpy()) for split in SPLITS)
    return Splits(*parts, listed, tuple(prepared.errors))


def _say_unreadable(prepared: Prepared) -> None:
    data, n_errors = prepared.listed.data, len(prepared.errors)
    shown = list(prepared.errors.values())[:UNREADABLE_SHOWN]
    if n_errors > len(shown):
        shown.append(f"... and {n_errors - len(shown)} more")
    message = "\n".join(shown)
    if not data.skip_unreadable:
        raise UserError(f"{message}, or set AEFLOW_SKIP_UNREADABLE=1 to go on without it")
    if prepared.listed.table["split"][prepared.readable].nunique() < len(SPLITS):
        raise UserError(f"{message}\nwithout them a split of {data.label} is empty")
    about = (prepared.listed.root, prepared.listed.fingerprint)
    warn_once(log, about, f"{data.label}: {n_errors} images are left out\n{message}")


def encode_images(
    prepared: Prepared, encoder_name: str, strides: tuple[int, ...], bf16: bool = False
) -> dict[int, Rows]:
    """Features at each stride, {stride: (n, C, h, w)} float16 on disk, of the readable images."""
    if not strides:
        return {}
    key = {**prepared.source, "encoder": encoder_name, "weights": weights_hash(encoder_name)}
    bf16 = bf16_here(bf16) and get_encoder_spec(encoder_name).survives_bf16
    # Rounds otherwise than the network before `Encoder.fuse`, and than in bfloat16.
    key["arithmetic"] = "fused, bfloat16" if bf16 else "fused"
    keys = {s: {**key, "stride": s, "what": "features"} for s in sorted(strides)}

    @cache
    def network() -> Encoder:  # built only where something is to be encoded
        return frozen_encoder(encoder_name, strides, bf16)

    listed, numbers = prepared.listed, np.flatnonzero(prepared.readable)

    def fill(block: list[int]) -> dict[int, np.ndarray]:
        maps = encode(network(), prepared.images[np.array(block)])
        finite = [np.isfinite(m).all(axis=(1, 2, 3)) for m in maps.values()]
        if not np.all(finite):
            lost = numbers[np.array(block)[~np.all(finite, axis=0)]]
            names = ", ".join(listed.table["path"].iloc[lost[:UNREADABLE_SHOWN]])
            raise UserError(f"features of {encoder_name} are not finite: {names}. Take another")
        return maps

    digests = [listed.digests[number] for number in numbers]
    return cached_rows(
        paths().cache, keys, digests, fill, f"{listed.data.label}: {encoder_name} features"
    )


def frozen_encoder(name: str, strides: tuple[int, ...], bf16: bool = False) -> Encoder:
    """The encoder as features are made by it, on the device that there is."""
    encoder = Encoder(name, strides).fuse()
    encoder.bf16 = bf16
    return encoder.to(default_device())


def encode(
    encoder: Encoder, images: np.ndarray, size: int = ENCODING_BATCH
) -> dict[int, np.ndarray]:
    """Maps {stride: (N, C, h, w)} float16 of images (N, 1 or 3, H, W) uint8.

    In batches of one `size`, the last filled up: maps do not depend on who else is there.
    """
    numbers = np.arange(len(images))
    batches = np.pad(numbers, (0, -len(images) % size), mode="edge")
    parts = [_encode(encoder, images[some]) for some in batches.reshape(-1, size)]
    return {
        stride: np.concatenate([part[stride] for part in parts])[: len(images)]
        for stride in encoder.strides
    }


def _encode(encoder: Encoder, images: np.ndarray) -> dict[int, np.ndarray]:
    batch = torch.from_numpy(images).to(default_device()).float().div_(255)
    maps = encoder(batch.expand(-1, 3, -1, -1))
    return {stride: of_stride.half().cpu().numpy() for stride, of_stride in maps.items()}
