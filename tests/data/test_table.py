"""Layouts and official counts; splits that are disjoint, reproducible and leak nothing."""

from dataclasses import replace
from hashlib import blake2b
from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers import save_noise

from aeflow_utils.config import DataConfig
from aeflow_utils.data import check
from aeflow_utils.data.catalog import SPECS, get_spec, parse_label
from aeflow_utils.data.layouts import COLUMNS
from aeflow_utils.data.table import SPLIT_SEED, available, list_images
from aeflow_utils.errors import UserError

CHEST = DataConfig("chest_xray")
BOTTLE = DataConfig("mvtec", "bottle")
ELPV = DataConfig("elpv")


def table_of(data):
    return list_images(data).table


def counts(table):
    return table.value_counts(["split", "label"]).to_dict()


def part(table, split, label=None):
    rows = table[table["split"] == split]
    return rows if label is None else rows[rows["label"] == label]


def names(table):
    return set(table["path"])


def official(name, split, label, category=""):
    return SPECS[name].counts[category][split, label]


def test_elpv_has_its_official_counts():
    found = check.counts("elpv")
    assert found["complete"].all()
    assert found["found"].sum() == sum(SPECS["elpv"].counts[""].values())


def test_elpv_splits_have_the_sizes_of_the_study():
    assert counts(table_of(ELPV)) == {
        ("train", 0): 904,
        ("val", 0): 302,
        ("val", 1): 178,
        ("test", 0): 302,
        ("test", 1): 537,
    }


def test_elpv_leaves_out_doubtful_cells():
    assert len(table_of(ELPV)) == official("elpv", "pool", 0) + official("elpv", "pool", 1)


def test_elpv_parts_have_the_same_share_of_monocrystalline_cells():
    table = table_of(ELPV)
    for label in (0, 1):
        rows = table[table["label"] == label]
        share = (rows["kind"] == "mono").groupby(rows["split"]).mean()
        assert share.max() - share.min() < 0.005


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_no_image_is_in_two_splits(data, chest_tree, mvtec_tree):
    table = table_of(data)
    assert list(table.columns) == COLUMNS
    assert table["path"].is_unique
    assert set(table["split"]) == {"train", "val", "test"}


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_splits_are_the_same_every_time_and_differ_by_seed(data, chest_tree, mvtec_tree):
    table, spec = table_of(data), get_spec(data.dataset)
    pd.testing.assert_frame_equal(table, table_of(data))
    listing = spec.scan(spec.root, data.category)
    other = spec.splits[data.split](listing, SPLIT_SEED + 1)
    assert names(part(other, "train")) != names(part(table, "train"))


@pytest.mark.parametrize(
    "data",
    [
        ELPV,
        CHEST,
        BOTTLE,
        DataConfig("elpv", split="blocks", limit=3),
        DataConfig("chest_xray", fold=2),
    ],
    ids=lambda data: data.label,
)
def test_every_row_has_its_file_and_the_digest_of_that(data, chest_tree, mvtec_tree):
    listed = list_images(data)
    expected = [blake2b(file.read_bytes(), digest_size=16).hexdigest() for file in listed.files]
    assert list(listed.digests) == expected


@pytest.mark.parametrize("name", SPECS)
def test_labels_are_read_back(name):
    spec = SPECS[name]
    for category, split, fold in product(spec.categories, spec.splits, (0, 3)):
        label = DataConfig(name, category, split, fold=fold).label
        key, rest = parse_label(label)
        assert key == name
        assert "-".join(filter(None, (key, rest))) == label
    assert parse_label(f"{name}, mean of 3") == (name, "mean of 3")


def test_a_label_of_no_data_set_is_left_whole():
    assert parse_label("my-parts") == ("", "my-parts")


@pytest.mark.parametrize("data", [ELPV, CHEST, BOTTLE], ids=lambda data: data.label)
def test_training_images_are_all_normal(data, chest_tree, mvtec_tree):
    assert not part(table_of(data), "train")["label"].any()


def test_chest_validation_patients_are_never_in_training(chest_tree):
    table = table_of(CHEST)
    validation = part(table, "val", 0)
    assert not set(validation["group"]) & set(part(table, "train")["group"])
    assert (validation["group"].value_counts() == 3).all()  # whole patients
    assert len(validation) + len(part(table, "train")) == 30


def test_chest_validation_has_abnormal_training_images_by_whole_patient(chest_tree):
    abnormal = part(table_of(CHEST), "val", 1)
    assert len(abnormal) > 0
    assert (abnormal["group"].value_counts() == 2).all()
    assert abnormal["path"].str.startswith("train/PNEUMONIA/").all()
    assert set(abnormal["kind"]) <= {"bacteria", "virus"}


def test_patients_of_the_mendeley_copy_stay_together(data_folder):
    rng, root = np.random.default_rng(0), data_folder / "chest_xray"
    for patient, image in product(range(12), range(2)):
        kind = ("BACTERIA", "VIRUS")[patient % 2]
        for folder, prefix in (("NORMAL", "NORMAL"), ("PNEUMONIA", kind)):
            name = f"{folder}/{prefix}-{100 + patient}-{image + 1:04}.jpeg"
            for split in ("train", "test")[: 2 if patient < 2 else 1]:
                save_noise(root / split / name, rng, grey=True)
    table = table_of(CHEST)
    train, validation = part(table, "train"), part(table, "val")
    assert len(train) + len(validation[validation["label"] == 0]) == 24
    assert (validation["group"].value_counts() == 2).all()
    assert not set(train["group"]) & set(validation["group"])
    assert set(part(table, "test", 1)["kind"]) == {"bacteria", "virus"}


def test_chest_test_split_is_the_official_one(chest_tree):
    found = part(table_of(CHEST), "test")
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
    assert not table_of(CHEST)["path"].str.contains(name).any()


def test_mvtec_defects_are_only_in_the_test_split(mvtec_tree):
    table = table_of(BOTTLE)
    assert counts(table) == {("train", 0): 8, ("val", 0): 2, ("test", 0): 4, ("test", 1): 6}
    assert set(part(table, "test", 1)["kind"]) == {"crack", "dirt"}


def test_mvtec_validation_normals_come_from_the_training_folder(mvtec_tree):
    assert part(table_of(BOTTLE), "val")["path"].str.startswith("bottle/train/good/").all()


def test_mvtec_masks_are_not_images(mvtec_tree):
    assert not table_of(BOTTLE)["path"].str.contains("mask").any()


@pytest.mark.parametrize("name", ["SCAN 7.JPEG", "Röntgen – 7.PNG", "胸部.Jpg", "a b  c.TIFF"])
def test_upper_case_suffixes_spaces_and_other_alphabets_are_found(name, mvtec_tree):
    (mvtec_tree / "bottle/test/dirt/000.png").rename(mvtec_tree / "bottle/test/dirt" / name)
    assert f"bottle/test/dirt/{name}" in names(table_of(BOTTLE))


def test_files_that_are_no_images_are_ignored(mvtec_tree):
    before = table_of(BOTTLE)
    for name in ("Thumbs.db", "readme.txt", ".DS_Store"):
        (mvtec_tree / "bottle/test/good" / name).write_bytes(b"x")
    pd.testing.assert_frame_equal(table_of(BOTTLE), before)


@pytest.fixture
def as_if_here(monkeypatch):
    """Lets chest X-ray hold so many images by split and label, without a file."""

    def hold(numbers):
        rows = [(split, label) for (split, label), n in numbers.items() for _ in range(n)]
        listing = pd.DataFrame(rows, columns=["split", "label"])
        spec = replace(SPECS["chest_xray"], scan=lambda root, category: listing)
        monkeypatch.setitem(SPECS, "chest_xray", spec)

    return hold


@pytest.mark.parametrize("name", SPECS["chest_xray"].copies)
def test_every_official_copy_is_complete_by_its_own_counts(name, as_if_here):
    numbers = SPECS["chest_xray"].copies[name][""]
    as_if_here(numbers)
    table = check.counts("chest_xray")
    assert set(table["copy"]) == {name}
    assert table["complete"].all()
    assert table["official"].tolist() == list(numbers.values())
    assert name in check.describe(table)


@pytest.mark.parametrize(
    ("nearest", "change"),
    [
        ("Kaggle", {("val", 0): 0, ("val", 1): 0}),  # as many images away from either copy
        ("Kaggle", {("train", 0): 1340, ("train", 1): 3874}),
        ("Mendeley V2", {("train", 0): 1348, ("train", 1): 3882}),
        ("Mendeley V2", {("train", 1): 12}),
    ],
)
def test_an_incomplete_folder_is_compared_with_the_nearest_copy(nearest, change, as_if_here):
    as_if_here(SPECS["chest_xray"].copies[nearest][""] | change)
    table = check.counts("chest_xray")
    assert set(table["copy"]) == {nearest}
    missing = table[~table["complete"]]
    assert missing["found"].tolist() == list(change.values())
    assert len(check.describe(table).splitlines()) == 1 + len(change)


def test_a_set_of_one_copy_names_none(chest_tree):
    assert "copy" not in check.counts("elpv")
    assert check.counts("chest_xray")["found"].sum() == 55


def test_check_counts_every_category():
    assert set(check.counts("mvtec")["category"]) == set(SPECS["mvtec"].categories)


def test_available_lists_what_is_here_in_a_fixed_order(mvtec_tree, chest_tree):
    assert available() == [("elpv", "", ""), ("chest_xray", "", ""), ("mvtec", "bottle", "")]


def test_only_elpv_is_available_without_a_data_folder():
    assert available() == [("elpv", "", "")]


@pytest.mark.parametrize("data", [CHEST, BOTTLE], ids=lambda data: data.label)
def test_an_absent_data_set_names_the_folder_and_the_remedy(data, data_folder):
    with pytest.raises(UserError, match="AEFLOW_DATA") as error:
        table_of(data)
    assert str(data_folder / data.dataset / data.category) in str(error.value)
    assert get_spec(data.dataset).how_to_get in str(error.value)


def test_a_data_folder_that_is_not_there_is_an_error_that_names_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AEFLOW_DATA", str(tmp_path / "typo"))
    with pytest.raises(UserError, match="AEFLOW_DATA") as error:
        table_of(CHEST)
    assert str(tmp_path / "typo") in str(error.value)


def test_an_unknown_data_set_lists_the_known_ones():
    with pytest.raises(UserError, match=f"'imagenet'.*{', '.join(SPECS)}"):
        table_of(DataConfig("imagenet"))


def test_an_unknown_category_lists_the_known_ones():
    with pytest.raises(UserError, match=r"'vase' of mvtec.*bottle"):
        table_of(DataConfig("mvtec", "vase"))


def test_a_category_of_a_set_without_any_is_an_error():
    with pytest.raises(UserError, match="'bottle' of elpv"):
        table_of(DataConfig("elpv", "bottle"))


def test_training_without_normal_images_is_an_error_that_names_the_split(mvtec_tree):
    for path in (mvtec_tree / "bottle/train/good").iterdir():
        path.unlink()
    with pytest.raises(UserError, match=r"train split has no normal image.*data check mvtec"):
        table_of(BOTTLE)


def test_a_single_training_image_leaves_nothing_to_validate_on(mvtec_tree):
    for path in sorted((mvtec_tree / "bottle/train/good").iterdir())[1:]:
        path.unlink()
    with pytest.raises(UserError, match="val split has no normal image"):
        table_of(BOTTLE)


def test_limit_keeps_so_many_of_each_split_and_label():
    limited = table_of(DataConfig("elpv", limit=5))
    assert counts(limited) == dict.fromkeys(counts(table_of(ELPV)), 5)


def test_limit_is_a_subset_of_the_same_splits():
    limited = table_of(DataConfig("elpv", limit=5))
    assert len(limited.merge(table_of(ELPV))) == len(limited)  # same path, same split


def test_real_chest_images_have_the_official_counts(real_data):
    found = check.counts("chest_xray").set_index("split").loc[["train", "test"]]
    assert found["complete"].all()
    assert set(found["copy"]) == {"Kaggle"}
    assert ("chest_xray", "", "") in available()


def test_real_chest_patients_do_not_cross_from_training_to_validation(real_data):
    table = table_of(CHEST)
    train, validation = part(table, "train"), part(table, "val", 0)
    assert not set(train["group"]) & set(validation["group"])
    counted = check.counts("chest_xray").set_index(["split", "label"])["official"]
    assert len(train) + len(validation) == counted["train", "normal"]
    assert 0.8 < len(part(table, "val", 1)) / len(validation) < 1.25
