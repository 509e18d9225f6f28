"""The ensemble's tables: how well each uncertainty finds errors, and what that is worth.

Everywhere, `members` are the runs of each ensemble by data set, as `ensemble.ensembles` gives
them; data sets whose validation has no abnormal image are left out, because no threshold can be
chosen there. Shares and areas lie in [0, 1]. Scales, probabilities and thresholds are learnt on
validation; so is the choice of a measure, on cross-fitted validation; test is only judged.
`decision` is a key of `ensemble.DECISIONS`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.style import LABEL_NAMES
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import DECISIONS, MEASURES, Reading
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.recording import published
from aeflow_utils.study.results import find, grouped_by
from aeflow_utils.study.runs import RunResult

Members = dict[str, list[RunResult]]
CALIBRATIONS = {
    "unsupervised": "no abnormal image",
    "isotonic": "isotonic",
    "logistic": "logistic",
    "parts": "logistic, from parts",
}


def usable(members: Members) -> Members:
    """The ensembles whose members all have a threshold from labelled validation."""
    cuts = {n: [run.metrics["thresholds"]["val_f1"] for run in r] for n, r in members.items()}
    return {name: runs for name, runs in members.items() if np.isfinite(cuts[name]).all()}


def member_overview(members: Members) -> pd.DataFrame:
    """Who is in each ensemble: members, whose runs they are, and the test AUROC of each."""
    rows = []
    for name, runs in members.items():
        each = ", ".join(f"{100 * run.metrics['auroc']:.1f}" for run in runs)
        sources = ", ".join(sorted({run.source for run in runs}))
        can = "yes" if name in usable(members) else "no: no abnormal validation image"
        row = {"data set": name, "members": len(runs), "test AUROC of each, %": each}
        rows.append(row | {"runs": sources, "verdict": can})
    return pd.DataFrame(rows)


def chosen_measures(members: Members, decision: str = "scores") -> dict[str, str]:
    """By data set, the measure that finds errors best on cross-fitted validation."""
    return {name: judged(runs, decision)[2] for name, runs in usable(members).items()}


def per_image(runs: list[RunResult], decision: str = "scores") -> pd.DataFrame:
    """The test images of one ensemble: path, kind, and the columns of `ensemble.judge`."""
    return judged(runs, decision)[1].copy()


def judged(
    runs: list[RunResult], decision: str = "scores"
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """One ensemble's validation images, cross-fitted, `per_image`, and the measure it chooses.

    Read, do not write: all who ask are given the same two tables.
    """
    return _judged(tuple(runs), decision)


@lru_cache(maxsize=64)  # as many tables and figures as there are ask for the same few
def _judged(runs: tuple[RunResult, ...], decision: str) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    fits, seen = (ensemble.readings(list(runs), split) for split in ("val", "test"))
    validation, test = ensemble.cross_fitted(fits, decision), ensemble.judge(fits, seen, decision)
    images = runs[0].split("test")[["path", "kind"]]
    return validation, images.join(test), ensemble.chosen_measure(validation)


def quality_table(
    members: Members, decision: str = "scores", n_resamples: int = 1000
) -> pd.DataFrame:
    """Each measure's `uncertainty.quality` on test with 95 % intervals, a row a data set and key.

    ``validation`` is the error AUROC on cross-fitted validation, and ``chosen`` marks the best by
    it. Intervals are ``<figure>_low`` and ``<figure>_high``.
    """
    rows = []
    for name, runs in usable(members).items():
        validation, test, chosen = judged(runs, decision)
        for key in (key for key in MEASURES if key in test):
            row = {"data set": name, "measure": key, "chosen": key == chosen}
            row["validation"] = ensemble.error_auroc(validation, validation[key])
            rows.append(row | _with_intervals(~test["correct"], test[key], n_resamples))
    return pd.DataFrame(rows)


def _with_intervals(wrong: pd.Series, values: pd.Series, n_resamples: int) -> dict[str, float]:
    row, draws = {}, uncertainty.quality_draws(wrong, values, n_resamples)
    for figure, value in uncertainty.quality(wrong, values).items():
        low, high = metrics.percentile_interval(draws[figure].to_numpy())
        row |= {figure: value, f"{figure}_low": low, f"{figure}_high": high}
    return row


def format_quality(table: pd.DataFrame) -> pd.DataFrame:
    """`quality_table` for readers, in percent; a star marks the measure chosen on validation."""

    def cell(row: pd.Series, figure: str) -> str:
        low, high = 100 * row[f"{figure}_low"], 100 * row[f"{figure}_high"]
        return f"{100 * row[figure]:.1f} ({low:.1f}–{high:.1f})"

    out = table[["data set"]].copy()
    out["measure"] = table["measure"].map(MEASURES) + np.where(table["chosen"], " *", "")
    out["validation"] = (100 * table["validation"]).round(1)
    out["error AUROC"] = table.apply(cell, axis=1, figure="auroc")
    out["AUPR"] = (100 * table["aupr"]).round(1)
    out["AURC"] = table.apply(cell, axis=1, figure="aurc")
    out["excess AURC"] = (100 * table["excess_aurc"]).round(1)
    out["accuracy at 80 %"] = (100 * table["accuracy_80"]).round(1)
    out["accuracy at 90 %"] = table.apply(cell, axis=1, figure="accuracy_90")
    return out.set_index(["data set", "measure"])


def article_table(table: pd.DataFrame) -> pd.DataFrame:
    """`quality_table` in short: error AUROC, AURC and accuracy at 90 % of a few measures."""
    few = ["sigma_raw", "sigma_standardised", "sigma_probability", "closeness", "entropy"]
    shown = format_quality(table[table["measure"].isin(few) | table["chosen"]])
    return shown[["error AUROC", "AURC", "accuracy at 90 %"]]


def certainty_counts(members: Members) -> pd.DataFrame:
    """The 2023 study's table, a row a rule: right and wrong decisions, certain and uncertain.

    Rules: sigma at that study's threshold; sigma, and the chosen measure, at the one that parts
    errors from right decisions best on cross-fitted validation; and every image called abnormal,
    with the same sigma, for which the warning must appear.
    """
    threshold = "source == 'blog' and table == 'deep ensemble' and metric == 'sigma_threshold'"
    printed, rows = published().query(threshold)["value"].item(), []
    for name, runs in usable(members).items():
        validation, test, chosen = judged(runs)
        wrong, keys = ~validation["correct"], ("sigma_raw", chosen)
        sigma_cut, chosen_cut = (uncertainty.best_cut(wrong, validation[key]) for key in keys)
        constant = test.assign(predicted=1, correct=test["label"] == 1)
        for rule, table, key, cut in (
            ("σ, the blog's threshold", test, "sigma_raw", printed),
            ("σ, threshold from validation", test, "sigma_raw", sigma_cut),
            (f"{MEASURES[chosen]}, from validation", test, chosen, chosen_cut),
            ("all abnormal; σ, median", constant, "sigma_raw", test["sigma_raw"].median()),
        ):
            row = {"data set": name, "rule": rule, "threshold": cut}
            row |= count_certain(table["correct"], table[key] <= cut)
            rows.append(row | {"warning": _constant_warning(table["predicted"])})
    return pd.DataFrame(rows).set_index(["data set", "rule"])


def count_certain(right: pd.Series, certain: pd.Series) -> dict[str, int]:
    """Images by whether their decision is right and whether it is certain, (N,) bool each."""
    return {
        f"{first}, {second}": int((rows & columns).sum())
        for first, rows in (("right", right), ("wrong", ~right))
        for second, columns in (("certain", certain), ("uncertain", ~certain))
    }


def _constant_warning(predicted: pd.Series) -> str:
    called = predicted.unique()
    if len(called) > 1:
        return ""
    return f"every image called {LABEL_NAMES[called[0]]}: right and wrong are just the classes"


def calibration_table(members: Members) -> pd.DataFrame:
    """Calibration error and Brier score of the mean probability, cross-fitted validation and test.

    ``abnormal`` is the split's share of abnormal images: where it differs from validation's, no
    calibrator fitted there can be right.
    """
    rows = []
    for name, runs in usable(members).items():
        for split, table in zip(("validation", "test"), judged(runs)[:2], strict=True):
            for scale in (scale for scale in CALIBRATIONS if f"mean_{scale}" in table):
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
        fits, test, _ = judged(runs)
        for alpha in alphas:
            sets = uncertainty.conformal_sets(fits["label"], fits["mu"], test["mu"], alpha)
            for label in (0, 1):
                of_class = sets[test["label"] == label]
                row = {"data set": name, "nominal": 1 - alpha, "class": LABEL_NAMES[label]}
                row |= _covered(of_class[:, label], int((fits["label"] == label).sum()), alpha)
                both, neither = of_class.all(axis=1), ~of_class.any(axis=1)
                rows.append(row | {"both": both.mean(), "neither": neither.mean()})
    return pd.DataFrame(rows)


def _covered(covered: np.ndarray, n_fit: int, alpha: float) -> dict[str, float]:
    """Share of true ones with its bootstrap interval, and the range that is expected."""
    n_test, draws = len(covered), covered[metrics.resampled(len(covered))].mean(axis=1)
    low, high = metrics.percentile_interval(draws)
    rank = max(1, int(np.floor(alpha * (n_fit + 1) + 1e-9)))
    expected = betabinom(n_test, n_fit + 1 - rank, rank).ppf([0.025, 0.975]) / n_test
    row = {"covered": covered.mean(), "low": low, "high": high}
    return row | {"expected_low": expected[0], "expected_high": expected[1]}


def referral_table(members: Members, n_resamples: int = 1000) -> pd.DataFrame:
    """The least certain images go to a person: a row a data set, way to decide and measure.

    Of `uncertainty.REFERRED` of the images, by raw sigma and by the measure chosen on validation:
    errors before, those among the referred (expected, where images tie) and their share with its
    interval; accuracy of all decisions, and of those that are left.
    """
    rows = []
    for name, runs in usable(members).items():
        for decision, title in DECISIONS.items():
            if decision == "parts" and "mean_parts" not in judged(runs)[1]:
                continue
            _, test, chosen = judged(runs, decision)
            wrong = ~test["correct"]
            for key in dict.fromkeys(("sigma_raw", chosen)):
                quality = _with_intervals(wrong, test[key], n_resamples)
                row = {"data set": name, "verdict": title, "measure": MEASURES[key]}
                row |= {"referred": round(uncertainty.REFERRED * len(test))}
                row |= {"errors": int(wrong.sum()), "caught": quality["caught"] * wrong.sum()}
                row |= {"share": quality["caught"], "low": quality["caught_low"]}
                row |= {"high": quality["caught_high"], "accuracy": 1 - wrong.mean()}
                rows.append(row | {"accuracy of the rest": quality["accuracy_90"]})
    return pd.DataFrame(rows)


def member_table(members: Members) -> pd.DataFrame:
    """Quality by number of members: mean, lowest and highest over all choices of so many.

    Columns data set, members, figure, mean, low, high. The measure is the one that validation
    chooses for the whole ensemble. One member has no sigma: it ranks errors like a coin.
    """
    rows = []
    for name, chosen in chosen_measures(members).items():
        fits, seen = (ensemble.readings(members[name], split) for split in ("val", "test"))
        for n in range(1, len(fits) + 1):
            each = pd.DataFrame(
                _figures([fits[i] for i in choice], [seen[i] for i in choice], chosen)
                for choice in combinations(range(len(fits)), n)
            )
            for figure, values in each.items():
                row = {"data set": name, "members": n, "figure": figure, "mean": values.mean()}
                rows.append(row | {"low": values.min(), "high": values.max()})
    return pd.DataFrame(rows)


def _figures(fits: list[Reading], seen: list[Reading], chosen: str) -> dict[str, float]:
    table = ensemble.judge(fits, seen)
    quality = uncertainty.quality(~table["correct"], table[chosen])
    return {
        "AUROC of the mean score": metrics.auroc(table["label"], table["mu"]),
        "accuracy": float(table["correct"].mean()),
        "error AUROC of σ": ensemble.error_auroc(table, table["sigma"]),
        "error AUROC of the chosen measure": quality["auroc"],
        "AURC of the chosen measure": quality["aurc"],
    }


def members_by_seed_and_fold(profile: str, members: Members) -> pd.DataFrame:
    """Members that differ by seed against members that differ by the images they saw.

    The folds of cross-validation are an ensemble too: each was trained on four fifths of the
    images and calibrates on the fifth that it did not see. All score the same test images.
    """
    fresh = find(profile, "side", ("ae_flow",), BASE)  # no ablations, no weights carried over
    folds = grouped_by(fresh, lambda config: config.data.whole_label)
    rows = []
    for name, chosen in chosen_measures(members).items():
        for way, runs in (("seeds", members[name]), ("folds", folds.get(name, []))):
            if len(runs) > 1:
                pair = (ensemble.readings(runs, split) for split in ("val", "test"))
                row = {"data set": name, "members differ by": way, "members": len(runs)}
                rows.append(row | _figures(*pair, chosen))
    return pd.DataFrame(rows)
