"""Metrics and thresholds: arrays in, arrays out.

Everywhere: `labels` (N,) with 1 = abnormal, `scores` (N,) with higher = more anomalous, and an
image is called abnormal when ``score >= threshold``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.ndimage import label as label_regions
from scipy.stats import rankdata
from sklearn.metrics import auc, roc_auc_score, roc_curve

CLASSIFICATION = ("f1", "acc", "sen", "spe", "bacc")
Criterion = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


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


def aurocs(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`auroc` of many scores of the same images of both classes, (..., N) -> (...), by ranks."""
    abnormal, ranks = np.asarray(labels).astype(bool), rankdata(scores, axis=-1)
    n, n_normal = abnormal.sum(), (~abnormal).sum()
    return (ranks[..., abnormal].sum(axis=-1) - n * (n + 1) / 2) / (n * n_normal)


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


def f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """F1 of the abnormal class from counts of one shape."""
    return 2 * tp / (2 * tp + fp + fn)


def class_weighted_f1(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """The mean of both classes' F1, weighted by their images, from counts of one shape."""
    abnormal, normal = tp + fn, fp + tn
    return (abnormal * f1(tp, fp, fn, tn) + normal * f1(tn, fn, fp, tp)) / (abnormal + normal)


def youden(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Youden's J from counts of one shape: sensitivity minus the share of false alarms."""
    return tp / (tp + fn) - fp / (fp + tn)


def best_threshold(
    labels: np.ndarray, scores: np.ndarray, criterion: Criterion, strictly: bool = False
) -> float:
    """The score that, used as threshold, makes a criterion largest; the highest one in a tie.

    NaN where there is no abnormal image: then no threshold has a meaning, and the smallest score
    (everything abnormal) must not stand in for one. NaN too where the criterion has no value.

    Args:
        labels, scores: (N,).
        criterion: `f1`, `class_weighted_f1`, `youden` or another function of tp, fp, fn and tn,
            (T,) each, the counts at each of the T distinct scores; returns values (T,).
        strictly: call an image abnormal when its score lies above the threshold, not at it.
    """
    labels, scores = check_scores(labels, scores)
    if not labels.any():
        return float("nan")
    candidates, side = np.unique(scores), "right" if strictly else "left"
    tn, fn = (np.searchsorted(np.sort(scores[labels == k]), candidates, side) for k in (0, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        values = criterion((labels == 1).sum() - fn, (labels == 0).sum() - tn, fn, tn)
    if np.isnan(values).any():
        return float("nan")
    return float(candidates[np.flatnonzero(values >= values.max() - 1e-12)[-1]])


def f1_max_threshold(labels: np.ndarray, scores: np.ndarray) -> float:
    """`best_threshold` by F1: the rule of the study."""
    return best_threshold(labels, scores, f1)


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
    inside, at_limit = fpr < max_fpr, np.interp(max_fpr, fpr, overlap)
    area = auc(np.append(fpr[inside], max_fpr), np.append(overlap[inside], at_limit))
    return float(area / max_fpr)


def thresholds(
    val_labels: np.ndarray, val_scores: np.ndarray, test_labels: np.ndarray, test_scores: np.ndarray
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
