"""The benchmark's pieces, tiny: what is compared computes the same. Nothing here is timed."""

import itertools
import os
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import REPOSITORY, fresh_memory

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from benchmarks.speed import comparison, measuring, quality, report, scaling
from benchmarks.speed.__main__ import sections
from benchmarks.speed.measuring import Row, in_rounds, own_process, table_of
from benchmarks.speed.pipelines import LITE0, OURS, PLAIN, WIDE_RESNET, build, elpv

RECORDED = pd.read_csv(REPOSITORY / "results" / "benchmarks.csv")
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RssAnon is Linux's")


@pytest.fixture(scope="module")
def inputs():
    return elpv(LITE0, 64, 2, 6)[0]


@pytest.fixture(scope="module")
def pipelines(inputs):
    return {name: build(name, inputs) for name in (PLAIN, *OURS)}


@pytest.fixture
def no_processes(monkeypatch):
    """What would have a process of its own, in the process of the test."""
    for module in (comparison, scaling):
        monkeypatch.setattr(module, "own_process", lambda: lambda work, *options: work(*options))


def test_cases_take_turns_and_the_first_round_is_not_counted():
    counter, calls = itertools.count(), []
    case = {name: lambda n=name: calls.append(n) or next(counter) for name in ("a", "b")}
    found = in_rounds(case, 3)
    assert calls == ["a", "b"] * 4
    assert {name: list(values) for name, values in found.items()} == {
        "a": [2, 4, 6],
        "b": [3, 5, 7],
    }


def test_a_line_of_the_table_is_the_median_and_the_extremes():
    table = table_of([Row("section", "", "case", "time", "s", [3.0, 1.0, 8.0], "a note")])
    assert [*table.columns, "machine"] == list(RECORDED.columns)
    assert table.loc[0, ["median", "low", "high", "repeats"]].tolist() == [3.0, 1.0, 8.0, 3]


def test_the_plain_pipeline_computes_what_ours_does(inputs):
    plain, ours = (build(name, inputs).system for name in (PLAIN, "AE-FLOW fp32"))
    image = inputs.pixels(np.arange(4))
    batch = Batch(image, plain.encoder.maps(image))  # plain encodes once more
    optimizers = [system.optimizers(TrainConfig()) for system in (plain, ours)]
    for _ in range(3):
        losses = [
            system.train_step(batch, each, 0.0)["total"].item()
            for system, each in zip((plain, ours), optimizers, strict=True)
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    scores = [system.eval().score(batch).image_score for system in (plain, ours)]
    assert scores[0].shape == scores[1].shape == (4,)


def test_the_plain_encoder_is_frozen_and_gives_the_cached_maps(inputs, pipelines):
    batch = inputs.images.batch(np.arange(4))
    encoder = pipelines[PLAIN].system.train().encoder
    with torch.no_grad():
        found = encoder.maps(batch.image)[16]
    torch.testing.assert_close(found, batch.features[16], rtol=1e-2, atol=1e-2)  # float16
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


def test_a_pipelines_scores_are_one_an_image_from_pixels(inputs, pipelines):
    image = inputs.images.batch(np.arange(4)).image
    for pipeline in pipelines.values():
        pipeline.step(np.arange(2))
        scores = pipeline.score(image)
        assert scores.shape == (4,) and scores.isfinite().all()


def test_scores_from_the_cache_are_those_from_pixels(inputs, pipelines):
    pipeline, positions = pipelines["AE-FLOW fp32"], np.arange(4)
    from_cache = pipeline.score_cached(positions)
    from_pixels = pipeline.score(inputs.pixels(positions))
    torch.testing.assert_close(from_cache, from_pixels, rtol=1e-3, atol=1e-3)
    assert from_cache.std() > 1e-3  # else any images' scores would agree


def test_padim_is_fitted_and_then_scores(inputs):
    pipeline = build("PaDiM fp32", inputs)
    assert pipeline.fit() > 0 and not pipeline.optimizers
    assert pipeline.score(inputs.pixels(np.arange(2))).min() > 0


def test_the_sections_are_those_of_the_recorded_table(no_processes, monkeypatch, tmp_path):
    monkeypatch.setattr(measuring, "PEAK_SHAPES", ((8, 8, 3, 4, 1),))
    sizes = {"size": 32, "repeats": 1, "n_fitted": 6, "n_train": 16, "n_val": 4, "max_steps": 10}
    machine = measuring.describe_machine()
    of_all = sections(machine, batches=((LITE0, 2),), numbers=(8, 40), **sizes)
    *found, peak = itertools.islice(of_all, 5), scaling.peak_memory((8,), channels=8)
    rows = [row for _, some in found[0] for row in some] + peak
    table = table_of(rows).assign(machine=machine)

    def names(rows):
        rows = rows[rows["encoder"].isin([LITE0, ""]) & ~rows["case"].str.contains("anomalib")]
        rows = rows[rows["section"] != scaling.EPOCH]
        return set(rows[["section", "case", "quantity", "unit"]].itertuples(index=False, name=None))

    assert names(table) - names(RECORDED.fillna("")) == set()
    assert names(RECORDED.fillna("")) - names(table) == set()
    timed = table[table["note"] != "not reached"]
    timed = timed[~timed["note"].str.startswith("not reached")]
    assert np.isfinite(timed[["median", "low", "high"]].to_numpy()).all()
    by_case = table[table["section"] == "train step"].set_index("case")["median"]
    ratio = by_case[PLAIN] / by_case["AE-FLOW fp32"]
    assert by_case[f"{PLAIN} / AE-FLOW fp32"] == pytest.approx(ratio)
    report.draw(table, tmp_path / "bench.png")
    assert (tmp_path / "bench.png").stat().st_size > 10_000


def test_a_process_of_its_own_is_another_one_and_stays_the_same():
    call = own_process()
    assert os.getpid() != call(os.getpid) == call(os.getpid) != own_process()(os.getpid)
    with pytest.raises(ZeroDivisionError):
        call(divmod, 1, 0)


def test_a_process_keeps_its_pipeline():
    for _ in range(2):
        step, score = comparison.seconds_alone("AE-FLOW fp32", LITE0, 64, 2)
        assert step > 0 and score > 0


def test_the_table_of_aims_is_what_was_recorded():
    written = (REPOSITORY / "benchmarks" / "README.md").read_text()
    assert report.aims_table(RECORDED) in written


def test_an_aim_is_reached_by_the_default_arithmetic_or_not_at_all():
    ratio = (RECORDED["encoder"] == WIDE_RESNET) & (RECORDED["unit"] == "ratio")
    step = ratio & RECORDED["case"].str.startswith("plain AE-FLOW / AE-FLOW")

    def verdict(on, **medians):
        changed = RECORDED.assign(machine=on)
        for kind, value in medians.items():
            changed.loc[step & RECORDED["case"].str.endswith(kind), "median"] = value
        return report.aims_table(changed).splitlines()[2].split(" | ")[-1]

    fast = f"some processor, {measuring.BF16_IS_FAST}"
    assert verdict(fast, bf16=3.1, fp32=1.0) == "yes |"
    assert verdict(fast, bf16=2.9, fp32=9.0) == "no |"


def test_the_dense_permutations_are_work_that_ours_does_not_do(pipelines):
    dense, indexed = (comparison.gflops_of_step(pipelines[n]) for n in (PLAIN, "AE-FLOW fp32"))
    assert dense > 1.2 * indexed > 0


@needs_linux
def test_what_is_allocated_is_seen_and_what_is_mapped_is_not(tmp_path):
    with scaling.watched_memory() as allocated:
        block = fresh_memory(100_000_000)
    assert max(allocated) - allocated[0] > 90 and len(block)
    images = scaling.sparse_images(tmp_path, 2000, 64)
    with scaling.watched_memory() as mapped:
        total = sum(batch.features[16].sum() for batch in images.batches(16))
    # 65 MB of features, and 131 MB of pixels, went by
    assert total == 0 and max(mapped) - mapped[0] < 30


@needs_linux
def test_training_streams():
    """As many bytes for ten times as many images."""
    few, many = (scaling.epochs((n,), 1, 16)[1] for n in (20, 200))
    assert many < few + 20  # 200 images as float32 are 157 MB of pixels


def test_steps_are_counted_until_the_target_is_reached():
    train, val = elpv(LITE0, 64, 4, 8)
    labels, steps = itertools.cycle(val.labels), []

    def pipeline(score):
        return SimpleNamespace(step=steps.append, score=score)

    knows = pipeline(lambda image: torch.tensor([next(labels) for _ in image]))
    assert quality.steps_to_target(knows, train, val, 30) == 10
    assert len(steps) == 10 and all(len(positions) == 4 for positions in steps)
    assert sorted(np.concatenate(steps[:2])) == list(range(8))  # an epoch
    guesses = pipeline(lambda image: torch.zeros(len(image)))
    assert quality.steps_to_target(guesses, train, val, 20) is None
