"""A reader's own images as a data set: a folder in one of the usual layouts, or a CSV file.

Folders: ``train/`` and ``test/`` (``val/`` too, if there is one), inside them one folder a label,
as in MVTec AD; or the labels outside, with ``train/`` and ``test/`` in them. ``train/`` and
``val/`` without label folders are all normal, ``test/`` without them is unlabelled. Without such
folders, one folder of normal and one of abnormal images are split at random; a single folder whose
own name says normal is normal. CSV: columns path (relative to the file) and label, optionally
split, mask, group.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import pandas as pd

from aeflow_utils.config import FolderConfig
from aeflow_utils.data.catalog import DatasetSpec
from aeflow_utils.data.depth import depth_of
from aeflow_utils.data.layouts import IMAGE_SUFFIXES, UNLABELLED, files_under, frame
from aeflow_utils.data.reading import read_listing
from aeflow_utils.data.splits import own_split
from aeflow_utils.errors import UserError
from aeflow_utils.paths import expanded

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_NAMES |= {"val": "val", "valid": "val", "validation": "val"}
NORMAL_NAMES = {"normal", "good", "ok", "0", "negative", "healthy", "intact", "nominal", "pass"}
NORMAL_NAMES |= {"no_defect", "defect_free", "non_defective", "regular", "benign"}
MASK_FOLDERS = {"ground_truth", "mask", "masks"}


class Row(NamedTuple):
    """An image: path, split (``pool`` where none is given), name of the label ("" for none)."""

    path: str
    split: str
    label: str
    kind: str
    group: str


def spec(data: FolderConfig) -> DatasetSpec:
    """The data set in `data.source`, which is scanned here: `scan` gives what was found.

    Raises:
        UserError: it does not exist, or its layout or its labels cannot be understood.
    """
    source = expanded(data.source).resolve()
    notes: list[str] = []
    if source.is_file():
        root, (rows, masks) = source.parent, _read_csv(source)
        find_mask = masks.get if any(masks.values()) else None
    elif source.is_dir():
        root, files = source, files_under(source)
        inside = sorted(source.iterdir())
        homes = [c.name for c in inside if c.is_dir() and c.name.lower() in MASK_FOLDERS]
        find_mask = partial(_guess_masks, homes=homes) if homes else None
        rows = _rows(root, [path for path in files if _is_image(path)], notes)
        notes += _other_files(files)
    else:
        raise UserError(f"{source} does not exist: give a folder of images or a CSV file")
    if not rows:
        kinds = ", ".join(sorted(suffix[1:] for suffix in IMAGE_SUFFIXES))
        raise UserError(f"{source} holds no images (of {kinds})")
    table = _labelled(rows, data, source, notes)
    grey, white = depth_of([root / path for path in table["path"]])
    return DatasetSpec(
        title=data.name,
        shows="a reader's own images",
        domain="own",
        grey=grey,
        white=white,
        folders=(str(root),),
        scan=lambda root, category: table,
        splits={"": own_split},
        counts={"": {}},
        licence="yours",
        citation="",
        how_to_get=f"put images into {source}",
        mask=find_mask,
        notes=tuple(notes),
    )


def _is_image(path: str) -> bool:
    folders = PurePosixPath(path).parts[:-1]
    is_mask = any(folder.lower() in MASK_FOLDERS for folder in folders)
    return PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES and not is_mask


def _other_files(files: list[str]) -> list[str]:
    """A note that counts what is no image, by its ending."""
    endings = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in files)
    others = sorted(endings.keys() - IMAGE_SUFFIXES)
    told = [f"{endings[ending]} {ending}" for ending in others]
    return [f"no images, left aside: {', '.join(told)}"] if told else []


def _rows(root: Path, paths: list[str], notes: list[str]) -> list[Row]:
    """The images of a folder, by where they lie."""
    folders = {path: PurePosixPath(path).parts[:-1] for path in paths}
    place = {path: _place_of_split(names) for path, names in folders.items()}
    inside = [path for path in paths if place[path] is not None]
    if not inside:
        return _without_splits(root, folders)
    stray = [path for path in paths if place[path] is None]
    if stray:  # beside train/ and test/
        notes.append(f"in no split, left aside: {len(stray)} images, {stray[0]} among them")
    above = {path: folders[path][: place[path]] for path in inside}
    below = {path: folders[path][place[path] + 1 :] for path in inside}
    outside = len(set(above.values())) > 1
    if outside and any(below.values()):
        names = ", ".join(sorted({"/".join(names) for names in above.values()}))
        raise UserError(
            f"{root} holds several products, or labels both above and below train/ and test/ "
            f"({names}): give the folder of one of them"
        )
    rows = []
    for path in inside:
        split, labels = SPLIT_NAMES[folders[path][place[path]].lower()], below[path]
        labels = above[path][-1:] if outside else labels
        rows.append(Row(path, split, *_ends(labels), path))
    bare = [row for row in rows if not row.label and row.split != "test"]
    if bare and len(bare) < sum(row.split != "test" for row in rows):
        notes.append(f"without a label's folder, taken as normal: {len(bare)} images")
    return rows


def _place_of_split(folders: tuple[str, ...]) -> int | None:
    return next((n for n, name in enumerate(folders) if name.lower() in SPLIT_NAMES), None)


def _without_splits(root: Path, folders: dict[str, tuple[str, ...]]) -> list[Row]:
    """Labels are the folders at which paths first part; of a single folder its own name."""
    every, common = list(folders.values()), 0
    while all(len(names) > common for names in every) and (
        len({names[common] for names in every}) == 1
    ):
        common += 1
    if every and not any(len(names) > common for names in every):
        only = (every[0] or (root.name,))[-1:]
        return [Row(path, "pool", *_ends(only), path) for path in folders]
    return [Row(path, "pool", *_ends(names[common:]), path) for path, names in folders.items()]


def _ends(labels: tuple[str, ...]) -> tuple[str, str]:
    """A label and, where folders lie in its own, the innermost as a finer kind."""
    return (labels[0], labels[-1]) if labels else ("", "")


def _labelled(rows: list[Row], data: FolderConfig, source: Path, notes: list[str]) -> pd.DataFrame:
    """A table of `layouts.COLUMNS`, by which names are normal and which abnormal."""
    normal, abnormal = _names(rows, data, source)
    table, aside = [], Counter()
    for row in rows:
        name = row.label.lower()
        if (not name and row.split in ("train", "val")) or name in normal:
            table.append((row.path, 0, "normal", row.split, row.group))
        elif not name:
            table.append((row.path, UNLABELLED, "unlabelled", row.split, row.group))
        elif not abnormal or name in abnormal:
            table.append((row.path, 1, row.kind, row.split, row.group))
        else:
            aside[row.label] += 1
    if aside:
        told = ", ".join(f"{n} of {name}" for name, n in sorted(aside.items()))
        notes.append(f"neither normal nor abnormal, left aside: {told}")
    return frame(table)


def _names(rows: list[Row], data: FolderConfig, source: Path) -> tuple[set[str], set[str]]:
    """Which labels are normal and which abnormal, in lower case: as given, or guessed."""
    found = {row.label.lower(): row.label for row in rows if row.label}
    names = ", ".join(sorted(found.values()))
    given = {"normal": data.normal, "abnormal": data.abnormal}
    for what, asked in given.items():
        for name in asked:
            if name.lower() not in found:
                raise UserError(f"{source}: --{what} {name} is none of the labels: {names}")
    normal, abnormal = ({name.lower() for name in asked} for asked in given.values())
    if both := normal & abnormal:
        raise UserError(f"{source}: {', '.join(sorted(both))} cannot be normal and abnormal")
    normal = normal or NORMAL_NAMES & set(found) - abnormal
    if found and not normal:
        raise UserError(f"{source}: which is normal among: {names}? Say so: --normal NAME")
    return normal, abnormal


def _guess_masks(path: str, homes: list[str]) -> list[str]:
    """Where masks lie in the usual layouts: ground_truth/<kind>/<name>[_mask].png."""
    *folders, _ = PurePosixPath(path).parts
    inner = [folder for folder in folders if folder.lower() not in SPLIT_NAMES]
    places = [PurePosixPath(home, *middle) for home in homes for middle in (inner, folders)]
    stem, suffix = PurePosixPath(path).stem, PurePosixPath(path).suffix
    endings = ("_mask.png", ".png", "_mask.bmp", ".bmp", suffix)
    return [str(place / f"{stem}{end}") for place in places for end in endings]


def _read_csv(source: Path) -> tuple[list[Row], dict[str, list[str]]]:
    """The images of a CSV file, and by path the mask, if there is one."""
    listing = read_listing(source).map(str.strip)
    if not {"path", "label"} <= set(listing.columns):
        found = ", ".join(listing.columns)
        raise UserError(
            f"{source} needs the columns path and label (and may have split); has {found}"
        )
    defaults = {"split": "", "mask": "", "group": ""}
    listing = listing.assign(**{name: defaults[name] for name in defaults.keys() - set(listing)})
    splits = listing["split"].str.lower().map({**SPLIT_NAMES, "": "pool", "pool": "pool"})
    refuse = partial(_refuse_rows, source, listing)
    no_split = splits.isna() | ((splits == "pool") & (splits != "pool").any())
    refuse(no_split, "has no split train, val or test")
    refuse((listing["label"] == "") & splits.isin(["train", "val"]), "has no label")
    refuse(_absent(listing["path"], source), "names a file that is not there")
    refuse(_absent(listing["mask"], source) & (listing["mask"] != ""), "names a mask not there")
    refuse(listing["path"].map(PurePosixPath).duplicated(), "names a file for the second time")
    rows, masks = [], {}
    for row, split in zip(listing.itertuples(), splits, strict=True):
        rows.append(Row(row.path, split, row.label, row.label, row.group or row.path))
        masks[row.path] = [row.mask] if row.mask else []
    return rows, masks


def _absent(names: pd.Series, source: Path) -> pd.Series:
    # Of a name that no file can have, `Path.is_file` would raise.
    return ~names.map(lambda name: os.path.isfile(source.parent / name)).astype(bool)  # noqa: PTH113


def _refuse_rows(source: Path, listing: pd.DataFrame, bad: pd.Series, what: str) -> None:
    if bad.any():
        first = bad.idxmax()
        line, path = first + 2, listing["path"][first]  # the first line is the header
        raise UserError(f"{source}, line {line} ({path}) {what}; {int(bad.sum())} such lines")
