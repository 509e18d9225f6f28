"""The ensemble's tables: how well each uncertainty finds errors, and what that is worth.

Everywhere, `members` are the runs of each ensemble by data set, as `ensemble.ensembles` gives
them; data sets whose validation has no abnormal image are left out, because no verdict can be
chosen there. Shares and areas lie in [0, 1]. Scales, probabilities and thresholds are learnt on
validation; so is the choice of a measure, on cross-fitted validation; test is only judged.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import betabinom

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import MEASURES, VERDICTS
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import RunResult

Members = dict[str, list[RunResult]]
CALIBRATIONS = {
    "unsupervised": "no abnormal image",
    "isotonic": "isotonic",
    "logistic": "logistic",
    "parts": "logistic, from parts",
}
ALPHAS = (0.05, 0.1, 0.2)


def usable(members: Members) -> Members:
    """The ensembles whose members have a threshold from labelled validation."""
    return {name: r for name, r in members.items() if ensemble.has_threshold(r, "val_f1")}


def member_overview(members: Members) -> pd.DataFrame:
    """Who is in each ensemble: members, whose runs they are, and the test AUROC of each."""
    rows = []
    for name, runs in members.items():
        each = ", ".join(f"{100 * run.metrics['auroc']:.1f}" for run in runs)
        row = {"data set": name, "members": len(runs), "test AUROC of each, %": each}
        row["runs"] = ", ".join(sorted({run.source for run in runs}))
        row["verdict"] = "yes" if name in usable(members) else "no: no abnormal validation image"
        rows.append(row)
    return pd.DataFrame(rows)


def chosen_measures(members: Members, verdict: str = "scores") -> dict[str, str]:
    """By data set, the measure that finds errors best on cross-fitted validation."""
    return {
        name: ensemble.chosen_measure(validation_judged(runs, verdict))
        for name, runs in usable(members).items()
    }


def judged(runs: list[RunResult], verdict: str = "scores") -> pd.DataFrame:
    """The per-image table of the test split: path, kind, and the columns of `ensemble.judge`."""
    return _judged(tuple(runs), verdict).copy()


@lru_cache(maxsize=64)  # as many tables and figures as there are ask for the same few
def _judged(runs: tuple[RunResult, ...], verdict: str) -> pd.DataFrame:
    images, _ = ensemble.member_scores(runs, "test")
    fits, seen = (ensemble.readings(runs, split) for split in ("val", "test"))
    return images[["path", "kind"]].join(ensemble.judge(fits, seen, verdict))


def validation_judged(runs: list[RunResult], verdict: str = "scores") -> pd.DataFrame:
    """As `judged`, of the validation split and cross-fitted."""
    return _validation_judged(tuple(runs), verdict).copy()


@lru_cache(maxsize=64)
def _validation_judged(runs: tuple[RunResult, ...], verdict: str) -> pd.DataFrame:
    return ensemble.cross_fitted(ensemble.readings(runs, "val"), verdict)


def quality_table(
    members: Members, verdict: str = "scores", n_resamples: int = 1000
) -> pd.DataFrame:
    """Each measure's `uncertainty.quality` on test with 95 % intervals, a row a data set and key.

    ``validation`` is the error AUROC on cross-fitted validation, and ``chosen`` marks the best by
    it. Intervals are ``<figure>_low`` and ``<figure>_high``.
    """
    rows = []
    for name, runs in usable(members).items():
        test, validation = judged(runs, verdict), validation_judged(runs, verdict)
        chosen = ensemble.chosen_measure(validation)
        for key in (key for key in MEASURES if key in test):
            row = {"data set": name, "measure": key, "chosen": key == chosen}
            row["validation"] = ensemble.error_auroc(validation, validation[key])
            rows.append(row | _with_intervals(~test["correct"], test[key], n_resamples))
    return pd.DataFrame(rows)


def _with_intervals(wrong: pd.Series, values: pd.Series, n_resamples: int) -> dict[str, float]:
    draws = uncertainty.quality_draws(wrong, values, n_resamples)
    row = {}
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
    names = table["measure"].map(MEASURES)
    out["measure"] = names.where(~table["chosen"], names + " *")
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
    """The blog's table, a row a rule: right and wrong verdicts that are certain and uncertain.

    Rules: sigma at the blog's threshold; sigma, and the chosen measure, at the threshold that
    parts errors from right verdicts best on cross-fitted validation; and a detector that calls
    every image abnormal, with the same sigma, for which the warning must appear.
    """
    rows = []
    for name, runs in usable(members).items():
        test, validation = judged(runs), validation_judged(runs)
        chosen = ensemble.chosen_measure(validation)
        cuts = {
            key: uncertainty.best_cut(~validation["correct"], validation[key])
            for key in ("sigma_raw", chosen)
        }
        constant = test.assign(predicted=1, correct=test["label"] == 1)
        rules = (
            ("σ, the blog's threshold", test, "sigma_raw", ensemble.BLOG_SIGMA),
            ("σ, threshold from validation", test, "sigma_raw", cuts["sigma_raw"]),
            (f"{MEASURES[chosen]}, from validation", test, chosen, cuts[chosen]),
            ("all abnormal; σ, median", constant, "sigma_raw", test["sigma_raw"].median()),
        )
        for rule, table, key, cut in rules:
            counts = ensemble.certainty_table(table.assign(sigma=table[key]), cut)
            row = {"data set": name, "rule": rule, "threshold": cut}
            row |= {f"{r}, {c}": counts.loc[r, c] for r in counts.index for c in counts.columns}
            row["warning"] = ensemble.verdict_note(table["predicted"])
            rows.append(row)
    return pd.DataFrame(rows).set_index(["data set", "rule"])


def calibration_table(members: Members) -> pd.DataFrame:
    """Calibration error and Brier score of the mean probability, cross-fitted validation and test.

    ``abnormal`` is the split's share of abnormal images: where it differs from validation's, no
    calibrator fitted there can be right.
    """
    rows = []
    for name, runs in usable(members).items():
        for split, table in (("validation", validation_judged(runs)), ("test", judged(runs))):
            for scale in (scale for scale in CALIBRATIONS if f"mean_{scale}" in table):
                row = {"data set": name, "calibration": CALIBRATIONS[scale], "split": split}
                row["abnormal"] = table["label"].mean()
                found = uncertainty.calibration(table["label"], table[f"mean_{scale}"])
                rows.append(row | found)
    return pd.DataFrame(rows)


def coverage_table(members: Members, alphas: tuple[float, ...] = ALPHAS) -> pd.DataFrame:
    """What the conformal sets of the mean score cover on test, a row a data set, level and class.

    ``expected_low`` and ``expected_high`` hold 95 % of what chance alone would give, were test
    and validation images exchangeable: a beta-binomial, because both sets are finite. ``both``
    and ``neither`` are the shares of undecided images and of images like none of validation.
    """
    rows = []
    for name, runs in usable(members).items():
        fits, test = (ensemble.member_scores(runs, split) for split in ("val", "test"))
        labels, truth = fits[0]["label"].to_numpy(), test[0]["label"].to_numpy()
        for alpha in alphas:
            sets = uncertainty.conformal_sets(
                labels, fits[1].mean(axis=0), test[1].mean(axis=0), alpha
            )
            for label, title in enumerate(("normal", "abnormal")):
                images = truth == label
                covered = sets[images, label]
                row = {"data set": name, "nominal": 1 - alpha, "class": title}
                row |= _share(covered)
                row |= _expected(int((labels == label).sum()), len(covered), alpha)
                row["both"] = sets[images].all(axis=1).mean()
                row["neither"] = (~sets[images].any(axis=1)).mean()
                rows.append(row)
    return pd.DataFrame(rows)


def _share(flags: np.ndarray) -> dict[str, float]:
    """Share of true ones with its bootstrap interval."""
    draws = flags[metrics.resampled(len(flags))].mean(axis=1)
    low, high = metrics.percentile_interval(draws)
    return {"covered": float(flags.mean()), "low": low, "high": high}


def _expected(n_fit: int, n_test: int, alpha: float) -> dict[str, float]:
    rank = max(1, int(np.floor(alpha * (n_fit + 1) + 1e-9)))
    chance = betabinom(n_test, n_fit + 1 - rank, rank)
    low, high = chance.ppf([0.025, 0.975]) / n_test
    return {"expected_low": float(low), "expected_high": float(high)}


def referral_table(members: Members, n_resamples: int = 1000) -> pd.DataFrame:
    """The least certain images go to a person: a row a data set, verdict and measure.

    Of `uncertainty.REFERRED` of the images, by the blog's sigma and by the measure chosen on
    validation: errors before, those among the referred (expected, where images tie) and their
    share with its interval; accuracy of all verdicts, and of those that are left.
    """
    rows = []
    for name, runs in usable(members).items():
        for verdict in _verdicts(runs):
            test = judged(runs, verdict)
            chosen = ensemble.chosen_measure(validation_judged(runs, verdict))
            for key in dict.fromkeys(("sigma_raw", chosen)):
                wrong = ~test["correct"]
                found = _with_intervals(wrong, test[key], n_resamples)
                row = {"data set": name, "verdict": VERDICTS[verdict], "measure": MEASURES[key]}
                row |= {"referred": round(uncertainty.REFERRED * len(test))}
                row |= {"errors": int(wrong.sum()), "caught": found["caught"] * wrong.sum()}
                row |= {"share": found["caught"], "low": found["caught_low"]}
                row |= {"high": found["caught_high"], "accuracy": 1 - wrong.mean()}
                rows.append(row | {"accuracy of the rest": found["accuracy_90"]})
    return pd.DataFrame(rows)


def _verdicts(runs: list[RunResult]) -> list[str]:
    has_parts = ensemble.readings(runs, "test")[0].parts.shape[1] > 0
    return list(VERDICTS) if has_parts else ["scores"]


def member_table(members: Members) -> pd.DataFrame:
    """Quality by number of members: mean, lowest and highest over all choices of so many.

    Columns data set, members, figure, mean, low, high. The measure is the one that validation
    chooses for the whole ensemble. One member has no sigma: it ranks errors like a coin.
    """
    rows = []
    for name, runs in usable(members).items():
        chosen = ensemble.chosen_measure(validation_judged(runs))
        fits, seen = (ensemble.readings(runs, split) for split in ("val", "test"))
        for n in range(1, len(runs) + 1):
            each = pd.DataFrame(
                _figures([fits[i] for i in choice], [seen[i] for i in choice], chosen)
                for choice in combinations(range(len(runs)), n)
            )
            for figure in each:
                row = {
                    "data set": name,
                    "members": n,
                    "figure": figure,
                    "mean": each[figure].mean(),
                }
                rows.append(row | {"low": each[figure].min(), "high": each[figure].max()})
    return pd.DataFrame(rows)


def _figures(
    fits: list[ensemble.Reading], seen: list[ensemble.Reading], chosen: str
) -> dict[str, float]:
    table = ensemble.judge(fits, seen)
    found = uncertainty.quality(~table["correct"], table[chosen])
    return {
        "AUROC of the mean score": metrics.auroc(table["label"], table["mu"]),
        "accuracy": float(table["correct"].mean()),
        "error AUROC of σ": ensemble.error_auroc(table, table["sigma"]),
        "error AUROC of the chosen measure": found["auroc"],
        "AURC of the chosen measure": found["aurc"],
    }


def fold_table(profile: str, members: Members) -> pd.DataFrame:
    """Members that differ by seed against members that differ by the images they saw.

    The folds of cross-validation are an ensemble too: each was trained on four fifths of the
    images and calibrates on the fifth that it did not see. All score the same test images.
    """
    folds: Members = {}
    for run in find(profile, "side"):
        config = run.config
        if config.data.fold and config.variant == "conv_like":
            folds.setdefault(config.data.dataset, []).append(run)
    rows = []
    for name, runs in usable(members).items():
        chosen = ensemble.chosen_measure(validation_judged(runs))
        for way, group in (("seeds", runs), ("folds", folds.get(name, []))):
            if len(group) > 1:
                pair = (ensemble.readings(group, split) for split in ("val", "test"))
                row = {"data set": name, "members differ by": way, "members": len(group)}
                rows.append(row | _figures(*pair, chosen))
    return pd.DataFrame(rows)
