"""A closer look at a data set: files that cannot be read, and images that stand in two splits."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from aeflow_utils.config import UserError
from aeflow_utils.datasets import get_spec
from aeflow_utils.preparation import read_image


def problems(name: str) -> pd.DataFrame:
    """What is wrong with the images of a data set, a row a finding; empty where nothing is.

    Columns: path, problem. Every file is read and decoded once. Identical files inside one split
    are no problem here; across splits they leak.
    """
    spec = get_spec(name)
    tables = [spec.scan(spec.root, category) for category in spec.categories]
    table = pd.concat(tables, ignore_index=True)
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda path: _digest_or_error(spec.root / path, spec.grey), table["path"])
        progress = tqdm(read, f"{name}: reading every image", len(table), mininterval=1)
        found = pd.DataFrame(progress, columns=["digest", "problem"], index=table.index)
    table = table.join(found)
    rows = list(table.dropna(subset=["problem"])[["path", "problem"]].itertuples(index=False))
    for _, twins in table.dropna(subset=["digest"]).groupby("digest", sort=False):
        if len(set(twins["split"])) > 1:
            first, *others = twins.itertuples()
            rows += [(o.path, f"same file as {first.path}") for o in others]
    rows += _shared_groups(table)
    return pd.DataFrame(rows, columns=["path", "problem"])


def _digest_or_error(path: Path, grey: bool) -> tuple[str | None, str | None]:
    try:
        read_image(path, 8, grey)
        return hashlib.sha256(path.read_bytes()).hexdigest(), None
    except UserError as error:
        return None, str(error)


def _shared_groups(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Training and test images of one patient, where the official split has some."""
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    shared = train[train["group"].isin(test["group"])].drop_duplicates("group")
    return [(row.path, f"group {row.group} is also in test") for row in shared.itertuples()]
