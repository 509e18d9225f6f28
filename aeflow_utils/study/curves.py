"""Loss and AUROC by step: what more training does to each. Nothing is chosen by these figures."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pandas as pd
import torch

from aeflow_utils import metrics
from aeflow_utils.config import RunConfig
from aeflow_utils.data.table import available
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import prepare, splits_of
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.machine import in_parallel
from aeflow_utils.study.runs import cached_table
from aeflow_utils.study.systems import new_system
from aeflow_utils.study.training import SCORE_NAMES, epochs_of, fit, score_images

DATASETS = ("elpv", "chest_xray", "isic2018")
METHODS_SHOWN = (("ae_flow", BASE), ("fastflow", ""))
# Profiles, and times their steps: does twice the budget change anything, and a constant rate?
LENGTHS = (("overnight", 1), ("overnight", 2), ("as_published", 3))
N_POINTS = 12  # at which the test images are scored


def curve_plan() -> list[RunConfig]:
    """Both policies at `LENGTHS`, first seed."""
    configs = []
    for dataset, category, split in available(DATASETS):
        for model, variant in METHODS_SHOWN:
            for profile, length in LENGTHS:
                names = PROFILES[profile], dataset, model, 0, category, variant, split
                config = RunConfig.build(*names)
                sizes = {n: length * getattr(config.train, n) for n in ("min_steps", "epochs")}
                longer = replace(config.train, **sizes)
                configs.append(replace(config, train=longer))
    return configs


def run_curves() -> pd.DataFrame:
    """What is missing of `curve_plan`, and all of it as one table, a row an epoch.

    Columns: dataset, model, variant, policy (a profile's name), step, steps (of the whole
    training), epoch, the loss terms, and at `N_POINTS` epochs the test AUROC of the score and of
    its two parts.
    """
    configs = curve_plan()
    prepare(configs)
    curves = in_parallel(_curve, [(config,) for config in configs], "curves", ordered=True)
    return pd.concat(curves, ignore_index=True)


def _curve(config: RunConfig) -> pd.DataFrame:
    file = paths().results(config.profile) / "curves" / f"{config.run_name}.csv"
    history = cached_table(file, partial(_watched, config))
    names = {"dataset": config.data.label, "model": config.model.name, "variant": config.variant}
    return pd.DataFrame({**names, "policy": config.profile}, history.index).join(history)


def _watched(config: RunConfig) -> pd.DataFrame:
    torch.set_num_threads(config.train.threads)
    splits = splits_of(config)
    system, n_epochs = new_system(config, splits), epochs_of(config.train, len(splits.train))
    every = max(1, n_epochs // N_POINTS)

    def watch(epoch: int) -> dict[str, float]:
        if epoch % every and epoch not in (1, n_epochs):
            return {}
        scores = score_images(system, splits.test)
        kinds = [name for name in SCORE_NAMES if scores[name].notna().all()]
        return {f"auroc_{name}": metrics.auroc(scores["label"], scores[name]) for name in kinds}

    parts = splits.train, splits.val, config.train, config.seed
    history = fit(system, *parts, watch=watch)
    steps = -(-len(splits.train) // config.train.batch_size)
    return history.assign(step=history["epoch"] * steps, steps=n_epochs * steps)
