"""Every number that is told of the ensembles, with its interval."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.ensemble_calibration import coverage_table
from aeflow_utils.show.ensemble_tables import PERFECT, TITLES, Members, fewer, judged, usable
from aeflow_utils.show.style import titled
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import DECISIONS, MEASURES, N_STUDY
from aeflow_utils.study.runs import RunResult

NOMINAL = 0.9  # what the conformal sets promise to cover
PREFIXES = {"normals": "normals_", "scores": "", "parts": "parts_"}  # of the keys, by decision
COLUMNS = ["key", "data set", "members", "value", "low", "high", "measure", "labels"]
Runs = tuple[RunResult, ...]
Row = tuple[float, float, float, str, str]  # value, low, high, measure, labels


def ensemble_measurements(
    members: Members, decisions: Iterable[str] = PREFIXES, n_resamples: int = 1000
) -> pd.DataFrame:
    """The ensembles' numbers under some of the decisions, a row each: the columns of `COLUMNS`.

    Values lie in [0, 1], differences and the correlation in [-1, 1]; ``low`` and ``high`` are 95 %
    bootstrap intervals over test images, of differences paired by image. ``measure`` is the
    uncertainty that is meant, ``labels`` what `ensemble.labels_seen` says of it. Keys:

    * ``mean_gain``: AUROC of the mean score minus the members' mean AUROC; ``parts_auroc_gain``:
      of the mean probability from parts minus that of the mean score;
    * ``covered_normal``, ``covered_abnormal``: by conformal sets at `NOMINAL`;
    * of the study's decision, with ``normals_`` before them of the one without labels, and with
      ``parts_`` of the one by probability: ``accuracy``; ``sigma``, ``standardised``, ``chosen``,
      the error AUROC of raw and standardised sigma and of the measure chosen; ``one_chosen``, that
      of one member, mean of all; ``label_free_best``, that of the measure which learns from no
      label and does best on test, so an upper end; ``standardising_change``, ``chosen_gain``,
      error AUROC minus that of raw sigma; ``sigma_caught``, ``caught``, ``most_caught``, the share
      of errors among the tenth referred, by raw sigma, by the chosen measure, and the most that
      can be; ``rest_accuracy``, of the decisions that are left;
    * ``rank_correlation``, Spearman's, of the mean score and raw sigma;
    * ``three_`` before these prefixes and ``sigma`` or ``label_free_best``: of the first `N_STUDY`
      members.
    """
    rows = []
    for decision in decisions:
        prefix = PREFIXES[decision]
        for name, runs in usable(members, decision).items():
            measured = _of_decision(runs, decision, n_resamples)
            rows += [(prefix + key, name, len(runs), *row) for key, row in measured.items()]
            (three,) = fewer(runs, decision)["three"]
            measured = _label_free(three, decision, n_resamples)
            n = len(runs[:N_STUDY])
            rows += [(f"three_{prefix}{key}", name, n, *row) for key, row in measured.items()]
    for name, runs in usable(members).items() if "scores" in decisions else ():
        measured = _of_scores(runs) | _of_sets(name, runs)
        rows += [(key, name, len(runs), *row) for key, row in measured.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def shown(measured: pd.DataFrame, titles: dict[str, str]) -> pd.DataFrame:
    """Some of `ensemble_measurements` for readers: a row a title, a column a data set.

    A cell is the value with its interval: in percent, changes and gains in points with their sign,
    a correlation as it is; empty where nothing, or everything, is wrong.

    Args:
        titles: keys of `ensemble_measurements` by title of the row.
    """
    rows = measured[measured["key"].isin(titles.values())].dropna(subset="value")
    cells = rows.assign(cell=[_cell(row) for row in rows.to_dict("records")])
    table = cells.pivot_table("cell", "key", "data set", aggfunc="first")
    table = table.reindex(list(titles.values()))[list(dict.fromkeys(rows["data set"]))]
    return titled(table.set_axis(list(titles))).rename_axis(columns=None).fillna("")


def _cell(row: dict) -> str:
    scale, style = (1, "+.2f") if "correlation" in row["key"] else (100, ".1f")
    style = "+.1f" if "change" in row["key"] or "gain" in row["key"] else style
    value, low, high = (format(scale * row[name], style) for name in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _row(value: float, draws: np.ndarray, measure: str = "", labels: str = "") -> Row:
    return (value, *metrics.percentile_interval(draws), measure, labels)


def _of_decision(runs: Runs, decision: str, n_resamples: int) -> dict[str, Row]:
    """How well raw sigma, standardised sigma and the chosen measure find a decision's errors."""
    _, test, chosen = judged(runs, decision)
    test = test.assign(**{PERFECT: ~test["correct"]})
    keys = ("sigma_raw", "sigma_standardised", chosen, PERFECT)
    found = {key: _quality([test], key, n_resamples) for key in keys}
    one = _quality(fewer(runs, decision)["one"], chosen, n_resamples)

    def level(key: str, figure: str) -> Row:
        return _row(*(side[figure] for side in found[key]), *_told(key, decision))

    def gain(key: str) -> Row:
        pairs = zip(found[key], found["sigma_raw"], strict=True)
        return _row(*(a["auroc"] - b["auroc"] for a, b in pairs), *_told(key, decision))

    right = test["correct"].to_numpy()
    right_draws = right[
        metrics.resampled(len(right), n_resamples, groups=test["group"].to_numpy())
    ].mean(axis=1)
    labels = "by the decision" if DECISIONS[decision].labels else "none"
    return _label_free(test, decision, n_resamples) | {
        "accuracy": _row(right.mean(), right_draws, "", labels),
        "standardised": level("sigma_standardised", "auroc"),
        "standardising_change": gain("sigma_standardised"),
        "chosen": level(chosen, "auroc"),
        "chosen_gain": gain(chosen),
        "one_chosen": _row(*(side["auroc"] for side in one), *_told(chosen, decision)),
        "sigma_caught": level("sigma_raw", "caught"),
        "caught": level(chosen, "caught"),
        "most_caught": level(PERFECT, "caught"),
        "rest_accuracy": level(chosen, "rest_accuracy"),
    }


def _label_free(test: pd.DataFrame, decision: str, n_resamples: int) -> dict[str, Row]:
    """Error AUROC of raw sigma and of the best here that learns from no label."""
    free = [key for key, measure in MEASURES.items() if key in test and not measure.labels]
    best = max(free, key=lambda key: ensemble.error_auroc(test, test[key]))
    rows = {}
    for name, key in (("sigma", "sigma_raw"), ("label_free_best", best)):
        sides = _quality([test], key, n_resamples)
        rows[name] = _row(*(side["auroc"] for side in sides), *_told(key, decision))
    return rows


def _rank_correlation(pairs: np.ndarray) -> np.ndarray:
    """Spearman's, of pairs (..., N, 2)."""
    ranks = rankdata(pairs, axis=-2)
    ranks -= ranks.mean(axis=-2, keepdims=True)
    with np.errstate(invalid="ignore"):  # members that agree everywhere have no trend
        return ranks.prod(axis=-1).sum(axis=-1) / np.sqrt((ranks**2).sum(axis=-2).prod(axis=-1))


def _told(key: str, decision: str) -> tuple[str, str]:
    return TITLES[key], ensemble.labels_seen(key, decision) if key in MEASURES else ""


def _quality(
    tables: list[pd.DataFrame], key: str, n_resamples: int
) -> tuple[pd.Series, pd.DataFrame]:
    """`uncertainty.quality` of a measure and its draws, mean over the tables."""
    pairs = [(~table["correct"], table[key]) for table in tables]
    values = pd.DataFrame([uncertainty.quality(*pair) for pair in pairs])
    groups = tables[0]["group"].to_numpy()
    draws = [uncertainty.quality_draws(*pair, n_resamples, drawn_together=groups) for pair in pairs]
    return values.mean(skipna=False), sum(draws) / len(draws)


def _of_scores(runs: Runs) -> dict[str, Row]:
    """What the mean score gains on the members, the mean probability on it; sigma's trend."""
    test = judged(runs, "scores")[1]
    labels, scores = test["label"], np.stack([r.scores for r in ensemble.readings(runs, "test")])

    def gain(ours: np.ndarray, theirs: np.ndarray) -> Row:
        sides = [metrics.auroc_sample(labels, side, test["group"]) for side in (ours, theirs)]
        values = [side.observed.mean() for side in sides]
        draws = [side.draws.mean(axis=0) for side in sides]
        return _row(values[0] - values[1], draws[0] - draws[1])

    pairs = test[["mu", "sigma"]].to_numpy()
    drawn = pairs[metrics.resampled(len(pairs), groups=test["group"].to_numpy())]
    return {
        "rank_correlation": _row(_rank_correlation(pairs), _rank_correlation(drawn)),
        "mean_gain": gain(test["mu"], scores),
        "parts_auroc_gain": gain(test["mean_parts"], test["mu"]),
    }


def _of_sets(name: str, runs: Runs) -> dict[str, Row]:
    """How many test images of each class the conformal sets at `NOMINAL` cover."""
    coverage = coverage_table({name: runs}, alphas=(round(1 - NOMINAL, 10),)).to_dict("records")
    return {f"covered_{c['class']}": (c["covered"], c["low"], c["high"], "", "") for c in coverage}
