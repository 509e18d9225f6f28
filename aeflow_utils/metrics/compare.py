"""How sure a metric is: bootstrap draws, intervals, and one rule from intervals to a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from aeflow_utils.metrics.detection import check_scores, classification_of_counts

CONFIRMED, PARTLY, REFUTED = "confirmed", "partly", "refuted"
OPEN, NOT_TESTABLE = "open", "not testable here"
VERDICTS = (CONFIRMED, PARTLY, REFUTED, OPEN, NOT_TESTABLE)


@dataclass(frozen=True)
class Measurement:
    """One number that speaks for a claim where it is above 0, and against it below.

    Args:
        where: title of the data set.
        value, low, high: the number and its 95 % interval, in percentage points.
        text: the same for readers, without the data set.
    """

    where: str
    value: float
    low: float
    high: float
    text: str


def verdict_of(measurements: list[Measurement]) -> str:
    """One of `VERDICTS` for all of them.

    A measurement supports a claim when its whole interval lies above 0, and contradicts it when
    it lies below. All support: confirmed. Some do: partly. None does and at least one contradicts:
    refuted. None says either: open. Nothing was measured: not testable here.
    """
    if not measurements:
        return NOT_TESTABLE
    supports = sum(m.low > 0 for m in measurements)
    if supports == len(measurements):
        return CONFIRMED
    if supports:
        return PARTLY
    return REFUTED if any(m.high < 0 for m in measurements) else OPEN


def percentile_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Central `level` of bootstrap values (R,), without those that are NaN."""
    values = values[np.isfinite(values)]
    if values.size == 0:
        return float("nan"), float("nan")
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def resampled(n_images: int, n_resamples: int = 1000, seed: int = 0) -> np.ndarray:
    """Positions of resampled images, (R, N)."""
    return np.random.default_rng(seed).integers(0, n_images, size=(n_resamples, n_images))


def auroc_draws(
    labels: np.ndarray, scores: np.ndarray, n_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Bootstrap values (R,) of the AUROC, averaged over runs.

    Args:
        labels: (N,).
        scores: (N,) of one run or (S, N) of S runs on the same images; images are resampled,
            seeds are not, so the spread speaks of the test set and the seeds' sd of training.
    """
    runs = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    for run in runs:
        check_scores(labels, run)
    labels = np.asarray(labels, dtype=np.int64)
    return _draws_of(labels.tobytes(), runs.tobytes(), n_resamples, seed)


@lru_cache(maxsize=1024)  # a table in three threshold regimes asks for the same draws three times
def _draws_of(labels: bytes, runs: bytes, n_resamples: int, seed: int) -> np.ndarray:
    truth = np.frombuffer(labels, dtype=np.int64)
    scores = np.frombuffer(runs).reshape(-1, truth.size)
    weights = _resampling_weights(truth.size, n_resamples, seed)
    return np.mean([_weighted_auroc(truth, run, weights) for run in scores], axis=0)


@lru_cache(maxsize=8)
def _resampling_weights(n_images: int, n_resamples: int, seed: int) -> np.ndarray:
    """How often each resample holds each image, (R, N)."""
    positions = resampled(n_images, n_resamples, seed)
    return np.stack([np.bincount(row, minlength=n_images) for row in positions]).astype(float)


def auroc_interval(
    labels: np.ndarray, scores: np.ndarray, n_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of `auroc_draws`."""
    return percentile_interval(auroc_draws(labels, scores, n_resamples, seed))


def _weighted_auroc(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC (R,) of images that count `weights` (R, N) times, by Mann-Whitney: pairs that are won.

    Pairs are compared once for all R. Weights are whole numbers, so no sum is rounded.
    """
    abnormal, normal = labels == 1, labels == 0
    higher, lower = scores[abnormal, None], scores[normal]
    wins = (higher > lower) + (higher == lower) / 2
    won = (weights[:, abnormal] @ wins * weights[:, normal]).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return won / (weights[:, abnormal].sum(axis=1) * weights[:, normal].sum(axis=1))


def classification_draws(
    labels: np.ndarray, predicted: np.ndarray, metric: str, n_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Bootstrap values (R,) of one of `CLASSIFICATION`, averaged over runs.

    Args:
        labels: (N,).
        predicted: (N,) or (S, N), 0/1.
    """
    labels = np.asarray(labels).astype(bool)
    runs = np.atleast_2d(np.asarray(predicted)).astype(bool)
    if runs.shape[1] != labels.size:
        raise ValueError(f"{labels.size} labels but {runs.shape[1]} predictions")
    weights = _resampling_weights(labels.size, n_resamples, seed)
    tp, tn = (labels & runs) @ weights.T, (~labels & ~runs) @ weights.T
    counted = classification_of_counts(tp, tn, weights @ ~labels, weights @ labels)
    return counted[metric].mean(axis=0)
