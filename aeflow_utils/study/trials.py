"""How a method's rate is chosen: by its loss on validation normals, before any score is read.

A trial trains and keeps the losses, nothing else: no image is scored, no anomaly is looked at. The
rate is raised as long as that lowers the loss, or else lowered.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import torch

from aeflow_utils.config import RunConfig, training_of
from aeflow_utils.data.table import available
from aeflow_utils.errors import TrainingError
from aeflow_utils.methods import METHODS, methods_of
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import prepare, splits_of
from aeflow_utils.study.grid import BASE, MAPS
from aeflow_utils.study.machine import in_parallel
from aeflow_utils.study.runs import cached_table
from aeflow_utils.study.systems import new_system
from aeflow_utils.study.training import fit, kept_epoch

PROFILE = PROFILES["overnight"]
DATASETS = ("elpv", "chest_xray")  # the first chooses, for all sets; the second checks it
SHARE = 5 / 6  # of the steps that the runs themselves have
MULTIPLES = (0.3, 1.0, 3.0, 8.0, 20.0, 50.0)  # of the published rate, tried as peak


def bases() -> list[RunConfig]:
    """The runs whose rate is to be chosen, first seed, each with `SHARE` of its steps."""
    found = []
    for dataset, category, split in available(DATASETS):
        for model in methods_of("trained", "gan"):
            for variant, row in METHODS[model].variants.items():
                maps = MAPS if (model, variant) == ("ae_flow", BASE) else ()
                for options in ({}, *({"strides": strides} for strides in maps)):
                    names = dataset, model, 0, category, variant, split
                    base = RunConfig.build(PROFILE, *names, **row.options | options)
                    steps = int(SHARE * base.train.min_steps)
                    found.append(replace(base, train=replace(base.train, min_steps=steps)))
    return found


def run_trials() -> pd.DataFrame:
    """Climb from every base, those that were tried already for nothing; a row a trial.

    Columns: dataset, model, variant, strides, multiple (of the published rate), rate (at its
    peak), epochs, kept (the epoch whose loss counts), loss (on validation normals), and that
    loss's terms. On the first of `DATASETS` the lowest loss of a base is the choice.
    """
    starts = bases()
    prepare(starts)
    climbs = in_parallel(_climb, [(base,) for base in starts], "rates")
    tried = [row for rows in climbs for row in rows]
    return pd.DataFrame(tried).sort_values(["dataset", "model", "variant", "strides", "rate"])


def _climb(base: RunConfig) -> list[dict]:
    """Trials from the published rate upwards while the loss falls; else downwards."""
    start = MULTIPLES.index(1.0)
    rows = {start: _trial(base, MULTIPLES[start])}
    for step in (1, -1):
        at = start
        while at == start or rows[at]["loss"] < rows[at - step]["loss"]:
            at += step
            if not 0 <= at < len(MULTIPLES):
                break
            rows[at] = _trial(base, MULTIPLES[at])
        if rows.get(start + 1, rows[start])["loss"] < rows[start]["loss"]:
            break
    return list(rows.values())


def _trial(base: RunConfig, multiple: float) -> dict:
    names = base.method, base.variant, base.data.dataset, base.model.strides
    published = training_of(PROFILES["as_published"], *names).lr
    # Rounded, so that the name of a rate does not hang on how it was computed.
    config = replace(base, train=replace(base.train, lr=float(f"{multiple * published:.6g}")))
    file = paths().results(config.profile) / "trials" / f"{config.run_name}.csv"
    return _row(config, multiple, cached_table(file, partial(_losses, config)))


def _losses(config: RunConfig) -> pd.DataFrame:
    """By epoch, as `fit` gives them; infinite where that ends without weights to keep."""
    torch.set_num_threads(config.train.threads)
    splits = splits_of(config)
    try:
        return fit(new_system(config, splits), splits.train, splits.val, config.train, config.seed)
    except TrainingError:
        return pd.DataFrame({"epoch": [1], f"val_{config.method.judged_by}": np.inf})


def _row(config: RunConfig, multiple: float, history: pd.DataFrame) -> dict:
    by = f"val_{config.method.judged_by}"
    kept = kept_epoch(history[by], config.train.keep)
    names = {"dataset": config.data.label, "model": config.model.name, "variant": config.variant}
    names |= {"strides": "+".join(map(str, config.model.strides))}
    names |= {"multiple": multiple, "rate": config.train.lr}
    losses = history.filter(like="val_").iloc[kept - 1]
    return {**names, "epochs": len(history), "kept": kept, "loss": losses[by], **losses}
