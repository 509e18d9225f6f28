"""Pipelines that take turns, each in a process of its own.

In one process a pipeline works in a heap that the others have grown: freed memory is at hand, where
alone it would come from the system anew, page by page. Who runs one pipeline runs it alone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import numpy as np

from benchmarks.speed.inputs import Inputs, make_inputs, pixels_at
from benchmarks.speed.pipelines import Pipeline, builders
from benchmarks.speed.timing import in_rounds, seconds_of


def build(name: str, inputs: Inputs) -> Pipeline:
    """The pipeline of that name, ours or the peer's FastFlow."""
    if name.startswith("anomalib"):
        from benchmarks.speed.anomalib_pipelines import fastflow

        return fastflow(inputs)
    return builders(inputs)[name]()


def in_turn(
    names: list[str], encoder: str, size: int, batch_size: int, repeats: int
) -> dict[str, dict[str, list[float]]]:
    """{"step" or "score": {name: seconds in each round}}; a first round is not counted."""
    workers = {name: _start(name, encoder, size, batch_size) for name in names}
    try:
        return {
            work: in_rounds(
                {name: partial(_ask, each, work) for name, each in workers.items()}, repeats
            )
            for work in ("step", "score")
        }
    finally:
        for worker in workers.values():
            worker.kill()
            worker.wait()


def _start(*options: object) -> subprocess.Popen:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.alone", json.dumps(options)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _ask(worker: subprocess.Popen, work: str) -> float:
    """Seconds that the worker took, by its own clock."""
    worker.stdin.write(f"{work}\n")
    worker.stdin.flush()
    for line in worker.stdout:
        if line.startswith("seconds "):
            return float(line.split()[1])
    raise RuntimeError(f"a benchmark's process ended with status {worker.wait()}")


def serve(name: str, encoder: str, size: int, batch_size: int) -> None:
    """Do what each line of the standard input says, and answer with seconds."""
    inputs = make_inputs(encoder, size, batch_size, batch_size)
    pipeline, positions = build(name, inputs), np.arange(batch_size)
    image = pixels_at(inputs, positions)
    works = {"step": lambda: pipeline.step(positions), "score": lambda: pipeline.score(image)}
    for line in sys.stdin:
        print(f"seconds {seconds_of(works[line.strip()])}", flush=True)


if __name__ == "__main__":
    serve(*json.loads(sys.argv[1]))
