"""pyproject.toml states ranges, the locks and environment.yml the versions recorded with."""

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version

import pytest
from helpers import REPOSITORY
from packaging.requirements import Requirement

from aeflow_utils.show import tables

PIN = re.compile(r"^[\s-]*([A-Za-z0-9_.-]+)==([^\s;]+)")
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]


WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")

sys.meta_path.insert(0, Absent())
from aeflow_utils.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines):
    found = [PIN.match(line) for line in lines]
    return {normal(match[1]): match[2] for match in found if match}


def read(name):
    return pins((REPOSITORY / name).read_text().splitlines())


def ranges(*extras):
    """{package: the range of versions}, of the project and some of its extras."""
    lists = PROJECT["dependencies"], *(PROJECT["optional-dependencies"][name] for name in extras)
    found = [Requirement(line) for each in lists for line in each]
    return {normal(r.name): r.specifier for r in found if r.name != PROJECT["name"]}


BUNDLE = ranges("read", "run", "test")


def test_every_range_has_a_lower_end_and_the_lock_is_in_it():
    there = read("requirements.lock")
    assert len(BUNDLE) > 30
    for package, versions in BUNDLE.items():
        assert any(each.operator in (">=", "==") for each in versions), package
        assert there[package] in versions


def test_environment_yml_has_the_locked_versions_and_names_nothing_else():
    there = read("requirements.lock")
    assert read("environment.yml") == {package: there[package] for package in BUNDLE}


def test_reading_needs_no_torch():
    assert not {"torch", "torchvision", "timm", "freia"} & set(ranges("read"))
    profile = ["--profile", "as_published"]

    def told(*command):
        arguments = [sys.executable, "-c", WITHOUT_TORCH, *command, *profile]
        env = os.environ | {"AEFLOW_HOME": str(REPOSITORY)}
        return subprocess.run(arguments, capture_output=True, env=env)

    assert told("tables").returncode == 0
    refused = told("run", "--dataset", "elpv")
    assert refused.returncode == 2 and b"pip install" in refused.stderr


LOCKS = ("requirements.lock", "requirements-peers.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_have_a_hash_for_every_package(name):
    entries = (REPOSITORY / name).read_text().replace("\\\n", " ").splitlines()
    entries = [entry for entry in entries if not entry.startswith("#")]
    assert len(pins(entries)) == len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_peers_change_no_version_of_the_bundle_and_are_no_part_of_it():
    bundle, peers = map(read, LOCKS)
    assert bundle.items() <= peers.items()
    added = ranges("peers").keys() - ranges().keys()
    assert added and added <= peers.keys() and not added & bundle.keys()


def test_the_recorded_comparison_is_with_the_pinned_peers():
    pinned = read("requirements-peers.lock")
    for peer in tables.peers()["peer"].unique():
        name, number = peer.split()
        assert pinned[normal(name)] == number


def test_freia_is_the_release_whose_clamp_and_permutations_are_meant():
    assert version("FrEIA") == read("requirements.lock")["freia"] == "0.2"
    assert str(BUNDLE["freia"]) == "==0.2"
