"""Images of every kind are read right or refused by name; features are computed once."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from PIL import Image

from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import UNREADABLE_SHOWN, load_splits, one_ahead
from aeflow_utils.data.images import read_image
from aeflow_utils.errors import UserError
from aeflow_utils.profiles import PROFILES

BOTTLE = DataConfig("mvtec", "bottle", image_size=32)
CHEST = DataConfig("chest_xray", image_size=32)
LITE0 = "efficientnet_lite0"


def half_dark(width, height):
    """Black left half, white right half."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, width // 2 :] = 255
    return pixels


def break_by_truncation(path):
    path.write_bytes(path.read_bytes()[:200])


def break_by_emptying(path):
    path.write_bytes(b"")


def break_by_text(path):
    path.write_text("<html>404 not found</html>")


@pytest.fixture
def undecodable_after(mvtec_tree, own_cache, monkeypatch):
    """Loads bottle with some strides; from then on no image can be decoded."""

    def load(strides):
        splits = load_splits(BOTTLE, LITE0, strides)
        monkeypatch.setattr(Image, "open", None)
        return splits

    return load


@pytest.mark.parametrize("damage", [break_by_truncation, break_by_emptying, break_by_text])
def test_damaged_images_are_all_named(damage, mvtec_tree, own_cache):
    damage(mvtec_tree / "bottle/test/dirt/002.png")
    damage(mvtec_tree / "bottle/train/good/003.png")
    messages = set()
    for _ in range(2):  # found in the cache, they are named as well
        with pytest.raises(UserError, match=r"002\.png[\s\S]*003\.png") as e:
            load_splits(BOTTLE, LITE0, (16,))
        messages.add(str(e.value))
    assert len(messages) == 1
    assert "AEFLOW_SKIP_UNREADABLE=1" in messages.pop()


def test_every_image_is_opened_once_even_a_damaged_one(mvtec_tree, own_cache, monkeypatch):
    break_by_text(mvtec_tree / "bottle/test/dirt/002.png")
    opened, open_image = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path: opened.append(path) or open_image(path))
    splits = load_splits(replace(BOTTLE, skip_unreadable=True), LITE0, (16,))
    assert sorted(opened) == sorted(splits.listed.files)


def test_of_many_damaged_images_some_are_named_and_the_rest_counted(data_folder, own_cache):
    for split, n in (("train/good", 60), ("test/good", 2), ("test/bad", 2)):
        folder = data_folder / "mvtec/bottle" / split
        folder.mkdir(parents=True)
        for number in range(n):
            (folder / f"{number:02}.png").touch()
    with pytest.raises(UserError) as error:
        load_splits(BOTTLE, LITE0, ())
    assert sum(line.count(str(data_folder)) > 0 for line in str(error.value).splitlines()) == (
        UNREADABLE_SHOWN
    )
    assert f"and {64 - UNREADABLE_SHOWN} more" in str(error.value)


def test_a_split_without_any_readable_image_is_an_error(mvtec_tree, own_cache):
    for path in mvtec_tree.glob("bottle/test/*/*.png"):
        break_by_text(path)
    with pytest.raises(UserError, match="mvtec-bottle"):
        load_splits(replace(BOTTLE, skip_unreadable=True), LITE0, (16,))


def test_damaged_images_are_left_out_where_the_reader_says_so(mvtec_tree, own_cache, caplog):
    whole = load_splits(BOTTLE, LITE0, (16,))
    broken = "bottle/test/dirt/002.png"
    break_by_text(mvtec_tree / broken)
    splits = load_splits(replace(BOTTLE, skip_unreadable=True), LITE0, (16,))
    assert splits.skipped == (broken,)
    assert "1 images are left out" in caplog.text
    assert broken not in splits.test.table["path"].tolist()
    rest = whole.test.select((whole.test.table["path"] != broken).to_numpy())
    ours, expected = (s.batch(np.arange(len(rest))) for s in (splits.test, rest))
    assert torch.equal(ours.image, expected.image)
    assert torch.equal(ours.features[16], expected.features[16])


def test_an_option_of_the_environment_reaches_the_configuration(monkeypatch):
    assert not RunConfig.build(PROFILES["smoke"], "elpv", "knn").data.skip_unreadable
    monkeypatch.setenv("AEFLOW_SKIP_UNREADABLE", "1")
    assert RunConfig.build(PROFILES["smoke"], "elpv", "knn").data.skip_unreadable


def test_a_repaired_image_lets_the_same_call_succeed(mvtec_tree, own_cache):
    broken = mvtec_tree / "bottle/test/dirt/002.png"
    break_by_text(broken)
    with pytest.raises(UserError):
        load_splits(BOTTLE, LITE0, ())
    shutil.copy(mvtec_tree / "bottle/test/dirt/001.png", broken)
    assert len(load_splits(BOTTLE, LITE0, ()).test) == 10


def test_a_link_to_nowhere_is_named(mvtec_tree, own_cache):
    (mvtec_tree / "bottle/test/dirt/lost.png").symlink_to("gone.png")
    with pytest.raises(UserError, match=r"lost\.png"):
        load_splits(BOTTLE, LITE0, ())


@pytest.mark.parametrize("grey", [True, False])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_images_of_every_mode_are_read_to_the_same_shape(mode, grey, tmp_path):
    suffix = {"CMYK": "jpeg", "YCbCr": "jpeg"}.get(mode, "png")
    if mode == "I;16":
        image = Image.fromarray(half_dark(20, 10).astype(np.uint16) * 257)
    else:
        image = Image.fromarray(half_dark(20, 10)).convert("RGB").convert(mode)
    image.save(tmp_path / f"image.{suffix}")
    pixels = read_image(tmp_path / f"image.{suffix}", 16, grey)
    assert pixels.shape == ((1 if grey else 3), 16, 16)
    assert pixels.dtype == np.uint8
    assert pixels[..., :6].max() < 30
    assert pixels[..., 10:].min() > 225


@pytest.mark.parametrize("grey", [True, False])
def test_sixteen_bit_greys_keep_their_contrast(grey, tmp_path):
    ramp = np.linspace(0, 65535, 16).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (16, 1))).save(tmp_path / "ramp.png")
    pixels = read_image(tmp_path / "ramp.png", 16, grey)
    np.testing.assert_allclose(pixels[0, 0], np.linspace(0, 255, 16), atol=1.5)


def test_an_image_of_one_pixel_fills_the_square(tmp_path):
    Image.new("L", (1, 1), 77).save(tmp_path / "dot.png")
    np.testing.assert_array_equal(read_image(tmp_path / "dot.png", 8, True), np.full((1, 8, 8), 77))


def test_exif_rotation_is_respected(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise: left becomes top
    Image.fromarray(half_dark(32, 16)).save(tmp_path / "turned.jpeg", exif=exif)
    pixels = read_image(tmp_path / "turned.jpeg", 16, True)[0]
    assert pixels[:6].max() < 30
    assert pixels[10:].min() > 225


def test_grey_sets_store_one_channel_and_serve_three_equal_ones(chest_tree):
    train = load_splits(CHEST, LITE0, ()).train
    assert train.images.shape[1:] == (1, 32, 32)
    image = train.batch(np.arange(4)).image
    assert image.shape == (4, 3, 32, 32)
    assert torch.equal(image[:, 0], image[:, 1])
    assert torch.equal(image[:, 0], image[:, 2])


def test_colour_sets_keep_their_colours(mvtec_tree):
    train = load_splits(BOTTLE, LITE0, ()).train
    assert train.images.shape[1:] == (3, 32, 32)
    image = train.batch(np.arange(4)).image
    assert not torch.equal(image[:, 0], image[:, 1])


def test_images_are_served_in_the_unit_interval(small_elpv):
    image = small_elpv.test.batch(np.arange(len(small_elpv.test))).image
    assert image.dtype == torch.float32
    assert 0 <= image.min() < 0.2 < 0.8 < image.max() <= 1


def test_prepared_pixels_are_those_of_the_file(chest_tree):
    train = load_splits(CHEST, LITE0, ()).train
    expected = read_image(chest_tree / train.table["path"][3], 32, grey=True)
    served = train.batch(np.array([3])).image[0, 0].numpy()
    np.testing.assert_allclose(served, expected[0] / 255, atol=1e-6)


def test_cached_features_are_the_encoders_to_float16_precision(small_elpv):
    batch = small_elpv.test.batch(np.arange(10, 20))
    expected = Encoder(LITE0, (8, 16, 32))(batch.image)
    assert set(batch.features) == {8, 16, 32}
    for stride, maps in batch.features.items():
        assert maps.dtype == torch.float32
        torch.testing.assert_close(maps, expected[stride], rtol=2e-3, atol=2e-3)


def test_second_load_encodes_and_decodes_nothing(undecodable_after, own_cache, monkeypatch):
    first = undecodable_after((16,))
    monkeypatch.setattr(timm, "create_model", None)  # no network is even built
    second = load_splits(BOTTLE, LITE0, (16,))
    assert second.fingerprint == first.fingerprint
    np.testing.assert_array_equal(second.train.features[16][:], first.train.features[16][:])


def test_a_further_stride_is_encoded_without_reading_images_again(undecodable_after):
    undecodable_after((16,))
    assert set(load_splits(BOTTLE, LITE0, (8, 16)).train.features) == {8, 16}


def test_features_do_not_depend_on_who_else_was_encoded(mvtec_tree, own_cache, monkeypatch):
    small = load_splits(replace(BOTTLE, limit=2), LITE0, (16,)).train
    monkeypatch.setenv("AEFLOW_CACHE", str(own_cache / "another"))
    large = load_splits(BOTTLE, LITE0, (16,)).train
    positions = pd.Index(large.table["path"]).get_indexer(small.table["path"])
    expected = large.batch(positions).features[16]
    assert torch.equal(small.batch(np.arange(len(small))).features[16], expected)


def test_splits_and_limits_of_one_set_share_their_rows(undecodable_after):
    undecodable_after(())
    for data in (replace(BOTTLE, limit=2), replace(BOTTLE, fold=2)):
        assert len(load_splits(data, LITE0, ()).train) > 0


def test_a_data_folder_that_is_read_only_works(mvtec_tree, own_cache):
    for folder in [mvtec_tree, *mvtec_tree.rglob("*")]:
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    before = sorted(mvtec_tree.rglob("*"))
    assert len(load_splits(BOTTLE, LITE0, (16,)).test) == 10
    assert sorted(mvtec_tree.rglob("*")) == before  # root may write anywhere: look, too
    for folder in [mvtec_tree, *mvtec_tree.rglob("*")]:
        folder.chmod(0o755)


def test_resize_and_crop_keep_the_shape_and_drop_the_border(tmp_path):
    pixels = np.zeros((40, 80), np.uint8)
    pixels[10:30, 30:50] = 255  # a square in the middle of a wide image
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    cropped = read_image(tmp_path / "wide.png", 16, True, resize=20)[0]
    squashed = read_image(tmp_path / "wide.png", 16, True)[0]
    bright = {"cropped": cropped > 127, "squashed": squashed > 127}
    # 20 px of 40 are 10 of the 20 that the shorter side has; the crop takes 2 off each end of it.
    assert [bright["cropped"].any(axis).sum() for axis in (0, 1)] == [10, 10]
    assert [bright["squashed"].any(axis).sum() for axis in (0, 1)] == [4, 8]


def test_a_crop_larger_than_the_image_is_refused():
    with pytest.raises(UserError, match="128"):
        DataConfig("elpv", image_size=224, resize=128)


@pytest.mark.parametrize("change", ["remove", "add", "replace"])
def test_another_set_of_images_has_another_fingerprint(change, mvtec_tree):
    before = load_splits(BOTTLE, LITE0, ())
    folder = mvtec_tree / "bottle/test/good"
    if change == "remove":
        (folder / "003.png").unlink()
    elif change == "add":
        shutil.copy(folder / "003.png", folder / "004.png")
    else:
        Image.new("RGB", (50, 40)).save(folder / "003.png")
    after = load_splits(BOTTLE, LITE0, ())
    assert after.fingerprint != before.fingerprint


def test_a_replaced_image_is_read_again(mvtec_tree):
    load_splits(BOTTLE, LITE0, ())
    Image.new("RGB", (50, 40), (255, 255, 255)).save(mvtec_tree / "bottle/test/good/003.png")
    test = load_splits(BOTTLE, LITE0, ()).test
    position = test.table.index[test.table["path"] == "bottle/test/good/003.png"].to_numpy()
    assert test.batch(position).image.min() == 1


def test_select_keeps_rows_and_images_together(make_image_set):
    images = make_image_set(6)
    chosen = images.select(np.array([False, True, False, True, True, False]))
    assert chosen.table["path"].tolist() == ["1.png", "3.png", "4.png"]
    assert torch.equal(chosen.batch(np.arange(3)).image, images.batch(np.array([1, 3, 4])).image)
    again = chosen.select(np.array([True, False, True]))
    assert again.table["path"].tolist() == ["1.png", "4.png"]
    expected = images.batch(np.array([1, 4])).features[16]
    assert torch.equal(again.batch(np.arange(2)).features[16], expected)


def test_batch_follows_the_order_asked_for(make_image_set):
    images = make_image_set(5)
    batch = images.batch(np.array([4, 0, 2]))
    for position, row in enumerate((4, 0, 2)):
        expected = torch.from_numpy(images.features[16][row]).float()
        assert torch.equal(batch.features[16][position], expected)


def test_batches_cover_every_image_once_in_order(make_image_set):
    images, order = make_image_set(7), np.array([6, 5, 0, 1, 2, 3, 4])
    assert [len(batch.image) for batch in images.batches(3)] == [3, 3, 1]
    served = torch.cat([batch.image for batch in images.batches(3, order)])
    assert torch.equal(served, images.batch(order).image)


def test_batches_are_read_one_ahead_and_none_is_lost(make_image_set):
    images, taken = make_image_set(10), []

    def batches():
        for batch in images.batches(4):
            taken.append(batch)
            yield batch

    served = list(one_ahead(batches()))
    assert [batch is other for batch, other in zip(served, taken, strict=True)] == [True] * 3
    assert list(one_ahead(iter(()))) == []


def test_a_set_held_in_memory_serves_the_same_batches(make_image_set, monkeypatch):
    monkeypatch.setattr("aeflow_utils.data.features.BLOCK", 3)  # 7 images are three parts
    images, order = make_image_set(7), np.array([6, 5, 0, 1, 2, 3, 4])
    n_bytes = images.images.nbytes + images.features[16].nbytes
    held, odd = images.held("cpu", n_bytes), np.arange(7) % 2 == 1
    assert isinstance(held.images.array, torch.Tensor)
    assert images.held("cpu", n_bytes - 1) is images
    for ours, theirs in ((held, images), (held.select(odd), images.select(odd))):
        assert len(ours) == len(theirs) > 0
        for a, b in zip(ours.batches(3), theirs.batches(3), strict=True):
            assert torch.equal(a.image, b.image)
            assert torch.equal(a.features[16], b.features[16])
    assert torch.equal(held.batch(order).image, images.batch(order).image)
    assert held.batch(order).features[16].dtype == torch.float32


def test_an_error_while_reading_ahead_reaches_the_reader(monkeypatch):
    def broken():
        raise OSError("disk is gone")
        yield

    with pytest.raises(OSError, match="disk is gone"):
        list(one_ahead(broken()))


def test_an_image_too_narrow_to_be_cropped_is_refused_before_it_fills_the_memory(tmp_path):
    Image.new("L", (1, 60_000)).save(tmp_path / "thread.png")
    with pytest.raises(UserError, match=r"thread\.png.*too long and narrow"):
        read_image(tmp_path / "thread.png", 224, True, resize=256)
    assert read_image(tmp_path / "thread.png", 224, True).shape == (1, 224, 224)
