"""As `findings`, those that need an enumeration: which confusion matrices a printed row can be."""

from __future__ import annotations

import pandas as pd

from aeflow_utils.article.confusion import matching, scan
from aeflow_utils.article.findings import Counts, Figures, Finding, figures_text


def _matrix_text(row: pd.Series) -> str:
    return f"TP {row['tp']:.0f}, FN {row['fn']:.0f}, TN {row['tn']:.0f}, FP {row['fp']:.0f}"


def auc_from_counts(printed: Figures, images: Counts) -> Finding:
    """Whether one row's AUC is exactly the mean of its rates, by way of the counts behind them.

    Args:
        printed: ``auc``, ``sen`` and ``spe``.

    Raises:
        ValueError: the two rates belong to no confusion matrix, or to several.
    """
    auc, sen, spe = (printed[name] for name in ("auc", "sen", "spe"))
    matrices = matching({"sen": sen, "spe": spe}, *images)
    if len(matrices) != 1:
        raise ValueError(f"{len(matrices)} confusion matrices have SEN {sen:g} and SPE {spe:g}")
    row = matrices.iloc[0]
    exact = bool(abs(row["bacc"] - auc) < 1e-9)
    return Finding(
        "AUC from counts",
        f"SEN {sen:g} % and SPE {spe:g} % are {row['tp']:.0f} of {images[1]} and "
        f"{row['tn']:.0f} of {images[0]} images; their mean, {row['bacc']:.12g} %, is "
        f"{'exactly' if exact else 'not'} the printed AUC of {auc:.12g} %.",
        row[["tp", "tn", "bacc"]].to_dict() | {"exact": exact},
    )


def row_as_one_matrix(printed: Figures, images: Counts, name: str) -> Finding:
    """Whether a printed row can come from one confusion matrix; if not, what each part implies.

    Args:
        printed: some of `metrics.CLASSIFICATION`.
        name: whose row it is.

    Returns:
        ``numbers`` has the matrix if it is the only one; if there is none, ``matrices_without_f1``
        and, where that is one, ``tp_without_f1``, ``tn_without_f1`` and its ``f1_without_f1``.
    """
    matrices = matching(printed, *images)
    numbers: dict[str, float] = {"matrices": len(matrices)}
    fit = f"fit {len(matrices)} matrices"
    where = f"{images[0]:,} normal and {images[1]:,} abnormal images"
    if len(matrices) == 1:
        numbers |= matrices.iloc[0].to_dict()
        fit = f"fit {_matrix_text(matrices.iloc[0])}"
    elif matrices.empty:
        parts = []
        for metric in printed:
            rest = {other: value for other, value in printed.items() if other != metric}
            left = matching(rest, *images)
            numbers[f"matrices_without_{metric}"] = len(left)
            if len(left) == 1:
                row = left.iloc[0]
                numbers |= {f"{n}_without_{metric}": row[n] for n in ("tp", "tn", metric)}
                parts.append(
                    f"{figures_text(rest)} alone mean {_matrix_text(row)}, whose "
                    f"{metric.upper()} is {row[metric]:.2f} %"
                )
        fit = "fit no confusion matrix"
        where += f": {'; '.join(parts) or 'no matrix, whichever figure is left out'}"
    sentence = f"{name}: {figures_text(printed)} {fit} on {where}."
    return Finding(f"one matrix, {name}", sentence, numbers)


def left_open(f1: float, rival: Figures, images: Counts) -> Finding:
    """What a row can have been of which only F1 is in print.

    Args:
        rival: ``acc`` and ``auroc`` of the row that it is said to beat.
    """
    matrices = matching({"f1": f1}, *images)
    better_acc = int((matrices["acc"] > rival["acc"]).sum())
    better_auc = int((matrices["bacc"] > rival["auroc"]).sum())
    return Finding(
        "what one F1 leaves open",
        f"F1 {f1:g} % on {images[0]} normal and {images[1]} abnormal images leaves "
        f"{len(matrices)} confusion matrices. ACC is above the paper's {rival['acc']:g} % in "
        f"{better_acc} of them, balanced accuracy above its AUC of {rival['auroc']:g} % in "
        f"{better_auc}.",
        {"matrices": len(matrices), "better_acc": better_acc, "better_auc": better_auc},
    )


def double_counting(printed: Figures, images: Counts, n_normals: range) -> Finding:
    """Whether a row fits a test set whose abnormal images were counted once more as normal.

    Args:
        printed: ``acc`` and ``f1``.
        n_normals: numbers of normal images to try, to see how telling a fit is.
    """
    (n_normal, n_abnormal), doubled = images, sum(images)
    official, copied = (matching(printed, n, n_abnormal) for n in (n_normal, doubled))
    rounded, cut = (len(matching(printed, doubled, n_abnormal, r)) for r in ("rounded", "cut"))
    sizes = scan(printed, n_normals, n_abnormal)
    fit = int((sizes > 0).sum())
    sentence = (
        f"{figures_text(printed)} fit {len(official)} confusion matrices on the official "
        f"{n_normal:,} normal and {n_abnormal:,} abnormal images, and {len(copied)} on {doubled:,} "
        f"normal ones, where every abnormal image is counted as normal too: there {rounded} fit "
        f"if all figures were rounded, {cut} if all were cut. Of the {len(sizes)} numbers of "
        f"normal images from {n_normals[0]:,} to {n_normals[-1]:,}, {fit} fit."
    )
    numbers = {"official": len(official), "doubled": len(copied), "sizes": len(sizes)}
    numbers |= {"doubled_rounded": rounded, "doubled_cut": cut, "sizes_that_fit": fit}
    if len(copied) == 1:
        row = copied.iloc[0]
        numbers |= row[["tp", "tn", "fp"]].to_dict()
        sentence += f" The one on {doubled:,}"
        if row["fp"] < row["tp"]:  # each hit has a copy that is a false alarm
            sentence += (
                f", {_matrix_text(row)}, has fewer false alarms than hits: it is possible only if "
                "copies were judged unlike their originals, as scores that depend on the batch "
                "allow."
            )
        else:
            sentence += f" is {_matrix_text(row)}."
    return Finding("abnormal images counted twice", sentence, numbers)


def fitting_test_sets(printed: Figures, test_sets: dict[str, Counts], name: str) -> Finding:
    """Which of several test sets a printed row fits, and with how many confusion matrices.

    Args:
        printed: as in `row_as_one_matrix`.
        name: whose row it is.
    """
    matrices = {test: len(matching(printed, *images)) for test, images in test_sets.items()}
    fits = ", ".join(f"{test} ({n})" for test, n in matrices.items() if n) or "none"
    misses = ", ".join(test for test, n in matrices.items() if not n) or "none"
    return Finding(
        f"which test set, {name}",
        f"{name}: {figures_text(printed)} fit these test sets (with so many confusion matrices): "
        f"{fits}; they do not fit: {misses}.",
        matrices,
    )
