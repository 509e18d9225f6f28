"""The benchmark's pieces, tiny: what is compared computes the same. Nothing here is timed."""

import itertools
import sys
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import REPOSITORY, fresh_memory

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from aeflow_utils.methods import AEFlowConfig
from benchmarks.speed import (
    agreement,
    aims,
    alone,
    comparison,
    convergence,
    machine,
    memory,
    picture,
    scaling,
    stages,
)
from benchmarks.speed.inputs import (
    LITE0,
    WIDE_RESNET,
    encode_plain,
    fused_encoder,
    make_inputs,
    plain_encoder,
)
from benchmarks.speed.pipelines import ours, plain
from benchmarks.speed.timing import Row, interleaved, ratios, row

SHAPE = (8, 4, 4)


@pytest.fixture(scope="module")
def inputs():
    return make_inputs(LITE0, 64, 2, 6)


@pytest.fixture
def no_subprocess(monkeypatch):
    """`measure` here, in the process and size of the test."""

    def measure(what, numbers, shape, size, repeats=1):
        return memory.measure(what, numbers, SHAPE, 64, 4, repeats)

    monkeypatch.setattr(scaling, "measure_apart", measure)


def test_cases_take_turns_and_warm_ups_are_not_counted():
    calls = []
    seconds = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_a_row_is_the_median_and_the_extremes_and_ratios_are_round_by_round():
    found = row("section", "", "case", "time", "s", [3.0, 1.0, 8.0])
    assert (found.median, found.low, found.high, found.repeats) == (3.0, 1.0, 8.0, 3)
    np.testing.assert_array_equal(ratios([2.0, 9.0], [1.0, 3.0]), [2.0, 3.0])


def test_the_plain_pipeline_computes_what_ours_does(inputs):
    image = inputs.images.batch(np.arange(4)).image
    features = encode_plain(plain_encoder(LITE0, (16,)), image)
    for stride, maps in fused_encoder(LITE0, (16,))(image).items():
        torch.testing.assert_close(maps, features[stride], rtol=1e-4, atol=1e-4)
    systems = [plain(inputs).system, ours(inputs, AEFlowConfig(), "ours").system]
    optimizers = [system.optimizers(TrainConfig()) for system in systems]
    for _ in range(3):
        losses = [
            system.train_step(Batch(image, features), each, 0.0)["total"].item()
            for system, each in zip(systems, optimizers, strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_pipelines_scores_are_one_an_image_from_pixels(inputs):
    image = inputs.images.batch(np.arange(4)).image
    for pipeline in (plain(inputs), ours(inputs, AEFlowConfig(), "ours", bf16=True)):
        pipeline.step(np.arange(2))
        scores = pipeline.score(image)
        assert scores.shape == (4,) and scores.isfinite().all()


def test_scores_from_the_cache_are_those_from_pixels(inputs):
    pipeline, positions = ours(inputs, AEFlowConfig(), "ours"), np.arange(4)
    image = inputs.images.batch(positions).image
    from_cache = pipeline.score_cached(positions)
    torch.testing.assert_close(from_cache, pipeline.score(image), rtol=1e-3, atol=1e-3)
    assert from_cache.std() > 1e-3  # else any images' scores would agree


def test_every_section_has_finite_rows_and_they_can_be_drawn(
    inputs, no_subprocess, tmp_path, monkeypatch
):
    monkeypatch.setattr(machine, "PEAK_SHAPES", ((8, 8, 3, 4, 1),))
    sizes = SimpleNamespace(batches=((LITE0, 2),), image_size=64, n_train=16, n_val=4, max_steps=10)
    rows = comparison.pipelines(inputs, 1, 4, with_anomalib=False)
    rows += stages.breakdown(inputs, 1)
    rows += comparison.time_to_auroc(rows, sizes, with_anomalib=False)
    rows += scaling.curve((8, 1000), 1) + scaling.peak_memory((8,))
    table = pd.DataFrame([asdict(found) for found in rows]).assign(machine=machine.describe())
    timed = table[~table["note"].str.startswith("not reached")]
    assert np.isfinite(timed[["median", "low", "high"]].to_numpy()).all()
    sections = {"train step", "scoring", comparison.PEAK, agreement.SECTION, "epoch", "peak memory"}
    assert sections <= set(table["section"])
    assert not table["case"].str.contains("anomalib").any()
    assert picture.draw(table, tmp_path / "bench.png").stat().st_size > 10_000


def test_pipelines_take_turns_in_processes_of_their_own():
    names = ["plain AE-FLOW", "AE-FLOW fp32"]
    found = alone.in_turn(names, LITE0, 64, 2, repeats=2)
    for work in ("step", "score"):
        assert list(found[work]) == names
        assert all(len(values) == 2 and min(values) > 0 for values in found[work].values())
    with pytest.raises(RuntimeError, match="process ended with status 1"):
        alone.in_turn(["no such pipeline"], LITE0, 64, 2, repeats=1)


def test_the_table_of_aims_is_what_was_recorded():
    table = pd.read_csv(REPOSITORY / "results" / "benchmarks.csv")
    written = (REPOSITORY / "benchmarks" / "README.md").read_text()
    assert aims.aims_table(table) in written


def test_an_aim_is_reached_by_the_default_arithmetic_or_not_at_all():
    table = pd.read_csv(REPOSITORY / "results" / "benchmarks.csv")
    ratio = (table["encoder"] == WIDE_RESNET) & (table["unit"] == "ratio")
    step = ratio & table["case"].str.startswith("plain AE-FLOW / AE-FLOW")

    def verdict(on, **medians):
        changed = table.assign(machine=on)
        for kind, value in medians.items():
            changed.loc[step & table["case"].str.endswith(kind), "median"] = value
        return aims.aims_table(changed).splitlines()[2].split(" | ")[-1]

    fast = f"some processor, {machine.BF16_IS_FAST}"
    assert verdict(fast, bf16=3.1, fp32=1.0) == "yes |"
    assert verdict(fast, bf16=2.9, fp32=9.0) == "no |"


def test_the_dense_permutations_are_work_that_ours_does_not_do(inputs):
    pipelines = plain(inputs), ours(inputs, AEFlowConfig(), "ours")
    dense, indexed = (machine.gflops(p.step, np.arange(2)) for p in pipelines)
    assert dense > 1.2 * indexed > 0


def test_what_is_allocated_is_seen_and_what_is_mapped_is_not(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("RssAnon is Linux's")
    with memory.watched_memory() as allocated:
        block = fresh_memory(100_000_000)
    assert allocated.rise > 90 and len(block)
    images = memory.sparse_images(tmp_path, 2000, (64, 16, 16), 256)
    with memory.watched_memory() as mapped:
        total = sum(batch.features[16].sum() for batch in images.batches(16))
    assert total == 0 and mapped.rise < 30  # 65 MB of features, and 131 MB of pixels, went by


def test_training_streams(tmp_path):
    """As many bytes for ten times as many images."""
    if not sys.platform.startswith("linux"):
        pytest.skip("RssAnon is Linux's")
    few, many = (
        memory.measure("epochs", (n,), (16, 8, 8), 128, 8, 1)["rise_mb"] for n in (40, 400)
    )
    assert many < few + 20  # 400 images as float32 are 79 MB of pixels


def test_steps_are_counted_until_the_target_is_reached():
    train, val = convergence.elpv(64, 4, 8, 6)
    labels, steps = itertools.cycle(val.labels), []

    def pipeline(score):
        return SimpleNamespace(step=steps.append, score=score)

    knows = pipeline(lambda image: torch.tensor([next(labels) for _ in image]))
    assert convergence.steps_to_target(knows, train, val, 30) == (10, 1.0)
    assert len(steps) == 10 and all(len(positions) == 4 for positions in steps)
    guesses = pipeline(lambda image: torch.zeros(len(image)))
    assert convergence.steps_to_target(guesses, train, val, 20) == (None, 0.5)


def test_rows_are_what_the_table_holds():
    assert list(asdict(row("a", "b", "c", "d", "e", [1.0]))) == list(Row.__annotations__)
