"""How a method's rate is chosen: by its loss on validation normals, before any score is read.

A trial trains and keeps the losses, nothing else: no image is scored, no anomaly is looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import joblib
import pandas as pd
import torch
from tqdm.auto import tqdm

from aeflow_utils.config import RunConfig
from aeflow_utils.data.table import available
from aeflow_utils.methods import METHODS, methods_of
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import new_system, prepare, splits_of
from aeflow_utils.study.grid import MAPS
from aeflow_utils.study.machine import environment
from aeflow_utils.study.training import fit, kept_epoch

PROFILE = PROFILES["overnight"]
DATASETS = ("elpv", "chest_xray")  # one of each domain; what is chosen holds for all
PEAKS = (1.0, 3.0, 8.0)  # multiples of the published rate
DECODER_RATES = (0.3, 0.1)  # multiples of the flow's


def trial_plan() -> list[RunConfig]:
    """Every trial: each peak of a warm-up and cosine, with half the steps of the profile."""
    return [
        replace(base, train=replace(base.train, min_steps=base.train.min_steps // 2, **rates))
        for base in _bases()
        for rates in _rates(base)
    ]


def _bases() -> Iterator[RunConfig]:
    for dataset, category, split in available(DATASETS):
        for model in methods_of("trained", "gan"):
            for variant, row in METHODS[model].variants.items():
                maps = MAPS if (model, variant) == ("ae_flow", "conv_like") else ()
                for options in ({}, *({"strides": strides} for strides in maps)):
                    names = dataset, model, 0, category, variant, split
                    yield RunConfig.build(PROFILE, *names, **row.options | options)


def _rates(base: RunConfig) -> list[dict]:
    rates = [{"peak": peak, "decoder_rate": 1.0} for peak in PEAKS]
    if base.variant == "conv_like" and base.model.strides == (16,):
        rates += [{"peak": PEAKS[-1], "decoder_rate": rate} for rate in DECODER_RATES]
    return rates


def run_trials() -> pd.DataFrame:
    """Run what is missing of `trial_plan`; one row a trial, with the losses of its lowest epoch.

    Columns: dataset, model, variant, strides, peak, decoder_rate, epochs, kept (epoch of lowest
    loss), still_falling (fall of the loss over the last tenth), and the loss terms of the kept
    epoch on validation normals.
    """
    configs = trial_plan()
    pending = [config for config in configs if not _file(config).exists()]
    prepare(pending)
    with environment(TQDM_DISABLE="1"):
        jobs = joblib.Parallel(n_jobs=os.cpu_count(), return_as="generator_unordered")(
            joblib.delayed(_trial)(config) for config in pending
        )
        for name in tqdm(jobs, "trials", len(pending)):
            tqdm.write(f"  done: {name}")
    return pd.DataFrame([_row(config, pd.read_csv(_file(config))) for config in configs])


def _file(config: RunConfig) -> Path:
    return paths().results(config.profile) / "trials" / f"{config.run_name}.csv"


def _trial(config: RunConfig) -> str:
    torch.set_num_threads(config.train.threads)
    splits, file = splits_of(config), _file(config)
    system = new_system(config, splits)
    history = fit(system, splits.train, splits.val, config.train, config.seed)
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(".partial")
    history.to_csv(partial, index=False)
    partial.replace(file)
    return file.stem


def _row(config: RunConfig, history: pd.DataFrame) -> dict:
    kept = kept_epoch(history.to_dict("records"), "lowest")
    strides = "+".join(map(str, getattr(config.model, "strides", ())))
    names = {"dataset": config.data.label, "model": config.model.name, "variant": config.variant}
    rates = {"peak": config.train.peak, "decoder_rate": config.train.decoder_rate}
    losses = history.filter(like="val_").iloc[kept - 1].to_dict()
    return {**names, "strides": strides, **rates, "epochs": len(history), "kept": kept, **losses}
