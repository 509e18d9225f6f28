"""Seconds an epoch, and peak memory, against the number of images; in processes of their own.

Measured is anonymous memory (RssAnon of /proc/self/status): what was allocated. Pages of mapped
feature files count as resident too, but belong to the system's file cache, which takes them back
when anybody needs the room. The features are a sparse file, so that nobody needs 14 GB of disk.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.cache import Rows
from aeflow_utils.data.features import ImageSet
from aeflow_utils.data.precision import bf16_here, use_bf16
from aeflow_utils.models import build_system
from aeflow_utils.options import AEFlowConfig, FastFlowConfig
from aeflow_utils.profiles import get_profile
from aeflow_utils.study.training import fit, score_images, seed_everything
from benchmarks.speed.measuring import Row, in_rounds, own_process, seconds_of
from benchmarks.speed.pipelines import LITE0, WIDE_RESNET

EPOCH, MEMORY = "epoch", "peak memory"
SIZE, BATCH = 256, 16


def curve(numbers: tuple[int, ...], repeats: int, channels: int = 112) -> list[Row]:
    """Epochs through `training.fit`, of a FastFlow of one block, from a sparse memory map."""
    note = "with its statistics, features on disk, one block, CPU time of one thread"
    row, rows = partial(Row, EPOCH, LITE0, note=note), []
    seconds, _ = own_process()(epochs, numbers, repeats, channels)
    for n_images, each in seconds.items():
        _, peak = own_process()(epochs, (n_images,), 1, channels)
        case = f"{n_images} images"
        rows.append(row(case, "time", "s", each))
        rows.append(row(case, "time an image", "ms", 1e3 * each / n_images))
        rows.append(row(case, "peak memory", "MB", [peak]))
        if n_images > numbers[0]:
            relative = each / n_images / (seconds[numbers[0]] / numbers[0])
            case = f"{n_images:,} against {numbers[0]:,} images"
            rows.append(row(case, "time an image", "ratio", relative))
    return rows


def peak_memory(numbers: tuple[int, ...], channels: int = 1024) -> list[Row]:
    """AE-FLOW on Wide ResNet-50-2 at batch 16: statistics of all images, two steps, one score."""
    rows = []
    for n_images in numbers:
        framework, peak = own_process()(full_model, n_images, channels)
        note = f"anonymous memory beside the framework's {framework:.0f} MB, batch {BATCH}"
        case, values = f"{n_images} images", [peak - framework]
        rows.append(Row(MEMORY, WIDE_RESNET, case, "memory", "MB", values, note))
    return rows


def epochs(numbers: tuple[int, ...], repeats: int, channels: int) -> tuple[dict, float]:
    """{images: seconds of an epoch in each round, statistics included}, and the memory taken, MB.

    Of the smallest FastFlow there is, on one thread as the laptop profile. Small sets have as many
    epochs in their turn as make half the images of the largest. The first round, not counted, meets
    files that the system has not read yet.
    """
    torch.set_num_threads(1)
    config = FastFlowConfig(strides=(16,), n_blocks=1, hidden_ratio=0.001)
    n_epochs = {n: max(1, max(numbers) // 2 // n) for n in numbers}

    def turn(images: ImageSet) -> None:
        seed_everything(0)
        system = build_system(config, {16: (channels, 16, 16)}, SIZE)
        train = TrainConfig(epochs=n_epochs[len(images)], batch_size=BATCH)
        fit(system, images, images.select(np.arange(len(images)) < BATCH), train, seed=0)

    with TemporaryDirectory() as folder:
        sets = {n: sparse_images(folder, n, channels) for n in numbers}
        cases = {n: partial(seconds_of, turn, images) for n, images in sets.items()}
        with watched_memory() as seen:
            seconds = in_rounds(cases, repeats)
    return {n: each / n_epochs[n] for n, each in seconds.items()}, max(seen) - seen[0]


def full_model(n_images: int, channels: int) -> tuple[float, float]:
    """Memory before, and at the peak, in the arithmetic of the paper profile on this machine."""
    order = np.random.default_rng(0).permutation(n_images)
    with TemporaryDirectory() as folder:
        images = sparse_images(folder, n_images, channels)
        with watched_memory() as seen:
            seed_everything(0)
            system = build_system(AEFlowConfig(), {16: (channels, 16, 16)}, SIZE)
            use_bf16(system, bf16_here(get_profile("paper").bf16))
            system.fit_statistics(images)
            optimizers = system.optimizers(TrainConfig())
            for positions in np.array_split(order[: 2 * BATCH], 2):
                system.train().train_step(images.batch(positions), optimizers, 0.0)
            score_images(system, images.select(np.isin(np.arange(n_images), order[:BATCH])))
    return seen[0], max(seen)


def sparse_images(folder: str, n_images: int, channels: int) -> ImageSet:
    """An `ImageSet` on two sparse files, mapped as the cache's are; features of stride 16."""
    path, shape = f"{folder}/{n_images}", (n_images, channels, 16, 16)
    images = np.memmap(f"{path}-images", np.uint8, "w+", shape=(n_images, 1, SIZE, SIZE))
    features = np.memmap(f"{path}-features", np.float16, "w+", shape=shape)
    columns = {"label": 0, "kind": "", "split": "train", "group": ""}
    table = pd.DataFrame({"path": [""] * n_images} | columns)
    return ImageSet(table, Rows.every(images), {16: Rows.every(features)})


def anonymous_mb() -> float:
    """Megabytes this process has allocated and holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


@contextmanager
def watched_memory() -> Iterator[list[float]]:
    """`anonymous_mb` before the block, every 10 ms while it runs, and after it."""
    seen, done = [anonymous_mb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            seen.append(anonymous_mb())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield seen
    done.set()
    thread.join()
    seen.append(anonymous_mb())
