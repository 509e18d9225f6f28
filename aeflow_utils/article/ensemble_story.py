"""What the ensemble shows, as values with intervals and as sentences composed from them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.findings import Finding
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.alt_texts import listed
from aeflow_utils.show.ensemble_tables import (
    Members,
    coverage_table,
    per_image,
    per_validation_image,
    usable,
)
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import MEASURES
from aeflow_utils.study.results import label_title
from aeflow_utils.study.runs import RunResult

NOMINAL = 0.9  # level of the conformal sets that the sentences speak of


def evidence(members: Members, n_resamples: int = 1000) -> pd.DataFrame:
    """What the sentences stand on: columns key, data set, value, low, high, measure.

    Values lie in [0, 1], differences in [-1, 1]; ``low`` and ``high`` are 95 % bootstrap intervals
    over test images, of differences paired by image. A measure is the one that is meant; the
    chosen one is chosen on cross-fitted validation for each data set. Keys:

    * ``members``, ``accuracy``: of the ensemble with the study's verdict;
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
    coverage = coverage_table(members, alphas=(round(1 - NOMINAL, 10),))
    for name, runs in usable(members).items():
        found = _of_verdict(runs, "scores", n_resamples)
        found |= _of_scores(runs, n_resamples)
        if "mean_parts" in per_image(runs):
            of_parts = _of_verdict(runs, "parts", n_resamples)
            names = ("accuracy", "chosen", "caught", "rest_accuracy")
            found |= {f"parts_{key}": of_parts[key] for key in names}
        for row in coverage[coverage["data set"] == name].itertuples():
            found[f"covered_{row[3]}"] = (row.covered, row.low, row.high, "")
        columns = ("value", "low", "high", "measure")
        rows += [
            {"key": key, "data set": name, **dict(zip(columns, values, strict=True))}
            for key, values in found.items()
        ]
    return pd.DataFrame(rows)


def _of_verdict(runs: list[RunResult], verdict: str, n_resamples: int) -> dict[str, tuple]:
    test = per_image(runs, verdict)
    wrong = ~test["correct"]
    chosen = ensemble.chosen_measure(per_validation_image(runs, verdict))
    keys = ("sigma_raw", "sigma_standardised", chosen)
    values = {key: uncertainty.quality(wrong, test[key]) for key in keys}
    draws = {key: uncertainty.quality_draws(wrong, test[key], n_resamples) for key in keys}

    def one(key: str, figure: str) -> tuple:
        interval = metrics.percentile_interval(draws[key][figure].to_numpy())
        return (values[key][figure], *interval, MEASURES[key])

    def gain(key: str) -> tuple:
        each = (draws[key]["auroc"] - draws["sigma_raw"]["auroc"]).to_numpy()
        value = values[key]["auroc"] - values["sigma_raw"]["auroc"]
        return (value, *metrics.percentile_interval(each), MEASURES[key])

    right = test["correct"].to_numpy()
    right_draws = right[metrics.resampled(len(right), n_resamples)].mean(axis=1)
    return {
        "accuracy": (right.mean(), *metrics.percentile_interval(right_draws), ""),
        "sigma": one("sigma_raw", "auroc"),
        "standardised": one("sigma_standardised", "auroc"),
        "standardising_change": gain("sigma_standardised"),
        "chosen": one(chosen, "auroc"),
        "chosen_gain": gain(chosen),
        "sigma_caught": one("sigma_raw", "caught"),
        "caught": one(chosen, "caught"),
        "rest_accuracy": one(chosen, "accuracy_90"),
    }


def _of_scores(runs: list[RunResult], n_resamples: int) -> dict[str, tuple]:
    test = per_image(runs)
    labels, (_, scores) = test["label"], ensemble.member_scores(runs, "test")
    members, mean = (_auroc(labels, s, n_resamples) for s in (scores, test["mu"].to_numpy()))
    found = {
        "members": (len(runs), np.nan, np.nan, ""),
        "mean_gain": (*_difference(mean, members), ""),
    }
    if "mean_parts" in test:
        parts = _auroc(labels, test["mean_parts"].to_numpy(), n_resamples)
        found["parts_auroc_gain"] = (*_difference(parts, mean), "")
    return found


def _auroc(labels: pd.Series, scores: np.ndarray, n_resamples: int) -> tuple[float, np.ndarray]:
    """AUROC, mean over runs where there are several, and its bootstrap values."""
    value = np.mean([metrics.auroc(labels, run) for run in np.atleast_2d(scores)])
    return float(value), metrics.auroc_draws(labels, scores, n_resamples)


def _difference(
    ours: tuple[float, np.ndarray], theirs: tuple[float, np.ndarray]
) -> tuple[float, float, float]:
    return (ours[0] - theirs[0], *metrics.percentile_interval(ours[1] - theirs[1]))


def ensemble_findings(table: pd.DataFrame) -> list[Finding]:
    """One finding a claim, in the order of the argument, from `evidence`.

    ``numbers`` holds ``<key>, <data set>`` with its ``_low`` and ``_high``.
    """
    if table.empty:
        return []
    return [
        _finding(
            table,
            "ensemble, raw sigma",
            "σ above 0.0785 is uncertain",
            ["sigma"],
            "Chance that the deviation of raw scores is larger for a wrong verdict than for a "
            "right one (50 % is a coin): {sigma}.",
        ),
        _finding(
            table,
            "ensemble, normalised sigma",
            "proposed as the next step",
            ["standardised", "standardising_change"],
            "With each member standardised on its validation normals first: {standardised}; the "
            "change is {standardising_change}.",
        ),
        _finding(
            table,
            "ensemble, mean score",
            "",
            ["mean_gain"],
            "AUROC of the members' mean score minus their mean AUROC: {mean_gain}.",
        ),
        _finding(
            table,
            "ensemble, chosen measure",
            "asked for as the next step",
            ["chosen", "chosen_gain"],
            "Of the measures compared, cross-fitted validation chooses {chosen:measure}. Chance "
            "that it is larger for a wrong verdict: {chosen}; against σ that is {chosen_gain}.",
        ),
        _finding(
            table,
            "ensemble, referral",
            "",
            ["caught", "sigma_caught", "accuracy", "rest_accuracy"],
            "Share of errors caught by referring the least certain tenth of the images to a "
            "person: {caught}; by σ {sigma_caught}. Share of right verdicts: {accuracy} of all, "
            "and {rest_accuracy} of those not referred.",
        ),
        _finding(
            table,
            "ensemble, conformal coverage",
            "",
            ["covered_normal", "covered_abnormal"],
            f"Conformal sets that promise {100 * NOMINAL:.0f} % hold the truth of so many normal "
            "test images: {covered_normal}; and of abnormal ones: {covered_abnormal}.",
        ),
        *_parts(table),
    ]


def _parts(table: pd.DataFrame) -> list[Finding]:
    if "parts_accuracy" not in set(table["key"]):
        return []
    return [
        _finding(
            table,
            "ensemble, verdict from parts",
            "",
            ["parts_auroc_gain", "parts_accuracy", "parts_chosen", "parts_caught"],
            "AUROC of the mean probability from parts minus that of the mean score: "
            "{parts_auroc_gain}. Taken as the verdict it is right in {parts_accuracy}; error AUROC "
            "of the measure that validation then chooses: {parts_chosen}; referring a tenth "
            "catches of its errors {parts_caught}.",
        )
    ]


def _finding(
    table: pd.DataFrame, name: str, printed: str, keys: list[str], template: str
) -> Finding:
    rows = table[table["key"].isin(keys)]
    texts = {key: _Listed(rows[rows["key"] == key]) for key in keys}
    numbers = {}
    for row in rows.itertuples(index=False):
        for part in ("value", "low", "high"):
            ending = "" if part == "value" else f"_{part}"
            numbers[f"{row.key}, {row[1]}{ending}"] = getattr(row, part)
    follows = "; ".join(f"{key}: {text:short}" for key, text in texts.items())
    return Finding(name, printed, follows, template.format(**texts), numbers)


class _Listed:
    """Values of one key on every data set, for a sentence: ``43.2 % on ELPV [39.1, 47.5]``."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows

    def __format__(self, how: str) -> str:
        if how == "measure":
            names = self.rows.groupby("measure", sort=False)["data set"].agg(list)
            return "; ".join(
                f"“{name}” ({listed([label_title(label) for label in labels])})"
                for name, labels in names.items()
            )
        return ", ".join(self._one(row, how) for row in self.rows.itertuples(index=False))

    @staticmethod
    def _one(row: tuple, how: str) -> str:
        if np.isnan(row.value):  # nothing, or everything, is wrong: there is no order to judge
            return f"undefined on {label_title(row[1])}"
        change = "change" in row.key or "gain" in row.key
        unit, sign = (" points", "+") if change else (" %", "")
        value, low, high = (format(100 * v, f"{sign}.1f") for v in (row.value, row.low, row.high))
        return f"{value}{unit} on {label_title(row[1])}" + (
            "" if how == "short" else f" [{low}, {high}]"
        )
