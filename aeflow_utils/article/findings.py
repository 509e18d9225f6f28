"""Findings on the published study, one function each: what its own figures say, recomputed.

Arithmetic on figures in print, in percent as printed, and on class counts: it needs no image, no
training and no GPU. Numbers in, a `Finding` out. What takes an enumeration of confusion matrices
is in `matrix_findings`; `audit` puts in the figures of ``results/published.csv``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.confusion import all_abnormal, decimals, prints_as, with_n_right


@dataclass(frozen=True)
class Finding:
    """One thing that arithmetic shows.

    Args:
        finding: its name.
        printed: what stands in print.
        follows: what the recomputation gives.
        sentence: the verdict, to be quoted; composed from `numbers`.
        numbers: everything computed, by name.
    """

    finding: str
    printed: str
    follows: str
    sentence: str
    numbers: dict[str, float]


def figures_text(printed: dict[str, float]) -> str:
    """``F1 30.76 %, ACC 92.82 %``."""
    return ", ".join(f"{metric.upper()} {value:g} %" for metric, value in printed.items())


def auc_column(rows: pd.DataFrame, name: str) -> Finding:
    """Whether a column called AUC is the mean of sensitivity and specificity.

    Args:
        rows: one a printed row, columns ``auc``, ``sen``, ``spe`` in percent.
        name: whose rows they are.

    A row agrees if the two differ by no more than one unit of the last printed digit: half a unit
    may come from each side's rounding.
    """
    mean = (rows["sen"] + rows["spe"]) / 2
    unit = 10.0 ** -rows[["auc", "sen", "spe"]].map(decimals).max(axis=1)
    deviation = (rows["auc"] - mean).abs()
    agree = int((deviation <= unit + 1e-9).sum())
    largest = float(deviation.max())
    verdict = {0: "is not", len(rows): "is"}.get(agree, "is sometimes")
    return Finding(
        f"AUC column, {name}",
        f"AUC in {len(rows)} rows with SEN and SPE",
        f"(SEN + SPE) / 2 in {agree} of {len(rows)}",
        f"In {agree} of {len(rows)} rows of {name} that print all three, AUC equals "
        f"(SEN + SPE) / 2 within one unit of the last digit (at most {largest:.3g} points apart): "
        f"the column {verdict} balanced accuracy.",
        {"rows": len(rows), "agree": agree, "largest_difference": largest},
    )


def auroc_of_decisions(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Finding:
    """What becomes of an AUROC when the curve is drawn from decisions instead of scores.

    Args:
        labels: (N,), 1 = abnormal.
        scores: (N,), higher = more anomalous.
        threshold: an image is called abnormal at or above it.
    """
    decisions = (np.asarray(scores) >= threshold).astype(int)
    right = 100 * metrics.auroc(labels, scores)
    wrong = 100 * metrics.auroc(labels, decisions)
    balanced = 100 * metrics.classification(labels, decisions)["bacc"]
    return Finding(
        "AUROC of decisions",
        f"scores {list(scores)}, labels {list(labels)}",
        f"AUROC {right:.1f} % from scores, {wrong:.1f} % from decisions",
        f"The same {len(decisions)} images have an AUROC of {right:.1f} % by their scores and "
        f"{wrong:.1f} % by the decisions at threshold {threshold:g}, which is their balanced "
        f"accuracy ({balanced:.1f} %): a curve through one point depends on the threshold.",
        {"auroc": right, "auroc_of_decisions": wrong, "bacc": balanced},
    )


def ensemble_counts(
    right: tuple[int, int], wrong: tuple[int, int], n_normal: int, n_abnormal: int, name: str
) -> Finding:
    """What an ensemble's table of right and wrong decisions says of the decisions.

    Args:
        right, wrong: (certain, uncertain) images.
        n_normal, n_abnormal: class counts of the test set.
        name: where the table stands.
    """
    n_right, n_wrong = sum(right), sum(wrong)
    one_class = {
        (n_abnormal, n_normal): "abnormal",
        (n_normal, n_abnormal): "normal",
    }.get((n_right, n_wrong))
    others = with_n_right(n_right, n_normal, n_abnormal)
    floor = all_abnormal(n_normal, n_abnormal)["f1"]
    acc, best_f1 = float(others["acc"].iloc[0]), float(others["f1"].max())
    if one_class is None:
        follows = f"{n_right} right, {n_wrong} wrong: not the class counts"
        reading = "These are not the class counts."
    else:
        follows = f"{n_right} right, {n_wrong} wrong: every image called {one_class}"
        reading = (
            f"These are exactly the class counts, as if every image had been called {one_class}. "
            f"{len(others) - 1} other matrices have as many right decisions and cannot be "
            "excluded."
        )
    return Finding(
        f"ensemble, {name}",
        f"right {right[0]} + {right[1]}, wrong {wrong[0]} + {wrong[1]}",
        follows,
        f"{right[0]} + {right[1]} = {n_right} right and {wrong[0]} + {wrong[1]} = {n_wrong} wrong "
        f"decisions on {n_abnormal} abnormal and {n_normal} normal images. {reading} Whatever the "
        f"matrix, ACC is {acc:.1f} % and F1 at most {best_f1:.1f} %; calling every image abnormal "
        f"has F1 {floor:.1f} %.",
        {
            "n_right": n_right,
            "n_wrong": n_wrong,
            "matrices": len(others),
            "acc": acc,
            "best_f1": best_f1,
            "floor_f1": floor,
        },
    )


def uncertain_shares(
    right: tuple[int, int], wrong: tuple[int, int], printed_right: float, printed_wrong: float
) -> Finding:
    """The uncertain share of right and of wrong decisions, against the printed ones.

    Args:
        right, wrong: (certain, uncertain) images.
        printed_right, printed_wrong: printed shares in percent.
    """
    share_right, share_wrong = 100 * right[1] / sum(right), 100 * wrong[1] / sum(wrong)
    verdicts = [
        f"{of} decisions {uncertain} of {total}, {share:.1f} % "
        f"({'as' if prints_as(np.array([share]), figure).all() else 'not the'} printed "
        f"{figure:g} %)"
        for of, uncertain, total, share, figure in (
            ("right", right[1], sum(right), share_right, printed_right),
            ("wrong", wrong[1], sum(wrong), share_wrong, printed_wrong),
        )
    ]
    return Finding(
        "uncertain shares",
        f"{printed_right:g} % of right, {printed_wrong:g} % of wrong",
        f"{share_right:.1f} % of right, {share_wrong:.1f} % of wrong",
        f"Uncertain are, of the {'; of the '.join(verdicts)}. The certain share of the right ones "
        f"is {100 - share_right:.1f} %.",
        {"right": share_right, "wrong": share_wrong, "certain_right": 100 - share_right},
    )


def notebook_epochs(
    row: dict[str, float], epochs: dict[str, dict[str, float]], lowest: float, highest: float
) -> Finding:
    """Whether a published row is one of the known epochs of the run behind it.

    Args:
        row: the published figures, in percent.
        epochs: figures of the epochs that are known, by their name.
        lowest, highest: test AUROC over all epochs, in percent.
    """
    differ = {
        name: [m for m in row if m in figures and figures[m] != row[m]]
        for name, figures in epochs.items()
    }
    same = [name for name, which in differ.items() if not which]
    each = "; ".join(
        f"{name} differs in {', '.join(f'{m.upper()} ({epochs[name][m]:g})' for m in which)}"
        for name, which in differ.items()
        if which
    )
    verdict = f"is {', '.join(same)}" if same else "is none of the known epochs"
    return Finding(
        "published row and its epochs",
        figures_text(row),
        f"{verdict}: {each}" if each else verdict,
        f"The published row ({figures_text(row)}) {verdict}{': ' + each if each else ''}. Over all "
        f"epochs test AUROC lies between {lowest:g} and {highest:g} %, a span of "
        f"{highest - lowest:.1f} points by which the choice of an epoch can move the figure.",
        {"epochs_that_differ": len(epochs) - len(same), "span": highest - lowest},
    )


def training_counts(printed: int, n_train: int, n_val: int) -> Finding:
    """Whether a printed number of training images includes the official validation images."""
    both = n_train + n_val
    reading = {n_train: "the training folder", both: "training and validation folder together"}
    which = reading.get(printed, "neither the training folder nor both folders")
    return Finding(
        "training images",
        f"{printed:,} normal training images",
        f"{n_train:,} + {n_val:,} = {both:,}",
        f"{printed:,} normal images for training is {which} ({n_train:,} and {n_val:,} images in "
        "the common copy).",
        {"train": n_train, "both": both, "printed": printed},
    )


def below_the_floor(printed: dict[str, float], f1_floor: float, name: str) -> Finding:
    """Printed F1 of several methods against calling every image abnormal.

    Args:
        printed: F1 in percent by method.
        f1_floor: of calling every image abnormal.
        name: the data set.
    """
    below = {method: f1 for method, f1 in printed.items() if f1 < f1_floor}
    list_of = "; ".join(f"{method} {f1:g} %" for method, f1 in below.items())
    return Finding(
        f"trivial F1, {name}",
        "; ".join(f"{method} {f1:g} %" for method, f1 in printed.items()),
        f"all abnormal: {f1_floor:.1f} %",
        f"On {name}, calling every image abnormal has F1 {f1_floor:.1f} %. Of {len(printed)} "
        f"printed F1, {len(below)} lie below that{': ' + list_of if below else ''}.",
        {"floor": f1_floor, "printed": len(printed), "below": len(below)},
    )
