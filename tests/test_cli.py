"""The command line: what it prints, and one line for what its user can put right."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from aeflow_utils.__main__ import main
from aeflow_utils.config import DataConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.data.images import prepare_images
from aeflow_utils.data.table import available, list_images
from aeflow_utils.errors import STOPPED, TrainingError
from aeflow_utils.paths import paths, switch
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import experiments
from aeflow_utils.study.experiments import plan
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import load_run, seal


def fails(capsys, *arguments):
    """The single line on stderr with which these arguments fail."""
    assert main(list(arguments)) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    return captured.err


def prints(capsys, *arguments):
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ("plan --profile huge", ", ".join(PROFILES)),
        ("run --dataset elpv --model vae --profile smoke", "ae_flow"),
        ("run --dataset imagenet --model knn --profile smoke", "chest_xray"),
        ("run --dataset elpv --model ae_flow --variant wide --profile smoke", "resnet_like"),
        ("run --dataset mvtec --category vase --model knn --profile smoke", "bottle"),
        ("run --dataset chest_xray --model knn --profile smoke", "AEFLOW_DATA"),
        ("run --dataset mvtec --category bottle --model knn --profile smoke", "mvtec.com"),
        ("run --rows 3", "--plan"),
        ("plan --datasets elvp --profile smoke", "elpv"),
        ("plan --methods vae --profile smoke", "ae_flow"),
        ("plan --seeds 9 --profile smoke", "no such run"),
        ("data check imagenet", "elpv, chest_xray, oct2017"),
        ("data check", "elpv, chest_xray, oct2017"),
        ("tables --profile smoke --regime best", "oracle_f1"),
    ],
)
def test_a_users_mistake_is_one_line_that_names_the_remedy(arguments, named, capsys):
    assert named in fails(capsys, *arguments.split())


def test_an_unknown_profile_in_the_environment_is_one_line(capsys, monkeypatch):
    monkeypatch.setenv("AEFLOW_PROFILE", "huge")
    assert "'huge'" in fails(capsys, "plan")


def test_a_data_folder_that_does_not_exist_is_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("AEFLOW_DATA", str(tmp_path / "typo"))
    assert "typo" in fails(capsys, "run", "--dataset", "chest_xray", "--model", "knn")


def test_a_damaged_image_is_one_line(capsys, mvtec_tree):
    (mvtec_tree / "bottle/test/dirt/001.png").write_bytes(b"")
    arguments = "run --dataset mvtec --category bottle --model brightness --profile smoke"
    assert "001.png" in fails(capsys, *arguments.split())


def test_a_training_that_diverges_is_one_line(capsys, monkeypatch):
    def diverge(*args):
        raise TrainingError("the loss is nan in epoch 3")

    monkeypatch.setattr(experiments, "run", diverge)
    assert "epoch 3" in fails(capsys, "run", "--model", "ae_flow", "--profile", "smoke")


def test_an_interrupted_command_says_how_to_go_on(capsys, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", interrupt)
    assert main(["run", "--model", "ae_flow", "--profile", "smoke"]) == 130
    assert "same command" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "number"),
    [(0.05, "SIGINT"), (0.4, "SIGINT"), (0.8, "SIGTERM"), (1.5, "SIGINT"), (2.5, "SIGINT")],
)
def test_a_command_may_be_stopped_while_it_imports(seconds, number, own_cache):
    """The shell that the tests run in may ignore Ctrl-C: the command must not inherit that."""
    process = subprocess.Popen(
        [sys.executable, "-m", "aeflow_utils", "run", "--profile", "laptop"],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(seconds)
    process.send_signal(signal.Signals[number])
    _, told = process.communicate(timeout=60)
    stopped = (process.returncode, told) == (130, f"{STOPPED}\n")
    begun = "__main__.py" in told  # else Python was about to start, and ended as it does
    assert stopped or (process.returncode and not begun and seconds < 1)


def test_data_list_says_what_is_here_and_how_to_get_the_rest(capsys, mvtec_tree):
    lines = prints(capsys, "data", "list").splitlines()
    assert [line.split()[0] for line in lines] == list(SPECS)
    assert lines[0].endswith("complete")
    assert "absent: download it from" in lines[1]
    assert "bottle train/ has 10 of 209 normal images" in lines[-1]
    assert "absent: cable, capsule" in lines[-1]


def test_a_damaged_table_of_one_data_set_stops_no_other(capsys, data_folder, mvtec_tree):
    table = data_folder / "isic2018/ISIC2018_Task3_Training_GroundTruth.csv"
    table.parent.mkdir()
    for content in (b"", b"image\n", b'a,b\n"x', bytes(range(200, 250))):
        table.write_bytes(content)
        lines = dict(line.split(maxsplit=1) for line in prints(capsys, "data", "list").splitlines())
        assert str(table) in lines["isic2018"] or "absent" in lines["isic2018"]
        assert lines["elpv"].startswith("complete")
        assert ("mvtec", "bottle", "") in available()


@pytest.mark.parametrize("action", ["list", "cached", "clear"])
def test_an_unknown_name_of_a_data_set_is_refused(action, capsys):
    assert "elpv" in fails(capsys, "data", action, "elvp")


def test_a_seed_out_of_range_is_refused(capsys):
    for seed in ("-1", str(2**32)):
        fails(capsys, "run", "--seed", seed, "--profile", "smoke")


@pytest.mark.parametrize(
    ("value", "on"), [("1", True), ("true", True), ("YES", True), ("0", False), ("no", False)]
)
def test_switches_may_be_said_in_words(value, on, monkeypatch):
    monkeypatch.setenv("AEFLOW_SKIP_UNREADABLE", value)
    assert switch("AEFLOW_SKIP_UNREADABLE") is on


def test_a_switch_that_says_neither_is_refused(capsys, monkeypatch):
    monkeypatch.setenv("AEFLOW_SKIP_UNREADABLE", "maybe")
    fails(capsys, "run", "--profile", "smoke")


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("AEFLOW_CACHE", "~/somewhere")
    assert paths().cache == Path.home() / "somewhere"


@pytest.mark.parametrize("command", [[], ["fit"], ["score"], ["folder"], ["data"]])
def test_help_imports_nothing_heavy(command):
    code = "import sys; from aeflow_utils.__main__ import main\n"
    code += f"try: main({[*command, '--help']})\n"
    code += "except SystemExit: pass\nsys.exit('torch' in sys.modules or 'pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_a_stray_file_among_the_runs_is_no_run(write_run):
    run = write_run("ae_flow", variant="conv_like")
    (run.folder.parent / "notes.txt").write_text("mine")
    assert len(find("smoke", "here")) == 1


def test_a_kind_may_be_called_na(write_run):
    run = write_run("ae_flow", variant="conv_like")
    run.scores.assign(kind="NA").to_csv(run.folder / "scores.csv.gz", index=False)
    seal(run.folder)
    assert set(load_run(run.folder).scores["kind"]) == {"NA"}


def test_data_prepare_fills_the_cache_once(capsys, mvtec_tree, monkeypatch):
    line = ("data", "prepare", "mvtec", "--profile", "smoke")
    assert "is prepared" in prints(capsys, *line)
    monkeypatch.setattr(Image, "open", None)  # nothing is decoded twice
    assert "is prepared" in prints(capsys, *line)


def test_data_prepare_of_an_absent_set_says_how_to_get_it(capsys):
    assert main(["data", "prepare", "mvtec", "--profile", "smoke"]) == 2
    assert "data fetch mvtec" in capsys.readouterr().err


def test_data_check_prints_the_counts(capsys):
    out = prints(capsys, "data", "check", "elpv")
    assert "1508" in out
    assert "False" not in out


def test_plan_lists_every_run_and_whether_it_is_done(capsys):
    config = plan(PROFILES["smoke"])[-1]
    (paths().runs("smoke") / config.run_name).mkdir(parents=True)
    lines = prints(capsys, "plan", "--profile", "smoke").splitlines()
    assert len(lines) == len(plan(PROFILES["smoke"]))
    assert lines[-1].split() == ["done", config.run_name]
    assert lines[0].split()[0] == "missing"


def test_the_profile_can_come_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("AEFLOW_PROFILE", "smoke")
    assert prints(capsys, "plan") == prints(capsys, "plan", "--profile", "smoke")


def test_run_trains_once_and_says_where_the_result_is(capsys, mvtec_tree):
    line = "run --dataset mvtec --category bottle --model brightness --profile smoke"
    arguments = line.split()
    folder, auroc = prints(capsys, *arguments).splitlines()
    assert folder.startswith(str(paths().runs("smoke")))
    assert auroc.startswith("test AUROC 0.")
    assert prints(capsys, *arguments).splitlines() == [folder, auroc]


def test_report_shows_every_method_with_its_source(capsys, write_run):
    write_run(variant="conv_like")
    write_run("knn", recorded=True)
    out = prints(capsys, "tables", "--profile", "smoke")
    for text in ("AE-FLOW, conv_like", "kNN", "all abnormal", "re-run", "recorded"):
        assert text in out


@pytest.mark.parametrize("profile", ["smoke", "laptop"])
def test_report_without_any_run_is_one_line(profile, capsys):
    assert "no run" in fails(capsys, "tables", "--profile", profile)


def test_report_verify_fails_only_where_runs_differ(capsys, write_run):
    verify = ["tables", "--profile", "smoke", "--verify"]
    assert main(verify) == 1  # nothing to compare
    for recorded in (True, False):
        write_run(seed=0, recorded=recorded)
    assert main(verify) == 0
    write_run(seed=1, recorded=True)
    write_run(seed=1, test=((0, 0, 1, 1), (4, 3, 2, 1)))
    assert main(verify) == 1
    assert "beyond a seed" in capsys.readouterr().out


def test_the_module_runs_as_a_command(home):
    done = subprocess.run(
        [sys.executable, "-m", "aeflow_utils", "data", "list"],
        cwd=home,
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "elpv         complete" in done.stdout


def test_the_grid_is_listed(capsys):
    lines = prints(capsys, "plan", "--grid", "--profile", "smoke").splitlines()
    assert len(lines) > 15
    assert all("+" in line or "fold" in line or "seed0" not in line for line in lines)


def test_the_cache_is_listed_and_cleared_with_its_size(capsys, own_cache, mvtec_tree):
    prepare_images(list_images(DataConfig("mvtec", "bottle", image_size=32)))
    listed = prints(capsys, "data", "cached")
    assert "mvtec-bottle" in listed and "32 px" in listed and "data clear" in listed
    assert "0.0 MB freed" in prints(capsys, "data", "clear", "elpv")
    cleared = prints(capsys, "data", "clear")
    assert "mvtec-bottle" in cleared and "MB freed" in cleared
    assert not list(own_cache.glob("*.rows"))
    assert prints(capsys, "data", "cached").count("\n") == 1
