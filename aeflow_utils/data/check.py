"""A closer look at a data set: what is missing, cannot be read, or stands in two splits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from aeflow_utils.config import DataConfig
from aeflow_utils.data.cache import file_sha256
from aeflow_utils.data.catalog import Counts, get_spec
from aeflow_utils.data.images import read_image
from aeflow_utils.errors import UserError


def counts(name: str) -> pd.DataFrame:
    """Found against official counts: category, split, label, found, official, complete.

    Of a set with several official copies those of the nearest, named in a first column ``copy``:
    the one with most rows complete, then the one that fewest images tell from what is here.
    """
    spec = get_spec(name)
    scans = {c: spec.scan(spec.root, c).value_counts(["split", "label"]) for c in spec.categories}
    copies = spec.copies or {"": spec.counts}
    return max((_against(scans, *copy) for copy in copies.items()), key=_nearness)


def _against(scans: dict[str, pd.Series], copy: str, official: dict[str, Counts]) -> pd.DataFrame:
    rows = []
    for category, numbers in official.items():
        for (split, label), number in numbers.items():
            here = int(scans[category].get((split, label), 0))
            kind = ("normal", "abnormal")[label]
            rows.append((category, split, kind, here, number, here == number))
    columns = ["category", "split", "label", "found", "official", "complete"]
    table = pd.DataFrame(rows, columns=columns)
    if copy:
        table.insert(0, "copy", copy)
    return table


def _nearness(table: pd.DataFrame) -> tuple[int, int]:
    return table["complete"].sum(), -(table["found"] - table["official"]).abs().sum()


def describe(table: pd.DataFrame) -> str:
    """What `counts` found, in words: which categories are complete or absent, what is missing."""
    by_category = table.groupby("category", sort=False)
    whole, here = by_category["complete"].all(), by_category["found"].any()
    lines = [f"complete: {', '.join(whole.index[whole])}".removesuffix(": ")] if whole.any() else []
    if "copy" in table and here.any():
        lines.insert(0, f"{'copy' if whole.all() else 'nearest copy'}: {table['copy'].iloc[0]}")
    for row in table[~table["complete"] & table["category"].map(here)].itertuples():
        part = f"{row.category} {row.split}/".strip()
        lines.append(f"{part} has {row.found} of {row.official} {row.label} images")
    if not here.all():
        lines.append(f"absent: {', '.join(here.index[~here]) or 'everything'}")
    return "\n".join(lines)


def problems(name: str) -> pd.DataFrame:
    """What is wrong with the images of a data set, a row a finding; empty where nothing is.

    Columns: path, problem. Every file is read and decoded once. Identical files inside one split
    are no problem here; across splits they leak, as do images of one group (patient, lesion).
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
    train, test = (table[table["split"] == split] for split in ("train", "test"))
    shared = train[train["group"].isin(test["group"])].drop_duplicates("group")
    rows += [(row.path, f"group {row.group} is also in test") for row in shared.itertuples()]
    return pd.DataFrame(rows, columns=["path", "problem"])


def stored_sizes(name: str, category: str = "") -> dict:
    """How a set's images are stored, from the headers of at most 500, spread evenly through it."""
    spec = get_spec(name)
    paths = spec.scan(spec.root, category)["path"]
    headers = []
    for path in paths.iloc[:: -(-len(paths) // 500)]:
        try:
            with Image.open(spec.root / path) as image:
                headers.append((*image.size, image.mode))
        except Exception:  # `problems` names it
            continue
    table = pd.DataFrame(headers, columns=["width", "height", "colours"])
    return {
        "data set": DataConfig(name, category).label,
        "looked at": f"{len(table):,} of {len(paths):,}",
        "width, px": _range(table["width"]),
        "height, px": _range(table["height"]),
        "stored as": ", ".join(sorted(set(table["colours"]))),
        "used as": "grey" if spec.grey else "colour",
    }


def _range(values: pd.Series) -> str:
    """Smallest, median and largest, or the one value that there is."""
    low, middle, high = values.min(), int(values.median()), values.max()
    return f"{low}" if low == high else f"{low} to {high}, median {middle}"


def _digest_or_error(path: Path, grey: bool) -> tuple[str | None, str | None]:
    try:
        read_image(path, 8, grey)
        return file_sha256(path), None
    except UserError as error:
        return None, str(error)
