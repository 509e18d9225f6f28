"""The errors of public code on this bundle's runs: all demonstrations as one table.

Those on scores are computed from the runs; the two that need a trained system are made where it
is, and stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils.article import errors_shown as errors
from aeflow_utils.article.errors_shown import Demonstration, demonstration_table
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.paths import paths
from aeflow_utils.profiles import Profile
from aeflow_utils.show.tables import save_table
from aeflow_utils.study.recording import SYSTEM_ERRORS
from aeflow_utils.study.results import dataset_title

ON_SCORES = (
    errors.threshold_on_test,
    errors.weighted_f1,
    errors.shifted_f1,
    errors.counted_twice,
)


def error_table(evidence: Evidence) -> pd.DataFrame:
    """A row an error and data set: data set, error, measured, right, wrong, sentence.

    AE-FLOW is the one with the `conv_like` subnet, first seed, of the profile that has ablations.
    """
    found = list(_on_runs(evidence))
    table = demonstration_table([demonstration for _, demonstration in found])
    table.insert(0, "data set", [where for where, _ in found])
    table = pd.concat([table, stored(evidence.grid)], ignore_index=True)
    return table.sort_values(["error", "data set"], kind="stable", ignore_index=True)


def _on_runs(evidence: Evidence) -> Iterator[tuple[str, Demonstration]]:
    for dataset, runs in evidence.bases.items():
        if np.isnan(runs[0].metrics["val_auroc"]):
            continue  # no abnormal validation image: most of these errors cannot be made
        where = dataset_title(runs[0].config.data)
        for error in ON_SCORES:
            yield where, error(runs[0])
        plain, fastflow, untrained, fresh, carried = (
            evidence.grid_methods.get((dataset, "autoencoder", "")),
            evidence.grid_methods.get((dataset, "fastflow", "")),
            evidence.side.get((dataset, "+encoder=untrained")),
            evidence.side.get((dataset, "conv_like")),
            evidence.side.get((dataset, "conv_like+carry_over=True")),
        )
        if plain:
            yield where, errors.flipped_sign(plain[0])
        if fastflow and untrained:
            yield where, errors.untrained_encoder(fastflow[0], untrained[0])
        if fresh and carried:
            yield where, errors.shared_folds(fresh, carried)


def store(where: str, found: list[Demonstration], profile: Profile) -> Path:
    """Keep the demonstrations that need a trained system with the profile's tables."""
    table = demonstration_table(found)
    table.insert(0, "data set", where)
    return save_table(table, SYSTEM_ERRORS, profile)


def stored(profile: str) -> pd.DataFrame:
    """What `store` kept on this machine, else what is recorded, else nothing."""
    for folder in (paths().results(profile) / "tables", paths().recorded(profile).parent):
        if (folder / f"{SYSTEM_ERRORS}.csv").exists():
            return pd.read_csv(folder / f"{SYSTEM_ERRORS}.csv")
    return pd.DataFrame()
