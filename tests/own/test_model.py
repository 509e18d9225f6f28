"""Fitted once, scored for ever: an image has one score, and nothing is silently wrong."""

import io
import json
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers import save_noise
from PIL import Image

from aeflow_utils.__main__ import main
from aeflow_utils.config import FolderConfig
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.own import fit as fitting
from aeflow_utils.own.export import AGREES, export
from aeflow_utils.own.fit import DETECTORS, fit, plan_of
from aeflow_utils.own.model import BATCH, ONNX, load_model
from aeflow_utils.own.score import images_of, score_files
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.study.experiments import run_all, splits_of
from aeflow_utils.study.results import find

SMOKE = ("--profile", "smoke")


@pytest.fixture
def parts(tree):
    return tree({"train/good": 12, "test/good": 4, "test/<b>odd & name": 4})


def fitted(root, detector, out, *more):
    assert main(["fit", str(root), "--detector", detector, "--out", str(out), *SMOKE, *more]) == 0
    return load_model(out)


def scored(capsys, *arguments, status=0):
    capsys.readouterr()
    assert main(["score", *map(str, arguments)]) == status
    return pd.read_csv(io.StringIO(capsys.readouterr().out))


@pytest.mark.parametrize("detector", DETECTORS)
def test_a_saved_model_gives_the_scores_of_the_run_that_fitted_it(detector, parts, tmp_path):
    listed = list_images(FolderConfig(source=str(parts), name="my-parts", image_size=64, limit=24))
    (run,) = run_all(plan_of(listed.data, get_profile("smoke"), detector), [listed])
    model = fitted(parts, detector, tmp_path / "model")
    shutil.rmtree(paths().own("smoke"))  # neither the run nor the images are needed any more
    copy = tmp_path / "copy"
    shutil.copytree(parts / "test", copy)
    shutil.rmtree(parts)
    test = run.split("test").set_index("path")["image_score"]
    files = [str(tmp_path / "copy" / path.removeprefix("test/")) for path in test.index]
    found = [row.score for row in score_files(model, files)]
    np.testing.assert_allclose(found, test, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("detector", DETECTORS)
def test_the_same_image_has_the_same_score_whoever_is_scored_beside_it(detector, parts, tmp_path):
    model = fitted(parts, detector, tmp_path / "model")
    files = images_of([str(parts)])
    assert len(files) > BATCH
    together = {row.path: row.score for row in score_files(model, files)}
    backwards = {row.path: row.score for row in score_files(model, files[::-1])}
    alone = {file: next(score_files(model, [file])).score for file in files[:5]}
    assert together == backwards
    assert {file: together[file] for file in alone} == alone


def test_a_p_value_counts_the_normal_images_that_are_as_anomalous(parts, tmp_path):
    calibration = fitted(parts, "padim", tmp_path / "model").calibration
    normals = np.array(calibration.normals)
    n = len(normals)
    assert calibration.p_values(np.array([normals.max() + 1])) == pytest.approx(1 / (n + 1))
    assert calibration.p_values(normals[:1]) == pytest.approx(1)
    assert calibration.p_values(normals[-1:]) == pytest.approx(2 / (n + 1))
    assert calibration.threshold == pytest.approx(np.quantile(normals, 0.95))


def test_sources_of_every_kind_name_each_image_once(parts, tmp_path, monkeypatch, capsys):
    good = parts / "test/good"
    (tmp_path / "list.csv").write_text(
        f"path,note\n{good / '000.png'},NA\nmy parts/test/good/001.png,"
    )
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{good / '003.png'}\n\n"))
    sources = [
        str(good / "002.png"),
        str(good),
        str(good / "*.png"),
        str(tmp_path / "list.csv"),
        "-",
    ]
    expected = [str(good / f"00{n}.png") for n in (2, 0, 1, 3)]
    found = [str(Path(file)) for file in images_of(sources)]
    assert found == expected
    for nothing in ("", str(tmp_path / "gone"), str(good / "*.bmp")):
        with pytest.raises(UserError):
            images_of([nothing])


def test_scores_come_as_csv_or_json_lines_and_maps_as_pictures(parts, tmp_path, capsys):
    model = tmp_path / "model"
    fitted(parts, "padim", model)
    table = scored(capsys, model, parts / "test/good")
    assert table.columns.tolist() == ["path", "score", "p_value", "flagged", "error"]
    target = tmp_path / "new" / "scores.jsonl"
    arguments = ["score", model, parts / "test/good", "--out", target, "--format", "jsonl"]
    assert main([*map(str, arguments), "--maps", str(tmp_path / "maps")]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["score"] for row in rows] == table["score"].tolist()
    maps = sorted((tmp_path / "maps").iterdir())
    assert [path.name for path in maps] == [f"{n:06}-{n:03}.png" for n in range(4)]
    assert Image.open(maps[0]).size == (64, 64)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "gone", "bomb"])
def test_an_image_that_cannot_be_read_has_an_error_and_no_score(
    damage, parts, tmp_path, capsys, monkeypatch
):
    model, bad = tmp_path / "model", parts / "test/good/001.png"
    fitted(parts, "padim", model)
    if damage == "bomb":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        Image.new("RGB", (30, 20)).save(bad)
        files = [bad]
    else:
        content = {"cut": bad.read_bytes()[:-60], "text": b"hello", "empty": b""}
        bad.write_bytes(content.get(damage, b""))
        files = [parts / "test/good/000.png", bad, parts / "test/good/002.png"]
    listing = tmp_path / "list.csv"
    listing.write_text("path\n" + "\n".join(map(str, files)))
    if damage == "gone":
        bad.unlink()
    table = scored(capsys, model, listing, status=1)
    assert table["path"].tolist() == [str(file) for file in files]
    row = table.set_index("path").loc[str(bad)]
    assert np.isnan(row["score"]) and np.isnan(row["p_value"]) and not row["flagged"]
    assert str(bad) in row["error"]
    assert np.isfinite(table.set_index("path").drop(index=str(bad))["score"]).all()


def test_scores_that_were_not_finished_do_not_look_complete(parts, tmp_path, monkeypatch):
    model, target = tmp_path / "model", tmp_path / "scores.csv"
    fitted(parts, "padim", model)
    target.write_text("older\n")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("aeflow_utils.own.score.scores_of", stop)
    assert main(["score", str(model), str(parts), "--out", str(target)]) == 130
    assert target.read_text() == "older\n"


@pytest.mark.parametrize("file", ["weights.safetensors", "model.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_model_is_refused_by_the_name_of_its_file(file, damage, parts, tmp_path, capsys):
    model = tmp_path / "model"
    fitted(parts, "padim", model)
    content = (model / file).read_bytes()
    (model / file).write_bytes(content[:-40] if damage == "cut" else content[:-9] + b"123456789")
    if damage == "gone":
        (model / file).unlink()
    capsys.readouterr()
    assert main(["score", str(model), str(parts)]) == 2
    error = capsys.readouterr().err
    assert str(model) in error and "Traceback" not in error
    assert "fit" in error  # the remedy


def test_a_model_is_not_written_over_something_else(parts, tmp_path, capsys):
    taken = tmp_path / "photos"
    taken.mkdir()
    (taken / "a.txt").write_text("mine")
    out = ["--out", str(taken), *SMOKE]
    assert main(["fit", str(parts), "--detector", "knn", *out]) == 2
    assert (taken / "a.txt").read_text() == "mine"
    assert fitted(parts, "knn", tmp_path / "model").trained_on
    assert fitted(parts, "padim", tmp_path / "model").config.model.name == "padim"


def test_only_what_was_trained_on_fits_a_model_anew(parts, tmp_path):
    first = fitted(parts, "knn", tmp_path / "a")
    save_noise(parts / "test/good/900.png", np.random.default_rng(5), grey=False)
    assert fitted(parts, "knn", tmp_path / "b").trained_on == first.trained_on
    save_noise(parts / "train/good/900.png", np.random.default_rng(6), grey=False)
    assert fitted(parts, "knn", tmp_path / "c").trained_on != first.trained_on


def test_auto_chooses_by_labelled_validation_or_by_the_rule_before_it(tree, monkeypatch):
    monkeypatch.setattr(fitting, "DETECTORS", ("padim", "knn"))
    folders = {"train/good": 12, "val/good": 6, "val/bad": 6, "test/good": 3, "test/bad": 3}
    root = tree(folders)
    for file in (root / "val/bad").iterdir():
        Image.new("RGB", (24, 20), (255, 0, 0)).save(file)
    data = FolderConfig(source=str(root), name="x", image_size=64)
    model, results = fit(list_images(data), get_profile("smoke"))
    able = [r for r in results if r.config.model.name in ("padim", "knn")]
    assert results[0].metrics["val_auroc"] == max(r.metrics["val_auroc"] for r in able)
    assert model.compared[0]["validation AUROC"] == results[0].metrics["val_auroc"]
    assert {row["detector"] for row in model.compared} > {"trivial: dark", "trivial: smooth"}
    shutil.rmtree(root / "val/bad")
    model, results = fit(list_images(data), get_profile("smoke"))
    assert model.config.model.name == "padim"


def test_nearly_equal_images_in_training_and_test_are_told(tree):
    root = tree({"train/good": 12, "test/good": 3, "test/bad": 2})
    twin = np.asarray(Image.open(root / "train/good/003.png")).astype(int)
    twin[0, 0] = (twin[0, 0] + 3).clip(0, 255)
    Image.fromarray(twin.astype(np.uint8)).save(root / "test/good/900.png")
    listed = list_images(FolderConfig(source=str(root), name="x", image_size=64))
    (config,) = plan_of(listed.data, get_profile("smoke"), "knn")
    (note,) = fitting.near_twins(splits_of(config, listed=listed))
    assert "test/good/900.png" in note and "1 pair" in note
    (root / "test/good/900.png").unlink()
    listed = list_images(FolderConfig(source=str(root), name="x", image_size=64))
    assert fitting.near_twins(splits_of(config, listed=listed)) == []


def study(root, *more):
    assert main(["folder", str(root), *SMOKE, *more]) == 0
    return paths().own("smoke")


def test_one_command_fits_scores_and_writes_the_page_and_a_second_time_fits_nothing(
    parts, capsys, monkeypatch
):
    walked, walk = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda top: walked.append(str(top)) or walk(top))
    folder = study(parts) / "my-parts"
    assert walked.count(str(parts / "train" / "good")) == 1
    assert str(folder / "index.html") in capsys.readouterr().out
    scores = pd.read_csv(folder / "scores.csv")
    assert scores["image_score"].is_monotonic_decreasing
    assert scores["rank"].tolist() == list(range(1, 9))
    page = (folder / "index.html").read_text()
    assert "<b>odd" not in page  # names are text, never markup
    assert not re.search(r'(src|href)="(https?:)?//', page)  # it needs no network
    assert set(pd.read_csv(folder / "methods.csv")["model"]) >= {*DETECTORS, "brightness"}
    files = {path.name for path in (folder / "model").iterdir()}
    assert files == {"weights.safetensors", "model.json", "README.md"}
    assert len(list((folder / "thumbs").iterdir())) == 3 * 8

    def times():
        return {path: path.stat().st_mtime_ns for path in folder.parent.glob("runs/[!.]*/*")}

    before = times()
    study(parts)
    assert times() == before


def test_unlabelled_images_get_a_page_without_judgement(tree, write_run):
    write_run()
    root = tree({"train": 8, "test": 5})
    folder = study(root, "--name", "unknown", "--detector", "padim") / "unknown"
    assert (folder / "index.html").exists()
    assert not (folder / "methods.csv").exists()
    assert len(pd.read_csv(folder / "scores.csv")) == 5
    assert {run.config.data.dataset for run in find("smoke")} == {"elpv"}  # own runs stay out


def test_two_sources_of_one_name_do_not_write_over_each_other(tree, tmp_path, capsys):
    first = tree({"train": 8, "test": 3})
    study(first, "--name", "same", "--detector", "knn")
    shutil.copytree(first, tmp_path / "other")
    command = ["folder", str(tmp_path / "other"), "--name", "same", "--detector", "knn", *SMOKE]
    assert main(command) == 2
    assert str(first) in capsys.readouterr().err


def test_a_report_on_other_images_shows_their_masks_and_pixel_results(tree, tmp_path):
    root = tree({"train/good": 10, "test/good": 2, "test/dent": 2})
    for number in range(2):
        mask = np.zeros((20, 24), np.uint8)
        mask[4:9, 4:9] = 255
        (root / "ground_truth/dent").mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask).save(root / f"ground_truth/dent/{number:03}_mask.png")
    fitted(root, "padim", tmp_path / "model")
    out = tmp_path / "page"
    command = ["report", str(tmp_path / "model"), str(root), "--out", str(out), *SMOKE]
    assert main(command) == 0
    scores = pd.read_csv(out / "scores.csv").set_index("path")
    assert scores["pixel_auroc"].notna().sum() == 2
    assert set(scores.index) == {f"test/{k}/{n:03}.png" for k in ("good", "dent") for n in range(2)}


@pytest.mark.parametrize(
    "command", [["fit", "", "--out", "x"], ["folder", " "], ["fit", "/gone", "--out", "x"]]
)
def test_no_source_is_one_line(command, capsys):
    assert main([*command, *SMOKE]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1


def test_normal_names_do_not_eat_the_path(tree, tmp_path):
    root = tree({"train/a": 8, "test/a": 2, "test/b": 2})
    out = ["--out", str(tmp_path / "m"), "--detector", "knn", *SMOKE]
    assert main(["fit", "--normal", "a", str(root), *out]) == 0


@pytest.mark.parametrize("detector", ["padim", "patchcore", "ae_flow"])
def test_the_exported_graph_gives_the_same_scores_and_maps(detector, parts, tmp_path):
    folder = tmp_path / "model"
    model = fitted(parts, detector, folder)
    target, found = export(folder)
    assert target.is_file()
    assert max(found.values()) <= AGREES
    images, other = images_of([str(parts)]), load_model(folder, "onnx")
    ours, theirs = (
        np.array([row.score for row in score_files(each, images)]) for each in (model, other)
    )
    usual = np.abs(model.calibration.normals).max()
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=AGREES * usual)
    target.write_bytes(target.read_bytes()[:2000])
    with pytest.raises(UserError, match=ONNX):
        load_model(folder, "onnx")


def test_what_cannot_be_exported_says_so(parts, tmp_path):
    fitted(parts, "knn", tmp_path / "model")
    with pytest.raises(UserError, match="knn"):
        export(tmp_path / "model")
    with pytest.raises(UserError, match=ONNX):
        load_model(tmp_path / "model", "onnx")


def test_a_model_whose_threshold_was_changed_is_refused(parts, tmp_path):
    fitted(parts, "padim", tmp_path / "model")
    about = tmp_path / "model" / "model.json"
    content = json.loads(about.read_text())
    content["calibration"]["threshold"] += 1
    about.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"model\.json cannot be read.*fit the model again"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize("name", ["x" * 251, "é" * 125])
def test_a_map_is_written_of_an_image_with_the_longest_name(name, tmp_path, monkeypatch):
    calibration = SimpleNamespace(map_range=(0, 1), threshold=0.5, p_values=np.negative)
    answers = iter([(f"{name}.png", (0.1, np.zeros((4, 4))))])
    monkeypatch.setattr("aeflow_utils.own.score.answers", lambda *_: answers)
    model = SimpleNamespace(calibration=calibration)
    assert len(list(score_files(model, [f"{name}.png"], tmp_path / "maps"))) == 1
    assert len(list((tmp_path / "maps").iterdir())) == 1


@pytest.mark.parametrize("name", [os.fsdecode(b"part\xff.png"), "part\r.png"])
def test_a_file_whose_name_no_table_can_hold_is_refused_before_it_is_scored(name, tmp_path):
    (tmp_path / name).touch()
    with pytest.raises(UserError, match="no UTF-8"):
        images_of([str(tmp_path / name)])
