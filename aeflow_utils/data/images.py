"""From files to pixels: decode, make grey where the set is grey, resize; each file once.

The study's preprocessing, stated here and nowhere else: orientation from EXIF; grey where the data
set is grey (the one channel is repeated for the encoder); resized to a square of the profile's
size, or, as an option, shorter side resized and centre cropped; bytes. The encoder then normalises
with the mean and deviation that its own weights expect.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from aeflow_utils.data.cache import cached_rows
from aeflow_utils.data.table import ImageList
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths

_BICUBIC = Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Prepared:
    """The N images of a list, decoded and resized, among all M of their category.

    Args:
        images: (M, 1 or 3, H, W) uint8; the list's `rows` are filled, blank where unreadable.
        readable: (N,) bool, whether each image could be decoded.
        errors: why not, by path, of those that could not.
        source: what the arrays belong to, JSON-ready.
    """

    listed: ImageList
    images: np.ndarray
    readable: np.ndarray
    errors: dict[str, str]
    source: dict


def prepare_images(listed: ImageList) -> Prepared:
    """Decode what is not in the cache yet; an image that cannot be is no error here."""
    data, grey = listed.data, listed.spec.grey
    shape = (1 if grey else 3, data.image_size, data.image_size)
    files = dict(zip(listed.rows.tolist(), listed.files, strict=True))
    errors: dict[int, str] = {}

    def decode(row: int) -> np.ndarray:
        try:
            return read_image(files[row], data.image_size, grey, data.resize)
        except UserError as error:
            errors[row] = str(error)
            return np.zeros(shape, np.uint8)

    def fill(block: np.ndarray) -> dict[str, np.ndarray]:
        with ThreadPoolExecutor() as pool:  # PIL decodes and resizes without Python's lock
            pixels = np.stack(list(pool.map(decode, block.tolist())))
        readable = np.isin(block, list(errors), invert=True).astype(np.uint8)
        return {"images": pixels, "readable": readable}

    source = {"dataset": data.dataset, "category": data.category, "root": str(listed.root)}
    source |= {"size": data.image_size, "resize": data.resize, "grey": grey}
    keys = {name: {**source, "what": name} for name in ("images", "readable")}
    rows, label = listed.rows, f"{data.label}: images"
    found = cached_rows(paths().cache, keys, listed.n_listed, rows, listed.stamps, fill, label)
    readable = found["readable"][rows] == 1
    unreadable = listed.table["path"].set_axis(rows)[~readable]
    for row in unreadable.index.difference(list(errors)):  # an earlier process has found out
        decode(row)
        errors.setdefault(row, f"{files[row]} could not be read before; copy it anew")
    named = {path: errors[row] for row, path in unreadable.items()}
    return Prepared(listed, found["images"], readable, named, source)


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


def load_masks(listed: ImageList, table: pd.DataFrame) -> np.ndarray | None:
    """Pixel truth of the list's images in `table`, prepared as they are: (N, H, W) bool.

    Normal images have no pixel set. None where the data set has no masks, or where one of an
    abnormal image is not here.
    """
    root, size, find = listed.root, listed.data.image_size, listed.spec.mask
    if find is None:
        return None
    masks = np.zeros((len(table), size, size), dtype=bool)
    for row in np.flatnonzero(table["label"] == 1):
        candidates = [root / path for path in find(table["path"].iloc[row])]
        file = next(filter(Path.is_file, candidates), None)
        if file is None:
            return None
        masks[row] = read_image(file, size, True, listed.data.resize)[0] > 127
    return masks
