"""What arithmetic says of printed figures, one function each: no image, no training, no GPU.

Everywhere, `printed` is a row of figures by metric, in percent as printed, `images` are (normal,
abnormal) test images, `right` and `wrong` (certain, uncertain) decisions, and `name` says whose
they are. `audit` puts in what ``results/published.csv`` holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.confusion import all_abnormal, decimals, matching, prints_as

Figures = dict[str, float]  # by metric, in percent
Counts = tuple[int, int]  # images: normal and abnormal, or certain and uncertain


@dataclass(frozen=True)
class Finding:
    """One thing that is shown: a name to quote it by, a sentence, and the sentence's numbers."""

    name: str
    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)

    def noting(self, note: str) -> Finding:
        """The same with a sentence more."""
        return replace(self, sentence=f"{self.sentence} {note}")


def shown(printed: Figures) -> str:
    """``F1 30.76 %, ACC 92.82 %``."""
    return ", ".join(f"{metric.upper()} {value:g} %" for metric, value in printed.items())


def matrix_text(row: pd.Series) -> str:
    return f"TP {row['tp']:.0f}, FN {row['fn']:.0f}, TN {row['tn']:.0f}, FP {row['fp']:.0f}"


def auc_column(rows: pd.DataFrame, name: str) -> Finding:
    """Whether a column called AUC is the mean of sensitivity and specificity.

    A row agrees if the two differ by no more than one unit of the last printed digit: half a unit
    may come from each side's rounding. `rows` has the columns ``auc``, ``sen`` and ``spe``.
    """
    unit = 10.0 ** -rows[["auc", "sen", "spe"]].map(decimals).max(axis=1)
    deviation = (rows["auc"] - (rows["sen"] + rows["spe"]) / 2).abs()
    agree, largest = int((deviation <= unit + 1e-9).sum()), float(deviation.max())
    verdict = {0: "is not", len(rows): "is"}.get(agree, "is sometimes")
    return Finding(
        f"AUC column, {name}",
        f"In {agree} of {len(rows)} rows of {name} that have all three, AUC equals "
        f"(SEN + SPE) / 2 within one unit of the last digit (at most {largest:.3g} points apart): "
        f"the column {verdict} balanced accuracy.",
        {"rows": len(rows), "agree": agree, "largest_difference": largest},
    )


def auc_from_counts(printed: Figures, images: Counts) -> Finding:
    """Whether one row's AUC is exactly the mean of its rates, by way of the counts behind them.

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


def auroc_of_decisions(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Finding:
    """What becomes of an AUROC when the curve is drawn from decisions instead of scores.

    `labels` (N,) are 1 for abnormal, `scores` (N,) higher for more anomalous; an image is called
    abnormal at or above `threshold`.
    """
    decisions = (np.asarray(scores) >= threshold).astype(int)
    right, wrong = (100 * metrics.auroc(labels, each) for each in (scores, decisions))
    balanced = 100 * metrics.classification(labels, decisions)["bacc"]
    return Finding(
        "AUROC of decisions",
        f"The same {len(decisions)} images have an AUROC of {right:.1f} % by their scores and "
        f"{wrong:.1f} % by the decisions at threshold {threshold:g}, which is their balanced "
        f"accuracy ({balanced:.1f} %): a curve through one point depends on the threshold.",
        {"auroc": right, "auroc_of_decisions": wrong, "bacc": balanced},
    )


def ensemble_counts(right: Counts, wrong: Counts, images: Counts, name: str) -> Finding:
    """What an ensemble's table of right and wrong decisions says of the decisions."""
    n_right, n_wrong, (n_normal, n_abnormal) = sum(right), sum(wrong), images
    possible = matching({}, *images).query("tp + tn == @n_right")
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
    """The uncertain share of right and of wrong decisions, against the printed shares."""
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


def double_counting(printed: Figures, images: Counts, n_normals: range) -> Finding:
    """Whether a row fits a test set whose abnormal images were counted once more as normal.

    `n_normals` are numbers of normal images to try, to see how telling a fit is.
    """
    (n_normal, n_abnormal), doubled = images, sum(images)
    official, copied = (matching(printed, n, n_abnormal) for n in (n_normal, doubled))
    rounded, cut = (len(matching(printed, doubled, n_abnormal, r)) for r in ("rounded", "cut"))
    fit = sum(not matching(printed, n, n_abnormal).empty for n in n_normals)
    sentence = (
        f"{shown(printed)} fit {len(official)} confusion matrices on the official "
        f"{n_normal:,} normal and {n_abnormal:,} abnormal images, and {len(copied)} on {doubled:,} "
        f"normal ones, where every abnormal image is counted as normal too: there {rounded} fit "
        f"if all figures were rounded, {cut} if all were cut. Of the {len(n_normals)} numbers of "
        f"normal images from {n_normals[0]:,} to {n_normals[-1]:,}, {fit} fit."
    )
    numbers = {"official": len(official), "doubled": len(copied), "sizes": len(n_normals)}
    numbers |= {"doubled_rounded": rounded, "doubled_cut": cut, "sizes_that_fit": fit}
    if len(copied) == 1:
        row = copied.iloc[0]
        numbers |= row[["tp", "tn", "fp"]].to_dict()
        if row["fp"] < row["tp"]:  # each hit has a copy that is a false alarm
            sentence += (
                f" The one on {doubled:,}, {matrix_text(row)}, has fewer false alarms than hits: "
                "it is possible only if copies were judged unlike their originals, as scores that "
                "depend on the batch allow."
            )
    return Finding("abnormal images counted twice", sentence, numbers)


def fitting_test_sets(printed: Figures, test_sets: dict[str, Counts], name: str) -> Finding:
    """Which of several test sets a printed row fits, and with how many confusion matrices."""
    matrices = {test: len(matching(printed, *images)) for test, images in test_sets.items()}
    fits = ", ".join(f"{test} ({n})" for test, n in matrices.items() if n) or "none"
    misses = ", ".join(test for test, n in matrices.items() if not n) or "none"
    return Finding(
        f"which test set, {name}",
        f"{name}: {shown(printed)} fit these test sets (with so many confusion matrices): "
        f"{fits}; they do not fit: {misses}.",
        matrices,
    )


def published_epoch(row: Figures, epochs: dict[str, Figures], span: tuple[float, float]) -> Finding:
    """Whether a published row is one of the known epochs (figures by name) of the run behind it.

    `span` is the lowest and the highest test AUROC over all epochs.
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
        f"The published row ({shown(row)}) {verdict}{': ' + each if each else ''}. Over all "
        f"epochs test AUROC lies between {span[0]:g} and {span[1]:g} %, a span of "
        f"{span[1] - span[0]:.1f} points by which the choice of an epoch can move the figure.",
        {"epochs_that_differ": len(epochs) - len(same), "span": span[1] - span[0]},
    )


def training_counts(printed: int, copies: dict[str, Counts]) -> Finding:
    """Which official copies have a printed number of normal images in their training folder.

    `copies` are (training, validation) normal images by name; so are the numbers, true where the
    training folder has as many. ``train`` and ``both`` are of the copy with a validation folder.
    """
    has = {name: n_train == printed for name, (n_train, _) in copies.items()}
    each = ", ".join(f"{name} {n_train:,} + {n_val:,}" for name, (n_train, n_val) in copies.items())
    n_train, n_val = max(copies.values(), key=lambda pair: pair[1])
    return Finding(
        "training images",
        f"{printed:,} normal images are the training folder of {sum(has.values())} of "
        f"{len(copies)} official copies (normal images for training + validation: {each}).",
        has | {"train": n_train, "both": n_train + n_val, "printed": printed},
    )


def below_the_floor(printed: Figures, f1_floor: float, name: str) -> Finding:
    """Printed F1 by method on a data set, against `f1_floor`, of calling every image abnormal."""
    below = [f"{method} {f1:g} %" for method, f1 in printed.items() if f1 < f1_floor]
    return Finding(
        f"trivial F1, {name}",
        f"On {name}, calling every image abnormal has F1 {f1_floor:.1f} %. Of {len(printed)} F1 "
        f"on record, {len(below)} lie below that{': ' + '; '.join(below) if below else ''}.",
        {"floor": f1_floor, "printed": len(printed), "below": len(below)},
    )
