"""The published study, audited: every finding, with the figures of ``results/published.csv``.

What arithmetic alone can show; what takes a run is in `demonstrations`.
"""

from __future__ import annotations

import pandas as pd

from aeflow_utils.article.confusion import all_abnormal
from aeflow_utils.article.findings import (
    Finding,
    auc_column,
    auroc_of_decisions,
    below_the_floor,
    ensemble_counts,
    notebook_epochs,
    training_counts,
    uncertain_shares,
)
from aeflow_utils.article.matrix_findings import (
    auc_from_counts,
    double_counting,
    fitting_test_sets,
    left_open,
    row_as_one_matrix,
)
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics import CLASSIFICATION
from aeflow_utils.show.tables import published

TEST_SPLIT = {"isic2018": "val"}  # elsewhere "test"; the study tests on ISIC's validation split
MIIC_SIZES = range(1150, 1501)  # test normals to try, around the official 1,272
# Urukat's loaders take each class in whole batches of 16: 14 of them from 234, 24 from 390.
URUKAT_TEST = (14 * 16, 24 * 16)
EXAMPLE = ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 0.2)  # labels, scores, threshold


def audit_findings() -> list[Finding]:
    """Every finding on the figures in ``results/published.csv``, in the order of the argument."""
    figures = published()
    return [
        *_auc(figures),
        *_ensemble(figures),
        *_chest_rows(figures),
        *_industrial_rows(figures),
        *_other_reproduction(figures),
        *_counts(figures),
    ]


def trivial_floors() -> pd.DataFrame:
    """F1 and ACC of calling every test image abnormal, from official counts, in percent.

    One row a data set or category, and one for all images of a set with categories; columns
    dataset, category, n_normal, n_abnormal, f1, acc. ELPV has no official test split.
    """
    rows = []
    for name, spec in SPECS.items():
        sizes = _test_sizes(name)
        if len(spec.categories) > 1:
            sizes["all"] = _all_test_images(name)
        for category, (n_normal, n_abnormal) in sizes.items():
            floor = all_abnormal(n_normal, n_abnormal)
            rows.append((name, category, n_normal, n_abnormal, floor["f1"], floor["acc"]))
    columns = ["dataset", "category", "n_normal", "n_abnormal", "f1", "acc"]
    return pd.DataFrame(rows, columns=columns)


def _test_sizes(dataset: str) -> dict[str, tuple[int, int]]:
    """Official (normal, abnormal) test images by category; empty where no test split is given."""
    split = TEST_SPLIT.get(dataset, "test")
    return {
        category: (counts[split, 0], counts[split, 1])
        for category, counts in SPECS[dataset].counts.items()
        if (split, 0) in counts
    }


def _all_test_images(dataset: str) -> tuple[int, int]:
    """Official (normal, abnormal) test images of all categories together."""
    n_normal, n_abnormal = zip(*_test_sizes(dataset).values(), strict=True)
    return sum(n_normal), sum(n_abnormal)


def _row(figures: pd.DataFrame, **where: str) -> dict[str, float]:
    """The figures of one printed row by metric; `where` are columns and what they hold."""
    for column, value in where.items():
        figures = figures[figures[column] == value]
    if figures.empty or figures["metric"].duplicated().any():
        raise ValueError(f"{where} is not one row of published.csv")
    return dict(zip(figures["metric"], figures["value"], strict=True))


def _of_matrix(row: dict[str, float], *without: str) -> dict[str, float]:
    """The part of a row that one confusion matrix gives."""
    return {m: row[m] for m in CLASSIFICATION if m in row and m not in without}


def _draft(figures: pd.DataFrame, dataset: str, subnet: str) -> dict[str, float]:
    method = f"AE-FLOW, {subnet}"
    return _of_matrix(_row(figures, source="blog (draft)", dataset=dataset, method=method))


def _final(figures: pd.DataFrame, dataset: str) -> dict[str, float]:
    return _row(figures, source="blog", table="final", dataset=dataset, method="AE-FLOW")


def _auc(figures: pd.DataFrame) -> list[Finding]:
    """The column AUC: in the draft, in a log, in the paper, unrounded, and in principle."""
    names = ["auc", "sen", "spe"]
    wide = figures[figures["table"].isin(["draft", "main"])].pivot_table(
        index=["source", "dataset", "method"], columns="metric", values="value"
    )
    draft = wide.loc["blog (draft)", ["bacc", "sen", "spe"]].set_axis(names, axis=1)
    paper = wide.loc["paper", ["auroc", "sen", "spe"]].set_axis(names, axis=1).dropna()
    exact = _row(figures, source="blog (log)", table="evaluation")
    log = _row(figures, table="training, 25 May 2023", protocol="training folds")
    log_row = pd.DataFrame([{name: log[f"log_{name}"] for name in names}])
    chest = _all_test_images("chest_xray")
    found = [
        auc_column(draft, "the blog's draft"),
        auc_column(log_row, "the blog's log of 25 May 2023"),
        auc_column(paper, "the paper"),
        auc_from_counts(*(exact[f"log_{name}"] for name in names), *chest),
        auroc_of_decisions(*EXAMPLE),
    ]
    return [finding for finding in found if finding is not None]


def _ensemble(figures: pd.DataFrame) -> list[Finding]:
    """The two tables of the ensemble, and the shares that the text gives."""
    found = []
    for source in ("blog", "blog (ue.txt)"):
        row = _row(figures, source=source, table="deep ensemble")
        right, wrong = (
            (int(row[f"n_{kind}_certain"]), int(row[f"n_{kind}_uncertain"]))
            for kind in ("right", "wrong")
        )
        found.append(ensemble_counts(right, wrong, *_all_test_images("chest_xray"), source))
        if "uncertain_right" in row:
            shares = row["uncertain_right"], row["uncertain_wrong"]
            found.append(uncertain_shares(right, wrong, *shares))
    return found


def _chest_rows(figures: pd.DataFrame) -> list[Finding]:
    """Printed rows on chest X-ray that one confusion matrix should give."""
    chest, subnets = _all_test_images("chest_xray"), ("resnet_like", "conv_like")
    paper = _row(figures, source="paper", dataset="chest_xray")
    draft = {f"Draft, chest X-ray, {s}": _draft(figures, "chest_xray", s) for s in subnets}
    return [
        # Not with the paper's SPE: that figure was derived from the others.
        row_as_one_matrix(_of_matrix(paper, "spe"), *chest, "Paper, chest X-ray"),
        *(row_as_one_matrix(row, *chest, name) for name, row in draft.items()),
        left_open(_final(figures, "chest_xray")["f1"], paper, *chest),
    ]


def _industrial_rows(figures: pd.DataFrame) -> list[Finding]:
    """Printed rows on MIIC and BTAD, and the test sets that they can belong to."""
    btad = _test_sizes("btad") | {"all three together": _all_test_images("btad")}
    miic = _of_matrix(_final(figures, "miic"))
    return [
        double_counting(miic, *_all_test_images("miic"), MIIC_SIZES),
        *(
            fitting_test_sets(_draft(figures, "btad", subnet), btad, f"Draft, BTAD, {subnet}")
            for subnet in ("resnet_like", "conv_like")
        ),
    ]


def _other_reproduction(figures: pd.DataFrame) -> list[Finding]:
    """The public reproduction whose notebook shows every epoch's test metrics."""
    urukat = figures[figures["source"] == "Urukat/AE-Flow"]
    row, last = _row(urukat, table="README"), "epoch 99, the last"
    epochs = {name: _row(urukat, protocol=f"F1-max on test, {name}") for name in ("epoch 72", last)}
    span = _row(urukat, protocol="test, over 100 epochs")
    return [
        notebook_epochs(row, epochs, span["auroc_lowest_epoch"], span["auroc_highest_epoch"]),
        row_as_one_matrix(_of_matrix(epochs[last]), *URUKAT_TEST, f"Urukat, {last}"),
        row_as_one_matrix(_of_matrix(row), *URUKAT_TEST, "Urukat, published row"),
    ]


def _counts(figures: pd.DataFrame) -> list[Finding]:
    """Counts of images, and what printed F1 are worth beside them."""
    counts = SPECS["chest_xray"].counts[""]
    printed = _row(figures, source="blog", table="data sets", dataset="chest_xray")
    found = [training_counts(int(printed["n_train_normal"]), counts["train", 0], counts["val", 0])]
    for dataset, part in figures[figures["metric"] == "f1"].groupby("dataset", sort=False):
        names = part["source"] + ": " + part["method"]
        names = names.where(~names.duplicated(keep=False), names + ", " + part["protocol"])
        by_method = dict(zip(names, part["value"], strict=True))
        floor = all_abnormal(*_all_test_images(dataset))["f1"]
        found.append(below_the_floor(by_method, floor, dataset))
    return found
