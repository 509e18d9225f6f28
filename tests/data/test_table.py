"""Layouts and official counts; splits that are disjoint, reproducible and leak nothing."""

import pandas as pd
import pytest

from aeflow_utils.config import DataConfig
from aeflow_utils.data.layouts import COLUMNS
from aeflow_utils.data.table import available, check, get_spec, load_table
from aeflow_utils.errors import UserError

CHEST = DataConfig("chest_xray")
BOTTLE = DataConfig("mvtec", "bottle")
ELPV = DataConfig("elpv")


def counts(table):
    return table.value_counts(["split", "label"]).to_dict()


def part(table, split, label=None):
    rows = table[table["split"] == split]
    return rows if label is None else rows[rows["label"] == label]


def names(table):
    return set(table["path"])


def test_elpv_has_its_official_counts():
    assert check("elpv")["complete"].all()
    assert check("elpv")["found"].sum() == 2624


def test_elpv_splits_have_the_sizes_of_the_study():
    assert counts(load_table(ELPV)) == {
        ("train", 0): 904,
        ("val", 0): 302,
        ("val", 1): 178,
        ("test", 0): 302,
        ("test", 1): 537,
    }


def test_elpv_leaves_out_doubtful_cells():
    assert len(load_table(ELPV)) == 1508 + 715


def test_elpv_parts_have_the_same_share_of_monocrystalline_cells():
    table = load_table(ELPV)
    for label in (0, 1):
        rows = table[table["label"] == label]
        share = (rows["kind"] == "mono").groupby(rows["split"]).mean()
        assert share.max() - share.min() < 0.005


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_no_image_is_in_two_splits(data, chest_tree, mvtec_tree):
    table = load_table(data)
    assert list(table.columns) == COLUMNS
    assert table["path"].is_unique
    assert set(table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_splits_are_the_same_every_time_and_differ_by_seed(data, chest_tree, mvtec_tree):
    pd.testing.assert_frame_equal(load_table(data), load_table(data))
    other = load_table(DataConfig(data.dataset, data.category, split_seed=1))
    assert names(part(other, "train")) != names(part(load_table(data), "train"))


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_training_images_are_all_normal(data, chest_tree, mvtec_tree):
    assert not part(load_table(data), "train")["label"].any()


def test_chest_validation_patients_are_never_in_training(chest_tree):
    table = load_table(CHEST)
    validation = part(table, "val", 0)
    assert not set(validation["group"]) & set(part(table, "train")["group"])
    assert (validation["group"].value_counts() == 3).all()  # whole patients
    assert len(validation) + len(part(table, "train")) == 30


def test_chest_validation_has_abnormal_training_images_by_whole_patient(chest_tree):
    abnormal = part(load_table(CHEST), "val", 1)
    assert len(abnormal) > 0
    assert (abnormal["group"].value_counts() == 2).all()
    assert abnormal["path"].str.startswith("train/PNEUMONIA/").all()
    assert set(abnormal["kind"]) <= {"bacteria", "virus"}


def test_chest_test_split_is_the_official_one(chest_tree):
    found = part(load_table(CHEST), "test")
    here = chest_tree.glob("test/*/*")
    assert names(found) == {path.relative_to(chest_tree).as_posix() for path in here}
    assert found["label"].tolist() == [0] * 4 + [1] * 5


def test_the_official_chest_val_folder_is_not_used(chest_tree):
    for label in ("NORMAL", "PNEUMONIA"):
        (chest_tree / "val" / label).mkdir(parents=True)
    name = "IM-9999-0001.jpeg"
    (chest_tree / "val/NORMAL" / name).write_bytes(
        (chest_tree / "test/NORMAL/IM-0001-0001.jpeg").read_bytes()
    )
    assert not load_table(CHEST)["path"].str.contains(name).any()


def test_mvtec_defects_are_only_in_the_test_split(mvtec_tree):
    table = load_table(BOTTLE)
    assert counts(table) == {("train", 0): 8, ("val", 0): 2, ("test", 0): 4, ("test", 1): 6}
    assert set(part(table, "test", 1)["kind"]) == {"crack", "dirt"}


def test_mvtec_validation_normals_come_from_the_training_folder(mvtec_tree):
    assert part(load_table(BOTTLE), "val")["path"].str.startswith("bottle/train/good/").all()


def test_mvtec_masks_are_not_images(mvtec_tree):
    assert not load_table(BOTTLE)["path"].str.contains("mask").any()


@pytest.mark.parametrize("name", ["SCAN 7.JPEG", "Röntgen – 7.PNG", "胸部.Jpg", "a b  c.TIFF"])
def test_upper_case_suffixes_spaces_and_other_alphabets_are_found(name, mvtec_tree):
    (mvtec_tree / "bottle/test/dirt/000.png").rename(mvtec_tree / "bottle/test/dirt" / name)
    assert f"bottle/test/dirt/{name}" in names(load_table(BOTTLE))


def test_files_that_are_no_images_are_ignored(mvtec_tree):
    before = load_table(BOTTLE)
    for name in ("Thumbs.db", "readme.txt", ".DS_Store"):
        (mvtec_tree / "bottle/test/good" / name).write_bytes(b"x")
    pd.testing.assert_frame_equal(load_table(BOTTLE), before)


def test_check_names_the_missing_val_images(chest_tree):
    table = check("chest_xray").set_index(["split", "label"])
    assert not table["complete"].any()
    assert table.loc[("val", "normal"), ["found", "official"]].tolist() == [0, 8]
    assert table.loc[("train", "normal"), ["found", "official"]].tolist() == [30, 1341]


def test_check_counts_every_category():
    assert check("mvtec")["category"].nunique() == 15
    assert check("mvtec")["official"].sum() == 5354


def test_available_lists_what_is_here_in_a_fixed_order(mvtec_tree, chest_tree):
    assert available() == [("elpv", ""), ("chest_xray", ""), ("mvtec", "bottle")]


def test_only_elpv_is_available_without_a_data_folder():
    assert available() == [("elpv", "")]


@pytest.mark.parametrize("data", [CHEST, BOTTLE], ids=lambda data: data.label)
def test_an_absent_data_set_names_the_folder_and_the_remedy(data, data_folder):
    with pytest.raises(UserError, match="AEFLOW_DATA") as error:
        load_table(data)
    assert str(data_folder / data.dataset / data.category) in str(error.value)
    assert get_spec(data.dataset).how_to_get in str(error.value)


def test_a_data_folder_that_is_not_there_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AEFLOW_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="AEFLOW_DATA") as error:
        load_table(CHEST)
    assert str(tmp_path / "typo") in str(error.value)


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'imagenet'.*elpv, chest_xray, oct2017"):
        load_table(DataConfig("imagenet"))


def test_an_unknown_category_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'vase' of mvtec.*bottle"):
        load_table(DataConfig("mvtec", "vase"))


def test_a_category_of_a_set_without_any_is_an_error():
    with pytest.raises(UserError, match="'bottle' of elpv"):
        load_table(DataConfig("elpv", "bottle"))


def test_training_without_normal_images_is_an_error_that_names_the_split(mvtec_tree):
    for path in (mvtec_tree / "bottle/train/good").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train split has no normal image.*data check mvtec"):
        load_table(BOTTLE)


def test_a_single_training_image_leaves_nothing_to_validate_on(mvtec_tree):
    for path in sorted((mvtec_tree / "bottle/train/good").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match="val split has no normal image"):
        load_table(BOTTLE)


def test_limit_keeps_so_many_of_each_split_and_label():
    limited = load_table(DataConfig("elpv", limit=5))
    assert set(counts(limited).values()) == {5}
    assert len(limited) == 25


def test_limit_is_a_subset_of_the_same_splits():
    merged = load_table(DataConfig("elpv", limit=5)).merge(load_table(ELPV))
    assert len(merged) == 25  # same path, same split


def test_real_chest_images_have_the_official_counts(real_data):
    found = check("chest_xray").set_index(["split", "label"])["found"]
    assert found["train"].to_dict() == {"normal": 1341, "abnormal": 3875}
    assert found["test"].to_dict() == {"normal": 234, "abnormal": 390}
    assert ("chest_xray", "") in available()


def test_real_chest_patients_do_not_cross_from_training_to_validation(real_data):
    table = load_table(CHEST)
    train, validation = part(table, "train"), part(table, "val", 0)
    assert not set(train["group"]) & set(validation["group"])
    assert len(train) + len(validation) == 1341
    assert 0.8 < len(part(table, "val", 1)) / len(validation) < 1.25
