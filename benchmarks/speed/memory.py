"""Peak memory, and seconds an epoch, against the number of images; each in a fresh process.

Measured is anonymous memory (RssAnon of /proc/self/status): what was allocated. Pages of mapped
feature files count as resident too, but belong to the system's file cache, which takes them back
when anybody needs the room. The features are a sparse file, so that nobody needs 14 GB of disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import ImageSet
from aeflow_utils.methods import AEFlowConfig, FastFlowConfig
from aeflow_utils.models import build_system
from aeflow_utils.precision import bf16_here, use_bf16
from aeflow_utils.profiles import get_profile
from aeflow_utils.study.training import fit, score_images, seed_everything
from benchmarks.speed.timing import interleaved

SHAPE = (1024, 16, 16)  # Wide ResNet-50-2 at stride 16 and 256 px: 0.5 MB an image


def anonymous_mb() -> float:
    """Megabytes this process has allocated and holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


class PeakMemory:
    """The largest `anonymous_mb` since it was made, looked at every 10 ms; `rise` is above then."""

    def __init__(self) -> None:
        self.start = self.peak = anonymous_mb()

    @property
    def rise(self) -> float:
        return self.peak - self.start


@contextmanager
def watched_memory() -> Iterator[PeakMemory]:
    """Watches from a thread while the block runs."""
    memory, done = PeakMemory(), threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            memory.peak = max(memory.peak, anonymous_mb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()
        memory.peak = max(memory.peak, anonymous_mb())


def sparse_images(
    folder: Path, n_images: int, shape: tuple[int, ...], size: int, splits: str = "train"
) -> ImageSet:
    """An `ImageSet` on two sparse files, as the cache's memory maps are."""
    features = folder / f"{n_images}-features.npy"
    pixels = folder / f"{n_images}-images.npy"
    np.lib.format.open_memmap(features, "w+", "float16", (n_images, *shape))
    np.lib.format.open_memmap(pixels, "w+", "uint8", (n_images, 1, size, size))
    stride = size // shape[-1]
    columns = {"path": [f"{row}.png" for row in range(n_images)], "label": 0, "kind": "normal"}
    return ImageSet(
        pd.DataFrame(columns | {"split": splits}),
        np.arange(n_images),
        np.load(pixels, mmap_mode="r"),
        {stride: np.load(features, mmap_mode="r")},
    )


def epochs(
    sets: list[ImageSet], val: ImageSet, shape: tuple[int, ...], batch_size: int, repeats: int
) -> list[list[float]]:
    """Seconds of training for an epoch of each set, in turn; statistics included.

    Of the smallest FastFlow there is, on one thread as the laptop profile. Small sets have as many
    epochs in their turn as make half the images of the largest. A first round is not counted: it
    meets files that the system has not read yet.
    """
    torch.set_num_threads(1)
    stride, size = next(iter(val.features)), val.images.shape[-1]
    config = FastFlowConfig(strides=(stride,), n_blocks=1, hidden_ratio=0.001)
    train = TrainConfig(epochs=1, batch_size=batch_size)
    n_epochs = [max(1, max(map(len, sets)) // 2 // len(images)) for images in sets]

    def turn(images: ImageSet, n: int) -> None:
        for _ in range(n):
            seed_everything(0)
            fit(build_system(config, {stride: shape}, size), images, val, train, seed=0)

    cases = {
        str(len(images)): partial(turn, images, n) for images, n in zip(sets, n_epochs, strict=True)
    }
    seconds = interleaved(cases, repeats).values()
    return [[taken / n for taken in each] for each, n in zip(seconds, n_epochs, strict=True)]


def full_model(images: ImageSet, shape: tuple[int, ...], batch_size: int) -> None:
    """AE-FLOW: statistics of all images, two steps on random ones, and scores of a batch.

    In the arithmetic that the paper profile has on this machine.
    """
    stride, size = next(iter(images.features)), images.images.shape[-1]
    seed_everything(0)
    system = build_system(AEFlowConfig(strides=(stride,)), {stride: shape}, size)
    use_bf16(system, bf16_here(get_profile("paper").bf16))
    system.fit_statistics(images)
    optimizers = system.optimizers(TrainConfig())
    order = np.random.default_rng(0).permutation(len(images))
    for positions in np.array_split(order[: 2 * batch_size], 2):
        system.train().train_step(images.batch(positions), optimizers, 0.0)
    score_images(system, images.select(np.isin(np.arange(len(images)), order[:batch_size])))


def measure(
    what: str,
    numbers: tuple[int, ...],
    shape: tuple[int, ...],
    size: int,
    batch_size: int,
    repeats: int,
) -> dict:
    """Seconds, and megabytes beside the framework, of data sets of these sizes."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [sparse_images(Path(folder), n_images, shape, size) for n_images in numbers]
        val = sparse_images(Path(folder), batch_size, shape, size, "val")
        torch.zeros(1)
        with watched_memory() as memory:
            seconds = []
            if what == "epochs":
                seconds = epochs(sets, val, shape, batch_size, repeats)
            else:
                full_model(sets[0], shape, batch_size)
    return {"seconds": seconds, "rise_mb": memory.rise, "framework_mb": memory.start}


def measure_apart(
    what: str, numbers: tuple[int, ...], shape=SHAPE, size=256, batch=16, repeats=1
) -> dict:
    """`measure` in a process of its own, whose memory nothing else has touched."""
    options = json.dumps([what, numbers, shape, size, batch, repeats])
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.speed.memory", options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    what, numbers, shape, *rest = json.loads(sys.argv[1])
    print(json.dumps(measure(what, tuple(numbers), tuple(shape), *rest)))
