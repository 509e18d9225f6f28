"""From files to pixels: decode, make grey where the set is grey, resize; each file once.

The study's preprocessing, stated here and nowhere else: orientation from EXIF; grey where the data
set is grey (the one channel is repeated for the encoder); resized to a square of the profile's
size, or, as an option, shorter side resized and centre cropped; bytes. The encoder then normalises
with the mean and deviation that its own weights expect.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from aeflow_utils.data.cache import Rows, cached_rows
from aeflow_utils.data.depth import WHITE, is_deep
from aeflow_utils.data.table import ImageList
from aeflow_utils.errors import UserError, warn_once
from aeflow_utils.paths import paths

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", module=r"PIL\.")  # odd tags, by the thousand; what fails is said

MOST_PIXELS = 1 << 27  # of an image that is resized before it is cropped
_BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Prepared:
    """The images of a list that can be read, decoded and resized.

    Args:
        images: (n, 1 or 3, H, W) uint8.
        readable: (N,) bool, which of the list's images they are.
        errors: why not, by path, of those that could not be read.
        source: what pixels depend on beside the file, JSON-ready.
    """

    listed: ImageList
    images: Rows
    readable: np.ndarray
    errors: dict[str, str]
    source: dict


def prepare_images(listed: ImageList) -> Prepared:
    """Decode what is not in the cache yet; an image that cannot be is no error here."""
    data, spec, files = listed.data, listed.spec, listed.files
    errors: dict[str, str] = {}

    def decode(number: int) -> np.ndarray | None:
        try:
            return read_image(files[number], data.image_size, spec.grey, data.resize, spec.white)
        except UserError as error:
            errors[listed.table["path"][number]] = str(error)
            return None

    def fill(block: list[int]) -> dict[str, list[np.ndarray | None]]:
        with ThreadPoolExecutor() as pool:  # PIL decodes and resizes without Python's lock
            return {"images": list(pool.map(decode, block))}

    source = {"dataset": data.dataset, "category": data.category, "size": data.image_size}
    source |= {"resize": data.resize, "grey": spec.grey, "white": spec.white}
    keys, label = {"images": {**source, "what": "images"}}, f"{data.label}: images"
    images = cached_rows(paths().cache, keys, listed.digests, fill, label)["images"]
    readable = images.positions >= 0
    unreadable = listed.table["path"][~readable]
    for number, path in unreadable.items():  # of files that are alike, one was tried
        if path not in errors:
            decode(number)
    errors = {path: errors[path] for path in unreadable}
    return Prepared(listed, images.select(readable), readable, errors, source)


def read_image(
    path: Path, size: int, grey: bool, resize: int = 0, white: float = WHITE
) -> np.ndarray:
    """Decode one image: (1 or 3, size, size) uint8.

    Args:
        resize: 0, or the shorter side before the centre is cropped; see `config.DataConfig`.
        white: the value that is white in images of more than 8 bits.

    Raises:
        UserError: the file cannot be decoded; names it.
    """
    with decoding(path), Image.open(path) as image:
        image = _shape(upright(image, grey, white), size, resize)
    pixels = np.asarray(image)
    return pixels[None] if grey else pixels.transpose(2, 0, 1)


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """What fails inside is a UserError that names the image."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # broken files make decoders fail in many kinds
        raise UserError(
            f"{path} cannot be read as an image ({error}). Replace it, or remove it from the "
            "data set, and run again"
        ) from None


def upright(image: Image.Image, grey: bool, white: float = WHITE) -> Image.Image:
    """An image in 8 bits a channel, turned as its EXIF entry says."""
    deep = is_deep(image)
    image = ImageOps.exif_transpose(image)
    if deep:  # convert() would clip at 255
        values = np.asarray(image, dtype=np.float64) * (255 / white)
        image = Image.fromarray(values.clip(0, 255).round().astype(np.uint8))
    return image.convert("L" if grey else "RGB")


def _shape(image: Image.Image, size: int, resize: int) -> Image.Image:
    if not resize:
        return image.resize((size, size), _BICUBIC)
    scale = resize / min(image.size)
    width, height = (max(resize, round(scale * side)) for side in image.size)
    if width * height > MOST_PIXELS:
        raise ValueError(f"{image.width} x {image.height} px is too long and narrow to be cropped")
    left, top = (width - size) // 2, (height - size) // 2
    return image.resize((width, height), _BICUBIC).crop((left, top, left + size, top + size))


def load_masks(listed: ImageList, table: pd.DataFrame) -> np.ndarray | None:
    """Pixel truth of the list's images in `table`, prepared as they are: (N, H, W) bool.

    Any pixel of a mask that is not zero is abnormal; normal images have no such pixel. None where
    the data set has no masks, or, said aloud, where one of an abnormal image is not here.
    """
    files = dict(zip(listed.table["path"], listed.masks, strict=True))
    abnormal = table.loc[table["label"] == 1, "path"]
    missing = [path for path in abnormal if files[path] is None]
    if 0 < len(missing) < len(abnormal):
        warn_once(
            log,
            (listed.root, missing[0]),
            f"{listed.data.label}: no pixel results, for {len(missing)} of {len(abnormal)} "
            f"abnormal images have no mask, {missing[0]} among them",
        )
    if missing or abnormal.empty:
        return None
    size, resize = listed.data.image_size, listed.data.resize
    masks = np.zeros((len(table), size, size), dtype=bool)
    for place, path in enumerate(table["path"]):
        if files[path]:
            masks[place] = read_mask(files[path], size, resize)
    return masks


def read_mask(path: Path, size: int, resize: int = 0) -> np.ndarray:
    """(size, size) bool: where any channel but the opacity is not zero, of a file in any mode."""
    with decoding(path), Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        image = image if is_deep(image) else image.convert("RGB")
        values = np.asarray(image)
        marked = values.any(axis=2) if values.ndim == 3 else values != 0
        shaped = _shape(Image.fromarray(np.uint8(255) * marked), size, resize)
    return np.asarray(shaped) > 127
