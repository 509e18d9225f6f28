"""Data sets: layouts, official counts, licences, and the splits of the study.

`load_table` gives one row an image. Training images are normal; validation is carved from the
training split, by patient where file names tell patients apart; the test split is the official
one. ELPV has no official split: a seeded, stratified one stands in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from aeflow_utils.config import DataConfig, UserError, paths

log = logging.getLogger(__name__)

COLUMNS = ["path", "label", "kind", "split", "group"]
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


@dataclass(frozen=True)
class DatasetSpec:
    """One data set, declared.

    Args:
        title: name in tables and figures.
        domain: ``medical`` or ``industrial``.
        grey: stored as one channel and repeated to three for the encoder.
        root: folder that holds the images, found anew at each call.
        scan: lists every image under `root` for a category: a frame of `COLUMNS` with the
            official split, not yet carved.
        counts: official number of images by category, then by (split, label).
        val_share: share of the normal training groups that become validation.
        val_abnormal: whether validation also gets labelled abnormal training images.
        licence, citation, how_to_get: said to the reader.
        categories: products of a set that has several.
    """

    title: str
    domain: str
    grey: bool
    root: Callable[[], Path]
    scan: Callable[[Path, str], pd.DataFrame]
    counts: dict[str, dict[tuple[str, int], int]]
    val_share: float
    val_abnormal: bool
    licence: str
    citation: str
    how_to_get: str
    categories: tuple[str, ...] = ("",)


def get_spec(name: str) -> DatasetSpec:
    """The data set called `name`; UserError names the known ones."""
    if name not in SPECS:
        raise UserError(f"unknown data set '{name}': choose one of {', '.join(SPECS)}")
    return SPECS[name]


def _images(root: Path, folder: str) -> list[Path]:
    """Image files directly in a folder, sorted; empty where there is no such folder."""
    found = (root / folder).glob("*") if (root / folder).is_dir() else ()
    return sorted(path for path in found if path.suffix.lower() in IMAGE_SUFFIXES)


def _frame(rows: list[tuple]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS)


def _scan_elpv(root: Path, category: str) -> pd.DataFrame:
    """Probability 0 is normal, 1 abnormal; 1/3 and 2/3 are doubtful and left out."""
    listing = root / "labels.csv"
    if not listing.exists():
        return _frame([])
    labels = pd.read_csv(listing, sep=r"\s+", names=["path", "probability", "type"])
    split = labels.probability.map(lambda p: "pool" if p in (0.0, 1.0) else "doubtful")
    label = (labels.probability > 0.5).astype(int)
    rows = zip(labels.path, label, labels.type, split, labels.path, strict=True)
    return _frame(list(rows))


def _scan_chest_xray(root: Path, category: str) -> pd.DataFrame:
    """{train,test}/{NORMAL,PNEUMONIA}; a patient is the series of a normal, `person<N>` else."""
    rows = []
    for split in ("train", "val", "test"):
        for label, folder in enumerate(("NORMAL", "PNEUMONIA")):
            for path in _images(root, f"{split}/{folder}"):
                kind = next((k for k in ("bacteria", "virus") if k in path.name), folder.lower())
                match = re.match(r"((?:NORMAL2-)?IM-\d+|person\d+)", path.name)
                group = match.group(1) if match else path.stem
                rows.append((path.relative_to(root).as_posix(), label, kind, split, group))
    return _frame(rows)


def _scan_mvtec(root: Path, category: str) -> pd.DataFrame:
    """<category>/{train/good, test/good, test/<defect>}."""
    base, rows = root / category, []
    for split in ("train", "test"):
        kinds = sorted(p.name for p in (base / split).glob("*") if p.is_dir())
        for kind in kinds:
            for path in _images(base, f"{split}/{kind}"):
                name = path.relative_to(root).as_posix()
                rows.append((name, int(kind != "good"), kind, split, name))
    return _frame(rows)


_MVTEC_COUNTS = {  # train good, test good, test defective: 5,354 in all
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}

SPECS: dict[str, DatasetSpec] = {
    "elpv": DatasetSpec(
        title="ELPV solar cells",
        domain="industrial",
        grey=True,
        root=lambda: Path(str(files("elpv_dataset"))) / "data",
        scan=_scan_elpv,
        counts={
            "": {("pool", 0): 1508, ("pool", 1): 715, ("doubtful", 0): 295, ("doubtful", 1): 106}
        },
        val_share=0.2,
        val_abnormal=True,
        licence="CC BY-NC-SA 4.0",
        citation="Buerhop-Lutz et al., EU PVSEC 2018; Deitsch et al., Solar Energy 185, 2019",
        how_to_get="pip install elpv-dataset==1.0.0.post1",
    ),
    "chest_xray": DatasetSpec(
        title="Chest X-ray",
        domain="medical",
        grey=True,
        root=lambda: paths().data / "chest_xray",
        scan=_scan_chest_xray,
        counts={
            "": {
                ("train", 0): 1341,
                ("train", 1): 3875,
                ("val", 0): 8,
                ("val", 1): 8,
                ("test", 0): 234,
                ("test", 1): 390,
            }
        },
        val_share=0.15,
        val_abnormal=True,
        licence="CC BY 4.0",
        citation="Kermany et al., Cell 172, 2018",
        how_to_get="download it from data.mendeley.com/datasets/rscbjbr9sj and put the folder "
        "chest_xray/ with its train/ and test/ into the data folder",
    ),
    "mvtec": DatasetSpec(
        title="MVTec AD",
        domain="industrial",
        grey=False,
        root=lambda: paths().data / "mvtec",
        scan=_scan_mvtec,
        counts={
            name: {("train", 0): train, ("test", 0): good, ("test", 1): bad}
            for name, (train, good, bad) in _MVTEC_COUNTS.items()
        },
        val_share=0.2,
        val_abnormal=False,
        licence="CC BY-NC-SA 4.0",
        citation="Bergmann et al., CVPR 2019",
        how_to_get="download it from mvtec.com and put its category folders into mvtec/ in the "
        "data folder",
        categories=tuple(_MVTEC_COUNTS),
    ),
}


def check(name: str) -> pd.DataFrame:
    """Found against official counts: category, split, label, found, official, complete."""
    spec, rows = get_spec(name), []
    for category in spec.categories:
        found = spec.scan(spec.root(), category).value_counts(["split", "label"])
        for (split, label), official in spec.counts[category].items():
            here = int(found.get((split, label), 0))
            kind = ("normal", "abnormal")[label]
            rows.append((category, split, kind, here, official, here == official))
    columns = ["category", "split", "label", "found", "official", "complete"]
    return pd.DataFrame(rows, columns=columns)


def available() -> list[tuple[str, str]]:
    """Every (data set, category) whose training and test images are here, in a fixed order."""
    here = []
    for name, spec in SPECS.items():
        for category in spec.categories:
            table = spec.scan(spec.root(), category)
            if {"train", "test"} <= set(table["split"]) or "pool" in set(table["split"]):
                here.append((name, category))
    return here


def load_table(data: DataConfig) -> pd.DataFrame:
    """One row an image: path (relative to the data set's root), label, kind, split, group.

    Splits are ``train`` (normal only), ``val`` and ``test``; rows are in a fixed order.

    Raises:
        UserError: unknown or absent data set, or a split without normal images.
    """
    spec = get_spec(data.dataset)
    if data.category not in spec.categories:
        raise UserError(
            f"unknown category '{data.category}' of {data.dataset}: "
            f"choose one of {', '.join(spec.categories)}"
        )
    table = spec.scan(spec.root(), data.category)
    if table.empty:
        raise UserError(
            f"{spec.title} {data.category}: no images in {spec.root() / data.category}. "
            f"Set AEFLOW_DATA to your data folder, or {spec.how_to_get}."
        )
    carve = _split_pool if "pool" in set(table["split"]) else _carve_validation
    table = carve(table, spec, data.split_seed)
    if data.limit:
        table = table.groupby(["split", "label"]).sample(frac=1, random_state=data.split_seed)
        table = table.groupby(["split", "label"]).head(data.limit)
    table = table.sort_values(["split", "label", "path"], ignore_index=True)
    for split in ("train", "val", "test"):
        if not ((table["split"] == split) & (table["label"] == 0)).any():
            raise UserError(
                f"{spec.title} {data.category}: the {split} split has no normal image. "
                f"See what is missing with: python -m aeflow_utils data check {data.dataset}"
            )
    if not ((table["split"] == "test") & (table["label"] == 1)).any():
        log.warning(
            f"{spec.title} {data.category}: the test split has no abnormal image, so AUROC, F1 and "
            f"sensitivity stay empty. See: python -m aeflow_utils data check {data.dataset}"
        )
    return table


def _carve_validation(table: pd.DataFrame, spec: DatasetSpec, seed: int) -> pd.DataFrame:
    """Move whole groups of training images to validation; drop the other abnormal ones."""
    test = table[table["split"] == "test"]
    train = table[table["split"] == "train"]
    normal, abnormal = train[train["label"] == 0], train[train["label"] == 1]
    kept, held_out = _split_groups(normal, spec.val_share, seed)
    parts = [test, kept.assign(split="train"), held_out.assign(split="val")]
    if spec.val_abnormal and len(abnormal) and len(held_out):
        share = min(0.5, len(held_out) / len(abnormal))  # about as many as normal ones
        parts.append(_split_groups(abnormal, share, seed)[1].assign(split="val"))
    return pd.concat(parts)


def _split_groups(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, ...]:
    """Two parts that have no group in common, the second with about `share` of the groups."""
    if table["group"].nunique() < 2:
        return table, table.iloc[:0]
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(splitter.split(table, groups=table["group"]))
    return table.iloc[first], table.iloc[second]


def _split_pool(table: pd.DataFrame, spec: DatasetSpec, seed: int) -> pd.DataFrame:
    """Split a set without an official split: normals 60/20/20, abnormals 25/75 to val and test.

    Stratified by kind, so that mono- and polycrystalline cells are alike in all parts.
    """
    table = table[table["split"] == "pool"]
    normal, abnormal = table[table["label"] == 0], table[table["label"] == 1]
    train, rest = train_test_split(
        normal, train_size=1 - 2 * spec.val_share, stratify=normal["kind"], random_state=seed
    )
    val, test = train_test_split(rest, test_size=0.5, stratify=rest["kind"], random_state=seed)
    val_abnormal, test_abnormal = train_test_split(
        abnormal, train_size=0.25, stratify=abnormal["kind"], random_state=seed
    )
    return pd.concat(
        [
            train.assign(split="train"),
            pd.concat([val, val_abnormal]).assign(split="val"),
            pd.concat([test, test_abnormal]).assign(split="test"),
        ]
    )
