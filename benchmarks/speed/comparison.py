"""Pipelines side by side: seconds a step, images a second, ratios, shares of the peak, stages.

In one process a pipeline works in a heap that the others have grown: freed memory is at hand, where
alone it would come from the system anew, page by page. Who runs one pipeline runs it alone, so all
is done again with each in a process of its own.
"""

from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.speed.measuring import Row, clock, in_rounds, own_process, peak_speed, seconds_of
from benchmarks.speed.pipelines import NAMES, OURS, PEERS, PLAIN, Inputs, Pipeline, build, elpv

STEP, SCORE, PEAK = "train step", "scoring", "share of convolution peak"
ENCODE, CACHED, ALONE = "encoding, fused", ", cached features", ", each alone"
ARITHMETICS = {"fp32": torch.float32, "bf16": torch.bfloat16}
ENCODED = "encoded before: as the study scores"
RATIOS = [  # slow, fast, what to know
    (slow, fast.format(kind), note)
    for slow, fast, note in (
        (PLAIN, "AE-FLOW {}", ""),
        (PEERS[0], "FastFlow {}", ""),
        (PEERS[0], "AE-FLOW {}", "not like for like: one scale and a decoder"),
        (PEERS[1], "PaDiM {}", ""),
        (PLAIN, f"AE-FLOW {{}}{CACHED}", ENCODED),
        (PEERS[0], f"FastFlow {{}}{CACHED}", ENCODED),
    )
    for kind in ARITHMETICS
]
TRAINING = ("read a batch", "flow forward", "decoder forward", "backward", "optimizer")
SCORING = ("read pixels", "encoder", "flow", "decoder", "SSIM, pooling and map")


def compare(inputs: Inputs, repeats: int) -> list[Row]:
    """Train steps and scores of all pipelines in this process, and their shares of the peak."""
    every = {name: build(name, inputs) for name in NAMES}
    trained = {name: p for name, p in every.items() if p.optimizers}
    batch, image = inputs.first, inputs.pixels(inputs.first)
    steps = {name: partial(seconds_of, p.step, batch) for name, p in trained.items()}
    scores = {name: partial(seconds_of, p.score, image) for name, p in every.items()}
    for name in OURS:
        scores[name + CACHED] = partial(seconds_of, every[name].score_cached, batch)
    scores[ENCODE] = partial(seconds_of, every["AE-FLOW fp32"].encode, image)
    note = f"on {len(inputs.images)} images, features included"
    fits = [
        Row("fit", inputs.encoder, name, "time", "s", [p.fit()], note)
        for name, p in every.items()
        if name not in trained
    ]
    stepped, scored = in_rounds(steps, repeats), in_rounds(scores, repeats)
    rows = _timed(STEP, inputs, stepped) + _timed(SCORE, inputs, scored)
    return fits + rows + _shares(trained, stepped, repeats)


def _timed(section: str, inputs: Inputs, seconds: dict[str, np.ndarray]) -> list[Row]:
    """A row a case, of its seconds a batch, then the ratios between cases, round by round."""
    row, rows = partial(Row, section, inputs.encoder), []
    for name, values in seconds.items():
        what = ("time", "s an image", values / inputs.batch_size)
        if section == SCORE:
            what = ("speed", "images/s", inputs.batch_size / values)
        rows.append(row(name, *what, f"batches of {inputs.batch_size}"))
    for slow, fast, note in RATIOS:
        if slow in seconds and fast in seconds:
            ratio = seconds[slow] / seconds[fast]
            rows.append(row(f"{slow} / {fast}", "times as fast", "ratio", ratio, note))
    return rows


def _shares(trained: dict[str, Pipeline], stepped: dict, repeats: int) -> list[Row]:
    """Convolutions' operations over the time of the whole step, against the machine's best."""
    cases = {kind: partial(peak_speed, dtype) for kind, dtype in ARITHMETICS.items()}
    peaks = in_rounds(cases, repeats)
    rows = [
        Row("machine", "", f"convolution peak {kind}", "speed", "GFLOP/s", speeds)
        for kind, speeds in peaks.items()
    ]
    for name, p in trained.items():
        peak, work = np.median(peaks["bf16" if "bf16" in name else "fp32"]), gflops_of_step(p)
        note = f"{work / p.inputs.batch_size:.1f} GFLOP an image"
        share = work / stepped[name] / peak
        rows.append(Row(PEAK, p.inputs.encoder, name, "share", "", share, note))
    return rows


def gflops_of_step(pipeline: Pipeline) -> float:
    """Billions of floating point operations in the convolutions and products of one batch."""
    with FlopCounterMode(display=False) as counter:
        pipeline.step(pipeline.inputs.first)
    return counter.get_total_flops() / 1e9


def each_alone(inputs: Inputs, kind: str, repeats: int) -> list[Row]:
    """Pipelines that train, in this arithmetic, each in a process of its own."""
    names = [PLAIN, f"AE-FLOW {kind}", f"FastFlow {kind}", PEERS[0]]
    which = inputs.encoder, inputs.size, inputs.batch_size
    cases = {
        name: partial(own_process(), seconds_alone, name, *which) for name in names if name in NAMES
    }
    found = in_rounds(cases, repeats)
    steps, scores = ({name: both[:, i] for name, both in found.items()} for i in (0, 1))
    return _timed(STEP + ALONE, inputs, steps) + _timed(SCORE + ALONE, inputs, scores)


def seconds_alone(*which: object) -> tuple[float, float]:
    """Of one step, and of one score, of the only pipeline that this process has."""
    pipeline = _only(*which)
    batch, image = pipeline.inputs.first, pipeline.inputs.pixels(pipeline.inputs.first)
    return seconds_of(pipeline.step, batch), seconds_of(pipeline.score, image)


@lru_cache(maxsize=1)
def _only(name: str, encoder: str, size: int, batch_size: int) -> Pipeline:
    return build(name, elpv(encoder, size, batch_size, batch_size)[0])


def stages(inputs: Inputs, kind: str, repeats: int) -> list[Row]:
    """AE-FLOW in this arithmetic, from hook to hook: milliseconds an image."""
    pipeline, laps = build(f"AE-FLOW {kind}", inputs), []

    def lap(*_: object) -> None:
        laps.append(clock())

    pipeline.encode.register_forward_pre_hook(lap)
    pipeline.system.scaler.register_forward_pre_hook(lap)
    pipeline.system.flow.register_forward_hook(lap)
    pipeline.system.decoder.register_forward_hook(lap)
    pipeline.optimizers[0].register_step_pre_hook(lap)

    def seconds_by_stage(work: Callable[[], object]) -> np.ndarray:
        laps[:] = [clock()]
        work()
        return np.diff([*laps, clock()])

    works = {
        "stages of a train step": (TRAINING, lambda: pipeline.step(inputs.first)),
        "stages of scoring": (SCORING, lambda: pipeline.score(inputs.pixels(inputs.first))),
    }
    cases = {section: partial(seconds_by_stage, work) for section, (_, work) in works.items()}
    found = in_rounds(cases, repeats)
    return [
        Row(section, inputs.encoder, stage, "time", "ms an image", values, kind)
        for section, (names, _) in works.items()
        for stage, values in zip(names, 1e3 * found[section].T / inputs.batch_size, strict=True)
    ]
