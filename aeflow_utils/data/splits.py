"""From an official split to the study's: train (normal only), validation and test.

Every function takes a table of `layouts.COLUMNS` and gives one with the splits ``train``, ``val``
and ``test``. What is carved here shares no group (patient, lesion) with the rest; an official test
split may. Rows keep their index: it says where they stand in the table that was given.

scikit-learn is imported by who splits: it takes a second, which scoring need not wait.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from aeflow_utils.config import N_FOLDS
from aeflow_utils.data.layouts import UNLABELLED

ELPV_MODULES = 44
Split = Callable[[pd.DataFrame, int], pd.DataFrame]


def official(val_share: float, val_abnormal: bool, test: str = "test") -> Split:
    """Keep an official test split; carve validation from the training split by group.

    Args:
        val_share: share of the groups of normal training images that become validation.
        val_abnormal: whether validation also gets about as many abnormal training images.
        test: the official split that is used as test.
    """

    def split(table: pd.DataFrame, seed: int) -> pd.DataFrame:
        train = table[table["split"] == "train"]
        normal, abnormal = train[train["label"] == 0], train[train["label"] == 1]
        kept, val = _split_groups(normal, val_share, seed)
        if val_abnormal and len(abnormal) and len(val):
            share = min(0.5, len(val) / len(abnormal))
            val = pd.concat([val, _split_groups(abnormal, share, seed)[1]])
        return _joined(kept, val, table[table["split"] == test])

    return split


def _joined(train: pd.DataFrame, val: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    parts = {"train": train, "val": val, "test": test}
    return pd.concat([part.assign(split=name) for name, part in parts.items()])


def _split_groups(table: pd.DataFrame, share: float, seed: int) -> tuple[pd.DataFrame, ...]:
    """Two parts that have no group in common, the second with about `share` of the groups."""
    from sklearn.model_selection import GroupShuffleSplit

    if table["group"].nunique() < 2:
        return table, table.iloc[:0]
    splitter = GroupShuffleSplit(1, test_size=share, random_state=seed)
    first, second = next(splitter.split(table, groups=table["group"]))
    return table.iloc[first], table.iloc[second]


def _split_kinds(table: pd.DataFrame, share: float, seed: int) -> list[pd.DataFrame]:
    """Two parts with the same shares of each kind, the second with `share` of the rows."""
    from sklearn.model_selection import train_test_split

    return train_test_split(table, test_size=share, stratify=table["kind"], random_state=seed)


def _deal(table: pd.DataFrame, seed: int, divide: Callable) -> pd.DataFrame:
    """Normals 60/20/20 to train, val and test, abnormals 25/75 to val and test."""
    normal, abnormal = table[table["label"] == 0], table[table["label"] == 1]
    train, rest = divide(normal, 0.4, seed)
    val, test = divide(rest, 0.5, seed)
    few, most = divide(abnormal, 0.75, seed)
    if most.empty:  # a single one is needed more in test
        few, most = most, few
    return _joined(train, pd.concat([val, few]), pd.concat([test, most]))


def random_split(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """For a set without an official split: normals 60/20/20, abnormals 25/75 to val and test.

    Stratified by kind, so that mono- and polycrystalline cells are alike in all parts.
    """
    return _deal(table[table["split"] == "pool"], seed, _split_kinds)


def block_split(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Like `random_split`, but whole blocks of neighbouring files go to one part: 12, 4 and 4.

    ELPV's files are in the order of the modules that the cells were cut from, and no module
    number is published: blocks of files stand in for modules, and as many groups as there are
    modules for what is drawn together. Abnormal images of the training blocks are dropped, so
    all parts are smaller.
    """
    table = table[table["split"] == "pool"].sort_values("path")
    place = pd.Series(range(len(table)), index=table.index)
    table = table.assign(group=(place * ELPV_MODULES // len(table)).astype(str))
    block = place * 20 // len(table)
    order = pd.Series(range(20)).sample(frac=1, random_state=seed).to_list()
    train = table[block.isin(order[:12]) & (table["label"] == 0)]
    return _joined(train, table[block.isin(order[12:16])], table[block.isin(order[16:])])


def take_fold(table: pd.DataFrame, fold: int, seed: int) -> pd.DataFrame:
    """Cross-validation: training and validation images dealt anew, by group and label.

    Fold `fold` of 1 to `N_FOLDS` is validation; of the others, the normal images are training. The
    test split stays as it is.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    test, pool = table[table["split"] == "test"], table[table["split"] != "test"]
    folds = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=seed)
    train, val = list(folds.split(pool, pool["label"], pool["group"]))[fold - 1]
    train = pool.iloc[train]
    return _joined(train[train["label"] == 0], pool.iloc[val], test)


def own_split(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    """For a reader's images: the splits that they come with; missing ones are carved by group.

    Where validation has no normal image it gets a fifth of the training normals, and keeps what it
    has; where everything is missing, 60, 20 and 20 % of the normals and a quarter of the abnormals
    go to train, val and test, and what has no label to test. Abnormal training images are for
    validation where that has none.
    """
    if (table["split"] == "pool").any():
        unlabelled = table[table["label"] == UNLABELLED].assign(split="test")
        return pd.concat([_deal(table, seed, _split_groups), unlabelled])
    if ((table["split"] == "val") & (table["label"] == 0)).any():
        return table[(table["split"] != "train") | (table["label"] == 0)]
    given = table[table["split"] == "val"]
    carved = official(val_share=0.2, val_abnormal=given.empty)(table, seed)
    return pd.concat([carved, given])
