"""The article's evidence: every run on every data set here, in any number of sittings.

One data set after the other, so that each is whole before the next begins. Runs that are finished
are kept; one that was stopped goes on after its last whole epoch.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterable

import numpy as np

from aeflow_utils.config import RunConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.errors import TrainingError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import plan, run_all
from aeflow_utils.study.grid import grid_plan
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import RunResult, run_folder

CONVERGED, AS_PUBLISHED = PROFILES["overnight"], PROFILES["as_published"]
UNKNOWN = 120.0  # seconds a run is thought to take before any is finished


def overnight_plan(datasets: Collection[str] = SPECS) -> dict[str, list[RunConfig]]:
    """All runs, by data set: the study under both policies, then what surrounds it."""
    by_dataset: dict[str, list[RunConfig]] = {}
    for config in (
        *plan(CONVERGED, datasets=datasets),
        *plan(AS_PUBLISHED, datasets=datasets),
        *grid_plan(CONVERGED, datasets),
    ):
        by_dataset.setdefault(config.data.dataset, []).append(config)
    return by_dataset


def run_overnight(datasets: Collection[str] = SPECS) -> None:
    """Run what is missing, a data set at a time, and say before each how long it may take.

    Runs of sets that are not whole, and so not recorded, may have come with the bundle: they are
    taken up. A run that its loss stops is named, and stops no other.
    """
    for name in (CONVERGED.name, AS_PUBLISHED.name):
        for folder in (paths().home / "results" / "unfinished" / name).glob("*"):
            if not (paths().runs(name) / folder.name).exists():
                shutil.copytree(folder, paths().runs(name) / folder.name)
    for dataset, configs in overnight_plan(datasets).items():
        missing = [config for config in configs if not run_folder(config).exists()]
        hours = hours_left(missing, _finished())
        print(
            f"{dataset}: {len(configs)} runs, {len(missing)} missing, about {hours:.1f} h. Stop it "
            "whenever you like: the same command goes on.",
            flush=True,
        )
        try:
            run_all(configs)
        except TrainingError as error:
            print(f"stopped: {error}", flush=True)


def _finished() -> list[RunResult]:
    """Runs that say how long theirs take: this machine's, or else the recorded ones."""
    names = (CONVERGED.name, AS_PUBLISHED.name)
    here = [run for name in names for run in find(name, "here")]
    return here or [run for name in names for run in find(name, "recorded")]


def hours_left(missing: Iterable[RunConfig], finished: list[RunResult]) -> float:
    """Hours that runs will take on all cores, each as long as the mean of its like that is done.

    Its like is of the same variant, else of the same method, else any.
    """
    seconds: dict[tuple[str, ...], list[float]] = {}
    for run in finished:
        took = run.environment["fit_seconds"] + run.environment["score_seconds"]
        for key in _keys(run.config):
            seconds.setdefault(key, []).append(took)
    expected = [
        np.mean(next((seconds[key] for key in _keys(config) if key in seconds), [UNKNOWN]))
        for config in missing
    ]
    return float(np.sum(expected)) / 3600 / (os.cpu_count() or 1)


def _keys(config: RunConfig) -> list[tuple[str, ...]]:
    return [(config.model.name, config.variant), (config.model.name,), ()]
