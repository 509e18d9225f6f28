"""A reader's own images: layouts are understood or refused; one command gives a page."""

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import save_noise
from PIL import Image

from aeflow_utils.__main__ import main
from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.data.images import load_masks
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.own.report import own_plan
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.study.experiments import run_all
from aeflow_utils.study.results import find


@pytest.fixture
def tree(tmp_path):
    """Makes image files from {folder: count}; returns their root."""

    def make(counts, grey=False, suffix=".png"):
        rng, root = np.random.default_rng(0), tmp_path / "my parts"
        for folder, count in counts.items():
            for number in range(count):
                save_noise(root / folder / f"{number:03}{suffix}", rng, grey)
        return root

    return make


def table_of(root, **options):
    return list_images(FolderConfig(source=str(root), name="parts", **options)).table


def counts(table):
    """{(split, label): images}, labels 0, 1 and -1."""
    return table.value_counts(["split", "label"]).to_dict()


@pytest.mark.parametrize(
    "folders",
    [
        {"train/good": 10, "test/good": 4, "test/scratch": 2, "test/dent": 1},
        {"Train/OK": 10, "Test/OK": 4, "Test/NG": 3},
        {"training/normal": 10, "testing/normal": 4, "testing/abnormal": 3},
        {"normal/train": 10, "normal/test": 4, "broken/test": 3},
        {"train": 10, "test/negative": 4, "test/positive": 3},
    ],
    ids=["as in MVTec AD", "upper case", "long names", "label first", "flat train"],
)
def test_usual_layouts_are_understood(tree, folders):
    expected = {("train", 0): 8, ("val", 0): 2, ("test", 0): 4, ("test", 1): 3}
    assert counts(table_of(tree(folders))) == expected


def test_kinds_are_the_names_of_the_folders(tree):
    table = table_of(tree({"train/good": 10, "test/good": 2, "test/bad/scratch": 2}))
    assert set(table.loc[table["label"] == 1, "kind"]) == {"scratch"}
    assert set(table.loc[table["label"] == 0, "kind"]) == {"normal"}


def test_a_validation_folder_is_used_as_it_is(tree):
    root = tree({"train/ok": 5, "valid/ok": 3, "valid/ko": 2, "test/ok": 2, "test/ko": 2})
    assert counts(table_of(root)) == {
        ("train", 0): 5,
        ("val", 0): 3,
        ("val", 1): 2,
        ("test", 0): 2,
        ("test", 1): 2,
    }


def test_abnormal_training_images_serve_validation_only(tree):
    found = counts(table_of(tree({"train/ok": 10, "train/ko": 8, "test/ok": 2, "test/ko": 2})))
    assert ("train", 1) not in found
    assert found["val", 1] == 2


def test_without_train_and_test_images_are_split_at_random_and_none_is_lost(tree):
    table = table_of(tree({"good": 20, "crack": 8}))
    assert counts(table) == {
        ("train", 0): 12,
        ("val", 0): 4,
        ("test", 0): 4,
        ("val", 1): 2,
        ("test", 1): 6,
    }
    assert table["path"].is_unique


def test_a_single_abnormal_image_goes_to_test(tree):
    assert counts(table_of(tree({"good": 20, "crack": 1})))["test", 1] == 1


def test_test_images_without_labels_are_scored_but_never_judged(tree):
    table = table_of(tree({"train": 10, "test": 5}))
    assert set(table.loc[table["split"] == "test", "label"]) == {UNLABELLED}


def test_names_of_normal_and_abnormal_folders_can_be_given(tree):
    root = tree({"train/a": 10, "test/a": 3, "test/b": 2, "test/c": 2})
    with pytest.raises(UserError, match=r"a, b, c.* --normal"):
        table_of(root)
    assert counts(table_of(root, normal=("A",)))["test", 1] == 4
    table = table_of(root, normal=("a",), abnormal=("b",))
    assert set(table.loc[table["label"] == 1, "kind"]) == {"b"}
    with pytest.raises(UserError, match="z"):
        table_of(root, normal=("z",))


def test_several_products_are_refused(tree):
    root = tree({"bottle/train/good": 3, "cable/train/good": 3, "cable/test/bad": 1})
    with pytest.raises(UserError, match="bottle, cable"):
        table_of(root)


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.mkdir()], ids=["absent", "empty"])
def test_nothing_there_is_one_clear_error(tmp_path, make):
    make(tmp_path / "x")
    with pytest.raises(UserError, match="/x"):
        table_of(tmp_path / "x")


def test_a_folder_without_test_images_is_refused(tree):
    with pytest.raises(UserError, match="test"):
        table_of(tree({"train/good": 10}))


def test_names_with_spaces_and_letters_of_any_kind_work(tree):
    root = tree({"train/good": 6, "test/good": 2, "test/Kratzer süß": 2}, suffix=".PNG")
    assert "test/Kratzer süß/001.PNG" in table_of(root)["path"].tolist()


def test_masks_are_found_and_are_no_images_of_their_own(tree):
    root = tree({"train/good": 6, "test/good": 2, "test/dent": 2})
    for number in range(2):
        path = root / f"ground_truth/dent/{number:03}_mask.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (24, 20), 255).save(path)
    listed = list_images(FolderConfig(source=str(root), name="parts", image_size=32))
    table = listed.table
    assert len(table) == 10
    masks = load_masks(listed, table)
    assert masks[(table["label"] == 1).to_numpy()].all()
    assert not masks[(table["label"] == 0).to_numpy()].any()


@pytest.mark.parametrize("grey", [True, False])
def test_grey_is_seen_from_the_files(tree, grey):
    root = tree({"train/good": 3, "test/good": 1, "test/bad": 1}, grey=grey)
    assert list_images(FolderConfig(source=str(root), name="x")).spec.grey is grey


@pytest.fixture
def csv(tree):
    """Writes a CSV file beside ten images a.png ... from its text."""

    def write(text):
        root = tree({"pictures": 10})
        (root / "list.csv").write_text(text)
        return root / "list.csv"

    return write


def rows(*lines):
    return "\n".join(["path,label,split", *lines])


def test_a_csv_says_path_label_and_split(csv):
    lines = [f"pictures/{n:03}.png,0,train" for n in range(5)]
    lines += ["pictures/005.png,ok,test", "pictures/006.png,dent,test", "pictures/007.png,,test"]
    found = counts(table_of(csv(rows(*lines))))
    expected = {("train", 0): 4, ("val", 0): 1, ("test", 0): 1, ("test", 1): 1}
    assert found == expected | {("test", UNLABELLED): 1}


def test_a_csv_may_name_masks_and_groups(csv):
    lines = [f"pictures/{n:03}.png,ok,train,,g{n // 2}" for n in range(6)]
    lines += ["pictures/006.png,ok,test,,", "pictures/007.png,dent,test,pictures/009.png,"]
    source = csv("\n".join(["path,label,split,mask,group", *lines]))
    listed = list_images(FolderConfig(source=str(source), name="parts", image_size=32))
    groups = {split: set(part["group"]) for split, part in listed.table.groupby("split")}
    assert not groups["train"] & groups["val"]
    masks = load_masks(listed, listed.table)
    assert masks.any(axis=(1, 2)).tolist() == listed.table["label"].eq(1).tolist()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("file,label\na.png,0", "file, label"),
        (rows("pictures/000.png,0,train", "gone.png,0,test"), r"line 3 \(gone.png\)"),
        (rows("pictures/000.png,0,dev"), "line 2"),
        (rows("pictures/000.png,0,test", "pictures/001.png,0,"), "line 3"),
        (rows(*["pictures/000.png,0,train"] * 2), "line 3"),
        (rows("pictures/000.png,a,train", "pictures/001.png,b,test"), "a, b"),
        ("", r"list\.csv"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused_with_its_line(csv, text, named):
    with pytest.raises(UserError, match=named):
        table_of(csv(text))


def test_options_of_a_folder_survive_their_json(tmp_path):
    data = FolderConfig(source=str(tmp_path), name="x", normal=("a", "b"))
    config = own_plan(data, get_profile("smoke"))[0]
    assert RunConfig.from_dict(config.to_dict()) == config
    other = own_plan(FolderConfig(source="/elsewhere", name="x"), get_profile("smoke"))[0]
    assert other.run_name != config.run_name


def study(root, *more):
    assert main(["folder", str(root), "--profile", "smoke", *more]) == 0
    return paths().own("smoke")


def test_one_command_trains_and_writes_the_page_and_a_second_time_trains_nothing(
    tree, capsys, monkeypatch
):
    root = tree({"train/good": 12, "test/good": 4, "test/<b>odd & name": 4})
    walked, walk = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda top: walked.append(Path(top)) or walk(top))
    folder = study(root) / "my-parts"
    assert walked.count(root) == 1
    assert str(folder / "index.html") in capsys.readouterr().out
    scores = pd.read_csv(folder / "scores.csv")
    assert scores["image_score"].is_monotonic_decreasing
    assert scores["rank"].tolist() == list(range(1, 9))
    page = (folder / "index.html").read_text()
    shown = [
        page.index(path.replace("&", "&amp;").replace("<b>", "&lt;b&gt;"))
        for path in scores["path"]
    ]
    assert shown == sorted(shown)
    assert "<b>odd" not in page  # names are text, never markup
    assert not re.search(r'(src|href)="(https?:)?//', page)  # it needs no network
    assert set(pd.read_csv(folder / "methods.csv")["model"]) >= {"ae_flow", "padim", "knn"}
    assert {path.stem for path in (folder / "figures").iterdir()} == {"scores", "losses", "roc"}

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.parent.glob("runs/[!.]*/*")}

    before = times()
    study(root)
    assert times() == before


def test_a_folder_that_has_changed_is_noticed(tree):
    root = tree({"train": 8, "test/good": 3, "test/bad": 3})
    config = own_plan(FolderConfig(source=str(root), name="x"), get_profile("smoke"))[-1]
    (before,) = run_all([config])  # one that trains nothing
    save_noise(root / "test/bad/003.png", np.random.default_rng(1), grey=False)
    (after,) = run_all([config])
    assert len(after.split("test")) == len(before.split("test")) + 1


def test_unlabelled_images_get_a_page_without_judgement(tree, write_run):
    write_run()
    folder = study(tree({"train": 8, "test": 5}), "--name", "unknown") / "unknown"
    page = (folder / "index.html").read_text()
    assert "have no labels" in page
    assert "AUROC" not in page
    assert not (folder / "methods.csv").exists()
    assert len(pd.read_csv(folder / "scores.csv")) == 5
    assert {run.config.data.dataset for run in find("smoke")} == {"elpv"}  # own runs stay out
