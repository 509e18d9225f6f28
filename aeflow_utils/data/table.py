"""The images of a data set as a table: one row an image, with its label and its split."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import pandas as pd

from aeflow_utils.config import DataConfig, FolderConfig
from aeflow_utils.data import own as own_data
from aeflow_utils.data.catalog import SPECS, DatasetSpec
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.splits import take_fold
from aeflow_utils.errors import UserError

log = logging.getLogger(__name__)

CHECK = "python -m aeflow_utils data check"


def get_spec(name: str) -> DatasetSpec:
    """The data set called `name`; UserError names the known ones."""
    if name not in SPECS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(SPECS)}")
    return SPECS[name]


def spec_of(data: DataConfig) -> DatasetSpec:
    """The data set that a configuration names, or a reader's own images."""
    return own_data.spec(data) if isinstance(data, FolderConfig) else get_spec(data.dataset)


def check(name: str) -> pd.DataFrame:
    """Found against official counts: category, split, label, found, official, complete."""
    spec, rows = get_spec(name), []
    for category, counts in spec.counts.items():
        found = spec.scan(spec.root, category).value_counts(["split", "label"])
        for (split, label), official_count in counts.items():
            here = int(found.get((split, label), 0))
            kind = ("normal", "abnormal")[label]
            rows.append((category, split, kind, here, official_count, here == official_count))
    columns = ["category", "split", "label", "found", "official", "complete"]
    return pd.DataFrame(rows, columns=columns)


def describe(table: pd.DataFrame) -> str:
    """What `check` found, in words: which categories are complete or absent, what is missing."""
    whole, absent, lines = [], [], []
    for category, part in table.groupby("category", sort=False):
        missing = part[~part["complete"]]
        if missing.empty:
            whole.append(category)
        elif not part["found"].any():
            absent.append(category)
        else:
            for row in missing.itertuples():
                what = f"{category} {row.split}/".strip()
                lines.append(f"{what} has {row.found} of {row.official} {row.label} images")
    if whole:
        lines.insert(0, f"complete: {', '.join(whole)}" if any(whole) else "complete")
    if absent:
        names = ", ".join(absent) if any(absent) else "everything"
        lines.append(f"absent: {names}")
    return "\n".join(lines)


def available(names: Iterable[str] = SPECS) -> list[tuple[str, str]]:
    """Every (data set, category) whose training and test images are here, in a fixed order."""
    here = []
    for name, spec in ((name, SPECS[name]) for name in SPECS if name in names):
        for category in spec.categories:
            found = set(spec.scan(spec.root, category)["split"])
            if "pool" in found or {"train", "test"} <= found:
                here.append((name, category))
    return here


def load_table(data: DataConfig) -> pd.DataFrame:
    """One row an image: path (relative to the data set's root), label, kind, split, group.

    Splits are ``train`` (normal only), ``val`` and ``test``; rows are in a fixed order.

    Raises:
        UserError: unknown or absent data set, category or split, or a split without normal images.
    """
    spec = spec_of(data)
    _check_name("category", data.category, spec.categories, data.dataset)
    _check_name("split", data.split, tuple(spec.splits), data.dataset)
    table = spec.scan(spec.root, data.category)
    name = f"{spec.title} {data.category}".strip()
    if table.empty:
        raise UserError(
            f"{name}: no images in {spec.root / data.category}. "
            f"Set AEFLOW_DATA to your data folder, or {spec.how_to_get}."
        )
    table = spec.splits[data.split](table, data.split_seed)
    if data.fold:
        table = take_fold(table, data.fold, data.split_seed)
    if data.limit:
        table = table.groupby(["split", "label"]).sample(frac=1, random_state=data.split_seed)
        table = table.groupby(["split", "label"]).head(data.limit)
    table = table.sort_values(["split", "label", "path"], ignore_index=True)
    own = isinstance(data, FolderConfig)
    hint = "" if own else f". See what is missing with: {CHECK} {data.dataset}"
    for split in ("train", "val", "test"):
        part = table[table["split"] == split]
        if not part["label"].isin([0, UNLABELLED]).any():
            raise UserError(f"{name}: the {split} split has no normal image{hint}")
    if not ((table["split"] == "test") & (table["label"] == 1)).any():
        log.warning(
            f"{name}: the test split has no abnormal image, so AUROC, F1 and sensitivity stay "
            f"empty{hint}"
        )
    return table


def _check_name(what: str, name: str, known: tuple[str, ...], dataset: str) -> None:
    if name not in known:
        choices = ", ".join(repr(choice) for choice in known)
        raise UserError(f"unknown {what} '{name}' of {dataset}: choose one of {choices}")
