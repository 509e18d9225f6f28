"""A disk that fills, at each place that is written to: one line, nothing half, and it goes on."""

import os
import shutil
import subprocess

import pytest

from aeflow_utils.__main__ import main
from aeflow_utils.paths import paths
from aeflow_utils.study.results import find

SMOKE = ["--profile", "smoke"]


@pytest.fixture
def disk(tmp_path):
    """A disk of its own; `disk.size(kilobytes)` says how large it is."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def size(kilobytes, *options):
        asked = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kilobytes}k"])]
        return subprocess.run([*asked, "tmpfs", folder], capture_output=True).returncode

    if not hasattr(os, "geteuid") or os.geteuid() or size(100):
        pytest.skip("only root may mount a small disk")
    yield folder, lambda kilobytes: size(kilobytes, "remount")
    subprocess.run(["umount", "-l", folder], check=True)


def run(model):
    return main(["run", "--model", model, *SMOKE])


def fails_in_one_line(capsys, model):
    capsys.readouterr()
    assert run(model) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and told.startswith("error: ")
    assert not find("smoke")
    return told


# In kilobytes: room for no image, for some, for all and no feature, for some features. A disk that
# others fill, or one with a quota, is not known to be too small before it is full.
@pytest.mark.parametrize(
    ("room", "known"), [(4, False), (100, False), (560, False), (700, False), (700, True)]
)
def test_a_full_disk_under_the_cache(room, known, disk, capsys, monkeypatch, small_elpv):
    folder, resize = disk
    run("padim")
    expected = find("smoke")[0].scores
    monkeypatch.setenv("AEFLOW_HOME", str(folder.parent / "home"))
    monkeypatch.setenv("AEFLOW_CACHE", str(folder))
    resize(room)
    with monkeypatch.context() as patch:
        if not known:
            ample = shutil.disk_usage("/")._replace(total=10**12, free=10**12)
            patch.setattr(shutil, "disk_usage", lambda folder: ample)
        told = fails_in_one_line(capsys, "padim")
    assert known == ("are wanted" in told)
    resize(20_000)
    assert run("padim") == 0
    assert find("smoke")[0].scores.equals(expected)


# Room for nothing, for a folder, for some files; AE-FLOW writes a file to go on with, too.
@pytest.mark.parametrize("model", ["padim", "ae_flow"])
@pytest.mark.parametrize("room", [4, 40, 400])
def test_a_full_disk_under_the_results(room, model, disk, capsys, monkeypatch, small_elpv):
    folder, resize = disk
    run(model)
    expected = find("smoke")[0].scores
    monkeypatch.setenv("AEFLOW_HOME", str(folder))
    resize(room)
    fails_in_one_line(capsys, model)
    resize(60_000)
    assert run(model) == 0
    assert find("smoke")[0].scores.equals(expected)
    assert not list(paths().runs("smoke").rglob("*.partial"))
