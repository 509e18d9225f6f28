"""`run(RunConfig)`: train or load, score, threshold, and write one run folder.

A run folder is written under a hidden name and renamed when whole: a folder that exists is
complete. `run_all` does the same for many runs, several at a time.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from aeflow_utils import metrics
from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.data.features import Splits, encoded_splits
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.precision import bf16_here
from aeflow_utils.data.table import ImageList, available, list_images
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.methods import KINDS, METHODS, get_method, methods_of
from aeflow_utils.models.system import System
from aeflow_utils.paths import locked
from aeflow_utils.profiles import PROFILES, Profile
from aeflow_utils.study.machine import in_parallel, machine, peak_memory_mb, reset_peak_memory
from aeflow_utils.study.pixels import evaluate_pixels, pixel_columns, pixel_maps
from aeflow_utils.study.runs import (
    CHECKPOINT,
    SCORES,
    RunResult,
    check_results,
    failure_file,
    load_run,
    lock_file,
    partial_folder,
    run_folder,
    seal,
    write_json,
)
from aeflow_utils.study.systems import new_system, restored, weights_of, write_weights
from aeflow_utils.study.training import fit, score_images

log = logging.getLogger(__name__)

RESUME = "resume.pt"
_GZIP = {"method": "gzip", "mtime": 0}  # the same scores are the same bytes


def plan(
    profile: Profile, methods: Collection[str] = METHODS, datasets: Collection[str] = SPECS
) -> list[RunConfig]:
    """The study's runs on those of the data sets that are here, in a fixed order.

    Each in its study's split or, where images of that are missing, in another official one; in
    the splits that `profile` adds, AE-FLOW and what is not trained. A profile that differs by
    how methods are trained has none of those that are not.

    Raises:
        UserError: there is no such method.
    """
    for name in methods:
        get_method(name)
    images = [(names, METHODS) for names in available(datasets)]
    for dataset, split in profile.also.items():
        if dataset in datasets:
            images.append(((dataset, "", split), ("ae_flow", *methods_of("untrained", "trivial"))))
    return [
        RunConfig.build(profile, dataset, name, seed, category, variant, split, **row.options)
        for (dataset, category, split), run_there in images
        for name, method in METHODS.items()
        if name in methods and name in run_there
        if method.kind in profile.kinds
        for variant, row in method.variants.items()
        for seed in range(1 if method.deterministic else profile.seeds)
    ]


def run(config: RunConfig, listed: ImageList | None = None) -> RunResult:
    """Load the run if its folder is there, else train, score and write it.

    Its images are looked up, unless they are given as `listed`; then a run of images that have
    changed since, or of other labels, is made anew: trained only if what it was trained on has.

    Raises:
        UserError: the data are absent, or the folder is damaged.
    """
    if not is_current(config, listed):
        check_results([config])
        failed = failure_file(config)
        try:
            splits = splits_of(config, listed=listed)
            with locked(lock_file(config)):  # a second process waits, then loads
                if not is_current(config, splits.listed):
                    _make(config, splits, run_folder(config))
            failed.unlink(missing_ok=True)
        except Exception as error:
            failed.write_text(f"{error or type(error).__name__}\n", encoding="utf-8")
            raise
    return load_run(run_folder(config))


def is_current(config: RunConfig, listed: ImageList | None = None) -> bool:
    """Whether a finished run is there, and, where images are given, is one of these.

    Raises:
        UserError: the folder is damaged.
    """
    if not run_folder(config).exists():
        return False
    result = load_run(run_folder(config))
    if result.config != config:  # a default that the name's hash leaves out has changed since
        raise UserError(f"{result.folder} holds a run of other options: delete it and run again")
    return listed is None or result.environment["fingerprint"] == listed.fingerprint


def _make(config: RunConfig, splits: Splits, folder: Path) -> None:
    """Compute beside `folder`, and put the whole run in its place."""
    work = partial_folder(config, splits.fingerprint)
    work.mkdir(exist_ok=True)
    before = load_run(folder) if folder.exists() else None
    if before:
        same = before.environment.get("trained_on") == splits.listed.trained_on
        log.warning(
            f"{config.data.label}: images or labels have changed since {folder.name} was made; it "
            f"is {'scored anew, by its old weights' if same else 'made anew'}"
        )
        before = before if same else None
    _compute(config, splits, work, before)
    if folder.exists():
        old = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    work.replace(folder)
    shutil.rmtree(folder.with_name(f".{folder.name}.old"), ignore_errors=True)


def splits_of(
    config: RunConfig, strides: tuple[int, ...] = (), listed: ImageList | None = None
) -> Splits:
    """The images and features that a run reads, or its features at other `strides`."""
    listed, model = listed or list_images(config.data), config.model
    return encoded_splits(listed, model.encoder, strides or model.strides, config.train.bf16)


def _compute(
    config: RunConfig, splits: Splits, work: Path, trained: RunResult | None = None
) -> None:
    """Train, unless it is `trained` already, score, and record both in the folder `work`."""
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    reset_peak_memory()
    start = time.perf_counter()
    if trained:
        system, history = restored(trained, splits), trained.history
    else:
        system, history = _trained(config, splits, work / RESUME)
    fitted = time.perf_counter()
    val, test = (score_images(system, part) for part in (splits.val, splits.test))
    scored = time.perf_counter()
    maps = pixel_maps(system, splits)
    scores = pd.concat([val, test.assign(**pixel_columns(maps))])
    costs = {
        "fit_seconds": trained.environment["fit_seconds"] if trained else round(fitted - start, 2),
        "score_seconds": round(scored - fitted, 2),
        "peak_memory_mb": peak_memory_mb(),
    }
    history.to_csv(work / "history.csv", index=False)
    scores.to_csv(work / SCORES, index=False, float_format="%.7g", compression=_GZIP)
    write_json(work / "metrics.json", evaluate(pd.read_csv(work / SCORES)) | evaluate_pixels(maps))
    _record(config, splits, system, costs, work)


def _trained(config: RunConfig, splits: Splits, resume: Path) -> tuple[System, pd.DataFrame]:
    """A system and its history."""
    system = new_system(config, splits)
    if config.train.carry_over and config.data.fold > 1:  # the weights of the fold before go on
        before = run(replace(config, data=replace(config.data, fold=config.data.fold - 1)))
        system.load_state_dict(weights_of(before))
    label = f"{config.data.label} {config.model.name} seed {config.seed}"
    return system, fit(system, splits.train, splits.val, config.train, config.seed, resume, label)


def _record(config: RunConfig, splits: Splits, system: System, costs: dict, work: Path) -> None:
    """Beside scores and what they say: environment, configuration and checkpoint."""
    images = {"fingerprint": splits.fingerprint, "trained_on": splits.listed.trained_on}
    images["skipped"] = list(splits.skipped)
    size = sum(p.numel() for p in system.parameters() if p.requires_grad)
    model = {"trainable_parameters": size, "bf16": bf16_here(config.train.bf16)}
    write_json(work / "environment.json", images | costs | model | machine())
    write_json(work / "config.json", config.to_dict())
    if state := system.state_dict():
        write_weights(state, work / CHECKPOINT)
    for rest in (work / RESUME, *work.glob(".*")):
        rest.unlink(missing_ok=True)
    seal(work)


def evaluate(scores: pd.DataFrame) -> dict:
    """AUROC of validation and test, the thresholds, and the test metrics at each."""
    labelled = scores[scores["label"] != UNLABELLED]
    val, test = (labelled[labelled["split"] == split] for split in ("val", "test"))
    cuts = metrics.thresholds(val["label"], val["image_score"], test["label"], test["image_score"])
    at_threshold = {
        regime: metrics.classification(test["label"], test["image_score"] >= cut)
        for regime, cut in cuts.items()
        if np.isfinite(cut)
    }
    return {
        "auroc": metrics.auroc(test["label"], test["image_score"]),
        "val_auroc": metrics.auroc(val["label"], val["image_score"]),
        "thresholds": cuts,
        "at_threshold": at_threshold,
    }


def run_all(configs: list[RunConfig], listed: Iterable[ImageList] = ()) -> list[RunResult]:
    """Run or load every configuration, in order; as many at a time as the profile allows.

    Each data set is looked up once, unless it is among those `listed` already; images and
    features are prepared first, with all cores.

    Raises:
        TrainingError: the loss of one stopped it; the others are finished.
    """
    here = {images.data: images for images in listed}
    for data in dict.fromkeys(config.data for config in configs if config.data not in here):
        with suppress(UserError):  # finished runs are loaded without their images
            here[data] = list_images(data)
    pending = [config for config in configs if not is_current(config, here.get(config.data))]
    # A data set is whole before the next; within it the slow runs first: no core idles at its end.
    order = list(dict.fromkeys(config.data.dataset for config in configs))
    pending.sort(key=lambda c: (order.index(c.data.dataset), KINDS.index(c.method.kind)))
    check_results(pending)
    prepare(pending, here.values())
    if len(pending) > 1:
        _run_in_parallel(pending, here)
    results, stopped = [], []
    for config in configs:
        try:
            results.append(run(config, here.get(config.data)))
        except TrainingError as error:
            stopped.append(error)
    if stopped:
        raise stopped[0]
    return results


def prepare(configs: list[RunConfig], listed: Iterable[ImageList] = ()) -> None:
    """Fill the cache for runs to come: one pass for each data set and encoder.

    Data sets that are not among those `listed` already are looked up.
    """
    here = {images.data: images for images in listed}
    strides = defaultdict(set)
    for config in configs:
        strides[config.data, config.model.encoder, config.train.bf16].update(config.model.strides)
    for (data, encoder, bf16), wanted in strides.items():
        if data not in here:
            here[data] = list_images(data)
        encoded_splits(here[data], encoder, tuple(sorted(wanted)), bf16)


def _run_in_parallel(pending: list[RunConfig], here: dict[DataConfig, ImageList]) -> None:
    """Runs that are stopped by their loss leave no folder, and do not stop the others."""
    workers = min(PROFILES[pending[0].profile].workers or os.cpu_count() or 1, len(pending))
    if workers == 1:
        return
    arguments = [(config, here[config.data]) for config in pending]
    for told in in_parallel(_run_quietly, arguments, f"runs, {workers} at a time", workers):
        tqdm.write(f"  {told}")


def _run_quietly(config: RunConfig, listed: ImageList) -> str:
    """`run` in a worker: its folder's name, or why its loss stopped it."""
    logging.getLogger("aeflow_utils.data").setLevel(logging.ERROR)  # the parent has told it
    try:
        return f"done: {run(config, listed).folder.name}"
    except TrainingError as error:
        return f"stopped: {config.run_name}: {error}"
