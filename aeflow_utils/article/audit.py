"""The audit of figures in print: `arithmetic` on what ``results/published.csv`` holds, as tables.

Figures are in percent. What takes a run is in `errors_shown`.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import pandas as pd

from aeflow_utils.article import arithmetic
from aeflow_utils.article.arithmetic import Counts, Figures
from aeflow_utils.article.confusion import all_abnormal, matching, prints_as
from aeflow_utils.data.catalog import SPECS, TEST_SPLIT
from aeflow_utils.metrics import CLASSIFICATION
from aeflow_utils.study.recording import published

MIIC_SIZES = range(1150, 1501)  # test normals to try, around the official 1,272
# Urukat's loaders take each class in whole batches of 16: 14 of them from 234, 24 from 390.
URUKAT_TEST = (14 * 16, 24 * 16)
SUBNETS = ("resnet_like", "conv_like")


def printed_row(**where: str) -> Figures:
    """The figures of one printed row by metric.

    Args:
        where: columns of ``results/published.csv`` and what they hold.

    Raises:
        ValueError: this fits no row, or several.
    """
    figures = published()
    for column, value in where.items():
        figures = figures[figures[column] == value]
    if figures.empty or figures["metric"].duplicated().any():
        raise ValueError(f"{where} is not one row of published.csv")
    return dict(zip(figures["metric"], figures["value"], strict=True))


def official_test_images(dataset: str) -> Counts:
    """Official (normal, abnormal) test images of all categories together."""
    n_normal, n_abnormal = zip(*_test_sizes(dataset).values(), strict=True)
    return sum(n_normal), sum(n_abnormal)


def _test_sizes(dataset: str) -> dict[str, Counts]:
    """Official (normal, abnormal) test images by category; empty where no test split is given."""
    split = TEST_SPLIT.get(dataset, "test")
    return {
        category: (counts[split, 0], counts[split, 1])
        for category, counts in SPECS[dataset].counts.items()
        if (split, 0) in counts
    }


def _of_matrix(row: Figures, *without: str) -> Figures:
    """The part of a row that one confusion matrix gives."""
    return {m: row[m] for m in CLASSIFICATION if m in row and m not in without}


_of_paper = partial(printed_row, source="paper", method="AE-FLOW")
_of_urukat = partial(printed_row, source="Urukat/AE-Flow")


def _draft(dataset: str, subnet: str) -> Figures:
    method = f"AE-FLOW, {subnet}"
    return _of_matrix(printed_row(source="blog (draft)", dataset=dataset, method=method))


def _log(**where: str) -> Figures:
    row = printed_row(source="blog (log)", **where)
    return {name: row[f"log_{name}"] for name in ("auc", "sen", "spe")}


def auc_columns() -> pd.DataFrame:
    """Whose column called AUC is the mean of SEN and SPE: `arithmetic.auc_column`, a row each."""
    figures = published()
    wide = figures[figures["table"].isin(["draft", "main"])].pivot_table(
        index=["source", "dataset", "method"], columns="metric", values="value"
    )
    columns = {
        "the study's draft": wide.loc["blog (draft)", ["bacc", "sen", "spe"]],
        "a log of the study": pd.DataFrame([_log(table="training, 25 May 2023")]),
        "the paper": wide.loc["paper", ["auroc", "sen", "spe"]],
    }
    found = {
        name: arithmetic.auc_column(rows.dropna().set_axis(["auc", "sen", "spe"], axis=1))
        for name, rows in columns.items()
    }
    return pd.DataFrame(found).T.rename_axis("column of").astype({"rows": int, "agree": int})


def auc_from_counts() -> dict[str, float]:
    """`arithmetic.auc_from_counts` of the one row that is known unrounded."""
    row = _log(table="evaluation")
    return row | arithmetic.auc_from_counts(row, official_test_images("chest_xray"))


def ensembles() -> pd.DataFrame:
    """`arithmetic.margins` of the study's two tables of an ensemble's decisions, a row each."""
    tables = {"in print": "blog", "a second one, in its files": "blog (ue.txt)"}
    images = official_test_images("chest_xray")
    return pd.DataFrame(
        {name: arithmetic.margins(*_decisions(of), images) for name, of in tables.items()}
    ).T.rename_axis("table")


def _decisions(source: str) -> tuple[Counts, Counts]:
    """(certain, uncertain) right decisions, and wrong ones."""
    row, kinds = printed_row(source=source, table="deep ensemble"), ("certain", "uncertain")
    right, wrong = (
        tuple(int(row[f"n_{which}_{kind}"]) for kind in kinds) for which in ("right", "wrong")
    )
    return right, wrong


def uncertain_shares() -> pd.DataFrame:
    """The uncertain share of right and of wrong decisions, by the table and in print."""
    row, rows = printed_row(source="blog", table="deep ensemble"), {}
    for which, counts in zip(("right", "wrong"), _decisions("blog"), strict=True):
        share, figure = pd.Series([100 * counts[1] / sum(counts)]), row[f"uncertain_{which}"]
        same = bool(prints_as(share.to_numpy(), figure).all())
        rows[which] = {"by the table": share[0], "in print": figure, "same": same}
    return pd.DataFrame(rows).T.rename_axis("decisions")


def one_matrix() -> pd.DataFrame:
    """Printed rows that one confusion matrix should give: `arithmetic.one_matrix`, a row each.

    The paper's SPE was derived from its other figures and is left out.
    """
    chest = official_test_images("chest_xray")
    paper = _of_matrix(_of_paper(dataset="chest_xray"), "spe")
    last = _of_matrix(_of_urukat(protocol="F1-max on test, epoch 99, the last"))
    of = {("the paper", "second-hand"): (paper, chest)}
    of |= {(f"the study, {s}", "draft"): (_draft("chest_xray", s), chest) for s in SUBNETS}
    of["Urukat/AE-Flow, last epoch", "printed"] = last, URUKAT_TEST
    of["Urukat/AE-Flow, README", "printed"] = _of_matrix(_of_urukat(table="README")), URUKAT_TEST
    rows = [
        dict(zip(("row", "kind"), name, strict=True)) | printed | arithmetic.one_matrix(printed, n)
        for name, (printed, n) in of.items()
    ]
    return pd.DataFrame(rows).set_index(["row", "kind"])


def oct_and_isic() -> pd.DataFrame:
    """The paper's ACC and F1 as UniNet's quotes them: `arithmetic.acc_with_f1`, a column a set.

    For OCT with a draft's SEN and SPE beside them.
    """
    others = _of_matrix(_of_paper(dataset="oct2017", kind="draft"), "f1", "acc")
    found = {}
    for dataset, beside in (("oct2017", others), ("isic2018", {})):
        row = _of_paper(table="comparison in UniNet", dataset=dataset)
        images = official_test_images(dataset)
        numbers = arithmetic.acc_with_f1(row, beside, images)
        found[SPECS[dataset].title] = pd.Series(numbers, dtype=object)
    return pd.DataFrame(found).fillna("")


def fitting_test_sets() -> pd.DataFrame:
    """Which test set a printed row can belong to: how many confusion matrices fit on each."""
    counts, images = SPECS["oct2017"].counts[""], official_test_images("oct2017")
    merged = tuple(n + counts["val", label] for label, n in enumerate(images))
    acc = {"acc": _of_paper(table="comparison in UniNet", dataset="oct2017")["acc"]}
    btad = _test_sizes("btad") | {"all three": official_test_images("btad")}
    of = [("OCT2017, the paper's ACC", f"{sum(n):,} images", acc, n) for n in (images, merged)]
    for subnet in SUBNETS:
        name, printed = f"BTAD, the study's draft, {subnet}", _draft("btad", subnet)
        of += [(name, test, printed, images) for test, images in btad.items()]
    rows = [(name, test, len(matching(printed, *n))) for name, test, printed, n in of]
    return pd.DataFrame(rows, columns=["row", "test set", "matrices"]).set_index(
        ["row", "test set"]
    )


def miic() -> dict[str, float]:
    """`arithmetic.double_counting` of the study's row on MIIC."""
    printed = _of_matrix(
        printed_row(source="blog", table="final", dataset="miic", method="AE-FLOW")
    )
    return printed | arithmetic.double_counting(printed, official_test_images("miic"), MIIC_SIZES)


def better_than_the_paper() -> pd.DataFrame:
    """`arithmetic.left_open` of the study's F1 on chest X-ray, beside the paper's row."""
    f1 = printed_row(source="blog", table="final", dataset="chest_xray", method="AE-FLOW")["f1"]
    paper = _of_matrix(_of_paper(dataset="chest_xray"))
    return arithmetic.left_open(f1, paper, official_test_images("chest_xray"))


def epochs() -> pd.DataFrame:
    """A published row beside two epochs of the run behind it, and the range over all epochs."""
    span = _of_urukat(protocol="test, over 100 epochs")
    columns = {"published row": _of_urukat(table="README")}
    for name in ("epoch 72", "epoch 99, the last"):
        columns[name] = _of_urukat(protocol=f"F1-max on test, {name}")
    for end in ("lowest", "highest"):
        columns[f"{end} of all epochs"] = {"auroc": span[f"auroc_{end}_epoch"]}
    return pd.DataFrame(columns)


def training_images() -> pd.DataFrame:
    """Normal images of chest X-ray's training and validation folders by official copy.

    With the number that the study prints, and whether the copy's training folder has as many.
    """
    printed = printed_row(source="blog", table="data sets", dataset="chest_xray")["n_train_normal"]
    rows = {}
    for name, counts in SPECS["chest_xray"].copies.items():
        train, val = counts[""]["train", 0], counts[""].get(("val", 0), 0)
        rows[name] = {
            "train": train,
            "val": val,
            "in print": int(printed),
            "same": train == printed,
        }
    return pd.DataFrame(rows).T.rename_axis("copy")


def trivial_floors() -> pd.DataFrame:
    """F1 and ACC of calling every test image abnormal, from official counts.

    One row a data set or category, and one for all images of a set with categories; columns
    dataset, category, n_normal, n_abnormal, f1, acc, and, where F1 are in print for all of a set,
    how many (printed) and how many of them are lower (below). ELPV has no official test split.
    """
    rows, printed = [], published().query("metric == 'f1'").groupby("dataset")["value"]
    for name, spec in SPECS.items():
        sizes, whole = _test_sizes(name), "all" if len(spec.categories) > 1 else ""
        if whole:
            sizes[whole] = official_test_images(name)
        for category, images in sizes.items():
            floor = all_abnormal(*images)
            known = printed.get_group(name) if name in printed.groups and category == whole else []
            below = sum(f1 < floor["f1"] for f1 in known)
            rows.append((name, category, *images, floor["f1"], floor["acc"], len(known), below))
    columns = ["dataset", "category", "n_normal", "n_abnormal", "f1", "acc", "printed", "below"]
    return pd.DataFrame(rows, columns=columns)


class Check(NamedTuple):
    """A claim on printed figures against arithmetic: what was counted, and whether it holds."""

    counted: str
    number: float
    holds: bool


def checks() -> dict[str, Check]:
    """What `judges_of_print.arithmetic` judges by, by name."""
    exact, matrices = auc_from_counts()["exact"], miic()["official"]
    share, copies = uncertain_shares().loc["right"], training_images()["same"].sum()
    better = better_than_the_paper()
    fewest = int(better.sum(axis=1).min())
    return {
        "auc column": Check("rows whose AUC is exactly balanced accuracy", int(exact), not exact),
        "miic": Check("matrices that fit on the official test set", matrices, matrices > 0),
        "uncertain share": Check(
            "uncertain, %, by the table", share["by the table"], share["same"]
        ),
        "training images": Check("official copies with as many", int(copies), copies > 0),
        "beats paper": Check(
            f"of {better.shape[1]} metrics, better in every matrix that fits",
            fewest,
            2 * fewest > better.shape[1],
        ),
    }
