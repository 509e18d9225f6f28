"""Profiles: the sizes of one way to run the bundle, never other code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from aeflow_utils.errors import UserError


@dataclass(frozen=True)
class Profile:
    """Sizes of one way to run the bundle.

    Args:
        workers: runs at a time, 0 for one a core.
        bf16: `TrainConfig.bf16` of every run.
        options: {model: fields of its configuration}, where a size is the model's own.
        training: {model: fields of its `TrainConfig`}, where the profile's do not suit it.
    """

    name: str
    encoder: str
    image_size: int
    limit: int
    epochs: int
    seeds: int
    batch_size: int
    threads: int
    workers: int
    bf16: bool = False
    options: dict[str, dict] = field(default_factory=dict)
    training: dict[str, dict] = field(default_factory=dict)


# About half a minute a run on one core. f-AnoGAN has a few hundred steps here where its authors
# took tens of thousands, so its batches are smaller, its rate is higher, and the generator has a
# step for each of the critic's, not for five: else it hardly moves. Small sets get as many steps
# as ELPV's 904 images do in these epochs.
_SHORT_OPTIONS = {"f_anogan": {"n_critic": 1}}
_SHORT_TRAINING = {
    "ganomaly": {"epochs": 4, "min_steps": 200},
    "f_anogan": {"batch_size": 8, "lr": 1e-3, "min_steps": 1300},
}
_GANS = ("ganomaly", "f_anogan")
_WIDE = {gan: {"n_features": 64} for gan in _GANS}
_LARGE_BATCHES = {gan: {"batch_size": 64} for gan in _GANS}

_LITE0, _WRN = "efficientnet_lite0", "wide_resnet50_2"
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", _LITE0, 64, 24, 2, 1, 8, 1, 1),
        Profile("laptop", _LITE0, 128, 0, 12, 3, 16, 1, 0, False, _SHORT_OPTIONS, _SHORT_TRAINING),
        Profile("paper", _WRN, 256, 0, 100, 5, 16, 0, 1, True, _WIDE, _LARGE_BATCHES),
    )
}


def get_profile(name: str = "") -> Profile:
    """The profile called `name`, else the one in ``AEFLOW_PROFILE``, else ``laptop``."""
    name = name or os.environ.get("AEFLOW_PROFILE", "") or "laptop"
    if name not in PROFILES:
        raise UserError(f"unknown profile '{name}': choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
