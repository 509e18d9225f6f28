"""The evidence, a data set at a time: what is to be run, how long it takes, what stops nothing."""

import shutil
from dataclasses import replace

import pytest

from aeflow_utils.config import RunConfig
from aeflow_utils.errors import TrainingError
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import overnight
from aeflow_utils.study.runs import run_folder


def config(model="ae_flow", variant="conv_like"):
    return RunConfig.build(PROFILES["overnight"], "elpv", model, variant=variant)


@pytest.fixture
def took(write_run, monkeypatch):
    """A finished run that took so many seconds, on a machine of two cores."""
    monkeypatch.setattr(overnight.os, "cpu_count", lambda: 2)

    def make(seconds, model="ae_flow", variant="conv_like", seed=0):
        run = write_run(model, seed, variant)
        times = {"fit_seconds": seconds - 1, "score_seconds": 1}
        return replace(run, environment=run.environment | times)

    return make


def test_a_run_takes_as_long_as_its_like(took):
    finished = [took(1800), took(5400, seed=1), took(7200, variant="resnet_like")]
    finished.append(took(400, "knn", ""))
    hours = {
        config(): 1,
        config(variant="resnet_like"): 2,
        config(variant="conv_like+alpha=0.1"): (0.5 + 1.5 + 2) / 3,  # of the same method
        config("fastflow", ""): (1800 + 5400 + 7200 + 400) / 4 / 3600,  # of any
    }
    for missing, expected in hours.items():
        assert overnight.hours_left([missing] * 2, finished) == pytest.approx(expected)
    assert overnight.hours_left(hours, finished) == pytest.approx(sum(hours.values()) / 2)
    assert overnight.hours_left([], finished) == 0
    assert overnight.hours_left([config()], []) == overnight.UNKNOWN / 3600 / 2


def test_the_night_does_one_data_set_after_the_other_under_both_policies(chest_tree, mvtec_tree):
    by_dataset = overnight.overnight_plan()
    assert list(by_dataset) == ["elpv", "chest_xray", "mvtec"]
    for dataset, configs in by_dataset.items():
        assert {c.data.dataset for c in configs} == {dataset}
        assert len({c.run_name for c in configs}) == len(configs)
        study = [
            c for c in configs if not c.is_side_run and not c.method.deterministic and not c.beside
        ]
        rows = {
            profile: {(c.model.name, c.variant, c.seed) for c in study if c.profile == profile}
            for profile in ("overnight", "as_published")
        }
        assert rows["overnight"] == rows["as_published"] != set()
        assert {c.profile for c in configs if c.method.deterministic or c.is_side_run} == {
            "overnight"
        }
    assert list(overnight.overnight_plan(["mvtec"])) == ["mvtec"]


def test_what_a_loss_stops_is_told_and_the_night_goes_on(chest_tree, monkeypatch, capsys):
    begun = []

    def run_all(configs):
        begun.append(configs[0].data.dataset)
        if begun == ["elpv"]:
            raise TrainingError("elpv ganomaly seed 3: the loss is nan in epoch 2")

    done = overnight.overnight_plan(["chest_xray"])["chest_xray"]
    for each in done:
        run_folder(each).mkdir(parents=True)
    monkeypatch.setattr(overnight, "run_all", run_all)
    monkeypatch.setattr(overnight, "_finished", list)
    overnight.run_overnight(["elpv", "chest_xray"])
    assert begun == ["elpv", "chest_xray"]
    told = capsys.readouterr().out.splitlines()
    assert "seed 3" in told[1]
    assert told[2].startswith(f"chest_xray: {len(done)} runs, 0 missing, about 0.0 h")


def test_runs_of_sets_that_are_not_whole_are_taken_up(home, write_run, monkeypatch):
    mine, theirs = (write_run("knn", seed=seed, profile="overnight").folder for seed in (0, 1))
    unfinished = home / "results" / "unfinished" / "overnight"
    for folder in (mine, theirs):
        shutil.copytree(folder, unfinished / folder.name)
    shutil.rmtree(theirs)
    (mine / "config.json").write_text("mine")
    monkeypatch.setattr(overnight, "run_all", list)
    monkeypatch.setattr(overnight, "_finished", list)
    overnight.run_overnight([])
    assert (theirs / "config.json").exists()
    assert (mine / "config.json").read_text() == "mine"
