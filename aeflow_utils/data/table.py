"""The images of a configuration as a table: one row an image, with its label and its split."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils.config import DataConfig
from aeflow_utils.data import own
from aeflow_utils.data.cache import key_hash
from aeflow_utils.data.catalog import SPECS, DatasetSpec, get_spec
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
        rows: (N,) positions of the table's rows among all M images of the set's category.
        n_listed: M, those of no split included: arrays of the cache are as long.
        stamps: (N,) uint32, what tells one file from another; never 0.
        fingerprint: short hash of which files the table names, and how large they are.
    """

    data: DataConfig
    spec: DatasetSpec
    root: Path
    table: pd.DataFrame
    rows: np.ndarray
    n_listed: int
    stamps: np.ndarray
    fingerprint: str

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
        for category in spec.categories if name in names else ():
            here += [(name, category, split) for split in islice(splits_here(spec, category), 1)]
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
    rows, table = table.index.to_numpy(), table.reset_index(drop=True)
    stamps, fingerprint = _state(root, table["path"])
    return ImageList(data, spec, root, table, rows, len(listing), stamps, fingerprint)


def _check_name(what: str, name: str, known: tuple[str, ...], dataset: str) -> None:
    if name not in known:
        choices = ", ".join(repr(choice) for choice in known)
        raise UserError(f"unknown {what} '{name}' of {dataset}: choose one of {choices}")


def _divide(listing: pd.DataFrame, spec: DatasetSpec, data: DataConfig) -> pd.DataFrame:
    """The rows of the study's splits; their index stays what it is in the listing."""
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


def _state(root: Path, paths: pd.Series) -> tuple[np.ndarray, str]:
    """Stamps and fingerprint of the files, from one look at each."""
    stamps, sizes = [], []
    try:
        for path in paths:
            state = (root / path).stat()
            text = f"{root / path} {state.st_size} {state.st_mtime_ns}"
            stamps.append(zlib.crc32(text.encode()) | 1)
            sizes.append((path, state.st_size))
    except OSError as error:
        reason = f"{root / path} cannot be read ({error.strerror})"
        raise UserError(f"{reason}. Restore or remove it") from None
    return np.array(stamps, dtype=np.uint32), key_hash({"listing": sizes})
