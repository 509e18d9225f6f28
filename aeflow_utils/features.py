"""Images to features: an `ImageSet` serves prepared images and the frozen encoder's maps.

Decoding, resizing and encoding happen once for a data set; every model, seed and split that
asks for the same thing reads the same memory maps.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm.auto import tqdm

from aeflow_utils.cache import ArraySpec, cached_arrays, key_hash
from aeflow_utils.config import DataConfig, UserError, paths
from aeflow_utils.datasets import get_spec, load_table
from aeflow_utils.encoders import Encoder

ENCODING_BATCH = 32  # fixed: the cached features must not depend on who asked for them


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
        features = {stride: maps.to(device) for stride, maps in self.features.items()}
        return Batch(self.image.to(device), features)


@dataclass(frozen=True)
class ImageSet:
    """Some rows of a data set with their images and features.

    Args:
        table: the rows, as `load_table` gives them.
        rows: (N,) positions in the arrays.
        images: (M, 1 or 3, H, W) uint8.
        features: {stride: (M, C, h, w)} float16.
    """

    table: pd.DataFrame
    rows: np.ndarray
    images: np.ndarray
    features: dict[int, np.ndarray]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labels(self) -> np.ndarray:
        return self.table["label"].to_numpy()

    def select(self, keep: np.ndarray) -> ImageSet:
        """The rows where the boolean array `keep` (N,) holds."""
        table = self.table[keep].reset_index(drop=True)
        return ImageSet(table, self.rows[keep], self.images, self.features)

    def batch(self, positions: np.ndarray) -> Batch:
        """The images at `positions` (indices into this set), in that order."""
        rows = self.rows[positions]
        image = torch.from_numpy(self.images[rows]).float().div_(255).expand(-1, 3, -1, -1)
        features = {s: torch.from_numpy(maps[rows]).float() for s, maps in self.features.items()}
        return Batch(image, features)

    def batches(self, size: int, order: np.ndarray | None = None) -> Iterator[Batch]:
        """All images in batches of `size`, in `order` (default: as they stand)."""
        order = np.arange(len(self)) if order is None else order
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size])


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set, and a fingerprint of the images behind them."""

    train: ImageSet
    val: ImageSet
    test: ImageSet
    fingerprint: str


def load_splits(data: DataConfig, encoder: str, strides: tuple[int, ...]) -> Splits:
    """Prepare (or find in the cache) the images and features of a data set.

    Raises:
        UserError: the data set is absent, incomplete or holds an image that cannot be read.
    """
    table, spec = load_table(data), get_spec(data.dataset)
    files = [spec.root / path for path in table["path"]]
    source = {"dataset": data.label, "files": fingerprint(table, data)}
    images = prepare_images(files, data.image_size, spec.grey, source)
    features = encode_images(images, encoder, strides, source)
    every = ImageSet(table, np.arange(len(table)), images, features)
    parts = (every.select((table["split"] == s).to_numpy()) for s in ("train", "val", "test"))
    return Splits(*parts, fingerprint=source["files"])


def fingerprint(table: pd.DataFrame, data: DataConfig) -> str:
    """Short hash of which files a table names, and how large they are."""
    root = get_spec(data.dataset).root
    try:
        listing = [(path, (root / path).stat().st_size) for path in table["path"]]
    except OSError as error:
        message = f"{error.filename} cannot be read ({error.strerror}). Restore or remove it"
        raise UserError(message) from None
    return key_hash({"listing": listing})


def read_image(path: Path, size: int, grey: bool) -> np.ndarray:
    """Decode and resize one image: (1 or 3, size, size) uint8.

    Raises:
        UserError: the file cannot be decoded; names it.
    """
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # convert() would clip at 255
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image = image.convert("L" if grey else "RGB")
            image = image.resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}). Replace it, or remove it from the "
            "data set, and run again"
        ) from None
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def load_masks(images: ImageSet, data: DataConfig) -> np.ndarray | None:
    """Pixel truth of images at their prepared size, (N, H, W) bool; normal images have none set.

    None where the data set has no masks, or where one of an abnormal image is not here.
    """
    spec, size = get_spec(data.dataset), data.image_size
    if spec.mask is None:
        return None
    masks = np.zeros((len(images), size, size), dtype=bool)
    for row, (path, label) in enumerate(zip(images.table["path"], images.labels, strict=True)):
        if not label:
            continue
        found = next((spec.root / m for m in spec.mask(path) if (spec.root / m).is_file()), None)
        if found is None:
            return None
        masks[row] = read_image(found, size, grey=True)[0] > 127
    return masks


def prepare_images(files: list[Path], size: int, grey: bool, source: dict) -> np.ndarray:
    """All images decoded and resized once, (M, 1 or 3, size, size) uint8 on disk."""

    def fill(arrays: dict[int, np.ndarray]) -> None:
        with ThreadPoolExecutor() as pool:  # PIL decodes and resizes without the lock
            read = pool.map(lambda path: read_image(path, size, grey), files)
            progress = tqdm(read, f"{source['dataset']}: images", len(files), mininterval=1)
            for row, pixels in enumerate(progress):
                arrays[0][row] = pixels

    key = {**source, "size": size, "grey": grey, "what": "images"}
    shape = (len(files), 1 if grey else 3, size, size)
    return cached_arrays(paths().cache, {0: ArraySpec(key, shape, "uint8")}, fill)[0]


def encode_images(
    images: np.ndarray, encoder_name: str, strides: tuple[int, ...], source: dict
) -> dict[int, np.ndarray]:
    """Features of all images at each stride, {stride: (M, C, h, w)} float16 on disk."""
    if not strides:
        return {}
    encoder, device, size = Encoder(encoder_name, strides), default_device(), images.shape[-1]

    def fill(arrays: dict[int, np.ndarray]) -> None:
        encoder.to(device)
        label = f"{source['dataset']}: {encoder_name} features"
        for start in tqdm(range(0, len(images), ENCODING_BATCH), label, mininterval=1):
            rows = slice(start, start + ENCODING_BATCH)
            batch = torch.from_numpy(images[rows].copy()).to(device).float().div_(255)
            maps = encoder(batch.expand(-1, 3, -1, -1))
            for stride, array in arrays.items():
                array[rows] = maps[stride].half().cpu().numpy()

    key = {**source, "encoder": encoder_name, "weights": encoder.weights_sha256, "size": size}
    wanted = {}
    for stride, channels in encoder.channels.items():
        positions = -(-size // stride)
        shape = (len(images), channels, positions, positions)
        wanted[stride] = ArraySpec({**key, "stride": stride, "what": "features"}, shape, "float16")
    return cached_arrays(paths().cache, wanted, fill)


def default_device() -> str:
    """``cuda`` where there is one, else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"
