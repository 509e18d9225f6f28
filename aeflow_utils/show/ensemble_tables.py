"""The ensemble's tables: how well each uncertainty finds errors, and what that is worth.

Everywhere, `members` are the runs of each ensemble by data set, as `ensemble.ensembles` gives
them; data sets whose validation has no abnormal image are left out wherever a decision needs one.
Shares and areas lie in [0, 1]. Scales, probabilities and thresholds are learnt on validation; so
is the choice of a measure, on cross-fitted validation, where the decision has seen labels; test is
only judged.
`decision` is a key of `ensemble.DECISIONS`; "labels seen" says by what labelled validation
images were seen, as `ensemble.labels_seen` does.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import combinations

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty
from aeflow_utils.show.style import LABEL_NAMES
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import DECISIONS, MEASURES, N_STUDY, WITHOUT_LABELS, Reading
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.recording import published
from aeflow_utils.study.results import find, grouped_by
from aeflow_utils.study.runs import RunResult

Members = dict[str, tuple[RunResult, ...]]
PERFECT = "perfect"  # in the place of a measure: it puts all errors last, the best that can be
TITLES = {key: named.title for key, named in MEASURES.items()} | {PERFECT: "best possible"}


def usable(members: Members, decision: str = "scores") -> Members:
    """The ensembles that can decide so: for most ways, all need labelled validation images."""
    labelled = {n: [run.metrics["thresholds"]["val_f1"] for run in r] for n, r in members.items()}
    return {
        name: runs
        for name, runs in members.items()
        if np.isfinite(labelled[name]).all() or not DECISIONS[decision].labels
    }


def member_overview(members: Members) -> pd.DataFrame:
    """Who is in each ensemble: members, whose runs they are, and the test AUROC of each."""
    rows = []
    for name, runs in members.items():
        each = ", ".join(f"{100 * run.metrics['auroc']:.1f}" for run in runs)
        sources = ", ".join(sorted({run.source for run in runs}))
        can = sum(name in usable(members, decision) for decision in DECISIONS)
        row = {"data set": name, "members": len(runs), "test AUROC of each, %": each}
        rows.append(row | {"runs": sources, "ways to decide": can})
    return pd.DataFrame(rows)


def chosen_measures(members: Members, decision: str = "scores") -> dict[str, str]:
    """By data set, the measure of a decision: validation's choice, or the one named beforehand."""
    return {name: judged(runs, decision)[2] for name, runs in usable(members, decision).items()}


def per_image(runs: tuple[RunResult, ...], decision: str = "scores") -> pd.DataFrame:
    """The test images of one ensemble: path, kind, and the columns of `ensemble.judge`."""
    return judged(runs, decision)[1].copy()


@lru_cache(maxsize=64)  # as many tables and figures as there are ask for the same few
def judged(
    runs: tuple[RunResult, ...], decision: str
) -> tuple[pd.DataFrame | None, pd.DataFrame, str]:
    """One ensemble's validation images, cross-fitted, `per_image`, and the measure it chooses.

    Without labels there is no validation to choose by. Read, do not write: all who ask are given
    the same two tables.
    """
    fits, seen = (ensemble.readings(runs, split) for split in ("val", "test"))
    test = runs[0].split("test")[["path", "kind"]].join(ensemble.judge(fits, seen, decision))
    if not DECISIONS[decision].labels:
        return None, test, WITHOUT_LABELS
    validation = ensemble.cross_fitted(fits, decision)
    return validation, test, ensemble.chosen_measure(validation)


@lru_cache(maxsize=64)
def fewer(runs: tuple[RunResult, ...], decision: str) -> dict[str, list[pd.DataFrame]]:
    """Tables of `ensemble.judge` on test: ``one``, each member alone; ``three``, the first."""
    fits, seen = (ensemble.readings(runs, split) for split in ("val", "test"))
    taken = {"one": [slice(i, i + 1) for i in range(len(runs))], "three": [slice(N_STUDY)]}
    return {
        name: [ensemble.judge(fits[some], seen[some], decision) for some in slices]
        for name, slices in taken.items()
    }


def quality_table(
    members: Members, decision: str = "scores", n_resamples: int = 1000
) -> pd.DataFrame:
    """Each measure's `uncertainty.quality` on test with 95 % intervals, a row a data set and key.

    ``validation`` is the error AUROC on cross-fitted validation, where the decision needs that,
    and ``chosen`` marks the one of `chosen_measures`; ``one`` and ``three`` are the error AUROC on
    test of one member (the mean of all) and of the first three. Intervals are ``<figure>_low`` and
    ``<figure>_high``. The last row of a data set is `PERFECT`, which no measure can better.
    """
    rows = []
    for name, runs in usable(members, decision).items():
        validation, test, chosen = judged(runs, decision)
        wrong = ~test["correct"]
        common = {"data set": name, "decision": decision}
        common |= {"images": len(wrong), "errors": int(wrong.sum())}
        for key in (key for key in MEASURES if key in test):
            row = {"measure": key, "labels": ensemble.labels_seen(key, decision)}
            row |= {"chosen": key == chosen}
            if validation is not None:
                row["validation"] = ensemble.error_auroc(validation, validation[key])
            for n, tables in fewer(runs, decision).items():
                row[n] = np.mean([ensemble.error_auroc(table, table[key]) for table in tables])
            rows.append(common | row | _with_intervals(test, test[key], n_resamples))
        row = {"measure": PERFECT, "labels": "those of test", "chosen": False}
        rows.append(common | row | _with_intervals(test, wrong, n_resamples))
    return pd.DataFrame(rows)


def _with_intervals(test: pd.DataFrame, values: pd.Series, n_resamples: int) -> dict[str, float]:
    row, wrong, groups = {}, ~test["correct"], test["group"].to_numpy()
    draws = uncertainty.quality_draws(wrong, values, n_resamples, drawn_together=groups)
    for figure, value in uncertainty.quality(wrong, values).items():
        low, high = metrics.percentile_interval(draws[figure].to_numpy())
        row |= {figure: value, f"{figure}_low": low, f"{figure}_high": high}
    return row


def format_quality(table: pd.DataFrame) -> pd.DataFrame:
    """`quality_table` for readers, in percent; a star marks the measure that is chosen."""

    def cell(row: pd.Series, figure: str) -> str:
        low, high = 100 * row[f"{figure}_low"], 100 * row[f"{figure}_high"]
        return f"{100 * row[figure]:.1f} ({low:.1f}–{high:.1f})"

    out = table[["data set"]].copy()
    out["measure"] = table["measure"].map(TITLES) + np.where(table["chosen"], " *", "")
    out["labels seen"] = table["labels"]
    shares = {"validation": "validation", "one": "one member", "three": "first three"}
    for figure, title in shares.items():
        if figure in table:
            out[title] = (100 * table[figure]).round(1)
    out["error AUROC"] = table.apply(cell, axis=1, figure="auroc")
    out["AURC"] = table.apply(cell, axis=1, figure="aurc")
    out["accuracy of the rest"] = table.apply(cell, axis=1, figure="rest_accuracy")
    return out.set_index(["data set", "measure"])


def article_table(table: pd.DataFrame) -> pd.DataFrame:
    """`quality_table` in short: a few measures and figures."""
    few = ["sigma_raw", "sigma_standardised", "sigma_rank", "closeness", "entropy", PERFECT]
    shown = format_quality(table[table["measure"].isin(few) | table["chosen"]])
    return shown.drop(columns="validation", errors="ignore")


def certainty_counts(members: Members) -> pd.DataFrame:
    """The 2023 study's table, a row a rule: right and wrong decisions, certain and uncertain.

    Rules: sigma at that study's threshold; sigma, and the chosen measure, at the one that parts
    errors from right decisions best on cross-fitted validation; and every image called abnormal,
    with the same sigma, for which the warning must appear.
    """
    threshold = "source == 'blog' and table == 'deep ensemble' and metric == 'sigma_threshold'"
    printed, rows = published().query(threshold)["value"].item(), []
    for name, runs in usable(members).items():
        validation, test, chosen = judged(runs, "scores")
        wrong, keys = ~validation["correct"], ("sigma_raw", chosen)
        sigma_cut, chosen_cut = (uncertainty.best_cut(wrong, validation[key]) for key in keys)
        constant = test.assign(predicted=1, correct=test["label"] == 1)
        for rule, table, key, cut in (
            ("σ, the blog's threshold", test, "sigma_raw", printed),
            ("σ, threshold from labelled validation", test, "sigma_raw", sigma_cut),
            (f"{TITLES[chosen]}, from labelled validation", test, chosen, chosen_cut),
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


def referral_table(quality: pd.DataFrame) -> pd.DataFrame:
    """The least certain images go to a person: by raw sigma, the chosen measure and the best.

    Of `uncertainty.REFERRED` of the images: errors before, those among the referred (expected,
    where images tie) and their share with its interval; accuracy of all decisions, and of those
    that are left.

    Args:
        quality: rows of `quality_table`, of any number of decisions.
    """
    rows = quality[quality["chosen"] | quality["measure"].isin(["sigma_raw", PERFECT])]
    table = rows[["data set"]].assign(
        decision=rows["decision"].map({key: named.title for key, named in DECISIONS.items()}),
        measure=rows["measure"].map(TITLES),
        labels=rows["labels"],
        referred=(uncertainty.REFERRED * rows["images"]).round().astype(int),
        errors=rows["errors"],
        caught=rows["caught"] * rows["errors"],
        share=rows["caught"],
        low=rows["caught_low"],
        high=rows["caught_high"],
        accuracy=1 - rows["errors"] / rows["images"],
    )
    table["accuracy of the rest"] = rows["rest_accuracy"]
    return table.rename(columns={"labels": "labels seen"}).reset_index(drop=True)


def member_table(members: Members, decision: str = "scores") -> pd.DataFrame:
    """Quality by number of members: mean, lowest and highest over all choices of so many.

    Columns data set, members, figure, mean, low, high. The measure is the one that is chosen for
    the whole ensemble. One member has no sigma: it ranks errors like a coin.
    """
    rows = []
    for name, chosen in chosen_measures(members, decision).items():
        fits, seen = (ensemble.readings(members[name], split) for split in ("val", "test"))
        for n in range(1, len(fits) + 1):
            each = pd.DataFrame(
                _figures([fits[i] for i in choice], [seen[i] for i in choice], chosen, decision)
                for choice in combinations(range(len(fits)), n)
            )
            for figure, values in each.items():
                row = {"data set": name, "members": n, "figure": figure, "mean": values.mean()}
                rows.append(row | {"low": values.min(), "high": values.max()})
    return pd.DataFrame(rows)


def _figures(fits: list[Reading], seen: list[Reading], chosen: str, decision: str) -> dict:
    table = ensemble.judge(fits, seen, decision)
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
                rows.append(row | _figures(*pair, chosen, "scores"))
    return pd.DataFrame(rows)
