"""The article's evidence: every run on every data set here, in any number of sittings.

One data set after the other, so that each is whole before the next begins. Runs that are finished
are kept; one that was stopped goes on after its last whole epoch.
"""

from __future__ import annotations

import os
from collections.abc import Collection

from aeflow_utils.config import RunConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.errors import TrainingError
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.costs import expected_seconds, finished_runs
from aeflow_utils.study.experiments import plan, run_all
from aeflow_utils.study.grid import grid_plan
from aeflow_utils.study.runs import run_folder

CONVERGED, AS_PUBLISHED = PROFILES["overnight"], PROFILES["as_published"]


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

    A run that its loss stops is named, and stops no other.
    """
    for dataset, configs in overnight_plan(datasets).items():
        missing = [config for config in configs if not run_folder(config).exists()]
        seconds = expected_seconds(missing, finished_runs((CONVERGED.name, AS_PUBLISHED.name)))
        hours = seconds.sum() / 3600 / (os.cpu_count() or 1)
        print(
            f"{dataset}: {len(configs)} runs, {len(missing)} missing, about {hours:.1f} h. Stop it "
            "whenever you like: the same command goes on.",
            flush=True,
        )
        try:
            run_all(configs)
        except TrainingError as error:
            print(f"stopped: {error}", flush=True)
