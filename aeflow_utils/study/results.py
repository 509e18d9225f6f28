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
    spec = SPECS.get(data.dataset)
    parts = (spec.title if spec else data.label, data.category, data.split)
    return ", ".join(part for part in parts if part)


def label_title(label: str) -> str:
    """`dataset_title` from a data set's label; a label that names none is its own title."""
    name, rest = parse_label(label)
    return ", ".join(part for part in (SPECS[name].title, rest) if part) if name else label


def find(
    profile: str,
    kind: str = "study",
    methods: tuple[str, ...] | None = None,
    variant: str | None = None,
) -> list[RunResult]:
    """Finished runs of a profile in the study's order, of these methods and this variant if given.

    Where this machine and the bundle have a run, this machine's counts; one whose scores equal
    the recorded ones says so in its `source`.

    Args:
        kind: ``study``, its rows; ``side``, ablations and folds; ``members``, rows of all seeds,
            where there are two or more; ``base``, the first seed of the study's own split with
            labelled validation, where a choice can be made; ``recorded``, all that came with the
            bundle; ``here``, all of this machine. A profile without study rows, or without
            members, gives the recorded `laptop` ones, and says so.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in _FINDERS:
        raise ValueError(f"unknown kind '{kind}': choose one of {', '.join(_FINDERS)}")
    chosen = [
        run
        for run in _FINDERS[kind](profile)
        if (methods is None or run.config.model.name in methods)
        and (variant is None or run.config.variant == variant)
    ]
    return sorted(chosen, key=study_order)


def _both(profile: str) -> list[RunResult]:
    runs = {study_order(result): result for result in read_runs(profile, recorded=True)}
    for result in read_runs(profile, recorded=False):
        known = runs.get(study_order(result))
        same = known is not None and known.scores.equals(result.scores)
        runs[study_order(result)] = replace(result, source="re-run = recorded") if same else result
    return list(runs.values())


def _study(profile: str) -> list[RunResult]:
    rows = [r for r in _both(profile) if r.config.in_main_tables]
    if not rows and profile != "laptop":
        print(f"no runs of profile {profile} yet: showing the recorded laptop runs")
        return _study("laptop")
    return rows


def _base(profile: str) -> list[RunResult]:
    first = [r for r in _study(profile) if r.config.seed == 0 and not r.config.data.split]
    return [run for run in first if np.isfinite(run.metrics["val_auroc"])]


def _members(profile: str) -> list[RunResult]:
    """Of each ensemble all members are this machine's or all are recorded ones, whichever are more.

    This machine's in a tie: an ensemble that mixes machines would be neither's.
    """
    recorded, mine = (
        grouped(run for run in runs if not run.config.is_side_run)
        for runs in (
            read_runs(profile, recorded=True),
            (run for run in _both(profile) if run.source != "recorded"),
        )
    )
    larger = (max(mine.get(k, []), recorded.get(k, []), key=len) for k in mine | recorded)
    members = [run for runs in larger if len(runs) > 1 for run in runs]
    if not members and profile != "laptop":
        print(f"no ensemble in profile {profile} yet: showing the recorded laptop one")
        return _members("laptop")
    return members


_FINDERS: dict[str, Callable[[str], Iterable[RunResult]]] = {
    "study": _study,
    "side": lambda profile: [run for run in _both(profile) if run.config.is_side_run],
    "members": _members,
    "base": _base,
    "recorded": lambda profile: read_runs(profile, recorded=True),
    "here": lambda profile: read_runs(profile, recorded=False),
}


def study_order(result: RunResult) -> tuple:
    """What a run is in the study, as a sort key: data set, fold, model, variant, seed."""
    config = result.config
    data, model = config.data, list(METHODS).index(config.model.name)
    dataset = list(SPECS).index(data.dataset)
    return (*(dataset, data.category, data.split, data.fold), model, config.variant, config.seed)


def grouped(results: Iterable[RunResult]) -> dict[tuple[str, str, str], list[RunResult]]:
    """Runs that differ only by seed, under (label of the data set, method, variant)."""
    return grouped_by(results, lambda c: (c.data.label, c.model.name, c.variant))


def by_dataset(results: Iterable[RunResult]) -> dict[str, list[RunResult]]:
    """Runs under the label of their data set."""
    return grouped_by(results, lambda config: config.data.label)


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
        of_set = []
        for runs in grouped_by(runs_of_set, lambda c: c.data.label).values():
            methods = _by_method(runs).values()
            of_set += [_row(method, regime) for method in methods] + [_all_abnormal(runs[0])]
        rows += of_set
        for runs in _by_method(runs_of_set).values():
            categories = list(grouped_by(runs, lambda c: c.data.category).values())
            if len(categories) > 1:
                rows.append(_mean_row(categories, of_set, regime))
    return pd.DataFrame(rows)


def grouped_by(
    results: Iterable[RunResult], key: Callable[[RunConfig], Hashable]
) -> dict[Hashable, list[RunResult]]:
    """Runs under what `key` makes of their configuration."""
    groups: dict[Hashable, list[RunResult]] = {}
    for result in results:
        groups.setdefault(key(result.config), []).append(result)
    return groups


def _by_method(results: list[RunResult]) -> dict[Hashable, list[RunResult]]:
    return grouped_by(results, lambda config: (config.model.name, config.variant))


def _names_of(config: RunConfig) -> dict:
    spec = SPECS.get(config.data.dataset)
    names = {"dataset": config.data.label, "domain": spec.domain if spec else "own"}
    return names | {"model": config.model.name, "variant": config.variant}


def _row(runs: list[RunResult], regime: str) -> dict:
    """One method on one data set; `runs` differ by seed."""
    labels, scores = labels_and_scores(runs)
    aurocs = [metrics.auroc(labels, run) for run in scores]
    row = _names_of(runs[0].config) | {
        "n_seeds": len(runs),
        "auroc": np.mean(aurocs),
        "auroc_sd": np.std(aurocs, ddof=1) if len(runs) > 1 else np.nan,
        "val_auroc": np.mean([run.metrics["val_auroc"] for run in runs]),
    }
    row["auroc_low"], row["auroc_high"] = metrics.auroc_interval(labels, scores)
    predicted = _predicted(runs, scores, regime)
    if predicted is not None:
        each = pd.DataFrame([metrics.classification(labels, p) for p in predicted])
        row |= each.mean().to_dict()
        row["f1_low"], row["f1_high"] = metrics.classification_interval(labels, predicted, "f1")
    row["source"] = ", ".join(sorted({run.source for run in runs}))
    return row


def labels_and_scores(
    runs: list[RunResult], column: str = "image_score"
) -> tuple[np.ndarray, np.ndarray]:
    """Test labels (N,) and scores (S, N) of runs on the same images."""
    tests = [run.labelled("test") for run in runs]
    return tests[0]["label"].to_numpy(), np.stack([t[column].to_numpy() for t in tests])


def _predicted(runs: list[RunResult], scores: np.ndarray, regime: str) -> np.ndarray | None:
    """(S, N) bool, each run at its own threshold; None where a run has none in this regime."""
    cuts = np.array([run.metrics["thresholds"][regime] for run in runs], dtype=float)
    return scores >= cuts[:, None] if np.isfinite(cuts).all() else None


def _mean_row(categories: list[list[RunResult]], rows: list[dict], regime: str) -> dict:
    """One method's mean over categories, each with the same weight whatever its size.

    The deviation is that of the mean between seeds; intervals resample each category apart.
    """
    first = categories[0][0].config
    method = (first.model.name, first.variant)
    own = [row for row in rows if (row["model"], row["variant"]) == method]
    name = f"{first.data.dataset}, mean of {len(categories)}"
    row = _names_of(first) | {"dataset": name, "n_seeds": min(len(runs) for runs in categories)}
    columns = ["auroc", "val_auroc", *metrics.CLASSIFICATION]
    row |= pd.DataFrame(own).reindex(columns=columns).mean(skipna=False).to_dict()
    pairs = [labels_and_scores(runs) for runs in categories]
    seeds = {len(runs) for runs in categories}
    if len(seeds) == 1 and seeds != {1}:
        each = [[metrics.auroc(labels, run) for run in scores] for labels, scores in pairs]
        row["auroc_sd"] = np.std(np.mean(each, axis=0), ddof=1)
    draws = [metrics.auroc_draws(*pair, seed=number) for number, pair in enumerate(pairs)]
    row["auroc_low"], row["auroc_high"] = metrics.percentile_interval(np.mean(draws, axis=0))
    calls = [_predicted(r, s, regime) for r, (_, s) in zip(categories, pairs, strict=True)]
    if all(predicted is not None for predicted in calls):
        draws = [
            metrics.classification_draws(labels, predicted, "f1", seed=number)
            for number, ((labels, _), predicted) in enumerate(zip(pairs, calls, strict=True))
        ]
        row["f1_low"], row["f1_high"] = metrics.percentile_interval(np.mean(draws, axis=0))
    row["source"] = ", ".join(sorted({run.source for runs in categories for run in runs}))
    return row


def _all_abnormal(result: RunResult) -> dict:
    """What calling every test image abnormal scores: the floor under every F1."""
    labels = result.labelled("test")["label"]
    row = _names_of(result.config) | {"model": FLOOR, "variant": ""}
    return row | {"auroc": 0.5} | metrics.classification(labels, np.ones(len(labels)))
