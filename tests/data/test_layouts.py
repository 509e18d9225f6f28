"""Small trees in the official layout of each data set, and in wrong ones."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from helpers import save_noise
from PIL import Image

from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.data.check import counts, describe, problems, stored_sizes
from aeflow_utils.data.features import load_splits
from aeflow_utils.data.images import load_masks, read_image
from aeflow_utils.data.table import available, list_images, splits_here
from aeflow_utils.errors import UserError
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.tables import pixel_table
from aeflow_utils.study import experiments
from aeflow_utils.study.experiments import run_all


def grow(root, names, grey=True):
    rng = np.random.default_rng(0)
    for name in names:
        save_noise(root / name, rng, grey)


def table_of(data):
    return list_images(data).table


def count(table):
    return table.value_counts(["split", "label"]).to_dict()


@pytest.fixture
def oct_tree(data_folder):
    names = [f"train/NORMAL/NORMAL-{1000 + p}-{n}.jpeg" for p in range(10) for n in (1, 2)]
    names += [
        f"train/{k}/{k}-{2000 + p}-1.jpeg" for k in ("CNV", "DME", "DRUSEN") for p in range(5)
    ]
    names += [
        f"test/{k}/{k}-{3000 + p}-1.jpeg"
        for k in ("NORMAL", "CNV", "DME", "DRUSEN")
        for p in (1, 2)
    ]
    names += ["val/NORMAL/NORMAL-4000-1.jpeg", "val/CNV/CNV-4001-1.jpeg"]
    grow(data_folder / "OCT2017", names)
    return data_folder / "OCT2017"


def test_oct_is_split_by_patient_and_trained_on_normal_images(oct_tree):
    table = table_of(DataConfig("oct2017"))
    assert count(table)[("test", 1)] == 6
    assert count(table)[("test", 0)] == 2
    assert set(table[table["split"] == "train"]["kind"]) == {"normal"}
    groups = {split: set(part["group"]) for split, part in table.groupby("split")}
    assert not groups["train"] & groups["val"]
    assert "1003" in groups["train"] | groups["val"]  # the patient, without the disease
    assert not table["path"].str.startswith("val/").any()


def test_a_patient_of_the_training_images_who_is_in_test_is_reported(oct_tree):
    grow(oct_tree, ["test/NORMAL/NORMAL-1004-9.jpeg"])
    found = problems("oct2017").set_index("path")["problem"]
    assert "group 1004 is also in test" in found["train/NORMAL/NORMAL-1004-1.jpeg"]


@pytest.fixture
def isic_tree(data_folder):
    root = data_folder / "isic2018"
    sizes = {"Training": (12, 4), "Validation": (3, 2), "Test": (5, 3)}
    number = 0
    for part, (n_normal, n_other) in sizes.items():
        rows = []
        for label, n in ((0, n_normal), (1, n_other)):
            for _ in range(n):
                name = f"ISIC_{number:07}"
                number += 1
                grow(root, [f"ISIC2018_Task3_{part}_Input/{name}.jpg"], grey=False)
                rows.append({"image": name, "MEL": float(label), "NV": 1.0 - label, "BCC": 0.0})
        folder = root / f"ISIC2018_Task3_{part}_GroundTruth"
        folder.mkdir()
        pd.DataFrame(rows).to_csv(folder / f"{folder.name}.csv", index=False)
    lesions = {
        "image": [f"ISIC_{n:07}" for n in range(16)],
        "lesion_id": [f"HAM_{n // 2}" for n in range(16)],
    }
    pd.DataFrame(lesions).to_csv(root / "ISIC2018_Task3_Training_LesionGroupings.csv", index=False)
    return root


@pytest.mark.parametrize(
    ("split", "expected"), [("", (3, 2)), ("official_test", (5, 3))], ids=["validation", "test"]
)
def test_isic_is_judged_on_its_official_validation_set_or_on_request_on_its_test_set(
    split, expected, isic_tree
):
    table = table_of(DataConfig("isic2018", split=split))
    assert (count(table)[("test", 0)], count(table)[("test", 1)]) == expected
    groups = {name: set(part["group"]) for name, part in table.groupby("split")}
    assert not groups["train"] & groups["val"]
    assert all(group.startswith("HAM_") for group in groups["train"])
    assert set(table[table["label"] == 0]["kind"]) == {"NV"}


def test_isic_is_offered_in_the_split_whose_images_are_here(isic_tree):
    assert list(splits_here(SPECS["isic2018"])) == ["", "official_test"]
    assert available(("isic2018",)) == [("isic2018", "", "")]
    (isic_tree / "ISIC2018_Task3_Validation_GroundTruth").rename(isic_tree / "elsewhere")
    assert available(("isic2018",)) == [("isic2018", "", "official_test")]
    plan = experiments.plan(PROFILES["smoke"], datasets=("isic2018",))
    assert {config.data.label for config in plan} == {"isic2018-official_test"}
    assert "official_test" in plan[0].run_name  # folders and tables say so
    (isic_tree / "ISIC2018_Task3_Test_GroundTruth").rename(isic_tree / "elsewhere2")
    assert available(("isic2018",)) == []


def test_miic_never_takes_an_abnormal_image_for_a_normal_one(data_folder):
    names = [f"train/train_normal_{n:05}.jpg" for n in range(10)]
    names += [f"test/test_normal_{n:05}.jpg" for n in range(4)]
    names += [f"test/test_abnormal_{n:05}.jpg" for n in range(3)]
    names += ["test/test_abnormal_00001_mask.jpg", "test/xtest_normal_00009.jpg"]
    grow(data_folder / "miic", names)
    table = table_of(DataConfig("miic"))
    test = table[table["split"] == "test"]
    assert count(test) == {("test", 0): 4, ("test", 1): 3}
    assert test["path"].is_unique
    assert not test[test["label"] == 0]["path"].str.contains("abnormal").any()


@pytest.mark.parametrize("folder", SPECS["btad"].folders[:2])
def test_btad_has_three_products(folder, data_folder):
    for product in SPECS["btad"].categories:
        names = [f"train/ok/{n:04}.bmp" for n in range(6)]
        names += ["test/ok/0001.bmp", "test/ko/0001.png", "ground_truth/ko/0001.png"]
        grow(data_folder / folder / product, names, grey=False)
    assert available(("btad",)) == [("btad", name, "") for name in SPECS["btad"].categories]
    table = table_of(DataConfig("btad", "02"))
    assert count(table[table["split"] == "test"]) == {("test", 0): 1, ("test", 1): 1}
    assert table["path"].str.startswith("02/").all()


def test_elpv_blocks_are_runs_of_neighbouring_files():
    table = table_of(DataConfig("elpv", split="blocks")).sort_values("path")
    assert set(table[table["split"] == "train"]["label"]) == {0}
    changes = (table["split"] != table["split"].shift()).sum()
    assert changes <= 20
    assert table["path"].is_unique


def test_an_unknown_split_lists_the_known_ones():
    with pytest.raises(UserError, match=r"unknown split 'patients' of elpv.*'blocks'"):
        table_of(DataConfig("elpv", split="patients"))


def test_the_official_counts_add_up_to_what_the_authors_say():
    totals = {
        name: sum(sum(c.values()) for c in spec.counts.values()) for name, spec in SPECS.items()
    }
    assert totals["elpv"] == 2624
    assert totals["mvtec"] == 5354
    assert totals["btad"] == 2540
    assert totals["isic2018"] == 10015 + 193 + 1512
    assert totals["oct2017"] == 83484 + 32 + 968
    assert totals["miic"] == 25160 + 116


def test_check_names_every_absent_category(mvtec_tree):
    table = counts("mvtec")
    assert set(table["category"]) == set(SPECS["mvtec"].categories)
    assert set(table[table["found"] > 0]["category"]) == {"bottle"}


def test_describe_tells_complete_absent_and_partly_there():
    columns = ["category", "split", "label", "found", "official", "complete"]
    rows = [
        ("a", "train", "normal", 3, 3, True),
        ("b", "train", "normal", 0, 3, False),
        ("c", "train", "normal", 3, 3, True),
        ("c", "val", "normal", 0, 8, False),
    ]
    text = describe(pd.DataFrame(rows, columns=columns))
    assert text == "complete: a\nc val/ has 0 of 8 normal images\nabsent: b"


def test_describe_of_a_set_without_categories():
    assert describe(counts("elpv")) == "complete"
    assert describe(counts("oct2017")) == "absent: everything"


def test_links_are_followed_and_circles_are_not(mvtec_tree, tmp_path):
    outside = tmp_path / "outside"
    grow(outside, ["one.png", "more/two.png"], grey=False)
    good = mvtec_tree / "bottle/train/good"
    (good / "100.png").symlink_to(outside / "one.png")
    (mvtec_tree / "bottle/test/linked").symlink_to(outside / "more")
    (outside / "more/back").symlink_to(mvtec_tree / "bottle/test")
    names = table_of(DataConfig("mvtec", "bottle"))["path"].tolist()
    assert names.count("bottle/train/good/100.png") == 1
    assert names.count("bottle/test/linked/two.png") == 1
    assert len(names) == 22


@pytest.mark.parametrize(
    "name",
    [
        ".ipynb_checkpoints/000-checkpoint.png",
        "__MACOSX/000.png",
        "._000.png",
        ".hidden.png",
        "thumbnails/000.png",
        "@eaDir/000.png",
        "Thumbs.db",
    ],
)
def test_what_systems_and_viewers_leave_is_no_data(name, mvtec_tree):
    before = table_of(DataConfig("mvtec", "bottle"))
    for folder in ("train/good", "test/good", "test/dirt"):
        target = mvtec_tree / "bottle" / folder / name
        grow(target.parent, ["x.png"], grey=False)
        (target.parent / "x.png").rename(target)
    pd.testing.assert_frame_equal(table_of(DataConfig("mvtec", "bottle")), before)


def test_pipes_are_no_images_and_block_nobody(mvtec_tree):
    os.mkfifo(mvtec_tree / "bottle/test/good/900.png")
    assert len(table_of(DataConfig("mvtec", "bottle"))) == 20


def test_a_folder_that_may_not_be_read_is_named(mvtec_tree, monkeypatch):
    scan = os.scandir

    def refuse(folder):  # root may read everything
        if Path(folder).name == "dirt":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UserError, match="dirt"):
        table_of(DataConfig("mvtec", "bottle"))


def test_a_name_that_is_no_text_is_named(mvtec_tree):
    folder = os.fsencode(mvtec_tree / "bottle/test/good")
    with open(folder + b"/\xff.png", "wb"):  # noqa: PTH123
        pass
    with pytest.raises(UserError, match="udcff"):
        table_of(DataConfig("mvtec", "bottle"))


@pytest.mark.parametrize("suffix", [".webp", ".gif", ".jfif"])
def test_other_kinds_of_image_files_are_read(suffix, mvtec_tree):
    file = mvtec_tree / f"bottle/test/good/900{suffix}"
    Image.new("RGB", (20, 24), (200, 10, 10)).save(file, "JPEG" if suffix == ".jfif" else None)
    assert f"bottle/test/good/900{suffix}" in set(table_of(DataConfig("mvtec", "bottle"))["path"])
    assert read_image(file, 32, False).shape == (3, 32, 32)


def test_problems_names_damaged_files_and_twins_across_splits(mvtec_tree):
    bottle = mvtec_tree / "bottle"
    (bottle / "train/good/000.png").write_bytes(b"")
    (bottle / "test/crack/001.png").write_bytes((bottle / "train/good/002.png").read_bytes())
    (bottle / "test/dirt/002.png").write_bytes((bottle / "test/dirt/001.png").read_bytes())
    found = problems("mvtec").set_index("path")["problem"]
    assert "cannot be read" in found["bottle/train/good/000.png"]
    assert "same file as" in " ".join(found[found.index.str.contains("crack|002")])
    assert "bottle/test/dirt/002.png" not in found.index  # twins inside one split do not leak
    assert len(found) == 2


def test_a_clean_set_has_no_problems(mvtec_tree):
    assert problems("mvtec").empty


def test_masks_are_read_for_abnormal_images_and_empty_for_normal_ones(mvtec_tree):
    truth = np.zeros((20, 24), np.uint8)
    truth[5:15, 6:18] = 255
    for kind in ("crack", "dirt"):
        folder = mvtec_tree / f"bottle/ground_truth/{kind}"
        folder.mkdir(parents=True, exist_ok=True)
        for image in range(3):
            Image.fromarray(truth).save(folder / f"{image:03}_mask.png")
    data = DataConfig("mvtec", "bottle", image_size=32)
    splits = load_splits(data, "efficientnet_lite0", ())
    test = splits.test
    masks = load_masks(splits.listed, test.table)
    assert masks.shape == (10, 32, 32)
    assert not masks[test.labels == 0].any()
    assert masks[test.labels == 1].mean() == pytest.approx(0.25, abs=0.03)
    smoke, where = PROFILES["smoke"], {"category": "bottle"}
    configs = [RunConfig.build(smoke, "mvtec", "padim", **where)]
    configs.append(RunConfig.build(smoke, "mvtec", "ae_flow", **where, n_blocks=1))
    result, flow = run_all(configs)
    assert 0 <= result.metrics["aupro"] <= 1
    assert "residual_auroc" not in result.scores
    for column in ("map_auroc", "residual_auroc"):
        defects = (flow.scores["split"] == "test") & (flow.scores["label"] == 1)
        assert flow.scores[column].notna().equals(defects)
    assert pixel_table([result]).index.get_level_values("data set")[0] == "MVTec AD, bottle"


def test_without_every_mask_there_is_no_pixel_truth(mvtec_tree):
    data = DataConfig("mvtec", "bottle", image_size=32)
    listed = list_images(data)
    assert load_masks(listed, listed.table) is None
    result = run_all([RunConfig.build(PROFILES["smoke"], "mvtec", "padim", category="bottle")])[0]
    assert "aupro" not in result.metrics
    assert pixel_table([result]).empty


@pytest.mark.parametrize("end", [".png", ".bmp"])
def test_btad_masks_are_found_with_either_ending(end, data_folder):
    names = [f"train/ok/{n:04}.bmp" for n in range(6)] + ["test/ok/0001.bmp", "test/ko/0002.bmp"]
    grow(data_folder / "btad/01", names, grey=False)
    grow(data_folder / "btad/01", [f"ground_truth/ko/0002{end}"])
    data = DataConfig("btad", "01", image_size=32)
    listed = list_images(data)
    masks = load_masks(listed, listed.table)
    assert masks.any(axis=(1, 2)).tolist() == listed.table["label"].eq(1).tolist()


def test_stored_sizes_are_read_from_the_headers(mvtec_tree):
    assert stored_sizes("mvtec", "bottle") == {
        "data set": "mvtec-bottle",
        "looked at": "20 of 20",
        "width, px": "24",
        "height, px": "20",
        "stored as": "RGB",
        "used as": "colour",
    }
    Image.new("L", (30, 20)).save(mvtec_tree / "bottle/test/dirt/000.png")
    (mvtec_tree / "bottle/test/dirt/001.png").write_bytes(b"")
    found = stored_sizes("mvtec", "bottle")
    assert found["width, px"] == "24 to 30, median 24"
    assert found["stored as"] == "L, RGB"
    assert found["looked at"] == "19 of 20"


def test_the_mean_over_products_has_a_row_of_pixel_figures(write_run):
    runs = [write_run(dataset="mvtec", category=name) for name in ("bottle", "cable")]
    for run, value in zip(runs, (0.5, 0.8), strict=True):
        run.metrics.update(pixel_auroc=value, aupro=value / 2)
    table = pixel_table(runs)
    mean = table.loc[("MVTec AD, mean of 2", "AE-FLOW")]
    assert mean.tolist() == [65.0, 32.5]
    assert len(table) == 3
