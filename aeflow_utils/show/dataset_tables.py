"""Tables of the data sets: what each is, how many images it has, how they are split."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from aeflow_utils.data.catalog import SPECS, TEST_SPLIT, DatasetSpec, parse_label
from aeflow_utils.data.table import SPLIT_SEED, available
from aeflow_utils.show.style import LABEL_NAMES

if TYPE_CHECKING:  # torch, which nothing else here needs
    from aeflow_utils.data.features import Splits


def dataset_cards() -> pd.DataFrame:
    """What each data set shows, on what terms, from where, and whether it is here."""
    present, rows = available(), []
    for name, spec in SPECS.items():
        parts = [" ".join(rest).strip() or "here" for dataset, *rest in present if dataset == name]
        here = ", ".join(parts)
        where = here or f"no: {spec.how_to_get}"
        rows.append((spec.title, spec.shows, spec.licence, spec.citation, where))
    columns = ["data set", "shows", "licence", "source", "here"]
    return pd.DataFrame(rows, columns=columns).set_index("data set")


def dataset_facts(with_runs: list[str]) -> pd.DataFrame:
    """Domain, images, licence, and whether there are runs (by label), a row a data set.

    Images are official, of each official copy; without an official split they are this study's.
    """
    columns = ["data set", "domain", "normal training images", "test normal", "test abnormal"]
    rows = []
    for name, spec in SPECS.items():
        rests = [rest for key, rest in map(parse_label, with_runs) if key == name]
        runs = ", ".join(filter(None, rests)).replace("_", " ")
        runs = runs or ("yes" if rests else "none, absent")
        split = TEST_SPLIT.get(name, "test")
        official = [_count(spec, *key) for key in (("train", 0), (split, 0), (split, 1))]
        rows.append((spec.title, spec.domain, *official, spec.licence, runs))
    return pd.DataFrame(rows, columns=[*columns, "licence", "runs"]).set_index("data set")


def _count(spec: DatasetSpec, split: str, label: int) -> str:
    if ("train", 0) not in next(iter(spec.counts.values())):
        table = spec.splits[""](spec.scan(spec.root, ""), SPLIT_SEED)
        return f"{((table['split'] == split) & (table['label'] == label)).sum():,} (split here)"
    copies = (spec.copies or {"": spec.counts}).values()
    sizes = dict.fromkeys(sum(counts[split, label] for counts in copy.values()) for copy in copies)
    return " or ".join(f"{size:,}" for size in sizes)


def split_counts(splits: list[Splits]) -> pd.DataFrame:
    """Images by split and label, a row a data set."""
    rows = []
    for parts in splits:
        row = {"data set": parts.listed.data.label}
        for split, label in (("train", 0), ("val", 0), ("val", 1), ("test", 0), ("test", 1)):
            of_label = getattr(parts, split).labels == label
            row[f"{split} {LABEL_NAMES[label]}"] = int(of_label.sum())
        rows.append(row)
    return pd.DataFrame(rows)
