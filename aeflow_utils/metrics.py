"""Metrics and thresholds: arrays in, arrays out.

Everywhere: `labels` (N,) with 1 = abnormal, `scores` (N,) with higher = more anomalous, and an
image is called abnormal when ``score >= threshold``.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.ndimage import label as label_regions
from sklearn.metrics import auc, precision_recall_curve, roc_auc_score, roc_curve

CLASSIFICATION = ("f1", "acc", "sen", "spe", "bacc")


def check_scores(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays of one length.

    Raises:
        ValueError: lengths differ, a score is not finite, or a label is neither 0 nor 1.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if labels.shape != scores.shape or labels.ndim != 1:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must be one (N,) each")
    bad = np.flatnonzero(~np.isfinite(scores))
    if bad.size:
        raise ValueError(f"{bad.size} scores are not finite, the first at position {bad[0]}")
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels must be 0 (normal) or 1 (abnormal)")
    return labels.astype(int), scores


def auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    """Area under the ROC curve of raw scores; NaN where one class is missing."""
    labels, scores = check_scores(labels, scores)
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(roc_auc_score(labels, scores))


def classification(labels: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """F1, accuracy, sensitivity, specificity and balanced accuracy of 0/1 predictions.

    A ratio with nothing in its denominator is NaN (sensitivity without abnormal images), except
    F1, which is 0 where images were flagged or missed but none hit.
    """
    labels, predicted = np.asarray(labels).astype(bool), np.asarray(predicted).astype(bool)
    if labels.shape != predicted.shape:
        raise ValueError(f"labels {labels.shape} and predictions {predicted.shape} differ")
    tp, tn = np.sum(labels & predicted), np.sum(~labels & ~predicted)
    values = classification_of_counts(tp, tn, np.sum(~labels), np.sum(labels))
    return {name: float(value) for name, value in values.items()}


def classification_of_counts(
    tp: np.ndarray, tn: np.ndarray, n_normal: np.ndarray, n_abnormal: np.ndarray
) -> dict[str, np.ndarray]:
    """`classification` of any number of confusion matrices at once, from their counts.

    Args:
        tp: abnormal images called abnormal, of `n_abnormal`.
        tn: normal images called normal, of `n_normal`.
    """
    tp, tn = np.asarray(tp), np.asarray(tn)
    with np.errstate(invalid="ignore", divide="ignore"):
        sen, spe = tp / n_abnormal, tn / n_normal
        return {
            "f1": 2 * tp / (tp + n_normal - tn + n_abnormal),
            "acc": (tp + tn) / (n_normal + n_abnormal),
            "sen": sen,
            "spe": spe,
            "bacc": (sen + spe) / 2,
        }


def f1_max_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """The score that, used as threshold, gives the largest F1; the highest such score in a tie.

    NaN where there is no abnormal image: then no threshold has a meaning, and the smallest score
    (everything abnormal) must not stand in for one.
    """
    labels, scores = check_scores(labels, scores)
    if not labels.any():
        return float("nan")
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    precision, recall = precision[:-1], recall[:-1]  # the last point has no threshold
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return float(thresholds[np.flatnonzero(f1 >= f1.max() - 1e-12)[-1]])


def normal_quantile_threshold(normal_scores: np.ndarray, quantile: float = 0.95) -> float:
    """A threshold that calls about `1 - quantile` of normal images abnormal; needs no others."""
    normal_scores = np.asarray(normal_scores, dtype=np.float64)
    check_scores(np.zeros(len(normal_scores)), normal_scores)
    return float(np.quantile(normal_scores, quantile)) if normal_scores.size else float("nan")


def pixel_auroc(masks: np.ndarray, maps: np.ndarray) -> float:
    """AUROC over all pixels of all images.

    Args:
        masks: (N, H, W) bool, true where the image is abnormal.
        maps: (N, H, W), higher = more anomalous.
    """
    return auroc(masks.ravel().astype(int), maps.ravel())


def aupro(masks: np.ndarray, maps: np.ndarray, max_fpr: float = 0.3) -> float:
    """Area under the per-region overlap curve up to a false-positive rate, divided by that rate.

    Bergmann et al., IJCV 129, 2021. The overlap averages over connected regions, so it is the
    true-positive rate of pixels that weigh 1 / (size of their region): a weighted ROC curve.

    Args:
        masks, maps: as in `pixel_auroc`.
    """
    weights = np.ones(masks.shape)
    for mask, weight in zip(masks, weights, strict=True):
        regions, _ = label_regions(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(regions.ravel())
        weight[mask] = 1 / sizes[regions[mask]]
    fpr, overlap, _ = roc_curve(
        masks.ravel(), maps.ravel(), sample_weight=weights.ravel(), drop_intermediate=False
    )
    inside = fpr < max_fpr
    fpr, overlap = (
        np.append(fpr[inside], max_fpr),
        np.append(overlap[inside], np.interp(max_fpr, fpr, overlap)),
    )
    return float(auc(fpr, overlap) / max_fpr)


def thresholds(
    val_labels: np.ndarray,
    val_scores: np.ndarray,
    test_labels: np.ndarray,
    test_scores: np.ndarray,
) -> dict[str, float]:
    """The three regimes, never to be mixed in one column.

    ``normal_quantile`` sees validation normals only, ``val_f1`` labelled validation images,
    ``oracle_f1`` the test labels themselves (only to set beside published numbers).
    """
    val_labels, val_scores = np.asarray(val_labels), np.asarray(val_scores)
    return {
        "normal_quantile": normal_quantile_threshold(val_scores[val_labels == 0]),
        "val_f1": f1_max_threshold(val_labels, val_scores),
        "oracle_f1": f1_max_threshold(test_labels, test_scores),
    }


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
    return np.mean([_weighted_metric(labels, run, weights, metric) for run in runs], axis=0)


def classification_interval(
    labels: np.ndarray, predicted: np.ndarray, metric: str, n_resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of `classification_draws`."""
    return percentile_interval(classification_draws(labels, predicted, metric, n_resamples, seed))


def _weighted_metric(
    labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray, metric: str
) -> np.ndarray:
    """`classification` (R,) of images that count `weights` (R, N) times."""
    tp, tn = weights @ (labels & predicted), weights @ (~labels & ~predicted)
    return classification_of_counts(tp, tn, weights @ ~labels, weights @ labels)[metric]
