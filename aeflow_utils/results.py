"""Run folders to tables: this machine's runs, the recorded ones, and the published figures."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import UserError, paths
from aeflow_utils.datasets import SPECS
from aeflow_utils.runs import RunResult, find_runs

REGIMES = {
    "normal_quantile": "95 % quantile of validation normals",
    "val_f1": "F1-max on labelled validation",
    "oracle_f1": "F1-max on test (oracle)",
}
TOLERANCE = 0.03  # by which a metric may move on another machine before it counts as different
MODEL_TITLES = {
    "ae_flow": "AE-FLOW",
    "autoencoder": "plain autoencoder",
    "fastflow": "FastFlow",
    "ganomaly": "GANomaly",
    "f_anogan": "f-AnoGAN",
    "padim": "PaDiM",
    "patchcore": "PatchCore",
    "knn": "kNN, pooled features",
    "brightness": "trivial: dark",
    "smoothness": "trivial: smooth",
    "all_abnormal": "trivial: all abnormal",
}
VARIANT_TITLES = {"stride_16": "stride 16", "strides_16_32": "strides 16+32"}


def method_title(model: str, variant: str = "") -> str:
    """A method's name for readers: ``AE-FLOW, conv_like``."""
    return MODEL_TITLES[model] + (f", {VARIANT_TITLES.get(variant, variant)}" if variant else "")


def collect(profile: str, models: tuple[str, ...] = tuple(MODEL_TITLES)) -> list[RunResult]:
    """Every finished run of a profile: this machine's where there is one, else the recorded one.

    A run of this machine whose scores equal the recorded ones says so in its `source`.

    A profile without any runs gives the recorded `laptop` ones, and says so.
    """
    runs = {_study_order(result): result for result in find_runs(profile, recorded=True)}
    for result in find_runs(profile, recorded=False):
        known = runs.get(_study_order(result))
        same = known is not None and known.scores.equals(result.scores)
        runs[_study_order(result)] = replace(result, source="re-run = recorded") if same else result
    if not runs and profile != "laptop":
        print(f"no runs of profile {profile} yet: showing the recorded laptop runs")
        return collect("laptop", models)
    return [runs[key] for key in sorted(runs) if runs[key].config.model.name in models]


def recorded_runs(profile: str) -> list[RunResult]:
    """The runs that come with the bundle, in the study's order."""
    return sorted(find_runs(profile, recorded=True), key=_study_order)


def _study_order(result: RunResult) -> tuple:
    """What a run is in the study, as a sort key: data set, model, variant, seed."""
    config = result.config
    dataset = list(SPECS).index(config.data.dataset)
    model = list(MODEL_TITLES).index(config.model.name)
    return dataset, config.data.category, config.data.split, model, config.variant, config.seed


def grouped(results: list[RunResult]) -> dict[tuple[str, str, str], list[RunResult]]:
    """Runs that differ only by seed, under (dataset, model, variant)."""
    groups: dict[tuple[str, str, str], list[RunResult]] = {}
    for result in results:
        config = result.config
        key = (config.data.label, config.model.name, config.variant)
        groups.setdefault(key, []).append(result)
    return groups


def summary(results: list[RunResult], regime: str = "val_f1") -> pd.DataFrame:
    """One row a method and data set, in one threshold regime, with the trivial rows.

    Columns: n_seeds; auroc, its standard deviation over seeds and bootstrap interval over
    images; the metrics of `metrics.CLASSIFICATION` (mean over seeds) with the interval of F1;
    val_auroc; source. Metrics are recomputed from the stored scores. NaN where a data set does
    not allow a regime (no abnormal validation image).
    """
    if regime not in REGIMES:
        raise UserError(f"unknown threshold regime '{regime}': choose one of {', '.join(REGIMES)}")
    if not results:
        raise UserError("there is no run to show: make some with python -m aeflow_utils reproduce")
    rows = []
    for (dataset, model, variant), runs in grouped(results).items():
        rows.append({"dataset": dataset, "model": model, "variant": variant} | _row(runs, regime))
    for dataset, runs in _by_dataset(results).items():
        last = max(i for i, row in enumerate(rows) if row["dataset"] == dataset)
        rows.insert(last + 1, _all_abnormal(runs[0]))
    return pd.DataFrame(rows)


def _row(runs: list[RunResult], regime: str) -> dict:
    tests = [run.labelled("test") for run in runs]
    labels = tests[0]["label"].to_numpy()
    scores = np.stack([test["image_score"].to_numpy() for test in tests])
    aurocs = [metrics.auroc(labels, run) for run in scores]
    low, high = metrics.auroc_interval(labels, scores)
    cuts = np.array([run.metrics["thresholds"][regime] for run in runs], dtype=float)
    row = {
        "n_seeds": len(runs),
        "auroc": np.mean(aurocs),
        "auroc_sd": np.std(aurocs, ddof=1) if len(runs) > 1 else np.nan,
        "auroc_low": low,
        "auroc_high": high,
        "val_auroc": np.mean([run.metrics["val_auroc"] for run in runs]),
    }
    if np.isfinite(cuts).all():
        predicted = scores >= cuts[:, None]
        each = pd.DataFrame([metrics.classification(labels, p) for p in predicted])
        row |= each.mean().to_dict()
        row["f1_low"], row["f1_high"] = metrics.classification_interval(labels, predicted, "f1")
    row["source"] = ", ".join(sorted({run.source for run in runs}))
    return row


def _by_dataset(results: list[RunResult]) -> dict[str, list[RunResult]]:
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.config.data.label, []).append(result)
    return groups


def _all_abnormal(result: RunResult) -> dict:
    """What calling every test image abnormal scores: the floor under every F1."""
    labels = result.labelled("test")["label"]
    row = {"dataset": result.config.data.label, "model": "all_abnormal", "variant": ""}
    return row | {"auroc": 0.5} | metrics.classification(labels, np.ones(len(labels)))


def compare(profile: str) -> pd.DataFrame:
    """Recorded against re-run, metric by metric: equal, within tolerance, or different.

    Only runs that exist on both sides; `TOLERANCE` is on the metric itself, in [0, 1].
    """
    recorded = {r.config.run_name: r for r in find_runs(profile, recorded=True)}
    rows = []
    for mine in sorted(find_runs(profile, recorded=False), key=_study_order):
        theirs = recorded.get(mine.config.run_name)
        if theirs is None:
            continue
        for metric in ("auroc", "val_auroc", "f1"):
            a, b = (_metric(result, metric) for result in (theirs, mine))
            if not np.isnan(a) or not np.isnan(b):
                rows.append((*_names(mine), metric, a, b, b - a, _verdict(a, b)))
    columns = [
        "data set",
        "method",
        "seed",
        "metric",
        "recorded",
        "re-run",
        "difference",
        "verdict",
    ]
    return pd.DataFrame(rows, columns=columns)


def _names(result: RunResult) -> tuple[str, str, int]:
    config = result.config
    return config.data.label, method_title(config.model.name, config.variant), config.seed


def _metric(result: RunResult, metric: str) -> float:
    """AUROCs as stored; F1 in the regime that every data set allows."""
    if metric == "f1":
        return result.metrics["at_threshold"].get("normal_quantile", {}).get("f1", float("nan"))
    return result.metrics[metric]


def _verdict(recorded: float, rerun: float) -> str:
    if recorded == rerun:
        return "equal"
    return "within tolerance" if abs(recorded - rerun) <= TOLERANCE else "different"


def record(profile: str) -> list[Path]:
    """Copy this machine's runs, without checkpoints, to the recorded ones.

    All recorded runs of the same data set and method go, so that no table averages over runs of
    different settings.
    """
    target = paths().recorded(profile)
    copied = []
    mine = list(find_runs(profile, recorded=False))
    replaced = grouped(mine).keys()
    for old in recorded_runs(profile):
        if grouped([old]).keys() & replaced:
            shutil.rmtree(old.folder)
    for result in mine:
        destination = target / result.folder.name
        shutil.copytree(
            result.folder, destination, ignore=shutil.ignore_patterns("checkpoint.safetensors")
        )
        copied.append(destination)
    return copied
