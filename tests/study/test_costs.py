"""How long runs will take: as long as their like, in proportion to what they compute."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from aeflow_utils.config import RunConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import costs


def config(model="ae_flow", variant="conv_like", profile="overnight", **options):
    return RunConfig.build(PROFILES[profile], "elpv", model, variant=variant, **options)


def took(config, seconds):
    times = {"fit_seconds": seconds - 1, "score_seconds": 1}
    return SimpleNamespace(config=config, environment=times)


def test_a_run_takes_as_long_as_its_like():
    finished = [
        took(config(), 1800),
        took(config(seed=1), 5400),
        took(config(variant="resnet_like"), 7200),
        took(config("fastflow", ""), 400),
    ]
    expected = {
        config(seed=2): 3600,
        config(variant="resnet_like", seed=1): 7200,
        config(variant="conv_like+alpha=0.1"): (1800 + 5400 + 7200) / 3,  # of the same method
        config("autoencoder", ""): (1800 + 5400 + 7200 + 400) / 4,  # of any
    }
    assert costs.expected_seconds(expected, finished) == pytest.approx(list(expected.values()))
    assert costs.expected_seconds([], finished).sum() == 0
    assert list(costs.expected_seconds([config()], [])) == [costs.UNKNOWN]


def test_another_size_takes_time_in_proportion():
    base = config()
    twice = replace(base, train=replace(base.train, epochs=20, min_steps=0))
    base = replace(base, train=replace(base.train, epochs=10, min_steps=0))
    wider = replace(base, data=replace(base.data, image_size=256))
    heavier = replace(base, model=replace(base.model, encoder="wide_resnet50_2"))
    found = costs.expected_seconds([base, twice, wider, heavier], [took(base, 100)])
    assert list(found) == pytest.approx([100, 200, 400, 100 * costs.HEAVIER["wide_resnet50_2"]])


def test_images_that_are_not_here_tell_nothing(monkeypatch):
    absent = replace(config(), data=replace(config().data, dataset="chest_xray"))
    assert list(costs.expected_seconds([config()], [took(absent, 50)])) == [costs.UNKNOWN]


def test_what_is_recorded_stands_in_for_what_is_not_here(write_run):
    recorded = write_run(profile="overnight", recorded=True)
    assert [run.folder for run in costs.finished_runs(["paper"])] == [recorded.folder]
    mine = write_run(profile="paper")
    assert [run.folder for run in costs.finished_runs(["paper"])] == [mine.folder]
