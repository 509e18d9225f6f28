"""What a card does for the study: `make bench-card`, on a machine that has one.

Each method trains at the paper's size on solar cells of ELPV, with random weights of Wide
ResNet-50-2, which cost the same time; pipelines take turns; then small runs share the card. Written
to results/card.csv and, as a table, into benchmarks/README.md.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pandas as pd

from aeflow_utils.config import RunConfig
from aeflow_utils.data.encoders import UNTRAINED
from aeflow_utils.data.features import Splits, frozen_encoder, load_splits
from aeflow_utils.data.precision import default_device
from aeflow_utils.metrics import auroc
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import plan
from aeflow_utils.study.machine import peak_memory_mb, reset_peak_memory
from aeflow_utils.study.systems import new_system
from aeflow_utils.study.training import fit, room_for_images, score_images
from benchmarks.marked import write_marked
from benchmarks.speed.comparison import compare
from benchmarks.speed.measuring import Row, clock, describe_machine, seconds_of, table_of
from benchmarks.speed.pipelines import WIDE_RESNET, elpv

N_IMAGES = 256  # training images, and as many a label to score
EPOCHS = 4  # the first is not counted
ENCODED, STEP, STATISTICS, SCORING = "encoding", "training step", "statistics", "scoring"
MEMORY, SHARING, REPEATED = "peak memory of a run", "runs on one card", "the same runs again"
SHARED_BY = (1, 4, 8)
STREAMED, EXACT = ", images from the host", ", float32"


def study_runs() -> list[RunConfig]:
    """The paper's runs on ELPV, one a variant, short and on few images."""
    found = []
    for config in plan(PROFILES["paper"], datasets=("elpv",)):
        if config.seed == 0:
            data = replace(config.data, limit=N_IMAGES)
            model = replace(config.model, encoder=config.model.encoder + UNTRAINED)
            train = replace(config.train, epochs=EPOCHS, min_steps=0)
            found.append(replace(config, data=data, model=model, train=train))
    return found


def encoding(config: RunConfig) -> Row:
    """Images a second that the frozen encoder takes in, in bfloat16, those of one batch again."""
    splits = load_splits(config.data, config.model.encoder, config.model.strides, bf16=True)
    encoder = frozen_encoder(config.model.encoder, config.model.strides, bf16=True)
    batch = splits.train.batch(np.arange(64) % len(splits.train), default_device()).image
    seconds = [seconds_of(encoder, batch) for _ in range(12)][2:]
    return Row(ENCODED, config.model.encoder, "bfloat16", "images", "1/s", 64 / np.array(seconds))


def trained(config: RunConfig, splits: Splits, case: str, room: int) -> list[Row]:
    """Milliseconds a step, validation included, megabytes at the peak, images scored a second."""
    title, encoder = config.method.title, config.model.encoder
    name = f"{title}, {config.variant}{case}" if config.variant else f"{title}{case}"
    system, times = new_system(config, splits), []
    val, few = splits.val, np.cumsum(splits.val.labels == 0) <= config.train.batch_size
    reset_peak_memory()
    start = clock()
    with patch("aeflow_utils.study.training.room_for_images", lambda device: room):
        watch = lambda epoch: times.append(clock()) or {}  # noqa: E731
        fit(system, splits.train, val.select(few), config.train, 0, label=name, watch=watch)
    whole = clock() - start
    score_images(system, splits.test.select(np.arange(len(splits.test)) < 64))  # the first is slow
    rate = len(splits.test) / seconds_of(score_images, system, splits.test)
    n_steps = -(-len(splits.train) // config.train.batch_size)
    if times:
        steps = np.diff(times) * 1000 / n_steps
        took = Row(STEP, encoder, name, "a step", "ms", steps, f"{config.train.batch_size} images")
    else:
        took = Row(STATISTICS, encoder, name, "an image", "ms", [whole * 1000 / len(splits.train)])
    scored = Row(SCORING, encoder, name, "images", "1/s", [rate])
    return [took, scored, Row(MEMORY, encoder, name, "peak", "MB", [peak_memory_mb()])]


def methods() -> Iterator[Row]:
    """Every method: in bfloat16 and in float32; in bfloat16 also with images that stay outside."""
    configs = study_runs()
    yield encoding(configs[0])
    for config in configs:
        splits = load_splits(config.data, config.model.encoder, config.model.strides, bf16=True)
        room, exact = room_for_images(default_device()), replace(config.train, bf16=False)
        yield from trained(config, splits, "", room)
        if not config.method.deterministic:
            yield from trained(config, splits, STREAMED, 0)
            yield from trained(replace(config, train=exact), splits, EXACT, room)


def sharing(home: Path, profile: str = "laptop") -> Iterator[Row]:
    """Small runs, so many at a time, by the commands of a reader; and what a repetition moves."""
    plan_file, left = home / "plan.csv", {}
    of_plan = ["--datasets", "elpv", "--methods", "ae_flow", "fastflow", "--seeds", "0", "1"]
    _command(home, "plan", "--profile", profile, *of_plan, "--out", str(plan_file))
    _command(home, "prepare", str(plan_file))
    for jobs in SHARED_BY:
        work = ("run", "--plan", str(plan_file), "--jobs", str(jobs))
        seconds = seconds_of(_command, home / f"{jobs}", *work)
        left[jobs] = sorted((home / f"{jobs}").rglob("scores.csv.gz"))
        note = f"{len(left[jobs])} runs of profile {profile} on ELPV"
        yield Row(SHARING, "", f"{jobs} at a time", "all of them", "s", [seconds], note)
    first, *others = ([pd.read_csv(file) for file in files] for files in left.values())
    again = [(a, b) for other in others for a, b in zip(first, other, strict=True)]
    moved = [abs(_auroc(a) - _auroc(b)) for a, b in again]
    equal = sum(a.equals(b) for a, b in again)
    note = f"{equal} of {len(again)} have equal scores"
    yield Row(REPEATED, "", "AE-FLOW and FastFlow", "test AUROC moves", "", moved, note)


def _command(home: Path, *arguments: str) -> None:
    home.mkdir(parents=True, exist_ok=True)
    cache = os.environ.get("AEFLOW_CACHE") or str(paths().cache)
    environment = os.environ | {"AEFLOW_HOME": str(home), "AEFLOW_CACHE": cache}
    environment |= {"TQDM_DISABLE": "1", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-W", "ignore", "-m", "aeflow_utils", *arguments]
    subprocess.run(command, env=environment, check=True)


def _auroc(scores: pd.DataFrame) -> float:
    test = scores[scores["split"] == "test"]
    return auroc(test["label"].to_numpy(), test["image_score"].to_numpy())


def pipelines() -> list[Row]:
    """Beside AE-FLOW as one would write it down first, in turns."""
    inputs, _ = elpv(WIDE_RESNET, 256, 16, 64)
    return compare(inputs, 5)


def markdown(table: pd.DataFrame) -> str:
    """Of each method a step with images on the card and outside, and the peak of memory."""
    found = table[table["section"].isin((STEP, MEMORY))]
    cases = found.pivot_table(index="case", columns="section", values="median", sort=False)
    lines = ["| method | ms a step | images outside | float32 | GB | GB, float32 |"]
    lines.append("| --- |" + " --: |" * 5)
    for name in (case for case in cases.index if not case.endswith((STREAMED, EXACT))):
        steps = [cases.loc[name + kind, STEP] for kind in ("", STREAMED, EXACT)]
        peaks = [cases.loc[name + kind, MEMORY] / 1000 for kind in ("", EXACT)]
        if not np.isnan(steps[0]):
            values = [f"{v:.0f}" for v in steps] + [f"{v:.1f}" for v in peaks]
            lines.append(f"| {name} | {' | '.join(values)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    machine, rows, home = describe_machine(), [], paths().home
    with TemporaryDirectory() as folder:
        for found in (methods(), pipelines(), sharing(Path(folder))):
            for row in found:
                print(row.section, row.case, np.median(row.values), row.unit, flush=True)
                rows.append(row)
    table = table_of(rows).assign(machine=machine)
    table.to_csv(home / "results" / "card.csv", index=False, float_format="%.4g")
    table = pd.read_csv(home / "results" / "card.csv")
    write_marked(home / "benchmarks" / "README.md", "card", markdown(table))
