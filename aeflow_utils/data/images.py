"""From files to pixels: decode, make grey where the set is grey, resize; each file once.

The study's preprocessing, stated here and nowhere else: orientation from EXIF; grey where the data
set is grey (the one channel is repeated for the encoder); resized to a square of the profile's
size, or, as an option, shorter side resized and centre cropped; bytes. The encoder then normalises
with the mean and deviation that its own weights expect.
"""

from __future__ import annotations

import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from aeflow_utils.config import DataConfig
from aeflow_utils.data.cache import ArraySpec, cached_rows
from aeflow_utils.data.table import DatasetSpec, spec_of
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths

_BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Prepared:
    """The images of a data set, of which `rows` are decoded.

    Args:
        rows: (N,) positions of the wanted images in `images`.
        images: (M, 1 or 3, H, W) uint8, M all images of the set's category.
        readable: (N,) bool, whether each wanted image could be decoded.
        stamps: (N,) uint32, what tells one file from another.
        source: what the arrays belong to, JSON-ready.
    """

    rows: np.ndarray
    images: np.ndarray
    readable: np.ndarray
    stamps: np.ndarray
    source: dict


def prepare_images(data: DataConfig, wanted: list[str] | None = None) -> Prepared:
    """The images at `wanted` (paths relative to the set's root; None: all that the set has).

    Raises:
        UserError: a file is gone.
    """
    spec, size = spec_of(data), data.image_size
    root = spec.root
    listing = spec.scan(root, data.category)["path"]
    wanted = listing.to_list() if wanted is None else wanted
    rows = pd.Index(listing).get_indexer(wanted)
    files = dict(zip(rows.tolist(), (root / path for path in wanted), strict=True))
    stamps = np.array([_stamp(path) for path in files.values()], dtype=np.uint32)

    def fill(block: np.ndarray) -> dict[str, np.ndarray]:
        with ThreadPoolExecutor() as pool:  # PIL decodes and resizes without Python's lock
            decoded = pool.map(lambda row: _pixels_or_none(files[row], data, spec), block.tolist())
            pixels = list(decoded)
        blank = np.zeros(shape[1:], np.uint8)
        return {
            "images": np.stack([blank if p is None else p for p in pixels]),
            "readable": np.array([p is not None for p in pixels], dtype=np.uint8),
        }

    source = {"dataset": data.dataset, "category": data.category, "root": str(root)}
    source |= {"size": size, "resize": data.resize, "grey": spec.grey}
    shape = (len(listing), 1 if spec.grey else 3, size, size)
    arrays = {
        "images": ArraySpec({**source, "what": "images"}, shape, "uint8"),
        "readable": ArraySpec({**source, "what": "readable"}, shape[:1], "uint8"),
    }
    label = f"{data.label}: images"
    found = cached_rows(paths().cache, arrays, rows, stamps, fill, label)
    return Prepared(rows, found["images"], found["readable"][rows] == 1, stamps, source)


def _stamp(path: Path) -> int:
    """Changes when the file does; never 0."""
    try:
        state = path.stat()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}). Restore or remove it"
        raise UserError(message) from None
    return zlib.crc32(f"{path} {state.st_size} {state.st_mtime_ns}".encode()) | 1


def _pixels_or_none(path: Path, data: DataConfig, spec: DatasetSpec) -> np.ndarray | None:
    try:
        return read_image(path, data.image_size, spec.grey, data.resize)
    except UserError:
        return None


def read_image(path: Path, size: int, grey: bool, resize: int = 0) -> np.ndarray:
    """Decode one image: (1 or 3, size, size) uint8.

    Args:
        resize: 0, or the shorter side before the centre is cropped; see `config.DataConfig`.

    Raises:
        UserError: the file cannot be decoded; names it.
    """
    try:
        with Image.open(path) as image:
            image = _shape(upright(image, grey), size, resize)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{path} cannot be read as an image ({error}). Replace it, or remove it from the "
            "data set, and run again"
        ) from None
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


def upright(image: Image.Image, grey: bool) -> Image.Image:
    """An image in 8 bits a channel, turned as its EXIF entry says."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):  # convert() would clip at 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("L" if grey else "RGB")


def _shape(image: Image.Image, size: int, resize: int) -> Image.Image:
    if not resize:
        return image.resize((size, size), _BICUBIC)
    scale = resize / min(image.size)
    width, height = (max(resize, round(scale * side)) for side in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), _BICUBIC).crop((left, top, left + size, top + size))


def load_masks(table: pd.DataFrame, data: DataConfig) -> np.ndarray | None:
    """Pixel truth of images at their prepared size, (N, H, W) bool; normal images have none set.

    None where the data set has no masks, or where one of an abnormal image is not here.
    """
    spec, size = spec_of(data), data.image_size
    if spec.mask is None:
        return None
    masks = np.zeros((len(table), size, size), dtype=bool)
    for row, (path, label) in enumerate(zip(table["path"], table["label"], strict=True)):
        if label != 1:
            continue
        found = next((spec.root / m for m in spec.mask(path) if (spec.root / m).is_file()), None)
        if found is None:
            return None
        masks[row] = read_image(found, size, True, data.resize)[0] > 127
    return masks
