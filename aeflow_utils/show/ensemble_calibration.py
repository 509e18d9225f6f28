"""What the ensemble promises: are its probabilities true, do its conformal sets cover?

`members` as in `ensemble_tables`; all is learnt on validation, labelled, and shown on test.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.ensemble_tables import Members, judged, usable
from aeflow_utils.show.style import LABEL_NAMES

CALIBRATIONS = {
    "unsupervised": "no abnormal image",
    "isotonic": "isotonic",
    "logistic": "logistic",
    "parts": "logistic, from parts",
}


def calibration_table(members: Members) -> pd.DataFrame:
    """Calibration error and Brier score of the mean probability, cross-fitted validation and test.

    ``abnormal`` is the split's share of abnormal images: where it differs from validation's, no
    calibrator fitted there can be right.
    """
    rows = []
    for name, runs in usable(members).items():
        for split, table in zip(("validation", "test"), judged(runs, "scores")[:2], strict=True):
            for scale in CALIBRATIONS:
                row = {"data set": name, "calibration": CALIBRATIONS[scale], "split": split}
                error = uncertainty.calibration(table["label"], table[f"mean_{scale}"])
                rows.append(row | {"abnormal": table["label"].mean()} | error)
    return pd.DataFrame(rows)


def coverage_table(members: Members, alphas: tuple[float, ...] = (0.05, 0.1, 0.2)) -> pd.DataFrame:
    """What the conformal sets of the mean score cover on test, a row a data set, level and class.

    ``expected_low`` and ``expected_high`` hold 95 % of what chance alone would give, were test
    and validation images exchangeable: a beta-binomial, because both sets are finite. ``both``
    and ``neither`` are the shares of undecided images and of images like none of validation.
    """
    rows = []
    for name, runs in usable(members).items():
        fits, test, _ = judged(runs, "scores")
        for alpha in alphas:
            sets = uncertainty.conformal_sets(fits["label"], fits["mu"], test["mu"], alpha)
            for label in (0, 1):
                of_class = sets[test["label"] == label]
                row = {"data set": name, "nominal": 1 - alpha, "class": LABEL_NAMES[label]}
                groups = test.loc[test["label"] == label, "group"].to_numpy()
                n_fit = int((fits["label"] == label).sum())
                row |= _covered(of_class[:, label], groups, n_fit, alpha)
                both, neither = of_class.all(axis=1), ~of_class.any(axis=1)
                rows.append(row | {"both": both.mean(), "neither": neither.mean()})
    return pd.DataFrame(rows)


def _covered(covered: np.ndarray, groups: np.ndarray, n_fit: int, alpha: float) -> dict[str, float]:
    """Share of true ones with its bootstrap interval, and the range that is expected."""
    n_test = len(covered)
    draws = covered[metrics.resampled(n_test, groups=groups)].mean(axis=1)
    low, high = metrics.percentile_interval(draws)
    rank = max(1, int(np.floor(alpha * (n_fit + 1) + 1e-9)))
    expected = betabinom(n_test, n_fit + 1 - rank, rank).ppf([0.025, 0.975]) / n_test
    row = {"covered": covered.mean(), "low": low, "high": high}
    return row | {"expected_low": expected[0], "expected_high": expected[1]}
