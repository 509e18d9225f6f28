"""Runs to summaries: this machine's where there are some, else the recorded ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.errors import UserError
from aeflow_utils.methods import FLOOR, METHODS, method_title
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
    return label_title(replace(data, fold=0).label)


def label_title(label: str) -> str:
    """`dataset_title` from a data set's label; a label that names none is its own title."""
    name, rest = parse_label(label)
    return ", ".join(part for part in (SPECS[name].title, rest) if part) if name else label


def find(
    profile: str, kind: str = "study", methods: tuple[str, ...] = (), variant: str | None = None
) -> list[RunResult]:
    """Finished runs of a profile in the study's order, of these methods and this variant if given.

    Where this machine and the bundle have a run, this machine's counts; one whose scores equal
    the recorded ones says so in its `source`. A profile that has no study rows, or no members,
    gives those of `laptop`, and says so.

    Args:
        kind: ``study``, its rows; ``side``, ablations and folds; ``members``, rows of all seeds,
            where there are two or more; ``recorded``, all that came with the bundle; ``here``,
            all of this machine.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in _FINDERS:
        raise ValueError(f"unknown kind '{kind}': choose one of {', '.join(_FINDERS)}")
    runs = list(_FINDERS[kind](profile))
    if not runs and kind in _SHOWN_INSTEAD and profile != "laptop":
        print(f"no {_SHOWN_INSTEAD[kind]} of profile {profile} yet: showing those of laptop")
        runs = list(_FINDERS[kind]("laptop"))
    if methods:
        runs = [run for run in runs if run.config.model.name in methods]
    if variant is not None:
        runs = [run for run in runs if run.config.variant == variant]
    return sorted(runs, key=study_order)


def _both(profile: str) -> list[RunResult]:
    """Recorded runs, each replaced by this machine's where it has one."""
    runs = {study_order(result): result for result in read_runs(profile, recorded=True)}
    for result in read_runs(profile, recorded=False):
        known = runs.get(study_order(result))
        same = known is not None and known.scores.equals(result.scores)
        runs[study_order(result)] = replace(result, source="re-run = recorded") if same else result
    return list(runs.values())


def _members(profile: str) -> list[RunResult]:
    """Of each ensemble all members are this machine's or all are recorded ones, whichever are more.

    This machine's in a tie: an ensemble that mixes machines would be neither's.
    """
    mine = grouped(run for run in _both(profile) if run.source != "recorded")
    recorded = grouped(read_runs(profile, recorded=True))
    larger = (max(mine.get(k, []), recorded.get(k, []), key=len) for k in mine | recorded)
    ensembles = (runs for runs in larger if len(runs) > 1 and not runs[0].config.is_side_run)
    return [run for runs in ensembles for run in runs]


_SHOWN_INSTEAD = {"study": "runs", "members": "ensembles"}  # laptop's, where a profile has none
_FINDERS: dict[str, Callable[[str], Iterable[RunResult]]] = {
    "study": lambda profile: [run for run in _both(profile) if run.config.in_main_tables],
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

    Columns: dataset (label), domain, model, variant; n_seeds; auroc, its standard deviation over
    seeds and bootstrap interval over images; the metrics of `metrics.CLASSIFICATION` (mean over
    seeds) with the interval of F1; val_auroc; source. Metrics are recomputed from the stored
    scores. NaN where a data set does not allow a regime (no abnormal validation image).
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
    return names | {"model": config.model.name, "variant": config.variant}


def _row(categories: list[list[RunResult]], regime: str) -> dict:
    """One method's mean over the categories of a data set, of which most have only one.

    Each category has the same weight whatever its size, and its runs differ by seed. The
    deviation is that of the mean between seeds; intervals resample each category apart.
    """
    pairs = [labels_and_scores(runs) for runs in categories]
    aurocs = [[metrics.auroc(labels, run) for run in scores] for labels, scores in pairs]
    validation = [np.mean([run.metrics["val_auroc"] for run in runs]) for runs in categories]
    seeds = {len(runs) for runs in categories}
    several = len(seeds) == 1 and min(seeds) > 1
    row = _names_of(categories[0][0].config) | {
        "n_seeds": min(seeds),
        "auroc": np.mean([np.mean(each) for each in aurocs]),
        "auroc_sd": np.std(np.mean(aurocs, axis=0), ddof=1) if several else np.nan,
        "val_auroc": np.mean(validation),
    }
    draws = [metrics.auroc_draws(*pair, seed=number) for number, pair in enumerate(pairs)]
    row["auroc_low"], row["auroc_high"] = metrics.percentile_interval(np.mean(draws, axis=0))
    row |= _at_thresholds(categories, regime)
    row["source"] = ", ".join(sorted({run.source for runs in categories for run in runs}))
    return row


def _at_thresholds(categories: list[list[RunResult]], regime: str) -> dict[str, float]:
    """`metrics.CLASSIFICATION`, each run at its own threshold; empty where a run has none."""
    means, draws = [], []
    for number, runs in enumerate(categories):
        labels, scores = labels_and_scores(runs)
        cuts = np.array([run.metrics["thresholds"][regime] for run in runs], dtype=float)
        if not np.isfinite(cuts).all():
            return {}
        predicted = scores >= cuts[:, None]
        means.append(pd.DataFrame([metrics.classification(labels, p) for p in predicted]).mean())
        draws.append(metrics.classification_draws(labels, predicted, "f1", seed=number))
    low, high = metrics.percentile_interval(np.mean(draws, axis=0))
    return pd.DataFrame(means).mean(skipna=False).to_dict() | {"f1_low": low, "f1_high": high}


def labels_and_scores(
    runs: list[RunResult], column: str = "image_score"
) -> tuple[np.ndarray, np.ndarray]:
    """Test labels (N,) and scores (S, N) of runs on the same images."""
    tests = [run.labelled("test") for run in runs]
    return tests[0]["label"].to_numpy(), np.stack([t[column].to_numpy() for t in tests])


def _all_abnormal(result: RunResult) -> dict:
    """What calling every test image abnormal scores: the floor under every F1."""
    labels = result.labelled("test")["label"]
    row = _names_of(result.config) | {"model": FLOOR, "variant": ""}
    return row | {"auroc": 0.5} | metrics.classification(labels, np.ones(len(labels)))
