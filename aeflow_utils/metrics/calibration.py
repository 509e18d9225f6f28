"""Scores to common scales and to probabilities, and what probabilities are uncertain about.

Arrays in, arrays out. What is learnt is learnt from validation images: of the normal ones alone, or
of labelled ones.
"""

from __future__ import annotations

import numpy as np
from scipy.special import erf
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def standardised(normals: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores (N,) in deviations from the mean of a member's validation normals (M,)."""
    spread = np.std(normals)
    if not spread > 0:
        raise ValueError("validation normals all have one score: there is no scale to remove")
    return (scores - np.mean(normals)) / spread


def ranked(normals: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Share of a member's validation normals (M,) that score lower, (N,)."""
    return np.searchsorted(np.sort(normals), scores, side="left") / len(normals)


def gaussian_scaling(normals: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Probability (N,) without any abnormal image: ``max(0, erf(z / sqrt 2))``.

    Kriegel et al., *Interpreting and Unifying Outlier Scores*, SDM 2011, with validation normals
    (M,) in the place of the mixed data there.
    """
    return np.maximum(0, erf(standardised(normals, scores) / np.sqrt(2)))


def logistic(labels: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Probability (N,) of being abnormal, by logistic regression on standardised values.

    Args:
        labels: (M,) of labelled validation images.
        known, values: (M, F) of those and (N, F) of the images in question.
    """
    solved = LogisticRegression(solver="newton-cholesky")  # few features: a handful of steps
    model = make_pipeline(StandardScaler(), solved)
    return model.fit(known, labels).predict_proba(values)[:, 1]


def isotonic(labels: np.ndarray, known: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """As `logistic`, by the monotonic step function of a score (M,) that fits the labels best."""
    model = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    return model.fit(known, labels).predict(scores)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Of a verdict with these probabilities, in bits: 1 at one half, 0 where it is certain."""
    p = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return -(p * np.log2(p) + (1 - p) * np.log2(1 - p))


def mutual_information(probabilities: np.ndarray) -> np.ndarray:
    """What members (S, N) disagree about, in bits (N,): entropy of the mean minus mean entropy."""
    return entropy(probabilities.mean(axis=0)) - entropy(probabilities).mean(axis=0)
