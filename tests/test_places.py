"""Folders that can only be read, or not be locked: said before work starts, and harmless else."""

import errno
import fcntl
import multiprocessing
import os
import shutil
import signal
import subprocess

import nbformat
import numpy as np
import papermill
import pytest
from helpers import hold_lock

from aeflow_utils.__main__ import main
from aeflow_utils.data import cache, images
from aeflow_utils.data.cache import cached_rows
from aeflow_utils.errors import UserError
from aeflow_utils.paths import locked, paths
from aeflow_utils.study import experiments
from aeflow_utils.study.results import find

SMOKE = ["--profile", "smoke"]
BOTTLE = ["run", "--dataset", "mvtec", "--category", "bottle", *SMOKE, "--model"]


class ReadOnly:
    """Folders that cannot be written to: as another mount by root, whom no mode stops, or by mode.

    Either holds for all that lies in them.
    """

    def __init__(self):
        self.mounted, self.is_root = [], hasattr(os, "geteuid") and not os.geteuid()

    def freeze(self, folder):
        if not self.is_root:
            return self.change_mode(folder, "a-w")
        for options in (["--bind", folder], ["-o", "remount,ro,bind"]):
            if subprocess.run(["mount", *options, folder], capture_output=True).returncode:
                pytest.skip("root may not mount here")
        self.mounted.append(folder)

    def thaw(self, folder):
        if self.is_root:
            self.mounted.remove(folder)
            subprocess.run(["umount", "-l", folder], check=True)
        else:
            self.change_mode(folder, "u+w")

    def change_mode(self, folder, mode):
        subprocess.run(["chmod", "-R", mode, folder], check=True)


@pytest.fixture
def read_only(tmp_path):
    folders = ReadOnly()
    yield folders
    for folder in list(folders.mounted):
        folders.thaw(folder)
    if not folders.is_root:
        folders.change_mode(tmp_path, "u+w")


def content(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def refused(capsys, *arguments):
    capsys.readouterr()
    assert main(list(arguments)) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: ")
    return told


def no_work(monkeypatch):
    """Whoever begins to decode, encode or execute fails by it."""

    def fail(*args, **options):
        raise AssertionError("work has begun")

    monkeypatch.setattr(experiments, "encoded_splits", fail)
    monkeypatch.setattr(papermill, "execute_notebook", fail)


def test_images_are_read_where_nobody_may_write(read_only, mvtec_tree, data_folder, own_cache):
    before = content(data_folder)
    read_only.freeze(data_folder)
    assert main([*BOTTLE, "padim"]) == 0
    assert main(["data", "check", "mvtec"]) == 0
    assert content(data_folder) == before


def test_a_cache_that_holds_all_need_not_be_written(
    read_only, mvtec_tree, own_cache, tmp_path, monkeypatch
):
    assert main([*BOTTLE, "padim"]) == 0
    expected = find("smoke")[0].scores
    monkeypatch.setenv("AEFLOW_HOME", str(tmp_path / "another"))
    shutil.rmtree(own_cache / "digests")  # not even what it remembers of files
    before = content(own_cache)
    read_only.freeze(own_cache)
    assert main([*BOTTLE, "padim"]) == 0
    assert find("smoke")[0].scores.equals(expected)
    assert content(own_cache) == before


def test_an_image_that_nobody_can_read_needs_no_cache_to_be_written(
    read_only, mvtec_tree, own_cache, tmp_path, monkeypatch
):
    (mvtec_tree / "bottle/test/dirt/001.png").write_bytes(b"")
    monkeypatch.setenv("AEFLOW_SKIP_UNREADABLE", "1")
    assert main([*BOTTLE, "padim"]) == 0
    monkeypatch.setenv("AEFLOW_HOME", str(tmp_path / "another"))
    read_only.freeze(own_cache)
    assert main([*BOTTLE, "padim"]) == 0


def test_a_cache_that_lacks_something_is_refused_before_work(
    read_only, mvtec_tree, own_cache, capsys, monkeypatch
):
    own_cache.mkdir()
    read_only.freeze(own_cache)
    decoded, read = [], images.read_image
    with monkeypatch.context() as patch:
        patch.setattr(images, "read_image", lambda *args: decoded.append(args) or read(*args))
        told = refused(capsys, *BOTTLE, "padim")
    assert str(own_cache) in told and "AEFLOW_CACHE" in told
    assert len(decoded) <= 1  # tried, whether it can be read
    assert not list(own_cache.iterdir()) and not find("smoke")
    read_only.thaw(own_cache)
    assert main([*BOTTLE, "padim"]) == 0


def test_rows_for_which_a_disk_has_no_room_are_refused_before_they_are_written(
    tmp_path, monkeypatch
):
    def fill(block):
        blocks.append(block)
        return {"a": [np.zeros(100, "u1")] * len(block)}

    blocks, digests = [], [f"{number:032x}" for number in range(1000)]
    monkeypatch.setattr(cache, "BLOCK", 10)
    free = {"free": 99_999}
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk._replace(**free))
    with pytest.raises(UserError, match="AEFLOW_CACHE"):
        cached_rows(tmp_path, {"a": {}}, digests, fill, "test")
    assert len(blocks) == 1 and not list(tmp_path.glob("*.rows"))
    free["free"] = 100_000
    assert len(cached_rows(tmp_path, {"a": {}}, digests, fill, "test")["a"]) == 1000


@pytest.fixture
def frozen_results(read_only, mvtec_tree, home, tmp_path, monkeypatch):
    """A home with a finished run, a plan of more, and a notebook; nobody may write there."""
    assert main([*BOTTLE, "brightness"]) == 0
    plan = str(tmp_path / "plan.csv")
    assert main(["plan", "--methods", "brightness", "knn", "--out", plan, *SMOKE]) == 0
    (home / "notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(), home / "notebooks/06_results_tables.ipynb")
    read_only.freeze(home)
    no_work(monkeypatch)
    return plan


WRITES = {
    "run": [*BOTTLE, "knn"],
    "plan": ["run", "--plan", "PLAN", *SMOKE],
    "record": ["record", *SMOKE],
    "runs": ["record", "--runs-alone", *SMOKE],
    "notebooks": ["notebooks", "06", *SMOKE],
    "reproduce": ["reproduce", *SMOKE],
    "folder": ["folder", "SOURCE", "--detector", "knn", *SMOKE],
    "fit": ["fit", "SOURCE", "--detector", "knn", "--out", "OUT", *SMOKE],
}


@pytest.mark.parametrize("command", WRITES)
def test_results_that_cannot_be_written_are_refused_before_work(
    command, frozen_results, mvtec_tree, home, capsys
):
    before = content(home)
    given = {"PLAN": frozen_results, "SOURCE": str(mvtec_tree / "bottle"), "OUT": str(home / "m")}
    told = refused(capsys, *(given.get(word, word) for word in WRITES[command]))
    assert str(home) in told and "AEFLOW_HOME" in told
    assert content(home) == before


def test_results_that_cannot_be_written_are_read(frozen_results, capsys):
    assert main([*BOTTLE, "brightness"]) == 0
    assert main(["tables", *SMOKE]) == 0
    assert "brightness" in capsys.readouterr().out.lower()
    assert main(["status", frozen_results]) == 0
    assert "1 done, 0 running, 0 failed" in capsys.readouterr().out


def test_a_model_scores_where_nobody_may_write(read_only, mvtec_tree, tmp_path, capsys):
    source, folder = str(mvtec_tree / "bottle"), tmp_path / "models"
    assert main(["fit", source, "--detector", "padim", "--out", str(folder / "m"), *SMOKE]) == 0
    read_only.freeze(folder)
    line = ["score", str(folder / "m"), source]
    assert main(line) == 0
    for option in ("--out", "--maps"):
        assert str(folder) in refused(capsys, *line, option, str(folder / "answers/of.csv"))
    assert str(folder) in refused(capsys, "export", str(folder / "m"))
    assert [path.name for path in folder.iterdir()] == ["m"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(number, mvtec_tree, own_cache, capsys, monkeypatch):
    def no_lock(*args):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", no_lock)
        told = refused(capsys, *BOTTLE, "padim")
        assert "has no locks" in told and str(own_cache) in told and "AEFLOW_CACHE" in told
        assert refused(capsys, "data", "clear") == told
        with pytest.raises(UserError, match="AEFLOW_HOME"), locked(paths().home / ".lock"):
            pass
        assert not list(own_cache.glob("*.rows")) and not find("smoke")
    assert main([*BOTTLE, "padim"]) == 0


def test_a_killed_process_keeps_no_lock(tmp_path):
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=hold_lock, args=(tmp_path / ".lock", held))
    process.start()
    assert held.wait(60)
    with pytest.raises(TimeoutError), locked(tmp_path / ".lock", blocking=False):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join(10)
    with locked(tmp_path / ".lock", blocking=False):
        pass
