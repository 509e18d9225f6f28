"""Frozen plans: what a row is, how rows are dealt, what has become of them, and the commands."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from filelock import FileLock
from joblib.externals.loky import get_reusable_executor

from aeflow_utils.__main__ import main
from aeflow_utils.config import RunConfig
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import experiments, manifest
from aeflow_utils.study.experiments import plan, run
from aeflow_utils.study.grid import grid_plan
from aeflow_utils.study.runs import failure_file, lock_file, partial_folder, run_folder

SMOKE = PROFILES["smoke"]
QUICK = ("knn", "padim", "brightness")


@pytest.fixture
def frozen(tmp_path):
    """The plan of methods that train nothing, in a file; {name of a run: its configuration}."""
    configs = plan(SMOKE, methods=QUICK)
    file = tmp_path / "plan.csv"
    manifest.freeze(configs, 1000).to_csv(file, index=False)
    return file, {config.run_name: config for config in configs}


def test_a_row_holds_its_whole_configuration_and_its_features(tmp_path):
    configs = [*plan(SMOKE), *grid_plan(SMOKE)]
    table = manifest.freeze(configs, 1000)
    table.to_csv(tmp_path / "plan.csv", index=False)
    read = manifest.read_manifest(tmp_path / "plan.csv")
    assert list(read["config"]) == configs
    assert list(read["run"]) == [config.run_name for config in configs]
    assert list(read["task"]) == list(read["row"]) == list(range(len(configs)))
    folds = [c.data.fold > 0 for c in configs]
    untrained = [c.model.encoder.endswith("_untrained") for c in configs]
    cropped = [c.data.resize > 0 for c in configs]
    assert any(folds) and any(untrained) and any(cropped)
    usual = read.loc[[not (a or b) for a, b in zip(untrained, cropped, strict=True)], "features"]
    assert set(usual) == {0}
    assert not set(read.loc[untrained, "features"]) & set(read.loc[cropped, "features"])


def test_beyond_the_limit_tasks_take_several_rows_of_about_equal_cost():
    seconds = np.array([8.0, 1, 1, 1, 1, 4, 2, 2, 4])
    tasks = manifest._dealt(seconds, 3)
    assert sorted(np.bincount(tasks, seconds)) == [8, 8, 8]
    free = manifest._dealt(np.zeros(9), 3)
    assert sorted(np.bincount(free)) == [3, 3, 3]


def test_a_plan_that_was_cut_edited_or_is_none_is_refused(frozen, tmp_path):
    file, _ = frozen
    text = file.read_text()
    damaged = {
        "cut": text[: len(text) * 2 // 3],
        "edited": text.replace('""seed"": 0', '""seed"": 7', 1),
        "of another kind": "a,b\n1,2\n",
        "empty": "",
    }
    for kind, content in damaged.items():
        file.write_text(content)
        with pytest.raises(UserError, match="is no plan"):
            manifest.read_manifest(file)
            pytest.fail(kind)
    with pytest.raises(UserError, match="gone"):
        manifest.read_manifest(tmp_path / "gone.csv")


def test_a_plan_of_other_code_is_refused_unless_told(frozen, monkeypatch):
    file, configs = frozen
    monkeypatch.setattr(manifest, "code_version", lambda: "other")
    with pytest.raises(UserError, match="--any-code"):
        manifest.read_manifest(file)
    assert len(manifest.read_manifest(file, any_code=True)) == len(configs)


def test_states_are_those_of_the_run_folders(frozen, small_elpv):
    _, configs = frozen
    done, running, failed, stopped, *_ = configs.values()
    run(done)
    failure_file(failed).write_text("the loss is nan\n")
    partial_folder(stopped, "abc").mkdir()
    with FileLock(lock_file(running)):
        found = manifest.status(pd.DataFrame({"config": list(configs.values())}))
    expected = ["done", "running", "failed", "stopped"]
    assert list(found["state"])[:4] == expected
    assert found["error"][2] == "the loss is nan"
    counted = manifest.counts(found)
    assert counted == dict.fromkeys(expected, 1) | {"missing": len(configs) - 4}


def test_a_run_that_fails_says_why_until_it_is_made(monkeypatch, small_elpv):
    config = RunConfig.build(SMOKE, "elpv", "knn")
    make = experiments._make

    def diverge(*args):
        raise TrainingError("the loss is nan in epoch 2")

    monkeypatch.setattr(experiments, "_make", diverge)
    with pytest.raises(TrainingError):
        run(config)
    assert manifest.state_of(config) == "failed"
    assert "epoch 2" in failure_file(config).read_text()
    monkeypatch.setattr(experiments, "_make", make)
    run(config)
    assert manifest.state_of(config) == "done" and not failure_file(config).exists()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_fails_stops_no_other_row(jobs, small_elpv):
    get_reusable_executor().shutdown()  # old workers have the folders of an older test
    good = plan(SMOKE, methods=QUICK)
    bad = replace(good[0], data=replace(good[0].data, dataset="chest_xray"))
    if jobs == 1:  # several at a time read their features together before
        errors = manifest.work_off([bad, *good], jobs)
        assert errors.keys() == {bad.run_name} and "AEFLOW_DATA" in errors[bad.run_name]
    else:
        assert not manifest.work_off(good, jobs)
    assert all(run_folder(config).exists() for config in good)


def test_what_another_process_is_making_comes_last(frozen, monkeypatch, small_elpv):
    _, configs = frozen
    first, *rest = configs.values()
    lock, made = FileLock(lock_file(first)), []

    def run(config):
        if len(made) == len(rest) - 1:
            lock.release()  # the other process is done
        made.append(config)
        run_folder(config).mkdir(parents=True)

    lock_file(first).parent.mkdir(parents=True)
    monkeypatch.setattr(manifest, "run", run)
    lock.acquire()
    assert not manifest.work_off([first, *rest], jobs=1)
    assert made == [*rest, first]


@pytest.mark.parametrize("text", ["3", "0-3,7", "0,2,4-5"])
def test_rows_are_named_as_job_arrays_name_them(text):
    assert manifest.as_ranges(manifest.from_ranges(text)) == text


@pytest.mark.parametrize("text", ["", "a", "1-", "1,,2"])
def test_what_names_no_rows_is_refused(text):
    with pytest.raises(UserError, match="0-3,7"):
        manifest.from_ranges(text)


def test_a_plan_is_frozen_prepared_run_and_counted_by_command(tmp_path, capsys, small_elpv):
    file, smoke = str(tmp_path / "plan.csv"), ["--profile", "smoke"]

    def says(*arguments):
        assert main([*arguments, *smoke]) == 0
        return capsys.readouterr().out

    says("plan", "--methods", *QUICK, "--seeds", "0", "--out", file, "--tasks", "2")
    table = manifest.read_manifest(tmp_path / "plan.csv")
    assert {config.model.name for config in table["config"]} == set(QUICK)
    assert sorted(table["task"].unique()) == [0, 1]
    says("prepare", file, "--features", "0")
    assert "--rows 0-" in says("status", file)
    says("run", "--plan", file, "--task", "1")
    left = list(table.index[table["task"] == 0])
    assert says("status", file, "--todo", "tasks").strip() == "0"
    assert f"--rows {manifest.as_ranges(left)}" in says("status", file)
    says("run", "--plan", file, "--rows", manifest.as_ranges(left[:1]))
    says("run", "--plan", file)
    assert says("status", file).startswith(f"{len(table)} done, 0 running")
    assert says("status", file, "--todo", "tasks").strip() == ""
    assert main(["run", "--plan", file, "--rows", "99", *smoke]) == 2
    assert main(["run", "--plan", file, "--seed", "3", *smoke]) == 2


def test_a_terminated_command_says_how_to_go_on():
    code = "import os, signal, sys; from aeflow_utils import __main__ as cli\n"
    code += "cli._parser = lambda: P\nclass P:\n parse_args = staticmethod(lambda a: O)\n"
    code += "class O:\n command = staticmethod(lambda o: os.kill(os.getpid(), signal.SIGTERM))\n"
    code += "sys.exit(cli.command_line())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130 and "same command" in done.stderr


@pytest.mark.parametrize("rows", [slice(0, -1), slice(1, None), slice(None, None, -1)])
def test_a_plan_whose_rows_are_not_all_there_in_their_order_is_refused(rows, frozen):
    file, _ = frozen
    pd.read_csv(file, dtype=str, keep_default_na=False)[rows].to_csv(file, index=False)
    with pytest.raises(UserError, match="is no plan"):
        manifest.read_manifest(file)


@pytest.mark.parametrize("code", ["123456789012", "012345678901", "1234567e8901"])
def test_the_name_of_the_code_may_look_like_a_number(code, monkeypatch, tmp_path):
    monkeypatch.setattr(manifest, "code_version", lambda: code)
    manifest.freeze(plan(SMOKE, methods=QUICK), 1000).to_csv(tmp_path / "plan.csv", index=False)
    assert set(manifest.read_manifest(tmp_path / "plan.csv")["code"]) == {code}
