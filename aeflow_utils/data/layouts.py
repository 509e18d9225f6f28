"""How data sets lie on disk: each layout lists its images as a frame of `COLUMNS`.

A layout is a pattern on paths relative to the data set's folder; where labels live in a table of
their own (ELPV, ISIC), a function reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from aeflow_utils.data.reading import reading
from aeflow_utils.errors import UserError

COLUMNS = ["path", "label", "kind", "split", "group"]
UNLABELLED = -1  # only in the test split of a reader's own images
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif"}
# In lower case: what systems, viewers and tools put beside images.
NO_DATA = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"}
NO_DATA |= {"lost+found", "thumbs", "thumbnails", "thumbs.db", "desktop.ini", "__pycache__"}

Scan = Callable[[Path, str], pd.DataFrame]


def frame(rows: list[tuple]) -> pd.DataFrame:
    """Rows of `COLUMNS` in the order of their paths."""
    return pd.DataFrame(sorted(rows), columns=COLUMNS)


def image_paths(root: Path) -> list[str]:
    """Every image file under `root`, relative, with forward slashes, sorted.

    Raises:
        UserError: as `files_under`.
    """
    return [path for path in files_under(root) if Path(path).suffix.lower() in IMAGE_SUFFIXES]


def files_under(root: Path) -> list[str]:
    """Every file under `root` that may be data, relative, with forward slashes, sorted.

    Hidden files and folders are none, nor are those that systems and viewers leave, nor pipes and
    devices. Links are followed; one that leads nowhere is listed, so that who reads it names it.

    Raises:
        UserError: a folder cannot be read, or a name is no text; names it.
    """
    return sorted(_walk(root, root, set())) if root.is_dir() else []


def _walk(folder: Path, root: Path, seen: set[Path]) -> Iterator[str]:
    if folder.resolve() in seen:  # a link leads back
        return
    seen.add(folder.resolve())
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read ({error.strerror}): allow it, or move it elsewhere"
        ) from None
    for entry in entries:
        if entry.name.startswith(".") or entry.name.lower() in NO_DATA:
            continue
        path = folder / entry.name
        if entry.is_dir():
            yield from _walk(path, root, seen)
        elif entry.is_file() or (entry.is_symlink() and not path.exists()):
            yield as_text(path.relative_to(root).as_posix(), folder)


def as_text(path: str, folder: Path) -> str:
    """`path`, of a file in `folder`.

    Raises:
        UserError: it is no text, so no table can hold it.
    """
    told = f"{folder} holds a file whose name is no UTF-8 or breaks a line, {path!r}: rename it"
    try:
        path.encode()
    except UnicodeEncodeError:
        raise UserError(told) from None
    if "\r" in path:  # which CSV files are written without quotes for
        raise UserError(told)
    return path


def by_path(pattern: str, normal: str, group: str = "") -> Scan:
    """Images whose whole relative path matches `pattern`; others are no part of the set.

    Args:
        pattern: regular expression with the groups ``split`` and ``label``, and optionally
            ``kind``, a finer label.
        normal: the label that is normal; every other one is abnormal.
        group: expression on the file name whose match (its first group, if it has one) names the
            patient; where it does not match, an image is a group of its own.
    """
    whole, inner = re.compile(pattern), re.compile(group or "(?!)")

    def scan(root: Path, category: str) -> pd.DataFrame:
        rows = []
        for name in image_paths(root / category):
            path = f"{category}/{name}" if category else name
            match = whole.fullmatch(path)
            if not match:
                continue
            kind = (match.groupdict().get("kind") or match["label"]).lower()
            found = inner.match(Path(path).name)
            patient = found.group(found.lastindex or 0) if found else path
            rows.append((path, int(match["label"] != normal), kind, match["split"], patient))
        return frame(rows)

    return scan


def ground_truth(*endings: str) -> Callable[[str], list[str]]:
    """Where the mask of an abnormal image may be, given its path; all relative to the root."""

    def candidates(path: str) -> list[str]:
        category, _, kind, name = path.split("/")
        return [f"{category}/ground_truth/{kind}/{Path(name).stem}{end}" for end in endings]

    return candidates


def _read(
    table: Path, index: str, kinds: type | dict[str, type], **options: object
) -> pd.DataFrame:
    """A data set's own table of labels, by the column `index`: these columns, or all of one kind.

    Raises:
        UserError: it is damaged, or another table.
    """
    with reading(table, "copy it anew"):
        content = pd.read_csv(table, index_col=False, **options)
        if isinstance(kinds, dict):
            content = content[[index, *kinds]]
        if content.isna().any(axis=None):
            raise ValueError("a cell is empty")
        return content.astype({index: str}).set_index(index).astype(kinds)


def scan_elpv(root: Path, category: str) -> pd.DataFrame:
    """Probability 0 is normal, 1 abnormal; 1/3 and 2/3 are doubtful and left out."""
    listing = root / "labels.csv"
    if not listing.exists():
        return frame([])
    names = ["path", "probability", "type"]
    labels = _read(listing, "path", {"probability": float, "type": str}, sep=r"\s+", names=names)
    labels = labels.reset_index()
    split = labels.probability.map(lambda p: "pool" if p in (0.0, 1.0) else "doubtful")
    label = (labels.probability > 0.5).astype(int)
    return frame(list(zip(labels.path, label, labels.type, split, labels.path, strict=True)))


_ISIC_PARTS = {"train": "Training", "val": "Validation", "test": "Test"}


def scan_isic(root: Path, category: str) -> pd.DataFrame:
    """ISIC 2018 task 3: one-hot tables beside the image folders; NV (nevus) is normal.

    Groups are lesions, from the table of lesion groupings; it covers the training part.
    """
    lesions = {}
    groupings = root / "ISIC2018_Task3_Training_LesionGroupings.csv"
    if groupings.exists():
        lesions = _read(groupings, "image", {"lesion_id": str})["lesion_id"].to_dict()
    rows = []
    for split, part in _ISIC_PARTS.items():
        stem = f"ISIC2018_Task3_{part}"
        table = min(root.glob(f"{stem}_GroundTruth*/{stem}_GroundTruth.csv"), default=None)
        table = table or next(root.glob(f"{stem}_GroundTruth.csv"), None)
        if table is None:
            continue
        truth = _read(table, "image", float)
        for image, kind in truth.idxmax(axis=1).items():
            path = f"{stem}_Input/{image}.jpg"
            if (root / path).exists():
                rows.append((path, int(kind != "NV"), kind, split, lesions.get(image, image)))
    return frame(rows)
