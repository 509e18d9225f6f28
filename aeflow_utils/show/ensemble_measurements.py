"""Every number that is told of the ensembles, with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.ensemble_tables import Members, coverage_table, judged, usable
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import MEASURES
from aeflow_utils.study.runs import RunResult

NOMINAL = 0.9  # what the conformal sets promise to cover
Row = tuple[float, float, float, str]  # value, low, high, measure


def ensemble_measurements(members: Members, n_resamples: int = 1000) -> pd.DataFrame:
    """The ensembles' numbers, a row each: columns key, data set, value, low, high, measure.

    Values lie in [0, 1], differences in [-1, 1]; ``low`` and ``high`` are 95 % bootstrap intervals
    over test images, of differences paired by image. ``measure`` is the uncertainty that is meant;
    the chosen one is chosen on cross-fitted validation for each data set. Keys:

    * ``members`` (a count), ``accuracy``: of the ensemble with the study's verdict;
    * ``mean_gain``: AUROC of the mean score minus the members' mean AUROC;
    * ``sigma``, ``standardised``, ``chosen``: error AUROC, of the study's verdict;
    * ``standardising_change``, ``chosen_gain``: error AUROC minus that of raw sigma;
    * ``sigma_caught``, ``caught``: share of errors among the tenth that is referred, by raw sigma
      and by the chosen measure; ``rest_accuracy``: of the verdicts that are left;
    * ``parts_auroc_gain``: AUROC of the mean probability from parts minus that of the mean score;
      ``parts_accuracy``, ``parts_chosen``, ``parts_caught``, ``parts_rest_accuracy``: with the
      verdict from that probability;
    * ``covered_normal``, ``covered_abnormal``: by conformal sets at `NOMINAL`.
    """
    rows = []
    for name, runs in usable(members).items():
        measured = _of_decision(runs, "scores", n_resamples) | _of_scores(runs, n_resamples)
        if "parts_auroc_gain" in measured:
            of_parts = _of_decision(runs, "parts", n_resamples)
            keys = ("accuracy", "chosen", "caught", "rest_accuracy")
            measured |= {f"parts_{key}": of_parts[key] for key in keys}
        measured |= _of_sets(name, runs)
        rows += [(key, name, *row) for key, row in measured.items()]
    return pd.DataFrame(rows, columns=["key", "data set", "value", "low", "high", "measure"])


def _row(value: float, draws: np.ndarray, measure: str = "") -> Row:
    return (value, *metrics.percentile_interval(draws), measure)


def _of_decision(runs: list[RunResult], decision: str, n_resamples: int) -> dict[str, Row]:
    """How well raw sigma, standardised sigma and the chosen measure find a decision's errors."""
    _, test, chosen = judged(runs, decision)
    wrong = ~test["correct"]
    keys = ("sigma_raw", "sigma_standardised", chosen)
    values = {key: uncertainty.quality(wrong, test[key]) for key in keys}
    draws = {key: uncertainty.quality_draws(wrong, test[key], n_resamples) for key in keys}

    def level(key: str, figure: str) -> Row:
        return _row(values[key][figure], draws[key][figure], MEASURES[key])

    def gain(key: str) -> Row:
        value, each = (of[key]["auroc"] - of["sigma_raw"]["auroc"] for of in (values, draws))
        return _row(value, each, MEASURES[key])

    right = test["correct"].to_numpy()
    right_draws = right[metrics.resampled(len(right), n_resamples)].mean(axis=1)
    return {
        "accuracy": _row(right.mean(), right_draws),
        "sigma": level("sigma_raw", "auroc"),
        "standardised": level("sigma_standardised", "auroc"),
        "standardising_change": gain("sigma_standardised"),
        "chosen": level(chosen, "auroc"),
        "chosen_gain": gain(chosen),
        "sigma_caught": level("sigma_raw", "caught"),
        "caught": level(chosen, "caught"),
        "rest_accuracy": level(chosen, "accuracy_90"),
    }


def _of_scores(runs: list[RunResult], n_resamples: int) -> dict[str, Row]:
    """What the mean score gains on the members, and the mean probability on the mean score."""
    _, test, _ = judged(runs)
    labels, scores = test["label"], np.stack([r.scores for r in ensemble.readings(runs, "test")])

    def gain(ours: np.ndarray, theirs: np.ndarray) -> Row:
        sides = [np.atleast_2d(side) for side in (ours, theirs)]
        values = [np.mean([metrics.auroc(labels, run) for run in side]) for side in sides]
        draws = [metrics.auroc_draws(labels, side, n_resamples) for side in sides]
        return _row(values[0] - values[1], draws[0] - draws[1])

    measured = {"members": (len(runs), np.nan, np.nan, ""), "mean_gain": gain(test["mu"], scores)}
    if "mean_parts" in test:
        measured["parts_auroc_gain"] = gain(test["mean_parts"], test["mu"])
    return measured


def _of_sets(name: str, runs: list[RunResult]) -> dict[str, Row]:
    """How many test images of each class the conformal sets at `NOMINAL` cover."""
    coverage = coverage_table({name: runs}, alphas=(round(1 - NOMINAL, 10),)).to_dict("records")
    return {f"covered_{c['class']}": (c["covered"], c["low"], c["high"], "") for c in coverage}
