"""What arithmetic says of printed figures, one function each: no image, no training, no GPU.

Figures in percent, as printed, and (normal, abnormal) counts of test images in; a sentence and its
numbers out. Those that need an enumeration of confusion matrices are in `matrix_findings`; `audit`
puts in what ``results/published.csv`` holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.confusion import all_abnormal, decimals, prints_as, with_n_right

Figures = dict[str, float]  # by metric, in percent
Counts = tuple[int, int]  # images: normal and abnormal, or certain and uncertain


@dataclass(frozen=True)
class Finding:
    """One thing that is shown.

    Args:
        name: to quote it by.
        sentence: what is shown.
        numbers: those of the sentence, by name.
    """

    name: str
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)


def figures_text(printed: Figures) -> str:
    """``F1 30.76 %, ACC 92.82 %``."""
    return ", ".join(f"{metric.upper()} {value:g} %" for metric, value in printed.items())


def auc_column(rows: pd.DataFrame, name: str) -> Finding:
    """Whether a column called AUC is the mean of sensitivity and specificity.

    A row agrees if the two differ by no more than one unit of the last printed digit: half a unit
    may come from each side's rounding.

    Args:
        rows: one a printed row, columns ``auc``, ``sen``, ``spe``.
        name: whose rows they are.
    """
    unit = 10.0 ** -rows[["auc", "sen", "spe"]].map(decimals).max(axis=1)
    deviation = (rows["auc"] - (rows["sen"] + rows["spe"]) / 2).abs()
    agree, largest = int((deviation <= unit + 1e-9).sum()), float(deviation.max())
    verdict = {0: "is not", len(rows): "is"}.get(agree, "is sometimes")
    return Finding(
        f"AUC column, {name}",
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
        f"The same {len(decisions)} images have an AUROC of {right:.1f} % by their scores and "
        f"{wrong:.1f} % by the decisions at threshold {threshold:g}, which is their balanced "
        f"accuracy ({balanced:.1f} %): a curve through one point depends on the threshold.",
        {"auroc": right, "auroc_of_decisions": wrong, "bacc": balanced},
    )


def ensemble_counts(right: Counts, wrong: Counts, images: Counts, name: str) -> Finding:
    """What an ensemble's table of right and wrong decisions says of the decisions.

    Args:
        right, wrong: (certain, uncertain) decisions.
        name: where the table stands.
    """
    n_right, n_wrong, (n_normal, n_abnormal) = sum(right), sum(wrong), images
    possible = with_n_right(n_right, *images)
    acc, best_f1 = float(possible["acc"].iloc[0]), float(possible["f1"].max())
    floor = all_abnormal(*images)["f1"]
    one_class = {(n_abnormal, n_normal): "abnormal", images: "normal"}.get((n_right, n_wrong))
    reading = "These are not the class counts."
    if one_class:
        reading = (
            f"These are exactly the class counts, as if every image had been called {one_class}. "
            f"{len(possible) - 1} other matrices have as many right decisions and cannot be "
            "excluded."
        )
    return Finding(
        f"ensemble, {name}",
        f"{right[0]} + {right[1]} = {n_right} right and {wrong[0]} + {wrong[1]} = {n_wrong} wrong "
        f"decisions on {n_abnormal} abnormal and {n_normal} normal images. {reading} Whatever the "
        f"matrix, ACC is {acc:.1f} % and F1 at most {best_f1:.1f} %; calling every image abnormal "
        f"has F1 {floor:.1f} %.",
        {"n_right": n_right, "n_wrong": n_wrong, "one_class": bool(one_class)}
        | {"matrices": len(possible), "acc": acc, "best_f1": best_f1, "floor_f1": floor},
    )


def uncertain_shares(right: Counts, wrong: Counts, printed: Figures) -> Finding:
    """The uncertain share of right and of wrong decisions, against the printed ones.

    Args:
        right, wrong: (certain, uncertain) decisions.
        printed: ``uncertain_right`` and ``uncertain_wrong``.
    """
    numbers, parts = {}, []
    for name, (certain, uncertain) in {"right": right, "wrong": wrong}.items():
        share, figure = 100 * uncertain / (certain + uncertain), printed[f"uncertain_{name}"]
        same = bool(prints_as(np.array([share]), figure).all())
        numbers |= {name: share, f"{name}_as_printed": same}
        parts.append(
            f"{name} decisions {uncertain} of {certain + uncertain}, {share:.1f} % "
            f"({'as' if same else 'not the'} printed {figure:g} %)"
        )
    rest = 100 - numbers["right"]
    return Finding(
        "uncertain shares",
        f"Uncertain are, of the {'; of the '.join(parts)}. The certain share of the right ones "
        f"is {rest:.1f} %.",
        numbers | {"certain_right": rest},
    )


def published_epoch(row: Figures, epochs: dict[str, Figures], span: tuple[float, float]) -> Finding:
    """Whether a published row is one of the known epochs of the run behind it.

    Args:
        epochs: figures of the epochs that are known, by their name.
        span: lowest and highest test AUROC over all epochs.
    """
    differ = {
        name: [f"{m.upper()} ({figures[m]:g})" for m in row if figures.get(m, row[m]) != row[m]]
        for name, figures in epochs.items()
    }
    same = [name for name, which in differ.items() if not which]
    each = "; ".join(f"{n} differs in {', '.join(which)}" for n, which in differ.items() if which)
    verdict = f"is {', '.join(same)}" if same else "is none of the known epochs"
    return Finding(
        "published row and its epochs",
        f"The published row ({figures_text(row)}) {verdict}{': ' + each if each else ''}. Over all "
        f"epochs test AUROC lies between {span[0]:g} and {span[1]:g} %, a span of "
        f"{span[1] - span[0]:.1f} points by which the choice of an epoch can move the figure.",
        {"epochs_that_differ": len(epochs) - len(same), "span": span[1] - span[0]},
    )


def training_counts(printed: int, n_train: int, n_val: int) -> Finding:
    """Whether a printed number of training images includes the official validation images."""
    both = n_train + n_val
    reading = {n_train: "the training folder", both: "training and validation folder together"}
    which = reading.get(printed, "neither the training folder nor both folders")
    return Finding(
        "training images",
        f"{printed:,} normal images for training is {which} ({n_train:,} and {n_val:,} images in "
        "the common copy).",
        {"train": n_train, "both": both, "printed": printed},
    )


def below_the_floor(printed: Figures, f1_floor: float, name: str) -> Finding:
    """Printed F1 of several methods against calling every image abnormal.

    Args:
        printed: F1 by method.
        f1_floor: of calling every image abnormal.
        name: the data set.
    """
    below = [f"{method} {f1:g} %" for method, f1 in printed.items() if f1 < f1_floor]
    return Finding(
        f"trivial F1, {name}",
        f"On {name}, calling every image abnormal has F1 {f1_floor:.1f} %. Of {len(printed)} "
        f"printed F1, {len(below)} lie below that{': ' + '; '.join(below) if below else ''}.",
        {"floor": f1_floor, "printed": len(printed), "below": len(below)},
    )
