"""Profiles: the sizes of one way to run the bundle, never other code."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from aeflow_utils.errors import UserError
from aeflow_utils.methods import KINDS


@dataclass(frozen=True)
class Profile:
    """Sizes of one way to run the bundle, and how its methods are trained.

    Args:
        workers: runs at a time, 0 for one a core.
        converged: train by each method's `converged` schedule instead of as its authors did.
        bf16: `TrainConfig.bf16` of every run.
        min_steps: `TrainConfig.min_steps` of every run.
        options: {model: fields of its configuration}, where a size is the model's own.
        training: {model: fields of its `TrainConfig`}, where the profile's do not suit it.
        kinds: kinds of methods that are run.
        also: {data set: named split}, run beside the study's.
        untrained_of: the profile whose untrained methods stand in this one's tables too.
        rests_on: the profile whose runs conclusions rest on, where they are not this one's.
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
    converged: bool = False
    bf16: bool = False
    min_steps: int = 0
    options: dict[str, dict] = field(default_factory=dict)
    training: dict[str, dict] = field(default_factory=dict)
    kinds: tuple[str, ...] = KINDS
    also: dict[str, str] = field(default_factory=dict)
    untrained_of: str = ""
    rests_on: str = ""

    @property
    def policy(self) -> str:
        """How its methods are trained, in words."""
        return "converged" if self.converged else "as published"

    @property
    def evidence(self) -> str:
        """The profile whose runs tables, figures and claims show to a reader of this one."""
        return self.rests_on or self.name


_GANS = ("ganomaly", "f_anogan")
_WIDE = {gan: {"n_features": 64} for gan in _GANS}
_LARGE_BATCHES = {gan: {"batch_size": 64} for gan in _GANS}

EVIDENCE = "overnight"
_LITE0, _WRN = "efficientnet_lite0", "wide_resnet50_2"
# f-AnoGAN trains a GAN, then an encoder; its steps are cheap, so it has three times as many.
_SHORT = {"min_steps": 340, "training": {"f_anogan": {"min_steps": 1020}}}
_SHORT |= {"converged": True, "rests_on": EVIDENCE}
_NIGHT = {"min_steps": 600, "training": {"f_anogan": {"min_steps": 1800}}}
_CONVERGED = _NIGHT | {"converged": True, "also": {"elpv": "blocks"}}
# What is not trained is the same in both.
_AS_PUBLISHED = _NIGHT | {"kinds": ("trained", "gan"), "untrained_of": EVIDENCE}
_PAPER = {"bf16": True, "options": _WIDE, "training": _LARGE_BATCHES}
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("smoke", _LITE0, 64, 24, 2, 1, 8, 1, 1),
        Profile("laptop", _LITE0, 128, 0, 4, 3, 16, 1, 0, **_SHORT),
        Profile(EVIDENCE, _LITE0, 128, 0, 4, 5, 16, 1, 0, **_CONVERGED),
        Profile("as_published", _LITE0, 128, 0, 4, 5, 16, 1, 0, **_AS_PUBLISHED),
        Profile("paper", _WRN, 256, 0, 100, 5, 16, 0, 1, **_PAPER),
    )
}

# The two ways to train that the evidence has, and the profile of each.
POLICIES = {PROFILES[name].policy: name for name in (EVIDENCE, "as_published")}


def get_profile(name: str = "") -> Profile:
    """The profile called `name`, else the one in ``AEFLOW_PROFILE``, else ``laptop``."""
    name = name or os.environ.get("AEFLOW_PROFILE", "") or "laptop"
    if name not in PROFILES:
        raise UserError(f"unknown profile '{name}': choose one of {', '.join(PROFILES)}")
    return PROFILES[name]
