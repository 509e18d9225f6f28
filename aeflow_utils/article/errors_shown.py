"""Errors in evaluation code, demonstrated: the right and the wrong number from the same run.

Each error was found in public code of the study. These need a finished run's scores only; those
that need the trained system are in `system_demonstrations`. Numbers are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.errors import UserError
from aeflow_utils.study.results import run_title
from aeflow_utils.study.runs import RunResult

Criterion = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Demonstration:
    """What one error does to one number.

    Args:
        error: what was done.
        measured: what `right` and `wrong` are.
        right, wrong: the number without and with the error.
        sentence: both, to be quoted.
        also: further numbers, by name.
    """

    error: str
    measured: str
    right: float
    wrong: float
    sentence: str
    also: dict[str, float] = field(default_factory=dict)


def demonstration_table(demonstrations: list[Demonstration]) -> pd.DataFrame:
    """A row a demonstration: error, measured, right, wrong, sentence."""
    rows = [(d.error, d.measured, d.right, d.wrong, d.sentence) for d in demonstrations]
    return pd.DataFrame(rows, columns=["error", "measured", "right", "wrong", "sentence"])


def _split(run: RunResult, name: str, score: str = "image_score") -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of a split.

    Raises:
        UserError: the split has images of one class only.
    """
    part = run.split(name)
    labels = part["label"].to_numpy()
    if len(np.unique(labels)) < 2:
        raise UserError(f"{run.folder.name}: {name} needs normal and abnormal images for this")
    return labels, part[score].to_numpy()


def _f1(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return metrics.classification(labels, scores >= threshold)["f1"]


def flipped_sign(run: RunResult, score: str = "recon_score") -> Demonstration:
    """+SSIM as an anomaly score: similar, and so normal, images score highest.

    The AUROC of scores with the wrong sign is one minus the right one; the F1-max threshold then
    hides it by calling nearly everything abnormal.

    Args:
        score: the column whose sign is turned; in the study, the reconstruction's.
    """
    labels, scores = _split(run, "test", score)
    right, wrong = metrics.auroc(labels, scores), metrics.auroc(labels, -scores)
    f1 = {
        name: _f1(labels, s, metrics.f1_max_threshold(labels, s))
        for name, s in (("right F1", scores), ("wrong F1", -scores))
    }
    return Demonstration(
        "score with the wrong sign",
        "test AUROC",
        right,
        wrong,
        f"With its sign turned, {score} has a test AUROC of {percent(wrong)} instead of "
        f"{percent(right)}; the largest F1 that a threshold on test can give is "
        f"{percent(f1['wrong F1'])} instead of {percent(f1['right F1'])}.",
        f1,
    )


def shifted_f1(run: RunResult) -> Demonstration:
    """``precision + 1, recall + 1`` before F1, on validation: the maximum moves."""

    def criterion(tp, fp, fn, tn):
        precision, recall = tp / (tp + fp) + 1, tp / (tp + fn) + 1
        return 2 * precision * recall / (precision + recall)

    return _other_criterion(run, "one added to precision and recall before F1", criterion)


def weighted_f1(run: RunResult) -> Demonstration:
    """`class_weighted_f1` as criterion on validation."""
    return _other_criterion(run, "class-weighted F1 as criterion", class_weighted_f1)


def class_weighted_f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """The mean of both classes' F1, weighted by their images, of counts of one shape."""
    abnormal, normal = tp + fn, fp + tn
    f1_abnormal, f1_normal = 2 * tp / (2 * tp + fp + fn), 2 * tn / (2 * tn + fp + fn)
    return (abnormal * f1_abnormal + normal * f1_normal) / (abnormal + normal)


def threshold_table(results: list[RunResult]) -> pd.DataFrame:
    """AE-FLOW's test metrics in percent at thresholds chosen on validation by three criteria.

    Mean over subnets and seeds; data sets without labelled validation are left out.
    """
    rows = []
    for run in results:
        labelled = run.labelled("val")["label"].nunique() == 2
        if run.config.model.name == "ae_flow" and labelled:
            val, test = _split(run, "val"), _split(run, "test")
            cuts = {
                "F1-max": metrics.f1_max_threshold(*val),
                "class-weighted F1, its maximum": best_threshold(*val, class_weighted_f1),
                "95 % of normals below": run.metrics["thresholds"]["normal_quantile"],
            }
            for criterion, cut in cuts.items():
                at_cut = metrics.classification(test[0], test[1] >= cut)
                row = {"data set": run.config.data.label, "threshold on validation": criterion}
                rows.append(row | {name: 100 * value for name, value in at_cut.items()})
    keys = ["data set", "threshold on validation"]
    table = pd.DataFrame(rows, columns=[*keys, *metrics.CLASSIFICATION])
    return table.groupby(keys, sort=False).mean()


def _other_criterion(run: RunResult, error: str, criterion: Criterion) -> Demonstration:
    """Two thresholds chosen on validation, and F1 of both, there and on test."""
    val, test = _split(run, "val"), _split(run, "test")
    cuts = metrics.f1_max_threshold(*val), best_threshold(*val, criterion)
    right, wrong = (_f1(*val, cut) for cut in cuts)
    test_right, test_wrong = (_f1(*test, cut) for cut in cuts)
    return Demonstration(
        error,
        "validation F1",
        right,
        wrong,
        f"With {error} the threshold is {cuts[1]:.4g} instead of {cuts[0]:.4g}, and F1 is "
        f"{percent(wrong)} instead of {percent(right)} on validation, {percent(test_wrong)} "
        f"instead of {percent(test_right)} on test.",
        {
            "right threshold": cuts[0],
            "wrong threshold": cuts[1],
            "right test F1": test_right,
            "wrong test F1": test_wrong,
        },
    )


def best_threshold(labels: np.ndarray, scores: np.ndarray, criterion: Criterion) -> float:
    """The score that maximises a criterion when used as threshold; the highest in a tie.

    Args:
        labels, scores: (N,), both classes present.
        criterion: values (T,) from tp, fp, fn, tn (T,) at each candidate threshold.
    """
    labels, scores = metrics.check_scores(labels, scores)
    candidates = np.unique(scores)
    called = scores[None, :] >= candidates[:, None]
    tp, fp = (called & (labels == 1)).sum(1), (called & (labels == 0)).sum(1)
    values = criterion(tp, fp, labels.sum() - tp, (1 - labels).sum() - fp)
    return float(candidates[np.flatnonzero(values >= values.max() - 1e-12)[-1]])


def threshold_on_test(run: RunResult) -> Demonstration:
    """The F1-max threshold chosen on the test images that it is then judged on."""
    val, test = _split(run, "val"), _split(run, "test")
    cuts = metrics.f1_max_threshold(*val), metrics.f1_max_threshold(*test)
    right, wrong = (_f1(*test, cut) for cut in cuts)
    return Demonstration(
        "threshold chosen on test",
        "test F1",
        right,
        wrong,
        f"A threshold chosen on test gives F1 {percent(wrong)}; chosen on validation, the same "
        f"scores give {percent(right)}.",
        {"right threshold": cuts[0], "wrong threshold": cuts[1]},
    )


def counted_twice(run: RunResult, regime: str = "normal_quantile") -> Demonstration:
    """The abnormal test images counted once more as normal, as a glob without an anchor does.

    A copy has its original's score, so AUROC loses the share of copies among the normals times
    what the detector is better than chance, and F1 cannot exceed 2/3.

    Args:
        regime: of the threshold behind F1, the same for both.
    """
    labels, scores = _split(run, "test")
    copies = scores[labels == 1]
    both = np.concatenate([labels, np.zeros(len(copies), int)]), np.append(scores, copies)
    right, wrong = metrics.auroc(labels, scores), metrics.auroc(*both)
    cut = run.metrics["thresholds"][regime]
    f1_right, f1_wrong = _f1(labels, scores, cut), _f1(*both, cut)
    return Demonstration(
        "abnormal images counted twice",
        "test AUROC",
        right,
        wrong,
        f"With its {len(copies)} abnormal images counted as normal too, the test set gives AUROC "
        f"{percent(wrong)} instead of {percent(right)} and F1 {percent(f1_wrong)} instead of "
        f"{percent(f1_right)} at the same threshold.",
        {"right F1": f1_right, "wrong F1": f1_wrong},
    )


def untrained_encoder(run: RunResult, untrained: RunResult) -> Demonstration:
    """The same method on an encoder of random weights, as where ``pretrained`` was False.

    Args:
        run, untrained: one method, seed and data set; only the encoder's weights differ.
    """
    right, wrong = run.metrics["auroc"], untrained.metrics["auroc"]
    return Demonstration(
        "encoder of random weights",
        "test AUROC",
        right,
        wrong,
        f"On an encoder that nobody trained, {run_title(run)} has a test AUROC of "
        f"{percent(wrong)} instead of {percent(right)}.",
    )


def shared_folds(fresh: list[RunResult], carried: list[RunResult]) -> Demonstration:
    """Cross-validation that goes on with the weights of the fold before.

    Args:
        fresh, carried: one run a fold, of each way.
    """
    (right, test_right), (wrong, test_wrong) = (
        [float(np.mean([run.metrics[name] for run in runs])) for name in ("val_auroc", "auroc")]
        for runs in (fresh, carried)
    )
    return Demonstration(
        "folds that share weights",
        "validation AUROC",
        right,
        wrong,
        f"With weights carried from fold to fold, mean validation AUROC is {percent(wrong)} "
        f"instead of {percent(right)}; on test it is {percent(test_wrong)} instead of "
        f"{percent(test_right)}.",
        {"right test": test_right, "wrong test": test_wrong},
    )


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"
