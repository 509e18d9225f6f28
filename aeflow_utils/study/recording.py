"""Recorded and re-run: compare this machine's runs with those that came with the bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils.paths import paths
from aeflow_utils.study.results import find, grouped, run_title
from aeflow_utils.study.runs import RunResult

SYSTEM_ERRORS = "system-demonstrations"  # table of what errors do to trained systems
RESULTS_THAT_COME = ("recorded", "published.csv", "peers.csv", "claims_in_print.csv")
# By how much a metric may move on another machine before it counts as different. From one processor
# to another, same seeds: likelihood models moved by up to 0.02; adversarial ones, whose training
# follows its own rounding, by up to 0.08, which is as far as another seed takes them.
TOLERANCE, TOLERANCE_OF_GANS = 0.03, 0.1


def compare(profile: str) -> pd.DataFrame:
    """Recorded against re-run, metric by metric: equal, within tolerance, or different.

    Only runs that exist on both sides; tolerances are on the metric itself, in [0, 1].
    """
    recorded = {r.config.run_name: r for r in find(profile, "recorded")}
    rows = []
    for mine in find(profile, "here"):
        theirs = recorded.get(mine.config.run_name)
        if theirs is None:
            continue
        tolerance = TOLERANCE_OF_GANS if mine.config.method.kind == "gan" else TOLERANCE
        for metric in ("auroc", "val_auroc", "f1"):
            a, b = (_metric(result, metric) for result in (theirs, mine))
            if not np.isnan(a) or not np.isnan(b):
                rows.append((*_names(mine), metric, a, b, b - a, _verdict(a, b, tolerance)))
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
    return config.data.label, run_title(result), config.seed


def _metric(result: RunResult, metric: str) -> float:
    """AUROCs as stored; F1 in the regime that every data set allows."""
    if metric == "f1":
        return result.metrics["at_threshold"].get("normal_quantile", {}).get("f1", float("nan"))
    return result.metrics[metric]


def _verdict(recorded: float, rerun: float, tolerance: float) -> str:
    if recorded == rerun:
        return "equal"
    return "within tolerance" if abs(recorded - rerun) <= tolerance else "different"


def record(profile: str) -> list[Path]:
    """Copy this machine's runs, without checkpoints, to the recorded ones.

    All recorded runs of the same data set and method go, so that no table averages over runs of
    different settings.
    """
    target = paths().recorded(profile)
    copied = []
    mine = find(profile, "here")
    replaced = grouped(mine).keys()
    for old in find(profile, "recorded"):
        if grouped([old]).keys() & replaced:
            shutil.rmtree(old.folder)
    for result in mine:
        destination = target / result.folder.name
        shutil.copytree(
            result.folder, destination, ignore=shutil.ignore_patterns("checkpoint.safetensors")
        )
        copied.append(destination)
    return copied


def record_demonstrations(profile: str) -> None:
    """Copy what notebook 2 showed on trained systems to the recorded results."""
    demonstrations = paths().results(profile) / "tables" / f"{SYSTEM_ERRORS}.csv"
    shutil.copy(demonstrations, paths().recorded(profile).parent)


def recorded_home(folder: Path) -> Path:
    """An empty home with nothing but what came with the bundle, as links.

    Notebooks that read results alone have the same outputs in it on every machine.
    """
    (folder / "results").mkdir(parents=True)
    for name in RESULTS_THAT_COME:
        (folder / "results" / name).symlink_to(paths().home / "results" / name)
    return folder
