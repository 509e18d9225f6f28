"""What one row can and cannot have been; `printed`, `images` and `name` are as in `findings`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils.article.confusion import matching, prints_as, rights
from aeflow_utils.article.findings import Counts, Figures, Finding, matrix_text, shown
from aeflow_utils.metrics import CLASSIFICATION

UNLESS = "A row that averages runs, or has more than one threshold, need not fit."


def row_as_one_matrix(printed: Figures, images: Counts, name: str) -> Finding:
    """Whether a printed row can come from one confusion matrix; if not, what each part implies.

    The numbers have the matrix if it is the only one; if there is none, ``matrices_without_f1``
    and, where that is one, ``tp_without_f1``, ``tn_without_f1`` and its ``f1_without_f1``.
    """
    matrices = matching(printed, *images)
    numbers: dict[str, float] = {"matrices": len(matrices)}
    fit, parts = f"fit {len(matrices)} matrices", []
    if len(matrices) == 1:
        numbers |= matrices.iloc[0].to_dict()
        fit = f"fit {matrix_text(matrices.iloc[0])}"
    elif matrices.empty:
        fit = "fit no confusion matrix"
        for metric in printed:
            rest = {other: value for other, value in printed.items() if other != metric}
            left = matching(rest, *images)
            numbers[f"matrices_without_{metric}"] = len(left)
            if len(left) == 1:
                row = left.iloc[0]
                numbers |= {f"{n}_without_{metric}": row[n] for n in ("tp", "tn", metric)}
                parts.append(
                    f"{shown(rest)} alone mean {matrix_text(row)}, whose "
                    f"{metric.upper()} is {row[metric]:.2f} %"
                )
        none = [metric.upper() for metric in printed if not numbers[f"matrices_without_{metric}"]]
        if none:
            parts.append(f"without {' or '.join(none)} none fits either")
    where = f"{images[0]:,} normal and {images[1]:,} abnormal images"
    sentence = f"{name}: {shown(printed)} {fit} on {'; '.join([where, *parts])}."
    found = Finding(f"one matrix, {name}", sentence, numbers)
    return found.noting(UNLESS) if matrices.empty else found


def acc_with_f1(printed: Figures, others: Figures, images: Counts, name: str) -> Finding:
    """What ACC and F1 of a row leave to others of its metrics, whose figures come from elsewhere.

    F1 follows from TP and the number of errors. ``hits`` counts the TP that give it, whatever the
    class split, ``matrices`` those on the split given; ``sen_low``, ``sen_high`` and ``sen_fits``
    are what these leave to SEN, and whether the figure in `others` is among it.

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
    parts = [
        f"{name}: ACC {printed['acc']:g} % is {n - right} errors on {n} images, with which F1 "
        f"{printed['f1']:g} % fits {hits} numbers of hits whatever the class split, and "
        f"{len(left)} matrices on {images[0]:,} normal and {images[1]:,} abnormal ones"
    ]
    for metric, figure in others.items() if len(left) else ():
        low, high = float(left[metric].min()), float(left[metric].max())
        fits = bool(prints_as(left[metric].to_numpy(), figure).any())
        numbers |= {f"{metric}_low": low, f"{metric}_high": high, f"{metric}_fits": fits}
        verb = "fits" if fits else "does not fit"
        parts.append(f"{metric.upper()} is then {low:.2f} to {high:.2f} %, {figure:g} % {verb}")
    return Finding(f"ACC with F1, {name}", f"{'; '.join(parts)}.", numbers).noting(UNLESS)


def left_open(f1: float, rival: Figures, images: Counts) -> Finding:
    """What a row can have been of which only F1 is in print, beside the one it is said to beat.

    ``better_f1`` and so on count the matrices with more than the rival, ``better_bacc`` with more
    than the mean of its SEN and SPE and ``better_auc`` than its AUROC, another quantity;
    ``fewest_better`` is of the ``metrics_compared``: all but the last two.
    """
    left = matching({"f1": f1}, *images)
    rival = rival | {"bacc": (rival["sen"] + rival["spe"]) / 2}
    better = pd.DataFrame({metric: left[metric] > rival[metric] for metric in CLASSIFICATION})
    of_four = better.drop(columns="bacc")
    count = better.sum()
    numbers = {f"better_{metric}": int(n) for metric, n in count.items()}
    numbers["better_auc"] = int((left["bacc"] > rival["auroc"]).sum())
    numbers |= {"matrices": len(left), "metrics_compared": of_four.shape[1]}
    numbers["fewest_better"] = int(of_four.sum(axis=1).min())
    each = ", ".join(f"{metric.upper()} in {count[metric]}" for metric in of_four)
    return Finding(
        "what one F1 leaves open",
        f"F1 {f1:g} % on {images[0]} normal and {images[1]} abnormal images leaves {len(left)} "
        f"confusion matrices. Above the paper's row are {each}; in every one at least "
        f"{numbers['fewest_better']} of these {of_four.shape[1]}. Balanced accuracy is above the "
        f"mean of the paper's SEN and SPE in {count['bacc']}; its AUC is another quantity.",
        numbers,
    )
