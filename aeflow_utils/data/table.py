"""The images of a configuration as a table: one row an image, with its label and its split."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import pandas as pd

from aeflow_utils.config import DataConfig
from aeflow_utils.data import own
from aeflow_utils.data.cache import key_hash
from aeflow_utils.data.catalog import SPECS, DatasetSpec, get_spec
from aeflow_utils.data.identity import digests
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.splits import take_fold
from aeflow_utils.errors import UserError

log = logging.getLogger(__name__)

SPLITS = ("train", "val", "test")
SPLIT_SEED = 0  # all models and seeds share one split


@dataclass(frozen=True)
class ImageList:
    """The images that a configuration names, as their files are when `list_images` looks.

    Args:
        root: folder that the paths in `table` are relative to.
        table: (N rows) path, label, kind, split, group. Splits are ``train`` (normal only), ``val``
            and ``test``; rows are in a fixed order.
        digests: (N) of the files' content.
        masks: (N) the file that says which pixels of an abnormal image are, None where there is
            none.
        fingerprint: short hash of everything that a run depends on: content, label, kind, split
            and group of each image, and the content of its mask.
        trained_on: the same of what training reads: training images and validation normals.
        notes: what there is to know of a reader's own images; logged once.
    """

    data: DataConfig
    spec: DatasetSpec
    root: Path
    table: pd.DataFrame
    digests: tuple[str, ...]
    masks: tuple[Path | None, ...]
    fingerprint: str
    trained_on: str
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        """Of each row."""
        return [self.root / path for path in self.table["path"]]


def available(names: Collection[str] = SPECS) -> list[tuple[str, str, str]]:
    """Every (data set, category, split) that can be run here, in a fixed order.

    The split is the study's, "", where its training and test images are here, else the first named
    alternative whose are.
    """
    here = []
    for name, spec in SPECS.items():
        try:
            for category in spec.categories if name in names else ():
                splits = islice(splits_here(spec, category), 1)
                here += [(name, category, split) for split in splits]
        except UserError as error:  # a damaged set is not here; the others are
            log.warning(f"{spec.title} is left out: {error}")
    return here


def splits_here(spec: DatasetSpec, category: str = "") -> Iterator[str]:
    """Those of a data set's splits whose training and test images are in the data folder."""
    listing = spec.scan(spec.root, category)
    for name, divide in () if listing.empty else spec.splits.items():
        if {"train", "test"} <= set(divide(listing, SPLIT_SEED)["split"]):
            yield name


def list_images(data: DataConfig) -> ImageList:
    """Look a data set up and scan its folder, once; what comes after reads the list.

    Raises:
        UserError: unknown or absent data set, category or split, a split without normal images, or
            a file that is gone.
    """
    spec = own.spec(data) if data.own else get_spec(data.dataset)
    _check_name("category", data.category, spec.categories, data.dataset)
    _check_name("split", data.split, tuple(spec.splits), data.dataset)
    root, name = spec.root, f"{spec.title} {data.category}".strip()
    listing = spec.scan(root, data.category)
    if listing.empty:
        raise UserError(
            f"{name}: no images in {root / data.category}. "
            f"Set AEFLOW_DATA to your data folder, or {spec.how_to_get}."
        )
    table = _divide(listing, spec, data)
    _check_splits(table, name, data)
    found = _identified(data, spec, table.reset_index(drop=True))
    if data.own:
        notes, unused = list(spec.notes), len(listing) - len(table)
        if unused and not data.limit:
            notes.append(f"abnormal, so not trained on: {unused} images")
        found = replace(found, notes=(*notes, *_twins(found)))
        for note in found.notes:
            log.warning(f"{data.label}: {note}")
    return found


def _check_name(what: str, name: str, known: tuple[str, ...], dataset: str) -> None:
    if name not in known:
        choices = ", ".join(repr(choice) for choice in known)
        raise UserError(f"unknown {what} '{name}' of {dataset}: choose one of {choices}")


def _twins(listed: ImageList) -> list[str]:
    """Notes on equal files that stand in two splits, or have two labels."""
    table, notes = listed.table.assign(digest=listed.digests), []
    for column, what in (("split", "in two splits"), ("label", "with two labels")):
        alike = table[table.groupby("digest")[column].transform("nunique") > 1]
        if len(alike):
            pair = " and ".join(alike.sort_values("digest")["path"].head(2))
            notes.append(f"equal files {what}: {len(alike)} images, {pair} among them")
    return notes


def _divide(listing: pd.DataFrame, spec: DatasetSpec, data: DataConfig) -> pd.DataFrame:
    """The rows of the study's splits."""
    table = spec.splits[data.split](listing, SPLIT_SEED)
    if data.fold:
        table = take_fold(table, data.fold, SPLIT_SEED)
    if data.limit:
        table = table.groupby(["split", "label"]).sample(frac=1, random_state=SPLIT_SEED)
        table = table.groupby(["split", "label"]).head(data.limit)
    return table.sort_values(["split", "label", "path"])


def _check_splits(table: pd.DataFrame, name: str, data: DataConfig) -> None:
    hint = "" if data.own else f". See: python -m aeflow_utils data check {data.dataset}"
    for split in SPLITS:
        if not table.loc[table["split"] == split, "label"].isin([0, UNLABELLED]).any():
            raise UserError(f"{name}: the {split} split has no normal image{hint}")
    if not ((table["split"] == "test") & (table["label"] == 1)).any():
        log.warning(
            f"{name}: the test split has no abnormal image, so AUROC, F1 and sensitivity stay "
            f"empty{hint}"
        )


def masks_of(spec: DatasetSpec, table: pd.DataFrame) -> list[Path | None]:
    """Of each image in the table the file of its mask; None of normal ones and where none is."""
    find = spec.mask or (lambda path: [])
    return [
        next(filter(Path.is_file, map(spec.root.joinpath, find(path))), None)
        if label == 1
        else None
        for path, label in zip(table["path"], table["label"], strict=True)
    ]


def _identified(data: DataConfig, spec: DatasetSpec, table: pd.DataFrame) -> ImageList:
    root, masks = spec.root, masks_of(spec, table)
    files = [root / path for path in table["path"]]
    found = digests([*files, *filter(None, masks)], root)
    images, of_masks = tuple(found[: len(files)]), iter(found[len(files) :])
    told = ["" if mask is None else next(of_masks) for mask in masks]
    columns = table[["path", "label", "kind", "split", "group"]]
    rows = columns.assign(digest=images, mask=told)
    normal = (table["split"] == "train") | (table["split"] == "val") & (table["label"] == 0)
    fingerprint, trained_on = (
        key_hash({"images": part.to_numpy().tolist()}) for part in (rows, rows[normal])
    )
    return ImageList(data, spec, root, table, images, tuple(masks), fingerprint, trained_on)
