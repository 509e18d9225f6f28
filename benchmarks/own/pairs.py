"""The two pairs of processes that are compared, fit and score: what is run, and what it costs."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from aeflow_utils.study.machine import environment

Costs = dict[str, dict[str, float]]  # {process: what `benchmarks.own.cost` says of it}

LIMIT = 400  # seconds after which anomalib is stopped
NO_LIMIT = 1e6
ALL, FEW, ONNX = "all", "few", " by ONNX"
ONE_CORE = ("taskset", "--cpu-list", "0")
PYTHON = (sys.executable, "-W", "ignore", "-m")


@dataclass(frozen=True)
class Job:
    """What both are given.

    Args:
        folder: with ``train/good``, and ``test`` with a folder a label.
        few: a folder of some test images, for a rate on one core; None where that is not measured.
        detector: ours, by name.
        model, batch, val_share, epochs: arguments of `anomalib_engine.fit`.
    """

    folder: Path
    few: Path | None
    detector: str
    model: dict
    batch: int
    val_share: float
    epochs: int


def ours(job: Job) -> Costs:
    """`fit` and `score` as a reader runs them, nothing in the cache; on one core by ONNX too."""
    command = (*PYTHON, "aeflow_utils")
    with (
        TemporaryDirectory() as home,
        environment(AEFLOW_HOME=home, AEFLOW_CACHE=f"{home}/cache", AEFLOW_PROFILE="laptop"),
    ):
        out = ("--out", f"{home}/model")
        fit = (*command, "fit", str(job.folder), "--detector", job.detector, *out)

        def score(images: Path) -> tuple[str, ...]:
            return (*command, "score", f"{home}/model", str(images), "--out", f"{home}/scores.csv")

        costs = _costs(job, NO_LIMIT, fit, score)
        if job.few:
            _cost(NO_LIMIT, *command, "export", f"{home}/model")
            costs |= _on_one_core(job, NO_LIMIT, lambda to: (*score(to), "--runtime", "onnx"), ONNX)
        return costs


def theirs(job: Job) -> Costs:
    """anomalib's Engine on the same images; nothing of `score` where `fit` was stopped."""
    command = (*PYTHON, "benchmarks.own.anomalib_engine")
    with TemporaryDirectory() as home:
        shared = {"model": job.model, "batch": job.batch, "trained": f"{home}/model"}
        fit = shared | {"val_share": job.val_share, "epochs": job.epochs, "folder": str(job.folder)}

        def score(images: Path) -> tuple[str, ...]:
            asked = shared | {"images": str(images), "out": f"{home}/scores.csv"}
            return (*command, "score", json.dumps(asked))

        return _costs(job, LIMIT, (*command, "fit", json.dumps(fit)), score)


def _costs(job: Job, limit: float, fit: tuple, score: Callable[[Path], tuple]) -> Costs:
    """Of fit, of score, and of score on one core of all test images and of few."""
    costs = {"fit": _cost(limit, *fit)}
    if not costs["fit"]["stopped"]:
        costs["score"] = _cost(limit, *score(job.folder / "test"))
        if job.few:
            costs |= _on_one_core(job, limit, score)
    return costs


def _on_one_core(
    job: Job, limit: float, score: Callable[[Path], tuple], runtime: str = ""
) -> Costs:
    parts = {ALL: job.folder / "test", FEW: job.few}
    return {name + runtime: _cost(limit, *ONE_CORE, *score(part)) for name, part in parts.items()}


def _cost(limit: float, *command: str) -> dict[str, float]:
    asked = (*PYTHON, "benchmarks.own.cost", str(limit), *command)
    return json.loads(subprocess.run(asked, check=True, stdout=subprocess.PIPE).stdout)
