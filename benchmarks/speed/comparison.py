"""Pipelines side by side: seconds a step, images a second, share of the peak, time to an AUROC."""

from __future__ import annotations

import numpy as np
import torch

from aeflow_utils.profiles import PROFILES
from benchmarks.speed import agreement, alone, convergence, machine
from benchmarks.speed.inputs import LITE0, Inputs, fused_encoder, pixels_at
from benchmarks.speed.pipelines import PLAIN, Pipeline, builders
from benchmarks.speed.timing import Row, interleaved, ratios, row

STEP, SCORE, PEAK = "train step", "scoring", "share of convolution peak"
STEP_ALONE, SCORE_ALONE = f"{STEP}, each alone", f"{SCORE}, each alone"
ENCODE = "encoding, fused"
CACHED = ", cached features"
UNLIKE = "not like for like: one scale and a decoder"
ENCODED = "encoded before: as the study scores"
# What is divided by what: a part of the slow one's name, the fast one's, and what to know.
RATIOS = (
    ("plain", "AE-FLOW fp32", ""),
    ("plain", "AE-FLOW bf16", ""),
    ("anomalib FastFlow", "FastFlow fp32", ""),
    ("anomalib FastFlow", "FastFlow bf16", ""),
    ("anomalib FastFlow", "AE-FLOW fp32", UNLIKE),
    ("anomalib FastFlow", "AE-FLOW bf16", UNLIKE),
    ("anomalib PaDiM", "PaDiM fp32", ""),
    ("plain", f"AE-FLOW fp32{CACHED}", ENCODED),
    ("plain", f"AE-FLOW bf16{CACHED}", ENCODED),
    ("anomalib FastFlow", f"FastFlow fp32{CACHED}", ENCODED),
    ("anomalib FastFlow", f"FastFlow bf16{CACHED}", ENCODED),
)


def pipelines(inputs: Inputs, repeats: int, n_fitted: int, with_anomalib: bool) -> list[Row]:
    """Train steps and scores of all pipelines, then their ratios."""
    every = [build() for build in builders(inputs).values()]
    scored_only, rows = [], []
    if with_anomalib:
        from benchmarks.speed.anomalib_pipelines import fastflow, padim_pair

        every.append(fastflow(inputs))
        for seconds, padim in padim_pair(inputs, n_fitted):
            note = f"on {n_fitted} images, features included"
            rows.append(row("fit", inputs.encoder, padim.name, "time", "s", [seconds], note))
            scored_only.append(padim)
    positions = np.arange(inputs.batch_size)
    image = pixels_at(inputs, positions)
    encoder = fused_encoder(inputs.encoder, (16,))
    steps = {p.name: lambda p=p: p.step(positions) for p in every}
    stepped = interleaved(steps, repeats)
    scores = {p.name: lambda p=p: p.score(image) for p in [*every, *scored_only]}
    cached = {
        p.name + CACHED: lambda p=p: p.score_cached(positions)
        for p in every
        if p.score_cached is not None
    }
    scored = interleaved(scores | cached | {ENCODE: lambda: encoder(image)}, repeats)
    for section, seconds in ((STEP, stepped), (SCORE, scored)):
        rows += _timed(section, inputs.encoder, seconds, inputs.batch_size)
    return rows + _shares(inputs, every, stepped, repeats) + agreement.of_maps(inputs)


def each_alone(
    encoder: str, size: int, batch_size: int, repeats: int, with_anomalib: bool
) -> list[Row]:
    """The same, every pipeline in a process of its own and in its default arithmetic."""
    kind = default_arithmetic(encoder, machine.describe())
    names = [PLAIN, f"AE-FLOW {kind}", f"FastFlow {kind}"]
    if with_anomalib:
        from benchmarks.speed.anomalib_pipelines import ANOMALIB

        names.append(f"{ANOMALIB} FastFlow")
    found, rows = alone.in_turn(names, encoder, size, batch_size, repeats), []
    for section, work in ((STEP_ALONE, "step"), (SCORE_ALONE, "score")):
        rows += _timed(section, encoder, found[work], batch_size)
    return rows


def _timed(
    section: str, encoder: str, seconds: dict[str, list[float]], batch_size: int
) -> list[Row]:
    """A row a case, of its seconds a batch, then the ratios between cases."""
    rows, note = [], f"batches of {batch_size}"
    for name, values in seconds.items():
        each = np.array(values) / batch_size
        if section == SCORE:
            rows.append(row(section, encoder, name, "speed", "images/s", 1 / each, note))
        else:
            rows.append(row(section, encoder, name, "time", "s an image", each, note))
    return rows + _ratios(section, encoder, seconds)


def default_arithmetic(encoder: str, on: str) -> str:
    """What an encoder's profile computes in on a machine that `machine.describe` calls `on`."""
    allowed = any(p.bf16 for p in PROFILES.values() if p.encoder == encoder)
    return "bf16" if allowed and machine.BF16_IS_FAST in on else "fp32"


def _ratios(section: str, encoder: str, seconds: dict[str, list[float]]) -> list[Row]:
    rows = []
    for slow, fast, note in RATIOS:
        for name, values in seconds.items():
            if all(word in name for word in slow.split()) and fast in seconds:
                case = f"{name} / {fast}"
                values = ratios(values, seconds[fast])
                rows.append(row(section, encoder, case, "times as fast", "ratio", values, note))
    return rows


def _shares(
    inputs: Inputs, every: list[Pipeline], stepped: dict[str, list[float]], repeats: int
) -> list[Row]:
    """Convolutions' operations over the time of the whole step, against the machine's best."""
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    peaks = {name: machine.convolution_peak(dtype, repeats) for name, dtype in kinds.items()}
    rows = [
        row("machine", "", f"convolution peak {name}", "speed", "GFLOP/s", values)
        for name, values in peaks.items()
    ]
    for pipeline in every:
        kind = "bf16" if "bf16" in pipeline.name else "fp32"
        work = machine.gflops(pipeline.step, np.arange(inputs.batch_size))
        share = work / np.array(stepped[pipeline.name]) / np.median(peaks[kind])
        note = f"{work / inputs.batch_size:.1f} GFLOP an image"
        rows.append(row(PEAK, inputs.encoder, pipeline.name, "share", "", share, note))
    return rows


def time_to_auroc(measured: list[Row], sizes: object, with_anomalib: bool) -> list[Row]:
    """Seconds until validation AUROC is `convergence.TARGET`, on ELPV with lite0."""
    batch = dict(sizes.batches)[LITE0]
    train, val = convergence.elpv(sizes.image_size, batch, sizes.n_train, sizes.n_val)
    runs = [build() for name, build in builders(train).items() if name != PLAIN]
    if with_anomalib:
        from benchmarks.speed.anomalib_pipelines import fastflow

        runs.append(fastflow(train))
    rows = []
    for run in runs:
        reached = convergence.steps_to_target(run, train, val, sizes.max_steps)
        cached = "anomalib" not in run.name
        rows.append(_time_to_target(measured, run.name, reached, train, cached))
        if "bf16" in run.name:
            rows += agreement.of_scores(run, val, train.batch_size, train.encoder)
        if run.name == "AE-FLOW fp32":  # the same arithmetic: the same steps
            rows.append(_time_to_target(measured, PLAIN, reached, train, False))
    return rows + (_padim_times(train, val, sizes) if with_anomalib else [])


def _time_to_target(
    measured: list[Row], case: str, reached: tuple[int | None, float], train: Inputs, cached: bool
) -> Row:
    """Steps times their measured seconds, and the encoder's pass that fills a cache."""
    n_steps, best = reached
    image = next(r for r in measured if r.section == STEP and r.case == case and r.unit != "ratio")
    speed = next(r for r in measured if r.section == SCORE and r.case == ENCODE)
    encoding = len(train.images) / speed.median if cached else 0.0
    n_seen = (n_steps or np.nan) * train.batch_size
    values = [n_seen * seconds + encoding for seconds in (image.median, image.low, image.high)]
    note = f"{n_steps} steps" if n_steps else f"not reached: {best:.3f}"
    note += f", {encoding:.1f} s of them to fill the cache" if cached else ""
    section = f"time to validation AUROC {convergence.TARGET}"
    return Row(section, LITE0, case, "time", "s", *values, image.repeats, note)


def _padim_times(train: Inputs, val: object, sizes: object) -> list[Row]:
    from benchmarks.speed.anomalib_pipelines import padim_pair

    rows = []
    for seconds, padim in padim_pair(train, len(train.images)):
        reached = convergence.validation_auroc(padim, val, train.batch_size)
        section = f"time to validation AUROC {convergence.TARGET}"
        note = f"one fit, AUROC {reached:.3f}"
        rows.append(row(section, train.encoder, padim.name, "time", "s", [seconds], note))
    return rows
