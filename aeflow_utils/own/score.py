"""Scores of any number of images by a saved model, one after the other, in constant memory."""

from __future__ import annotations

import csv
import glob
import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TextIO

import matplotlib as mpl
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from aeflow_utils.data.images import read_image
from aeflow_utils.data.layouts import as_text, image_paths
from aeflow_utils.data.reading import read_listing
from aeflow_utils.errors import UserError
from aeflow_utils.own.model import Model, scores_of
from aeflow_utils.paths import check_writable, expanded, whole

STDIN = "-"
AHEAD = 64  # images decoded at a time
STEM = 60  # characters of a file's name in that of its map: four bytes each have room
MAPS = mpl.colormaps["magma"]


@dataclass(frozen=True)
class Scored:
    """What a model says of one image.

    Args:
        p_value: share of normal validation images with at least this score, see `Calibration`.
        flagged: whether the score reaches the threshold.
        error: why there is no score, then NaN; else empty.
    """

    path: str
    score: float
    p_value: float
    flagged: bool
    error: str = ""


def images_of(sources: Iterable[str]) -> list[str]:
    """The image files that `sources` name, each once, in their order.

    A source is an image, a folder, a pattern such as ``shots/*.png``, a CSV file with a column
    ``path`` (relative to it), or ``-`` for a path a line on standard input.

    Raises:
        UserError: a source names nothing, or a file whose name is no text.
    """
    found: dict[str, None] = {}
    for source in sources:
        files = _files_of(source)
        if not files:
            raise UserError(f"{source or 'an empty name'} names no image")
        found |= dict.fromkeys(as_text(file, Path(file).parent) for file in files)
    return list(found)


def _files_of(source: str) -> list[str]:
    path = expanded(source)
    if source == STDIN:
        return [line.rstrip("\r\n") for line in sys.stdin if line.strip()]
    if source and path.is_dir():
        return [str(path / name) for name in image_paths(path)]
    if path.suffix.lower() == ".csv" and path.is_file():
        return _listed(path)
    if source and path.exists():
        return [str(path)]
    return sorted(glob.glob(str(path), recursive=True)) if source else []  # noqa: PTH207


def _listed(source: Path) -> list[str]:
    table = read_listing(source)
    if "path" not in table:
        raise UserError(f"{source} is no CSV file with a column path")
    return [str(source.parent / path) for path in table["path"]]


def score_files(model: Model, files: list[str], maps: Path | None = None) -> Iterator[Scored]:
    """Each file's score, in their order; one that cannot be read has an error in its place.

    Args:
        maps: folder that each image's map is written to as a PNG, named after its number and file.
    """
    calibration = model.calibration
    if maps:
        check_writable(maps)
    for number, (file, answer) in enumerate(answers(model, files)):
        if isinstance(answer, UserError):
            yield Scored(file, float("nan"), float("nan"), False, str(answer))
            continue
        score, anomaly_map = answer
        if not np.isfinite(score):
            yield Scored(file, float("nan"), float("nan"), False, f"{file}: its score is {score}")
            continue
        if maps and anomaly_map.size:
            picture(model, anomaly_map).save(maps / f"{number:06}-{Path(file).stem[:STEM]}.png")
        p_value = float(calibration.p_values(np.array(score)))
        yield Scored(file, score, p_value, score >= calibration.threshold)


def answers(
    model: Model, files: list[str]
) -> Iterator[tuple[str, tuple[float, np.ndarray] | UserError]]:
    """Each file, in their order, with its score and map (H, W), or why it has none."""
    for some in _in_blocks(files, AHEAD):
        pixels = _decoded(model, some)
        found = scores_of(model, (each for each in pixels if not isinstance(each, UserError)))
        for file, each in zip(some, pixels, strict=True):
            yield file, each if isinstance(each, UserError) else next(found)


def picture(model: Model, anomaly_map: np.ndarray) -> Image.Image:
    """A map (H, W) in colours, from what normal images rarely exceed to most."""
    return Image.fromarray((MAPS(strength(model, anomaly_map))[..., :3] * 255).astype(np.uint8))


def strength(model: Model, anomaly_map: np.ndarray) -> np.ndarray:
    """A map's values in [0, 1] of what the model's pictures show."""
    low, high = model.calibration.map_range
    return np.clip((anomaly_map - low) / (high - low), 0, 1)


def _decoded(model: Model, files: list[str]) -> list[np.ndarray | UserError]:
    data = model.config.data

    def read(file: str) -> np.ndarray | UserError:
        try:
            return read_image(Path(file), data.image_size, model.grey, data.resize, model.white)
        except UserError as error:
            return error

    with ThreadPoolExecutor() as pool:
        return list(pool.map(read, files))


def _in_blocks(files: list[str], size: int) -> Iterator[list[str]]:
    rest = iter(files)
    while some := list(islice(rest, size)):
        yield some


def write_scores(
    model: Model, files: list[str], target: Path | None, form: str, maps: Path | None = None
) -> int:
    """Score files into `target`, or onto standard output; returns how many have no score.

    A file appears when it is whole.
    """
    n_errors = 0
    with _opened(target) as file:
        writer = csv.DictWriter(file, Scored.__dataclass_fields__, lineterminator="\n")
        if form == "csv":
            writer.writeheader()
        for row in tqdm(score_files(model, files, maps), "scoring", len(files), mininterval=1):
            n_errors += bool(row.error)
            told = {k: None if v != v else v for k, v in asdict(row).items()}  # NaN is no number
            writer.writerow(told) if form == "csv" else file.write(json.dumps(told) + "\n")
    return n_errors


@contextmanager
def _opened(target: Path | None) -> Iterator[TextIO]:
    if target is None:
        yield sys.stdout
        return
    check_writable(target.parent)
    with whole(target) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        yield file
