"""A reader's own images as a data set: a folder in one of the usual layouts, or a CSV file.

Folders: ``train/`` and ``test/`` (``val/`` too, if there is one), inside them one folder a label,
at any depth, as in MVTec AD. ``train/`` without label folders is all normal, ``test/`` without them
is unlabelled. Without ``train/`` and ``test/``, a folder of normal and one of abnormal images are
split at random. CSV: columns path (relative to the file) and label, optionally split, mask, group.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath

import pandas as pd
from PIL import Image

from aeflow_utils.config import FolderConfig
from aeflow_utils.data.catalog import DatasetSpec
from aeflow_utils.data.layouts import UNLABELLED, frame, image_paths
from aeflow_utils.data.splits import own_split
from aeflow_utils.errors import UserError

SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "testing": "test"}
SPLIT_NAMES |= {"val": "val", "valid": "val", "validation": "val"}
NORMAL_NAMES = {"normal", "good", "ok", "0", "negative", "healthy", "intact", "nominal", "pass"}
NORMAL_NAMES |= {"no_defect", "defect_free", "non_defective", "regular", "benign"}
MASK_FOLDERS = {"ground_truth", "mask", "masks"}
LOOKED_AT = 100  # images that decide whether a set is grey
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "F"}


def spec(data: FolderConfig) -> DatasetSpec:
    """The data set in `data.source`, which is scanned here: `scan` gives what was found.

    Raises:
        UserError: it does not exist, or its layout or its labels cannot be understood.
    """
    source = Path(data.source).expanduser().resolve()
    if source.is_file():
        root, (table, masks) = source.parent, _read_csv(source, data)
        find_mask = masks.get if any(masks.values()) else None
    elif source.is_dir():
        root, table = source, _scan_folder(source, data)
        homes = [c.name for c in source.iterdir() if c.is_dir() and c.name.lower() in MASK_FOLDERS]
        find_mask = partial(_guess_masks, homes=homes) if homes else None
    else:
        raise UserError(f"{source} does not exist: give a folder of images or a CSV file")
    if table.empty:
        raise UserError(f"{source} holds no images (of png, jpeg, bmp or tiff)")
    return DatasetSpec(
        title=data.name,
        shows="a reader's own images",
        domain="own",
        grey=_all_grey(root, table["path"]),
        folders=(str(root),),
        scan=lambda root, category: table,
        splits={"": own_split},
        counts={"": {}},
        licence="yours",
        citation="",
        how_to_get=f"put images into {source}",
        mask=find_mask,
    )


def _scan_folder(root: Path, data: FolderConfig) -> pd.DataFrame:
    rows = []
    for path in image_paths(root):
        folders = PurePosixPath(path).parts[:-1]
        if any(folder.lower() in MASK_FOLDERS for folder in folders):
            continue
        split = next((SPLIT_NAMES[f.lower()] for f in folders if f.lower() in SPLIT_NAMES), "pool")
        rows.append((path, split, [f for f in folders if f.lower() not in SPLIT_NAMES]))
    _refuse_several_products(root, [path for path, split, _ in rows if split != "pool"])
    if any(split != "pool" for _, split, _ in rows):
        rows = [row for row in rows if row[1] != "pool"]  # stray images beside train/ and test/
    normal = _normal_names({name for _, _, names in rows for name in names}, data, root)
    abnormal = {name.lower() for name in data.abnormal}
    labelled = []
    for path, split, names in rows:
        label, kind = _label(names, split, normal)
        if not abnormal or label != 1 or abnormal & {name.lower() for name in names}:
            labelled.append((path, label, kind, split, path))
    return frame(labelled)


def _label(names: list[str], split: str, normal: set[str]) -> tuple[int, str]:
    """Label and kind of an image that lies in the folders `names`, split folders left out."""
    if any(name.lower() in normal for name in names):
        return 0, "normal"
    if names:
        return 1, names[-1]
    return (0, "normal") if split == "train" else (UNLABELLED, "unlabelled")


def _normal_names(found: set[str], data: FolderConfig, root: Path) -> set[str]:
    """Which of the labels `found` are normal, in lower case: as given, or guessed."""
    known = {name.lower() for name in found}
    normal = {name.lower() for name in data.normal} or NORMAL_NAMES & known
    if found and not normal & known:
        names = ", ".join(sorted(found))
        asked = f" called {', '.join(data.normal)}" if data.normal else ""
        raise UserError(
            f"{root}: no folder of normal images{asked} among: {names}. Say which: --normal NAME"
        )
    return normal


def _refuse_several_products(root: Path, paths: list[str]) -> None:
    """One model sees one product: bottle/train and cable/train must not be mixed."""
    firsts = {PurePosixPath(path).parts[0] for path in paths}
    products = {first for first in firsts if first.lower() not in SPLIT_NAMES}
    if len(products - NORMAL_NAMES) > 1:
        names = ", ".join(sorted(products))
        raise UserError(f"{root} holds several products ({names}): give the folder of one of them")


def _guess_masks(path: str, homes: list[str]) -> list[str]:
    """Where masks lie in the usual layouts: ground_truth/<kind>/<name>[_mask].png."""
    *folders, _ = PurePosixPath(path).parts
    inner = [folder for folder in folders if folder.lower() not in SPLIT_NAMES]
    places = [PurePosixPath(home, *middle) for home in homes for middle in (inner, folders)]
    stem, suffix = PurePosixPath(path).stem, PurePosixPath(path).suffix
    endings = ("_mask.png", ".png", "_mask.bmp", ".bmp", suffix)
    return [str(place / f"{stem}{end}") for place in places for end in endings]


def _read_csv(source: Path, data: FolderConfig) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    """A table of `COLUMNS`, and by path the mask, if there is one."""
    try:
        listing = pd.read_csv(source, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{source} cannot be read as CSV ({error})") from None
    if not {"path", "label"} <= set(listing.columns):
        found = ", ".join(listing.columns)
        raise UserError(
            f"{source} needs the columns path and label (and may have split); has {found}"
        )
    defaults = {"split": "pool", "mask": "", "group": ""}
    listing = listing.assign(**{name: defaults[name] for name in defaults.keys() - set(listing)})
    normal = _normal_names({name for name in listing["label"] if name}, data, source)
    splits = listing["split"].str.lower().map({**SPLIT_NAMES, "": "pool", "pool": "pool"})
    no_split = splits.isna() | ((splits == "pool") & (splits != "pool").any())
    _refuse_rows(source, listing, no_split, "has no split train, val or test")
    gone = ~listing["path"].map(lambda path: (source.parent / path).is_file()).astype(bool)
    _refuse_rows(source, listing, gone, "names a file that is not there")
    _refuse_rows(source, listing, listing["path"].duplicated(), "names a file for the second time")
    rows, masks = [], {}
    for row in listing.assign(split=splits).itertuples():
        label, kind = _label([row.label] if row.label else [], row.split, normal)
        rows.append((row.path, label, kind, row.split, row.group or row.path))
        masks[row.path] = [row.mask] if row.mask else []
    return frame(rows), masks


def _refuse_rows(source: Path, listing: pd.DataFrame, bad: pd.Series, what: str) -> None:
    if bad.any():
        first = bad.idxmax()
        line, path = first + 2, listing["path"][first]  # the first line is the header
        raise UserError(f"{source}, line {line} ({path}) {what}; {int(bad.sum())} such lines")


def _all_grey(root: Path, paths: pd.Series) -> bool:
    """Whether the images are stored in grey, judged by some spread over the set."""
    for path in paths.iloc[:: max(1, len(paths) // LOOKED_AT)]:
        try:
            with Image.open(root / path) as image:
                if image.mode not in GREY_MODES:
                    return False
        except (OSError, ValueError, SyntaxError):
            continue  # said when the images are prepared
    return True
