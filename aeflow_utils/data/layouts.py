"""How data sets lie on disk: each layout lists its images as a frame of `COLUMNS`.

A layout is a pattern on paths relative to the data set's folder; where labels live in a table of
their own (ELPV, ISIC), a function reads it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

COLUMNS = ["path", "label", "kind", "split", "group"]
UNLABELLED = -1  # only in the test split of a reader's own images
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}

Scan = Callable[[Path, str], pd.DataFrame]


def frame(rows: list[tuple]) -> pd.DataFrame:
    """Rows of `COLUMNS` in the order of their paths."""
    return pd.DataFrame(sorted(rows), columns=COLUMNS)


def image_paths(root: Path) -> list[str]:
    """Every image file under `root`, relative, with forward slashes, sorted.

    Links are listed only where they stay inside `root`: a data folder must not reach out of itself.
    """
    found, home = [], root.resolve()
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder, name)
            leaves = path.is_symlink() and not path.resolve().is_relative_to(home)
            if path.suffix.lower() in IMAGE_SUFFIXES and not leaves:
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


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


def scan_elpv(root: Path, category: str) -> pd.DataFrame:
    """Probability 0 is normal, 1 abnormal; 1/3 and 2/3 are doubtful and left out."""
    listing = root / "labels.csv"
    if not listing.exists():
        return frame([])
    labels = pd.read_csv(listing, sep=r"\s+", names=["path", "probability", "type"])
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
        lesions = pd.read_csv(groupings).set_index("image")["lesion_id"].to_dict()
    rows = []
    for split, part in _ISIC_PARTS.items():
        stem = f"ISIC2018_Task3_{part}"
        table = next(root.glob(f"{stem}_GroundTruth*/{stem}_GroundTruth.csv"), None)
        table = table or next(root.glob(f"{stem}_GroundTruth.csv"), None)
        if table is None:
            continue
        truth = pd.read_csv(table).set_index("image")
        for image, kind in truth.idxmax(axis=1).items():
            path = f"{stem}_Input/{image}.jpg"
            if (root / path).exists():
                rows.append((path, int(kind != "NV"), kind, split, lesions.get(image, image)))
    return frame(rows)
