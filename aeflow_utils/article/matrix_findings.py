"""Findings that take an enumeration: which confusion matrices a printed row leaves possible.

Figures in percent and class counts in, a `Finding` out.
"""

from __future__ import annotations

import pandas as pd

from aeflow_utils.article.confusion import matching, scan
from aeflow_utils.article.findings import Finding, figures_text


def auc_from_counts(
    auc: float, sen: float, spe: float, n_normal: int, n_abnormal: int
) -> Finding | None:
    """Whether one row's AUC is exactly the mean of its rates, by way of the counts behind them.

    None where the two rates belong to no matrix, or to several.
    """
    found = matching({"sen": sen, "spe": spe}, n_normal, n_abnormal)
    if len(found) != 1:
        return None
    row = found.iloc[0]
    exact = bool(abs(row["bacc"] - auc) < 1e-9)
    return Finding(
        "AUC from counts",
        f"AUC {auc:.12g} %, SEN {sen:g} %, SPE {spe:g} %",
        f"TP {row['tp']:.0f} of {n_abnormal}, TN {row['tn']:.0f} of {n_normal}: "
        f"balanced accuracy {row['bacc']:.12g} %",
        f"SEN {sen:g} % and SPE {spe:g} % are {row['tp']:.0f} of {n_abnormal} and "
        f"{row['tn']:.0f} of {n_normal} images; their mean, {row['bacc']:.12g} %, is "
        f"{'exactly' if exact else 'not'} the printed AUC of {auc:.12g} %.",
        row[["tp", "tn", "bacc"]].to_dict() | {"exact": exact},
    )


def row_as_one_matrix(
    printed: dict[str, float], n_normal: int, n_abnormal: int, name: str
) -> Finding:
    """Whether a printed row can come from one confusion matrix; if not, what each part implies.

    Args:
        printed: some of F1, ACC, SEN, SPE and balanced accuracy, in percent.
        name: whose row it is.
    """
    found = matching(printed, n_normal, n_abnormal)
    figures = figures_text(printed)
    images = f"{n_normal:,} normal and {n_abnormal:,} abnormal images"
    numbers: dict[str, float] = {"matrices": len(found)}
    if len(found):
        row = found.iloc[0]
        follows = f"{len(found)} matrices" if len(found) > 1 else _matrix(row)
        sentence = f"{name}: {figures} fit {follows} on {images}."
        if len(found) == 1:
            numbers |= row.to_dict()
    else:
        parts = []
        for metric in printed:
            rest = {other: value for other, value in printed.items() if other != metric}
            left = matching(rest, n_normal, n_abnormal)
            numbers[f"matrices_without_{metric}"] = len(left)
            if len(left) == 1:
                row = left.iloc[0]
                kept = row[["tp", "tn", metric]].to_dict()
                numbers |= {f"{key}_without_{metric}": value for key, value in kept.items()}
                parts.append(
                    f"{figures_text(rest)} alone mean {_matrix(row)}, whose {metric.upper()} is "
                    f"{row[metric]:.2f} %"
                )
        follows = "; ".join(parts) or "no matrix, whichever figure is left out"
        sentence = f"{name}: {figures} fit no confusion matrix on {images}: {follows}."
    return Finding(f"one matrix, {name}", figures, follows, sentence, numbers)


def _matrix(row: pd.Series) -> str:
    return f"TP {row['tp']:.0f}, FN {row['fn']:.0f}, TN {row['tn']:.0f}, FP {row['fp']:.0f}"


def left_open(f1: float, rival: dict[str, float], n_normal: int, n_abnormal: int) -> Finding:
    """What a row can have been of which only F1 is in print.

    Args:
        f1: in percent.
        rival: ``acc`` and ``auroc`` of the row that it is said to beat, in percent.
    """
    found = matching({"f1": f1}, n_normal, n_abnormal)
    acc, bacc = found["acc"], found["bacc"]
    better_acc = int((acc > rival["acc"]).sum())
    better_auc = int((bacc > rival["auroc"]).sum())
    return Finding(
        "what one F1 leaves open",
        f"F1 {f1:g} %",
        f"{len(found)} matrices, ACC {acc.min():.1f} to {acc.max():.1f} %, "
        f"balanced accuracy {bacc.min():.1f} to {bacc.max():.1f} %",
        f"F1 {f1:g} % on {n_normal} normal and {n_abnormal} abnormal images leaves {len(found)} "
        f"confusion matrices. ACC is above the paper's {rival['acc']:g} % in {better_acc} of "
        f"them, balanced accuracy above its AUC of {rival['auroc']:g} % in {better_auc}.",
        {
            "matrices": len(found),
            "better_acc": better_acc,
            "better_auc": better_auc,
            "lowest_acc": float(acc.min()),
            "highest_acc": float(acc.max()),
            "highest_bacc": float(bacc.max()),
        },
    )


def double_counting(
    printed: dict[str, float], n_normal: int, n_abnormal: int, n_normals: range
) -> Finding:
    """Whether a row fits a test set whose abnormal images were counted once more as normal.

    Args:
        printed: ACC and F1, in percent.
        n_normal, n_abnormal: official class counts.
        n_normals: numbers of normal images to try, to see how telling a fit is.
    """
    doubled = n_normal + n_abnormal
    official, found = (matching(printed, n, n_abnormal) for n in (n_normal, doubled))
    by_one_rule = {r: len(matching(printed, doubled, n_abnormal, r)) for r in ("rounded", "cut")}
    sizes = scan(printed, n_normals, n_abnormal)
    fit = int((sizes > 0).sum())
    sentence = (
        f"{figures_text(printed)} fit {len(official)} confusion matrices on the official "
        f"{n_normal:,} normal and {n_abnormal:,} abnormal images, and {len(found)} on {doubled:,} "
        "normal ones, where every abnormal image is counted as normal too: there "
        f"{by_one_rule['rounded']} fit if all figures were rounded, {by_one_rule['cut']} if all "
        f"were cut. Of the {len(sizes)} numbers of normal images from {n_normals[0]:,} to "
        f"{n_normals[-1]:,}, {fit} fit."
    )
    numbers = {
        "official": len(official),
        "doubled": len(found),
        "doubled_rounded": by_one_rule["rounded"],
        "doubled_cut": by_one_rule["cut"],
        "sizes": len(sizes),
        "sizes_that_fit": fit,
        "highest_f1": 200 / 3,  # every hit brings a false alarm: 2 n / (2 n + n)
        "highest_auroc": 100 * (1 - 0.5 * n_abnormal / doubled),
    }
    if len(found) == 1:
        row = found.iloc[0]
        numbers |= row[["tp", "tn", "fp"]].to_dict()
        if row["fp"] < row["tp"]:  # each hit has a copy that is a false alarm
            sentence += (
                f" The one on {doubled:,}, {_matrix(row)}, has fewer false alarms than hits: it is "
                "possible only if copies were judged unlike their originals, as scores that "
                "depend on the batch allow."
            )
        else:
            sentence += f" The one on {doubled:,} is {_matrix(row)}."
    return Finding(
        "abnormal images counted twice",
        figures_text(printed),
        f"{len(official)} matrices on {n_normal:,}, {len(found)} on {doubled:,} normal images",
        sentence,
        numbers,
    )


def fitting_test_sets(
    printed: dict[str, float], counts: dict[str, tuple[int, int]], name: str
) -> Finding:
    """Which of several test sets a printed row fits.

    Args:
        printed: as in `row_as_one_matrix`.
        counts: (normal, abnormal) images of each test set, by its name.
        name: whose row it is.
    """
    found = {test: len(matching(printed, *sizes)) for test, sizes in counts.items()}
    fits = ", ".join(f"{test} ({n})" for test, n in found.items() if n) or "none"
    misses = ", ".join(test for test, n in found.items() if not n) or "none"
    return Finding(
        f"which test set, {name}",
        figures_text(printed),
        f"fits {fits}; does not fit {misses}",
        f"{name}: {figures_text(printed)} fit these test sets (with so many confusion matrices): "
        f"{fits}; they do not fit: {misses}.",
        found,
    )
