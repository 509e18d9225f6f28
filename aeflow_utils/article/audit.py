"""The audit of figures in print: every finding on what ``results/published.csv`` holds.

What arithmetic alone can show; what takes a run is in `errors_shown`.
"""

from __future__ import annotations

from functools import partial

import pandas as pd

from aeflow_utils.article.confusion import all_abnormal
from aeflow_utils.article.findings import (
    Counts,
    Figures,
    Finding,
    auc_column,
    auc_from_counts,
    auroc_of_decisions,
    below_the_floor,
    double_counting,
    ensemble_counts,
    fitting_test_sets,
    published_epoch,
    training_counts,
    uncertain_shares,
)
from aeflow_utils.article.rows import UNLESS, acc_with_f1, left_open, row_as_one_matrix
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics import CLASSIFICATION
from aeflow_utils.study.recording import published

TEST_SPLIT = {"isic2018": "val"}  # elsewhere "test"; the study tests on ISIC's validation split
MIIC_SIZES = range(1150, 1501)  # test normals to try, around the official 1,272
# Urukat's loaders take each class in whole batches of 16: 14 of them from 234, 24 from 390.
URUKAT_TEST = (14 * 16, 24 * 16)
EXAMPLE = ([0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4], 0.2)  # labels, scores, threshold
SUBNETS = ("resnet_like", "conv_like")
SECOND_HAND = "The paper's figures are second-hand."


def audit_findings() -> list[Finding]:
    """Every finding on the figures in ``results/published.csv``, in the order of the argument."""
    rows = [*_chest_rows(), *_oct_and_isic(), *_industrial_rows()]
    return [*_auc(), *_ensemble(), *rows, *_urukat(), *_counts()]


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


def trivial_floors() -> pd.DataFrame:
    """F1 and ACC of calling every test image abnormal, from official counts, in percent.

    One row a data set or category, and one for all images of a set with categories; columns
    dataset, category, n_normal, n_abnormal, f1, acc. ELPV has no official test split.
    """
    rows = []
    for name, spec in SPECS.items():
        sizes = _test_sizes(name)
        if len(spec.categories) > 1:
            sizes["all"] = official_test_images(name)
        for category, images in sizes.items():
            floor = all_abnormal(*images)
            rows.append((name, category, *images, floor["f1"], floor["acc"]))
    columns = ["dataset", "category", "n_normal", "n_abnormal", "f1", "acc"]
    return pd.DataFrame(rows, columns=columns)


def _test_sizes(dataset: str) -> dict[str, Counts]:
    """Official (normal, abnormal) test images by category; empty where no test split is given."""
    split = TEST_SPLIT.get(dataset, "test")
    return {
        category: (counts[split, 0], counts[split, 1])
        for category, counts in SPECS[dataset].counts.items()
        if (split, 0) in counts
    }


def official_test_images(dataset: str) -> Counts:
    """Official (normal, abnormal) test images of all categories together."""
    n_normal, n_abnormal = zip(*_test_sizes(dataset).values(), strict=True)
    return sum(n_normal), sum(n_abnormal)


def _of_matrix(row: Figures, *without: str) -> Figures:
    """The part of a row that one confusion matrix gives."""
    return {m: row[m] for m in CLASSIFICATION if m in row and m not in without}


def _draft(dataset: str, subnet: str) -> Figures:
    method = f"AE-FLOW, {subnet}"
    return _of_matrix(printed_row(source="blog (draft)", dataset=dataset, method=method))


def _final(dataset: str) -> Figures:
    return printed_row(source="blog", table="final", dataset=dataset, method="AE-FLOW")


def _auc() -> list[Finding]:
    """The column AUC: in the draft, in a log, in the paper, unrounded, and in principle."""
    figures = published()
    wide = figures[figures["table"].isin(["draft", "main"])].pivot_table(
        index=["source", "dataset", "method"], columns="metric", values="value"
    )
    draft = wide.loc["blog (draft)"].rename(columns={"bacc": "auc"})
    paper = wide.loc["paper", ["auroc", "sen", "spe"]].rename(columns={"auroc": "auc"}).dropna()
    log = printed_row(table="training, 25 May 2023", protocol="training folds")
    unrounded = printed_row(source="blog (log)", table="evaluation")
    log, unrounded = (
        {n: row[f"log_{n}"] for n in ("auc", "sen", "spe")} for row in (log, unrounded)
    )
    return [
        auc_column(draft, "the blog's draft"),
        auc_column(pd.DataFrame([log]), "the blog's log of 25 May 2023"),
        auc_column(paper, "the paper").noting(f"{SECOND_HAND[:-1]}, from a draft or derived."),
        auc_from_counts(unrounded, official_test_images("chest_xray")),
        auroc_of_decisions(*EXAMPLE),
    ]


def _ensemble() -> list[Finding]:
    """The two tables of the ensemble, and the shares that the text gives."""
    findings = []
    for source in ("blog", "blog (ue.txt)"):
        row = printed_row(source=source, table="deep ensemble")
        right, wrong = (
            (int(row[f"n_{kind}_certain"]), int(row[f"n_{kind}_uncertain"]))
            for kind in ("right", "wrong")
        )
        findings.append(ensemble_counts(right, wrong, official_test_images("chest_xray"), source))
        if "uncertain_right" in row:
            findings.append(uncertain_shares(right, wrong, row))
    return findings


def _chest_rows() -> list[Finding]:
    """Printed rows on chest X-ray that one confusion matrix should give."""
    images = official_test_images("chest_xray")
    paper = printed_row(source="paper", dataset="chest_xray")
    row = _of_matrix(paper, "spe")  # which was derived from the others
    drafts = {f"Draft, chest X-ray, {s}": _draft("chest_xray", s) for s in SUBNETS}
    return [
        row_as_one_matrix(row, images, "Paper, chest X-ray").noting(SECOND_HAND),
        *(row_as_one_matrix(row, images, name) for name, row in drafts.items()),
        left_open(_final("chest_xray")["f1"], paper, images).noting(
            f"{SECOND_HAND[:-1]}, and its SPE is derived."
        ),
    ]


def _oct_and_isic() -> list[Finding]:
    """The paper's ACC and F1 as UniNet's quotes them, with a draft's SEN and SPE beside them."""
    of_paper = partial(printed_row, source="paper", method="AE-FLOW")
    others = _of_matrix(of_paper(dataset="oct2017", kind="draft"), "f1", "acc")
    counts, images = SPECS["oct2017"].counts[""], official_test_images("oct2017")
    merged = tuple(n + counts["val", label] for label, n in enumerate(images))
    sizes = {f"{sum(size):,} images": size for size in (images, merged)}
    quoted = partial(of_paper, table="comparison in UniNet")
    oct_row, isic_row = quoted(dataset="oct2017"), quoted(dataset="isic2018")
    findings = [
        fitting_test_sets({"acc": oct_row["acc"]}, sizes, "Paper, OCT2017").noting(UNLESS),
        acc_with_f1(oct_row, others, images, "Paper, OCT2017"),
        acc_with_f1(isic_row, {}, official_test_images("isic2018"), "Paper, ISIC 2018"),
    ]
    return [finding.noting(SECOND_HAND) for finding in findings]


def _industrial_rows() -> list[Finding]:
    """Printed rows on MIIC and BTAD, and the test sets that they can belong to."""
    btad = _test_sizes("btad") | {"all three together": official_test_images("btad")}
    return [
        double_counting(_of_matrix(_final("miic")), official_test_images("miic"), MIIC_SIZES),
        *(fitting_test_sets(_draft("btad", s), btad, f"Draft, BTAD, {s}") for s in SUBNETS),
    ]


def _urukat() -> list[Finding]:
    """The public reproduction whose notebook shows every epoch's test metrics."""
    of_urukat, last = partial(printed_row, source="Urukat/AE-Flow"), "epoch 99, the last"
    row, span = of_urukat(table="README"), of_urukat(protocol="test, over 100 epochs")
    epochs = {name: of_urukat(protocol=f"F1-max on test, {name}") for name in ("epoch 72", last)}
    return [
        published_epoch(row, epochs, (span["auroc_lowest_epoch"], span["auroc_highest_epoch"])),
        row_as_one_matrix(_of_matrix(epochs[last]), URUKAT_TEST, f"Urukat, {last}"),
        row_as_one_matrix(_of_matrix(row), URUKAT_TEST, "Urukat, published row"),
    ]


def _counts() -> list[Finding]:
    """Counts of images, and what printed F1 are worth beside them."""
    copies = {
        name: (counts[""]["train", 0], counts[""].get(("val", 0), 0))
        for name, counts in SPECS["chest_xray"].copies.items()
    }
    printed = printed_row(source="blog", table="data sets", dataset="chest_xray")["n_train_normal"]
    findings = [training_counts(int(printed), copies)]
    for dataset, part in published().query("metric == 'f1'").groupby("dataset", sort=False):
        names = part["source"] + ": " + part["method"]
        longer = names + ", " + part["protocol"] + ", " + part["kind"]
        names = names.where(~names.duplicated(keep=False), longer)
        by_method = dict(zip(names, part["value"], strict=True))
        floor = all_abnormal(*official_test_images(dataset))["f1"]
        findings.append(below_the_floor(by_method, floor, dataset))
    return findings
