"""The cell that installs the bundle where a notebook is opened without it, as on Colab."""

import importlib.util
import os
import subprocess
import sys

import nbformat
import pytest
from helpers import REPOSITORY

CELLS = {
    path.name: nbformat.read(path, as_version=4).cells
    for path in sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
}
ADDRESS = "https://example.org/owner/name"
DRIVE = "/content/drive/MyDrive"


def tags(cell):
    return cell.metadata.get("tags", [])


SOURCE = next(cell.source for cell in CELLS["00_blogpost.ipynb"] if "setup" in tags(cell))


@pytest.mark.parametrize("name", CELLS)
def test_every_notebook_has_it_before_it_imports_anything(name):
    code = [cell for cell in CELLS[name] if cell.cell_type == "code"]
    assert [tags(cell) for cell in code[:2]] == [["parameters"], ["setup"]]
    assert code[1].source == SOURCE and not code[1].outputs


@pytest.fixture
def commands(monkeypatch):
    """What the cell runs: `git clone` makes the folder, nothing else is done."""
    found = []

    def run(command, check):
        assert check
        found.append(command)
        if command[0] == "git":
            os.makedirs(f"{command[-1]}/aeflow_utils")  # noqa: PTH103

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return found


@pytest.fixture
def absent(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)


def execute(source=SOURCE):
    exec(source.replace('address = ""', f'address = "{ADDRESS}"'), {})


def test_it_does_nothing_where_the_bundle_is_installed(commands):
    execute()
    assert not commands


def test_it_installs_the_checkout_that_the_notebook_is_in(commands, absent, monkeypatch):
    monkeypatch.chdir(REPOSITORY / "notebooks")
    execute()
    (pip,) = commands
    assert pip[:4] == [sys.executable, "-m", "pip", "install"]
    assert pip[-1] == f"{REPOSITORY}[run]" and sys.path[0] == str(REPOSITORY)


@pytest.mark.parametrize("mounted", [False, True])
def test_else_it_clones_the_address_once(mounted, commands, absent, monkeypatch, tmp_path):
    here, drive = tmp_path / "here", tmp_path / "drive"
    here.mkdir()
    if mounted:
        drive.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.delenv("AEFLOW_CACHE")
    for _ in range(2):
        execute(SOURCE.replace(DRIVE, str(drive)))
    clone, *installs = commands
    home = (drive if mounted else here) / "ae-flow"
    assert clone[:2] == ["git", "clone"] and clone[-2:] == [ADDRESS, str(home)]
    assert os.environ.pop("AEFLOW_CACHE") == str(here / "cache")
    assert [pip[-1] for pip in installs] == [f"{home}[run]"] * 2
