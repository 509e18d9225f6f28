"""Three files name the versions; they must be the same ones, and FrEIA must be the PyPI release."""

import re
import tomllib
from importlib.metadata import version

import pytest
from helpers import REPOSITORY

from aeflow_utils.show import tables

PIN = re.compile(r"^[\s-]*([A-Za-z0-9_.-]+)==([^\s;]+)")


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(lines):
    found = [PIN.match(line) for line in lines]
    return {normal(match[1]): match[2] for match in found if match}


def direct():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return project["dependencies"]


def extra():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert set(project["optional-dependencies"]) == {"peers"}
    return project["optional-dependencies"]["peers"]


def read(name):
    return pins((REPOSITORY / name).read_text().splitlines())


def test_every_direct_dependency_is_pinned():
    assert len(pins(direct())) == len(direct()) > 20


@pytest.mark.parametrize("name", ["requirements.lock", "environment.yml"])
def test_direct_dependencies_have_the_same_version_everywhere(name):
    there = read(name)
    assert {package: there.get(package) for package in pins(direct())} == pins(direct())


def test_environment_yml_names_nothing_else():
    assert set(read("environment.yml")) == set(pins(direct()))


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
    assert len(pins(extra())) == len(extra()) > 0
    assert pins(extra()).items() <= peers.items()
    assert not set(pins(extra())) & set(bundle)


def test_the_recorded_comparison_is_with_the_pinned_peers():
    pinned = read("requirements-peers.lock")
    for peer in tables.peers()["peer"].unique():
        name, number = peer.split()
        assert pinned[normal(name)] == number


def test_freia_is_the_release_whose_clamp_and_permutations_are_meant():
    assert version("FrEIA") == "0.2"
    assert pins(direct())["freia"] == "0.2"
