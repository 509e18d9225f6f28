"""Run folders: what is cut, changed or another's is refused, and what appears is whole."""

import os
import platform
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import rewrite

from aeflow_utils.config import RunConfig
from aeflow_utils.data import features
from aeflow_utils.data.features import encode_images
from aeflow_utils.data.images import prepare_images
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.paths import whole
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.tables import format_summary
from aeflow_utils.study import experiments
from aeflow_utils.study.experiments import run, splits_of
from aeflow_utils.study.results import find, summary
from aeflow_utils.study.runs import CHECKPOINT, FILES, SEAL, load_run, seal
from aeflow_utils.study.systems import load_system

SMOKE = PROFILES["smoke"]


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path):
    path.write_bytes(bytes(path.stat().st_size))


def edited(path):
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1) + b"\n")


@pytest.mark.parametrize("damage", [cut, zeroed, edited, os.unlink])
@pytest.mark.parametrize("name", [*FILES, SEAL])
def test_a_file_that_was_damaged_is_refused_by_folder_and_remedy(damage, name, write_run):
    folder = write_run().folder
    damage(folder / name)
    for read in (lambda: load_run(folder), lambda: find("smoke")):
        with pytest.raises(UserError, match=f"{folder.name}.*run again"):
            read()


def test_a_file_of_another_run_is_refused(write_run):
    mine, other = (write_run(seed=seed, test=((0, 1), (seed, 1))).folder for seed in (0, 2))
    shutil.copy(other / "scores.csv.gz", mine)
    with pytest.raises(UserError, match=r"scores\.csv\.gz is not as the run left it"):
        load_run(mine)


def test_a_folder_under_another_runs_name_is_refused(write_run):
    mine, other = (write_run(seed=seed).folder for seed in (0, 1))
    shutil.rmtree(other)
    shutil.copytree(mine, other)
    with pytest.raises(UserError, match=f"it is the folder of {mine.name}"):
        load_run(other)


@pytest.mark.parametrize("damage", [cut, zeroed, edited, os.unlink])
def test_a_checkpoint_that_was_damaged_is_refused(damage, small_elpv):
    result = run(RunConfig.build(SMOKE, "elpv", "autoencoder"))
    damage(result.folder / CHECKPOINT)
    with pytest.raises(UserError, match=f"{result.folder.name}.*run again"):
        load_system(result, splits_of(result.config))


def test_what_appears_is_whole_and_what_was_there_stays(tmp_path):
    file = tmp_path / "new" / "table.csv"
    with whole(file) as partial:
        partial.write_text("one")
    with pytest.raises(OSError, match="full"), whole(file) as partial:
        partial.write_text("tw")
        raise OSError("full")
    assert file.read_text() == "one"
    assert list(file.parent.iterdir()) == [file]


def test_what_a_killed_process_left_is_removed_and_anothers_work_is_not(tmp_path):
    dead = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], text=True, capture_output=True
    ).stdout.strip()
    names = {
        who: f".table.csv.{platform.node()}-{who}.partial" for who in (dead, str(os.getppid()))
    }
    for name in names.values():
        (tmp_path / name).touch()
    with whole(tmp_path / "table.csv") as partial:
        partial.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"table.csv", names[str(os.getppid())]}


def test_features_that_are_not_finite_stop_with_the_files_name(own_cache, monkeypatch):
    listed = list_images(RunConfig.build(SMOKE, "elpv", "knn").data)
    encode = features.encode

    def broken(encoder, images):
        maps = encode(encoder, images)
        maps[16][3, 0, 0, 0] = np.inf
        return maps

    monkeypatch.setattr(features, "encode", broken)
    name = listed.table["path"].iloc[3]
    with pytest.raises(UserError, match=f"not finite: .*{name}"):
        encode_images(prepare_images(listed), "efficientnet_lite0", (8, 16))


def test_scores_that_are_not_finite_stop_with_the_files_name(monkeypatch, small_elpv):
    config = RunConfig.build(SMOKE, "elpv", "knn")
    new_system = experiments.new_system

    def broken(*args):
        system = new_system(*args)
        score = system.score

        def lost(batch):
            scores = score(batch)
            scores.image_score[2] = torch.nan
            return scores

        system.score = lost
        return system

    monkeypatch.setattr(experiments, "new_system", broken)
    first = small_elpv.val.table["path"].iloc[2]
    with pytest.raises(TrainingError, match=f"the first that of {first}"):
        run(config)
    assert not find("smoke")


@pytest.mark.parametrize(
    ("test", "note"),
    [
        (((0, 0, 1, 1), (1, 2, 3, 4)), ""),
        (((0, 0, 1, 1), (5, 5, 5, 5)), "constant scores"),
        (((0, 0, 1, 1), (7, 8, 8, 9)), "calls all alike"),
    ],
)
def test_a_detector_that_tells_nothing_apart_is_flagged_in_tables(test, note, write_run):
    write_run(seed=0)
    write_run(seed=1, test=test)
    table = summary(find("smoke"), "normal_quantile")
    assert table["note"].iloc[0] == note
    (method, *_) = format_summary(table).index.get_level_values("method")
    assert method.endswith(f"({note})") == bool(note)


@pytest.mark.parametrize("content", ["[]", "3", "null", "[" * 100_000])
@pytest.mark.parametrize("name", [SEAL, "config.json", "metrics.json"])
def test_json_of_another_kind_is_refused(name, content, write_run):
    folder = write_run().folder
    (folder / name).write_text(content)
    if name != SEAL:
        seal(folder)
    with pytest.raises(UserError, match=f"{folder.name}.*run again"):
        load_run(folder)


@pytest.mark.parametrize("value", ["12", 12.0, True, None, [12], 10**400])
def test_a_value_of_another_kind_is_refused(value):
    content = RunConfig.build(SMOKE, "elpv", "padim").to_dict()
    content["train"]["epochs"] = value
    with pytest.raises(ValueError, match="epochs"):
        RunConfig.from_dict(content)


@pytest.mark.parametrize(("field", "name"), [("profile", "../x"), ("variant", "/../../x")])
def test_a_configuration_names_no_folder_elsewhere(field, name):
    content = RunConfig.build(SMOKE, "elpv", "padim").to_dict() | {field: name}
    with pytest.raises(ValueError, match="no name for results"):
        RunConfig.from_dict(content)


def test_a_table_without_scores_is_refused_though_it_is_sealed(write_run):
    folder = write_run().folder
    rewrite(folder, "scores.csv.gz", pd.DataFrame({"path": ["a"], "label": [0], "split": ["val"]}))
    with pytest.raises(UserError, match=f"{folder.name}.*image_score"):
        load_run(folder)
