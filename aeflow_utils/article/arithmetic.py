"""What arithmetic says of printed figures: no image, no training, no GPU; numbers in and out.

Everywhere, `printed` is a row of figures by metric, in percent as printed; `images` are (normal,
abnormal) test images; `right` and `wrong` are (certain, uncertain) decisions.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils.article.confusion import all_abnormal, decimals, matching, prints_as, rights
from aeflow_utils.metrics import CLASSIFICATION

Figures = dict[str, float]  # by metric, in percent
Counts = tuple[int, int]  # images: normal and abnormal, or certain and uncertain


def auc_column(rows: pd.DataFrame) -> dict[str, float]:
    """Whether a column called AUC is the mean of sensitivity and specificity.

    A row agrees if the two differ by no more than one unit of the last printed digit: half a unit
    may come from each side's rounding.

    Args:
        rows: columns auc, sen, spe.

    Returns:
        rows, agree (how many), and the largest difference in points.
    """
    unit = 10.0 ** -rows[["auc", "sen", "spe"]].map(decimals).max(axis=1)
    apart = (rows["auc"] - (rows["sen"] + rows["spe"]) / 2).abs()
    agree = int((apart <= unit + 1e-9).sum())
    return {"rows": len(rows), "agree": agree, "largest difference": float(apart.max())}


def auc_from_counts(printed: Figures, images: Counts) -> dict[str, float]:
    """Whether one row's AUC is exactly the mean of its rates, by way of the counts behind them.

    Returns:
        tp and tn, bacc (their balanced accuracy, unrounded), exact.

    Raises:
        ValueError: the two rates belong to no confusion matrix, or to several.
    """
    auc, sen, spe = (printed[name] for name in ("auc", "sen", "spe"))
    matrices = matching({"sen": sen, "spe": spe}, *images)
    if len(matrices) != 1:
        raise ValueError(f"{len(matrices)} confusion matrices have SEN {sen:g} and SPE {spe:g}")
    row = matrices.iloc[0]
    return row[["tp", "tn", "bacc"]].to_dict() | {"exact": bool(abs(row["bacc"] - auc) < 1e-9)}


def margins(right: Counts, wrong: Counts, images: Counts) -> dict[str, float | str]:
    """What a table of right and wrong decisions says of the decisions.

    Returns:
        right and wrong (sums); called (the class that every image may have been called, where the
        sums are the class counts, else empty); matrices with as many right decisions; acc, the
        highest F1 among them, and the F1 of calling every image abnormal, in percent.
    """
    sums, (n_normal, n_abnormal) = (sum(right), sum(wrong)), images
    called = {(n_abnormal, n_normal): "abnormal", images: "normal"}.get(sums, "")
    possible = matching({}, *images).query("tp + tn == @sums[0]")
    return {
        "right": sums[0],
        "wrong": sums[1],
        "called": called,
        "matrices": len(possible),
        "acc": float(possible["acc"].iloc[0]),
        "highest f1": float(possible["f1"].max()),
        "f1 of all abnormal": all_abnormal(*images)["f1"],
    }


def one_matrix(printed: Figures, images: Counts) -> dict[str, float]:
    """Whether a printed row can come from one confusion matrix; if not, what each part implies.

    A row that averages runs, or has more than one threshold, need not fit.

    Returns:
        matrices, how many fit; the matrix (tp, fn, tn, fp) if it is the only one; if there is
        none, for each metric ``without <metric>``, how many fit the others, and where that is one
        ``<metric> implied``.
    """
    matrices = matching(printed, *images)
    numbers: dict[str, float] = {"matrices": len(matrices)}
    if len(matrices) == 1:
        numbers |= matrices.iloc[0][["tp", "fn", "tn", "fp"]].to_dict()
    for metric in printed if matrices.empty else ():
        left = matching({m: v for m, v in printed.items() if m != metric}, *images)
        numbers[f"without {metric}"] = len(left)
        if len(left) == 1:
            numbers[f"{metric} implied"] = left[metric].iloc[0]
    return numbers


def acc_with_f1(printed: Figures, others: Figures, images: Counts) -> dict[str, float]:
    """What ACC and F1 of a row leave to others of its metrics, whose figures come from elsewhere.

    F1 follows from TP and the number of errors.

    Returns:
        right and errors; hits, how many TP give the F1 whatever the class split; matrices, how
        many fit on the split given; and what these leave to each metric of `others`: ``sen low``,
        ``sen high``, ``sen fits`` and so on.

    Raises:
        ValueError: no number of right decisions, or several, give the ACC.
    """
    n, possible = sum(images), rights(printed["acc"], sum(images))
    if len(possible) != 1:
        raise ValueError(f"{len(possible)} shares of {n} images print as {printed['acc']:g} %")
    (right,) = map(int, possible)
    tp = np.arange(1, right + 1)
    hits = int(prints_as(200 * tp / (2 * tp + n - right), printed["f1"]).sum())
    left = matching({metric: printed[metric] for metric in ("acc", "f1")}, *images)
    numbers = {"right": right, "errors": n - right, "hits": hits, "matrices": len(left)}
    for metric, figure in others.items() if len(left) else ():
        numbers |= {f"{metric} low": left[metric].min(), f"{metric} high": left[metric].max()}
        numbers[f"{metric} fits"] = bool(prints_as(left[metric].to_numpy(), figure).any())
    return numbers


def left_open(f1: float, rival: Figures, images: Counts) -> pd.DataFrame:
    """What a row can have been of which only F1 is in print, beside one that it is said to beat.

    Returns:
        A row a matrix that fits: whether F1, ACC, SEN and SPE are above the rival's.
    """
    left = matching({"f1": f1}, *images)
    return pd.DataFrame({m: left[m] > rival[m] for m in CLASSIFICATION if m in rival})


def double_counting(printed: Figures, images: Counts, n_normals: range) -> dict[str, float]:
    """Whether a row fits a test set whose abnormal images were counted once more as normal.

    Args:
        n_normals: numbers of normal images to try, to see how telling a fit is.

    Returns:
        Matrices that fit on the official set and on the doubled one, there also by rule (rounded,
        cut); sizes tried and sizes that fit; tp, tn and fp on the doubled set if it has one only.
        Copies that are judged as their originals make at least as many false alarms as hits.
    """
    (n_normal, n_abnormal), doubled = images, sum(images)
    official, copied = (matching(printed, n, n_abnormal) for n in (n_normal, doubled))
    numbers = {"official": len(official), "doubled": len(copied), "sizes": len(n_normals)}
    for rule in ("rounded", "cut"):
        numbers[f"doubled, {rule}"] = len(matching(printed, doubled, n_abnormal, rule))
    numbers["sizes that fit"] = sum(len(matching(printed, n, n_abnormal)) > 0 for n in n_normals)
    return numbers | (copied.iloc[0][["tp", "tn", "fp"]].to_dict() if len(copied) == 1 else {})
