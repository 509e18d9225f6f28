"""Judging an uncertainty: does it find the errors, is it calibrated, does a set keep its promise?

Arrays in, arrays out. Everywhere: `wrong` (N,) says which verdicts are errors, `uncertainty` (N,)
is higher where less is known, and only its order counts. Where images tie, every figure is its
mean over all their orders.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss

from aeflow_utils import metrics

REFERRED = 0.1  # share of images, the least certain ones, that a person looks at


def quality(wrong: np.ndarray, uncertainty: np.ndarray) -> dict[str, float]:
    """How well an uncertainty ranks errors; no uncertainty ranks them better than `wrong` itself.

    Returns:
        ``auroc`` of telling errors from right verdicts; ``aurc``, the area under the
        risk-coverage curve (Geifman et al., ICLR 2019); ``caught``, the share of errors among the
        `REFERRED` least certain images, and ``rest_accuracy``, that of the others. NaN where
        nothing, or everything, is wrong and a figure then has no meaning.

    Raises:
        ValueError: lengths differ, or an uncertainty is not finite.
    """
    groups, wrong = _groups(wrong, uncertainty)
    figures = _quality_of(groups, wrong, np.arange(len(wrong))[None])
    return {name: float(values[0]) for name, values in figures.items()}


def quality_draws(
    wrong: np.ndarray,
    uncertainty: np.ndarray,
    n_resamples: int = 1000,
    seed: int = 0,
    drawn_together: np.ndarray | None = None,
) -> pd.DataFrame:
    """Bootstrap values of `quality`, (R, figures): images are resampled, members are not.

    Images that are equal in `drawn_together` (N,), those of a patient, are drawn together. Two
    uncertainties of the same images meet the same resamples, so their rows can be subtracted.
    """
    groups, wrong = _groups(wrong, uncertainty)
    positions = metrics.resampled(len(wrong), n_resamples, seed, drawn_together)
    return pd.DataFrame(_quality_of(groups, wrong, positions))


def _groups(wrong: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each image's place in the order of certainty, the same for equal ones; `wrong` as floats."""
    wrong, uncertainty = metrics.check_scores(wrong, uncertainty)
    if not wrong.size:
        raise ValueError("there is no verdict to judge")
    return np.unique(uncertainty, return_inverse=True)[1], wrong.astype(float)


def _quality_of(
    groups: np.ndarray, wrong: np.ndarray, positions: np.ndarray
) -> dict[str, np.ndarray]:
    """`quality` (R,) of the images at each row of `positions` (R, N)."""
    counts, errors, accepted = _by_certainty(groups, wrong, positions)
    n, n_wrong = positions.shape[1], errors.sum(axis=1)
    kept = n - round(REFERRED * n)
    right, left = counts - errors, accepted[:, kept - 1]
    below = np.cumsum(right, axis=1) - right / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "auroc": np.sum(errors * below, axis=1) / (n_wrong * (n - n_wrong)),
            "aurc": np.mean(accepted / np.arange(1, n + 1), axis=1),
            "rest_accuracy": 1 - left / kept,
            "caught": np.where(n_wrong > 0, 1 - left / n_wrong, np.nan),
        }


def _by_certainty(
    groups: np.ndarray, wrong: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From the most to the least certain, for the images at each row of `positions` (R, N).

    Returns:
        Images and errors of each group, (R, G) each, and the errors that are expected among the
        k most certain images, k = 1 ... N, (R, N).
    """
    n_rows, n_groups = len(positions), groups.max() + 1
    cells = (groups[positions] + n_groups * np.arange(n_rows)[:, None]).ravel()
    parts = (None, wrong[positions].ravel())
    flat = (np.bincount(cells, weights, minlength=n_rows * n_groups) for weights in parts)
    counts, errors = (part.reshape(n_rows, n_groups).astype(float) for part in flat)
    share, order = errors / np.maximum(counts, 1), np.sort(groups[positions], axis=1)
    return counts, errors, np.cumsum(np.take_along_axis(share, order, axis=1), axis=1)


def risk_coverage(wrong: np.ndarray, uncertainty: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of images kept, the most certain first, and the share of errors in them, (N,) each."""
    groups, wrong = _groups(wrong, uncertainty)
    _, _, (accepted,) = _by_certainty(groups, wrong, np.arange(len(wrong))[None])
    kept = np.arange(1, len(wrong) + 1)
    return kept / len(wrong), accepted / kept


def best_cut(wrong: np.ndarray, uncertainty: np.ndarray) -> float:
    """The uncertainty above which an image is best called uncertain; to be used on other images.

    It makes the share of errors above it minus the share of right verdicts above it largest
    (Youden's J); the highest such value in a tie. NaN where nothing, or everything, is wrong.
    """
    return metrics.best_threshold(wrong, uncertainty, metrics.youden, strictly=True)


def reliability(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Mean probability and share of abnormal images in those of ten equal bins that hold any.

    Raises:
        ValueError: a probability is not in [0, 1].
    """
    labels, probabilities = metrics.check_scores(labels, probabilities)
    if probabilities.size and not (probabilities.min() >= 0 and probabilities.max() <= 1):
        raise ValueError("probabilities must lie in [0, 1]")
    number = np.minimum((probabilities * 10).astype(int), 9)
    bins = pd.DataFrame({"forecast": probabilities, "observed": labels}).groupby(number)
    return bins.mean().assign(images=bins.size()).reset_index(drop=True)


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """``ece`` and ``brier``, the mean squared error, of probabilities (N,).

    The expected calibration error is the mean distance of the `reliability` bins to the diagonal,
    weighted by their images (Guo et al., ICML 2017, of the abnormal class).
    """
    bins = reliability(labels, probabilities)
    ece = np.average((bins["forecast"] - bins["observed"]).abs(), weights=bins["images"])
    return {"ece": float(ece), "brier": float(brier_score_loss(labels, probabilities))}


def conformal_p_values(calibration_scores: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """How usual each score is among images of one class that training has not seen, (N,).

    ``p = (1 + number of calibration scores >= score) / (M + 1)``. For a new image of that class,
    ``P(p <= alpha) <= alpha`` whatever the detector, on average over calibration sets, if it and
    the calibration images are exchangeable (Vovk et al., 2005; Bates et al., 2023).

    Args:
        calibration_scores: (M,), higher = less usual.
        scores: (N,).
    """
    calibration_scores = np.sort(np.asarray(calibration_scores, dtype=np.float64))
    scores = np.asarray(scores, dtype=np.float64)
    for values in (calibration_scores, scores):
        metrics.check_scores(np.zeros(len(values)), values)
    at_least = len(calibration_scores) - np.searchsorted(calibration_scores, scores, side="left")
    return (1 + at_least) / (len(calibration_scores) + 1)


def conformal_sets(
    fit_labels: np.ndarray, fit_scores: np.ndarray, scores: np.ndarray, alpha: float
) -> np.ndarray:
    """Which classes are still possible at level 1 - alpha, (N, 2) bool: normal, abnormal.

    Each class is calibrated on its own validation images, so each is promised its coverage alone.
    An image in both sets is undecided; one in neither is like no validation image.
    """
    fit_labels, fit_scores = metrics.check_scores(fit_labels, fit_scores)
    normal = conformal_p_values(fit_scores[fit_labels == 0], scores)
    abnormal = conformal_p_values(-fit_scores[fit_labels == 1], -np.asarray(scores))
    return np.stack([normal, abnormal], axis=1) > alpha
