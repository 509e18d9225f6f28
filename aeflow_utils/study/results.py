"""Runs to summaries: this machine's where there are some, else the recorded ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.errors import UserError
from aeflow_utils.methods import FLOOR, METHODS, method_title
from aeflow_utils.metrics.compare import Sample
from aeflow_utils.profiles import EVIDENCE, PROFILES
from aeflow_utils.study.runs import RunResult, read_runs

REGIMES = {
    "normal_quantile": "95 % quantile of validation normals",
    "val_f1": "F1-max on labelled validation",
    "oracle_f1": "F1-max on test (oracle)",
}


def run_title(run: RunResult) -> str:
    """`method_title` of a run."""
    return method_title(run.config.model.name, run.config.variant)


def dataset_title(data: DataConfig) -> str:
    """A data set's name for readers: ``MVTec AD, bottle``."""
    return label_title(data.whole_label)


def label_title(label: str) -> str:
    """`dataset_title` from a data set's label; a label that names none is its own title."""
    name, rest = parse_label(label)
    parts = (SPECS[name].title, rest.replace("_", " ")) if name else (label,)
    return ", ".join(part for part in parts if part)


def find(
    profile: str, kind: str = "study", methods: tuple[str, ...] = (), variant: str | None = None
) -> list[RunResult]:
    """Finished runs of a profile in the study's order, of these methods and this variant if given.

    Where this machine and the bundle have a run, this machine's counts; one whose scores equal
    the recorded ones says so in its `source`. A profile that has no study rows, or no members,
    gives those of `EVIDENCE`, and says so.

    Args:
        kind: ``study``, its rows; ``side``, ablations and folds; ``members``, rows of two or more
            seeds, all made on one machine; ``recorded``, all that came with the bundle; ``here``,
            all of this machine.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in _FINDERS:
        raise ValueError(f"unknown kind '{kind}': choose one of {', '.join(_FINDERS)}")
    runs = list(_FINDERS[kind](profile))
    if not runs and kind in _SHOWN_INSTEAD and profile != EVIDENCE:
        print(f"no {_SHOWN_INSTEAD[kind]} of profile {profile} yet: showing those of {EVIDENCE}")
        runs = list(_FINDERS[kind](EVIDENCE))
    if methods:
        runs = [run for run in runs if run.config.model.name in methods]
    if variant is not None:
        runs = [run for run in runs if run.config.variant == variant]
    return sorted(runs, key=study_order)


def _both(profile: str) -> list[RunResult]:
    """Recorded runs, each replaced by this machine's where it has one.

    With those of the methods that are trained by no policy, of the profile that has them.
    """
    runs = {study_order(result): result for result in read_runs(profile, recorded=True)}
    for result in read_runs(profile, recorded=False):
        known = runs.get(study_order(result))
        same = known is not None and known.scores.equals(result.scores)
        runs[study_order(result)] = replace(result, source="re-run = recorded") if same else result
    shared = PROFILES[profile].untrained_of
    others = _both(shared) if shared else []
    return [*runs.values(), *(run for run in others if run.config.method.deterministic)]


def _members(profile: str) -> list[RunResult]:
    """Of each ensemble all members are this machine's or all are recorded ones, whichever are more.

    This machine's in a tie: an ensemble that mixes machines would be neither's.
    """
    mine = grouped(run for run in _both(profile) if run.source != "recorded")
    recorded = grouped(read_runs(profile, recorded=True))
    larger = (max(mine.get(k, []), recorded.get(k, []), key=len) for k in mine | recorded)
    ensembles = (runs for runs in larger if len(runs) > 1 and not runs[0].config.is_side_run)
    return [run for runs in ensembles for run in runs]


_SHOWN_INSTEAD = {"study": "runs", "members": "ensembles"}  # where a profile has none
_FINDERS: dict[str, Callable[[str], Iterable[RunResult]]] = {
    "study": lambda profile: [run for run in _both(profile) if not run.config.is_side_run],
    "side": lambda profile: [run for run in _both(profile) if run.config.is_side_run],
    "members": _members,
    "recorded": lambda profile: read_runs(profile, recorded=True),
    "here": lambda profile: read_runs(profile, recorded=False),
}


def study_order(result: RunResult) -> tuple:
    """What a run is in the study, as a sort key: data set, fold, model, variant, seed."""
    config, data = result.config, result.config.data
    images = (list(SPECS).index(data.dataset), data.category, data.split, data.fold)
    return (*images, list(METHODS).index(config.model.name), config.variant, config.seed)


def grouped_by(
    results: Iterable[RunResult], key: Callable[[RunConfig], Hashable]
) -> dict[Hashable, list[RunResult]]:
    """Runs under what `key` makes of their configuration."""
    groups: dict[Hashable, list[RunResult]] = {}
    for result in results:
        groups.setdefault(key(result.config), []).append(result)
    return groups


def grouped(results: Iterable[RunResult]) -> dict[tuple[str, str, str], list[RunResult]]:
    """Runs that differ only by seed, under (label of the data set, method, variant)."""
    return grouped_by(results, lambda c: (c.data.label, c.model.name, c.variant))


def summary(results: list[RunResult], regime: str = "val_f1") -> pd.DataFrame:
    """One row a method and data set, in one threshold regime, with the trivial rows.

    A data set of several categories has a row for each, then their mean, named with how many
    they are.

    Columns: dataset (label), domain, model, variant, reads (`ModelConfig.reads`); n_seeds; auroc,
    its standard deviation over seeds, its interval over seeds and images; the metrics of
    `metrics.CLASSIFICATION` (mean over seeds) with F1's interval; val_auroc; note, of a run that
    tells nothing apart; source. Metrics are
    recomputed from the stored scores. NaN where a data set does not allow a regime (no abnormal
    validation image).
    """
    if regime not in REGIMES:
        raise UserError(f"unknown threshold regime '{regime}': choose one of {', '.join(REGIMES)}")
    if not results:
        raise UserError("there is no run to show: make some with python -m aeflow_utils reproduce")
    rows = []
    for runs_of_set in grouped_by(results, lambda c: (c.data.dataset, c.data.split)).values():
        for runs in grouped_by(runs_of_set, lambda c: c.data.label).values():
            rows += [_row([of_method], regime) for of_method in grouped(runs).values()]
            rows.append(_all_abnormal(runs[0]))
        for runs in grouped_by(runs_of_set, lambda c: (c.model.name, c.variant)).values():
            categories = list(grouped_by(runs, lambda c: c.data.category).values())
            if len(categories) > 1:
                name = f"{runs[0].config.data.dataset}, mean of {len(categories)}"
                rows.append(_row(categories, regime) | {"dataset": name})
    return pd.DataFrame(rows)


def _names_of(config: RunConfig) -> dict:
    spec = SPECS.get(config.data.dataset)
    names = {"dataset": config.data.label, "domain": spec.domain if spec else "own"}
    names |= {"model": config.model.name, "variant": config.variant}
    return names | {"reads": config.model.reads}


def _row(categories: list[list[RunResult]], regime: str) -> dict:
    """One method's mean over the categories of a data set, of which most have only one.

    Each category has the same weight whatever its size, and its runs differ by seed; one that
    lacks seeds shortens the others. Intervals are of seeds and images, see `metrics.compare`.
    """
    n_seeds = min(len(runs) for runs in categories)
    categories = [runs[:n_seeds] for runs in categories]
    aurocs = metrics.average([auroc_of(runs, seed=k) for k, runs in enumerate(categories)])
    estimate = metrics.mean_of(aurocs)
    low, high = estimate.within(0, 1)
    validation = [np.mean([run.metrics["val_auroc"] for run in runs]) for runs in categories]
    row = _names_of(categories[0][0].config) | {
        "n_seeds": n_seeds,
        "auroc": estimate.value,
        "auroc_sd": np.std(aurocs.observed, ddof=1) if n_seeds > 1 else np.nan,
        "auroc_low": low,
        "auroc_high": high,
        "val_auroc": np.mean(validation),
    }
    row |= _at_thresholds(categories, regime)
    row["note"] = _note(categories, regime)
    row["source"] = ", ".join(sorted({run.source for runs in categories for run in runs}))
    return row


def _note(categories: list[list[RunResult]], regime: str) -> str:
    """What is wrong with a detector that tells nothing apart, in any of its runs; else empty."""
    for runs in categories:
        _, scores = labels_and_scores(runs)
        if (np.ptp(scores, axis=1) == 0).any():
            return "constant scores"
        cuts = np.array([run.metrics["thresholds"][regime] for run in runs], dtype=float)
        shares = (scores >= cuts[:, None]).mean(axis=1)
        if np.isfinite(cuts).all() and np.isin(shares, (0, 1)).any():
            return "calls all alike"
    return ""


def _at_thresholds(categories: list[list[RunResult]], regime: str) -> dict[str, float]:
    """`metrics.CLASSIFICATION`, each run at its own threshold; empty where a run has none."""
    means, samples = [], []
    for number, runs in enumerate(categories):
        cuts = [run.metrics["thresholds"][regime] for run in runs]
        if not np.isfinite(np.array(cuts, dtype=float)).all():
            return {}
        labels, scores = labels_and_scores(runs)
        predicted = scores >= np.array(cuts)[:, None]
        means.append(pd.DataFrame([metrics.classification(labels, p) for p in predicted]).mean())
        samples.append(classification_of(runs, cuts, "f1", seed=number))
    low, high = metrics.mean_of(metrics.average(samples)).within(0, 1)
    return pd.DataFrame(means).mean(skipna=False).to_dict() | {"f1_low": low, "f1_high": high}


def auroc_of(runs: list[RunResult], column: str = "image_score", seed: int = 0) -> Sample:
    """Test AUROC of runs that differ by seed, of one column of their stored scores."""
    return auroc_of_scores(runs, labels_and_scores(runs, column)[1], seed)


def auroc_of_scores(runs: list[RunResult], scores: np.ndarray, seed: int = 0) -> Sample:
    """Test AUROC of scores (S, N) that were made of those of S runs."""
    labels = runs[0].labelled("test")["label"].to_numpy()
    fixed = runs[0].config.method.deterministic
    return metrics.auroc_sample(labels, scores, _groups(runs), fixed, seed)


def classification_of(
    runs: list[RunResult], cuts: Sequence[float], metric: str, seed: int = 0
) -> Sample:
    """One of `metrics.CLASSIFICATION` on test, a threshold a run."""
    labels, scores = labels_and_scores(runs)
    decisions = scores >= np.array(cuts, dtype=float)[:, None]
    fixed = runs[0].config.method.deterministic
    return metrics.classification_sample(labels, decisions, metric, _groups(runs), fixed, seed)


def _groups(runs: list[RunResult]) -> np.ndarray | None:
    """Which test images are drawn together; None in runs that do not say."""
    test = runs[0].labelled("test")
    return test["group"].to_numpy() if "group" in test else None


def labels_and_scores(
    runs: list[RunResult], column: str = "image_score"
) -> tuple[np.ndarray, np.ndarray]:
    """Test labels (N,) and scores (S, N) of runs on the same images."""
    tests = [run.labelled("test") for run in runs]
    return tests[0]["label"].to_numpy(), np.stack([t[column].to_numpy() for t in tests])


def _all_abnormal(result: RunResult) -> dict:
    """What calling every test image abnormal scores: the floor under every F1."""
    labels = result.labelled("test")["label"]
    row = _names_of(result.config) | {"model": FLOOR, "variant": "", "reads": "", "auroc": 0.5}
    return row | metrics.classification(labels, np.ones(len(labels)))
