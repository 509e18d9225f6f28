"""A reader's own images: layouts, labels and depths are understood, or refused by name."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.data.images import load_masks, read_image, read_mask
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.own import spec
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.own.fit import plan_of
from aeflow_utils.profiles import get_profile


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
    config = plan_of(data, get_profile("smoke"), "padim")[0]
    assert RunConfig.from_dict(config.to_dict()) == config
    other = plan_of(replace(data, source="/elsewhere"), get_profile("smoke"), "padim")[0]
    assert other.run_name != config.run_name


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", ".hidden", "x" * 101])
def test_a_name_cannot_leave_the_results_folder(name, tmp_path):
    with pytest.raises(UserError, match="name"):
        FolderConfig(source=str(tmp_path), name=name)


# What is a label


def test_the_folder_right_below_the_split_is_the_label_whatever_lies_deeper(tree):
    table = table_of(tree({"train/good": 8, "test/good": 3, "test/crack/0": 2, "test/dent/ok": 2}))
    by_path = table.set_index("path")["label"]
    assert (
        by_path[[path.startswith(("test/crack", "test/dent")) for path in by_path.index]] == 1
    ).all()
    assert counts(table)["test", 1] == 4


def test_a_folder_around_everything_is_no_label(tree):
    expected = counts(table_of(tree({"set/images/good": 20, "set/images/crack": 8})))
    assert expected["test", 1] == 6
    assert sum(expected.values()) == 28


@pytest.mark.parametrize(
    "folders",
    [
        {"Good/train": 10, "Good/test": 4, "Bad/test": 3},
        {"good/train": 10, "good/test": 4, "dent/test": 1, "scratch/test": 2},
    ],
)
def test_labels_may_lie_outside_the_splits(folders, tree):
    expected = {("train", 0): 8, ("val", 0): 2, ("test", 0): 4, ("test", 1): 3}
    assert counts(table_of(tree(folders))) == expected


@pytest.mark.parametrize(
    "folders",
    [
        {"bottle/train/good": 9, "cable/test/bad": 2},
        {"good/train": 9, "good/test/crack": 2, "x/test/good": 2},
    ],
)
def test_labels_both_outside_and_inside_are_refused(folders, tree):
    with pytest.raises(UserError, match="give the folder of one"):
        table_of(tree(folders))


def test_a_single_folder_that_is_called_normal_is_normal(tree):
    found = counts(table_of(tree({"good": 10}) / "good"))
    assert {label for _, label in found} == {0}
    assert sum(found.values()) == 10


@pytest.mark.parametrize(
    "options",
    [{"normal": ("z",)}, {"abnormal": ("z",)}, {"normal": ("good",), "abnormal": ("GOOD",)}],
)
@pytest.mark.parametrize("as_csv", [False, True])
def test_given_names_count_everywhere_and_match_or_are_refused(options, as_csv, tree):
    root = tree({"train/good": 8, "test/good": 3, "test/NA": 2})
    table = table_of(root)
    if as_csv:
        labels = table["path"].map(lambda path: path.split("/")[1])
        lines = zip(table["path"], labels, table["split"], strict=True)
        root = root / "list.csv"
        root.write_text(rows(*map(",".join, lines)))
    for found in (table_of(root), table_of(root, abnormal=("na",))):
        assert set(found.loc[found["label"] == 1, "kind"]) == {"NA"}
        assert counts(found)["test", 1] == 2
    with pytest.raises(UserError, match=r"(?i)z|good"):
        table_of(root, **options)


def test_what_is_neither_normal_nor_abnormal_is_counted(tree):
    root = tree({"train/good": 8, "test/good": 3, "test/dent": 2, "test/doubt": 4})
    data = FolderConfig(source=str(root), name="parts", abnormal=("dent",))
    assert any("4 of doubt" in note for note in list_images(data).notes)


# Given splits stand


def test_a_blank_label_or_split_is_named_and_deals_nothing_anew(csv):
    lines = [f"pictures/{n:03}.png,ok,train" for n in range(5)] + ["pictures/005.png,ok,test"]
    for bad in ("pictures/006.png,ok,", "pictures/006.png,,train", "pictures/006.png,,val"):
        with pytest.raises(UserError, match="line 8"):
            table_of(csv(rows(*lines, bad)))


def test_without_splits_what_has_no_label_is_scored(csv):
    lines = [f"pictures/{n:03}.png,ok" for n in range(8)] + ["pictures/008.png,"]
    table = table_of(csv("\n".join(["path,label", *lines])))
    assert counts(table)["test", UNLABELLED] == 1
    assert len(table) == 9


def test_a_validation_folder_of_defects_keeps_them_and_gets_normals(tree):
    found = counts(table_of(tree({"train/ok": 10, "val/ko": 3, "test/ok": 2, "test/ko": 2})))
    assert found["val", 1] == 3
    assert found["val", 0] == 2
    assert found["train", 0] == 8


def test_what_is_left_aside_is_told(tree):
    root = tree({"train/ok": 8, "train/ko": 3, "val/ok": 2, "test/ok": 2, "stray": 1})
    for name in ("a.heic", "b.heic", "c.txt"):
        (root / "train/ok" / name).write_bytes(b"x")
    notes = " | ".join(list_images(FolderConfig(source=str(root), name="x")).notes)
    for told in ("3 images", "2 .heic", "1 .txt", "stray/000.png"):
        assert told in notes


def test_equal_files_in_two_splits_or_with_two_labels_are_told(tree):
    root = tree({"train/ok": 8, "test/ok": 3, "test/ko": 3})
    shutil.copy(root / "train/ok/000.png", root / "test/ok/900.png")
    shutil.copy(root / "test/ok/001.png", root / "test/ko/901.png")
    splits, labels = list_images(FolderConfig(source=str(root), name="x")).notes
    assert "train/ok/000.png" in splits and "test/ok/900.png" in splits
    assert "test/ok/001.png" in labels and "test/ko/901.png" in labels


# Depth, colour and masks


def save_deep(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


@pytest.mark.parametrize(
    ("kind", "top", "white"),
    [
        (np.uint16, 4095, 4095),
        (np.uint16, 4096, 16383),
        (np.uint16, 65535, 65535),
        (np.uint16, 200, 255),
        (np.int32, 1000, 1023),
        (np.float32, 1, 1),
        (np.float32, 255, 255),
    ],
)
def test_deep_images_are_scaled_by_one_rule_for_the_whole_set(kind, top, white, tmp_path):
    ramp = np.linspace(0, top, 400).reshape(20, 20).astype(kind)
    for number in range(8):
        save_deep(tmp_path / f"train/{number}.tif", ramp // 2 if number else ramp)
    save_deep(tmp_path / "test/good/x.tif", ramp // 2)
    listed = list_images(FolderConfig(source=str(tmp_path), name="x", image_size=20))
    assert (listed.spec.grey, listed.spec.white) == (True, white)
    half = read_image(tmp_path / "test/good/x.tif", 20, True, 0, white)
    assert half.max() == pytest.approx(255 * (top // 2 if top > 1 else 0) / white, abs=1.5)


@pytest.mark.parametrize("bad", [-1, 70000, np.nan])
def test_deep_images_beyond_any_rule_are_refused_by_name(bad, tmp_path):
    for number in range(8):
        values = np.full((20, 20), bad if number == 5 else 0.5, np.float32)
        save_deep(tmp_path / f"train/{number}.tif", values)
    with pytest.raises(UserError, match=r"5\.tif"):
        table_of(tmp_path)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_any_pixel_of_a_mask_that_is_not_zero_is_a_defect_in_every_mode(mode, tmp_path):
    marked = np.zeros((16, 16), np.uint8)
    marked[4:8, 4:8] = 1
    if mode == "I;16":
        mask = Image.fromarray(marked.astype(np.uint16))
    elif mode == "P":
        mask = Image.fromarray(marked, "P")
        mask.putpalette([0, 0, 0, 9, 0, 0])
    else:
        mask = Image.fromarray(marked * (255 if mode == "1" else 1)).convert(mode)
    mask.save(tmp_path / "mask.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.png", 16), marked == 1)


def test_a_mask_that_is_missing_is_named_and_pixel_results_are_not_of_the_rest(tree, caplog):
    root = tree({"train/good": 8, "test/good": 2, "test/dent": 3, "ground_truth/dent": 2})
    listed = list_images(FolderConfig(source=str(root), name="x", image_size=32))
    test = listed.table[listed.table["split"] == "test"]
    assert load_masks(listed, test) is None
    assert "test/dent/002.png" in caplog.text


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,label\na.png,good,x\n", "line 2 has 3 cells"),
        ("path,label\njunk,a.png,good\n", "line 2 has 3 cells"),
        ("path,label\na.png\n", "line 2 has 1 cells"),
        ("path, path,label\na.png,a.png,good\n", "two columns"),
        (f"path,label\n{'x' * 300}.png,good\n", "not there"),
        ('path,label\n"a.png,good\n', "unexpected end"),
        (f"path,label\n{'x' * 200_000},good\n", "field limit"),
    ],
)
def test_a_listing_whose_cells_are_not_where_they_seem_is_refused(text, told, tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "parts.csv").write_text(text)
    with pytest.raises(UserError, match=rf"parts\.csv.*{told}"):
        spec(FolderConfig(source=str(tmp_path / "parts.csv"), name="parts"))


def test_a_home_that_is_nobodys_is_refused():
    with pytest.raises(UserError, match="~nobody-at-all/x"):
        spec(FolderConfig(source="~nobody-at-all/x", name="parts"))
