"""Configurations: read as they were written, or refused by the name of their folder."""

import json
import shutil
from dataclasses import replace
from functools import cache

from fuzz.hostile import TEXTS, folder_in, json_files, read_or_refused
from hypothesis import given
from hypothesis import strategies as st

from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import plan
from aeflow_utils.study.grid import grid_plan
from aeflow_utils.study.runs import FILES, SEAL, failure_file, load_run, run_folder, seal

SMOKE = PROFILES["smoke"]
FIELDS = st.sampled_from(["profile", "variant", "category", "split"])


@cache
def planned():
    """All runs of the study; asked for when the folders of the tests are there."""
    return [*plan(SMOKE), *grid_plan(SMOKE)]


CONFIGS = st.integers(0, 2**16).map(lambda number: planned()[number % len(planned())])


def same(found, expected):
    assert found.config == expected.config
    assert found.scores.equals(expected.scores) and found.history.equals(expected.history)
    assert found.metrics == expected.metrics and found.environment == expected.environment


@given(st.data())
def test_a_file_of_json_in_a_run_folder(a_run, data):
    name = data.draw(st.sampled_from(FILES[:3]))
    content = data.draw(json_files(json.loads((a_run.folder / name).read_text())))
    with folder_in(a_run.folder.parent) as place:
        folder = place / a_run.folder.name
        shutil.copytree(a_run.folder, folder)
        (folder / name).write_bytes(content)
        seal(folder)  # as if it had been written so
        with read_or_refused(folder):
            found = load_run(folder)
            assert found.config.to_dict() == a_run.config.to_dict()
            assert isinstance(found.metrics, dict) and isinstance(found.environment, dict)


@given(st.data())
def test_the_seal_of_a_run_folder(a_run, data):
    content = data.draw(json_files(json.loads((a_run.folder / SEAL).read_text())))
    with folder_in(a_run.folder.parent) as place:
        folder = place / a_run.folder.name
        shutil.copytree(a_run.folder, folder)
        (folder / SEAL).write_bytes(content)
        with read_or_refused(folder):
            same(load_run(folder), a_run)


@given(CONFIGS, st.integers(0, 2**32 - 1))
def test_every_configuration_comes_back_from_json(config, seed):
    config = replace(config, seed=seed)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(CONFIGS, FIELDS, TEXTS)
def test_what_a_configuration_names_is_inside_the_results(config, field, text):
    content = config.to_dict()
    (content["data"] if field in content["data"] else content)[field] = text
    try:
        config = RunConfig.from_dict(content)
    except (UserError, ValueError):  # who reads a file adds its name
        return
    for path in (run_folder(config), failure_file(config)):
        assert path.parent == paths().runs(config.profile)
        assert path.resolve().is_relative_to(paths().home.resolve() / "results" / config.profile)
    assert config.profile in PROFILES


@given(TEXTS)
def test_a_readers_name_for_results_is_inside_the_results(name):
    try:
        data = FolderConfig(name=name)
    except UserError as error:
        assert repr(name) in str(error)
        return
    assert name == data.label and not {"/", "\\", "\0", "\n"} & set(name) and name != ".."
    assert (paths().own("smoke") / name).resolve().parent == paths().own("smoke").resolve()
