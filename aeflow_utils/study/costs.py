"""How long runs will take, by those that are finished."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import numpy as np

from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.encoders import map_channels
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.profiles import EVIDENCE
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import RunResult
from aeflow_utils.study.training import epochs_of

FEATURE_BYTES = 2  # float16
UNKNOWN = 120.0  # seconds a run is thought to take where nothing is known
# How many times as long as efficientnet_lite0's maps an encoder's keep a training step, at equal
# size. AE-FLOW takes 0.84 s of a thread for an image of 256 px with this one
# (results/benchmarks.csv), and 0.0077 s for one of 128 px with lite0 (recorded laptop runs).
HEAVIER = {"wide_resnet50_2": 27}

# Of a card, at the peak of the largest run of profile `paper`: in float32, and in bfloat16
# (results/card.csv, one H100).
CARD_GB = {False: 11.8, True: 6.6}


def finished_runs(profiles: Collection[str]) -> list[RunResult]:
    """Runs that say how long theirs take: of these profiles this machine's, else the recorded ones.

    Of `EVIDENCE` where there are none.
    """
    for names in (profiles, [EVIDENCE]):
        for kind in ("here", "recorded"):
            if runs := [run for name in names for run in find(name, kind)]:
                return runs
    return []


def expected_seconds(configs: Iterable[RunConfig], finished: Iterable[RunResult]) -> np.ndarray:
    """Seconds of each run on one worker, (N,): the mean of its like that is finished.

    Its like is of the same variant, else of the same method, else any. Where sizes differ, times
    are in proportion to the images that a training sees, their pixels, and the encoder's weight.
    """
    counts: dict[DataConfig, int] = {}

    def work_of(config: RunConfig) -> float:
        data = replace(config.data, fold=0)
        if data not in counts:
            counts[data] = _training_images(data)
        return work(config, counts[data])

    rates: dict[tuple[str, ...], list[float]] = {}
    for run in finished:
        if done := work_of(run.config):
            took = run.environment["fit_seconds"] + run.environment["score_seconds"]
            for key in _keys(run.config):
                rates.setdefault(key, []).append(took / done)

    def expected(config: RunConfig) -> float:
        known = next((rates[key] for key in _keys(config) if key in rates), None)
        return float(np.mean(known)) * work_of(config) if known else UNKNOWN

    return np.array([expected(config) for config in configs])


def work(config: RunConfig, n_images: int) -> float:
    """What a run on so many training images computes, in a unit of no meaning."""
    once = config.method.deterministic or not n_images
    epochs = 1 if once else epochs_of(config.train, n_images)
    weight = HEAVIER.get(config.model.encoder, 1)
    return epochs * n_images * config.data.image_size**2 * weight


def cache_bytes(configs: Iterable[RunConfig]) -> int:
    """What prepared images and features of these runs take on disk."""
    strides: dict[tuple[DataConfig, str], set[int]] = {}
    for config in configs:
        key = replace(config.data, fold=0), config.model.encoder
        strides.setdefault(key, set()).update(config.model.strides)
    total, prepared = 0, set()
    for (data, encoder), wanted in strides.items():
        listed, side, channels = list_images(data), data.image_size, map_channels(encoder)
        values = sum(channels[stride] * (side // stride) ** 2 for stride in wanted)
        pixels = (1 if listed.spec.grey else 3) * side**2
        total += len(listed.table) * (FEATURE_BYTES * values + pixels * (data not in prepared))
        prepared.add(data)
    return total


def _training_images(data: DataConfig) -> int:
    """How many there are; 0 where the images are not here."""
    try:
        return int((list_images(data).table["split"] == "train").sum())
    except UserError:
        return 0


def _keys(config: RunConfig) -> list[tuple[str, ...]]:
    return [(config.model.name, config.variant), (config.model.name,), ()]
