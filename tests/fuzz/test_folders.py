"""What the bundle wrote itself, damaged since: runs, models, the cache; and archives."""

import bz2
import gzip
import io
import json
import lzma
import pickle
import shutil
import stat
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fuzz.hostile import TEXTS, damaged, folder_in, json_files, read_or_refused
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from study.small import CONFIG, SHAPES, new

from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.data import identity
from aeflow_utils.data.cache import cached_rows, remove_arrays, stored_arrays
from aeflow_utils.data.downloads import unpack
from aeflow_utils.errors import UserError
from aeflow_utils.models import build_system
from aeflow_utils.options import BrightnessConfig
from aeflow_utils.own.model import ABOUT, WEIGHTS, Calibration, Model, load_model
from aeflow_utils.own.report import _refuse_another_source
from aeflow_utils.study.runs import CHECKPOINT, load_run, seal
from aeflow_utils.study.systems import read_weights, weights_of
from aeflow_utils.study.training import _resume, fit


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def copy_of(folder, place):
    return Path(shutil.copytree(folder, place / folder.name))


def harm(data, folder):
    """Damage one file of a folder, exchange two, delete one or add one."""
    names = sorted(path.name for path in folder.iterdir())
    file = folder / data.draw(st.sampled_from(names))
    match data.draw(st.sampled_from(["damage", "damage", "delete", "swap", "add", "folder"])):
        case "damage":
            file.write_bytes(data.draw(damaged(file.read_bytes())))
        case "delete":
            file.unlink()
        case "swap":
            other = folder / data.draw(st.sampled_from(names))
            mine, its = file.read_bytes(), other.read_bytes()
            file.write_bytes(its)
            other.write_bytes(mine)
        case "add":
            (folder / "more.json").write_bytes(data.draw(st.binary(max_size=9)))
        case "folder":
            file.unlink()
            file.mkdir()


@given(st.data())
def test_a_run_folder(a_run, data):
    with folder_in(a_run.folder.parent) as place:
        folder = copy_of(a_run.folder, place)
        harm(data, folder)
        with read_or_refused(folder):
            found = load_run(folder)
            assert found.config == a_run.config and found.metrics == a_run.metrics
            assert found.scores.equals(a_run.scores) and found.history.equals(a_run.history)
            assert found.environment == a_run.environment


@pytest.fixture(scope="module")
def tensors():
    rng = np.random.default_rng(0)
    return {"a": torch.from_numpy(rng.normal(size=(3, 4))), "b": torch.ones(2, dtype=torch.int64)}


@given(st.data())
def test_a_checkpoint(a_run, tensors, tmp_path, data):
    with folder_in(tmp_path) as place:
        folder = copy_of(a_run.folder, place)
        (folder / CHECKPOINT).write_bytes(save(tensors))
        seal(folder)
        (folder / CHECKPOINT).write_bytes(data.draw(damaged(save(tensors))))
        with read_or_refused(folder):
            found = weights_of(replace(a_run, folder=folder))
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
        with read_or_refused(folder):
            found = read_weights(folder / CHECKPOINT)
            assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


@pytest.fixture
def a_model(tmp_path):
    """A detector that reads pixels alone, saved in a folder."""
    data = FolderConfig(source="parts", name="parts", image_size=16)
    config = RunConfig("smoke", data, BrightnessConfig())
    known = Calibration(0.5, (0.1, 0.2, 0.7), (0.0, 1.0))
    system = build_system(config.model, {}, 16).eval()
    model = Model(config, True, 65535.0, {}, known, [{"detector": "brightness"}], "abc", system)
    model.save(tmp_path / "model", "a card")
    return model, tmp_path / "model"


def same_model(found, model):
    for name in ("config", "grey", "white", "shapes", "calibration", "compared", "trained_on"):
        assert getattr(found, name) == getattr(model, name)


@given(st.data())
def test_a_model_folder(a_model, tmp_path, data):
    model, stored = a_model
    with folder_in(tmp_path) as place:
        folder = copy_of(stored, place)
        harm(data, folder)
        with read_or_refused(folder):
            same_model(load_model(folder), model)


@given(st.data())
def test_what_a_model_says_of_itself(a_model, tmp_path, data):
    model, stored = a_model
    with folder_in(tmp_path) as place:
        folder = copy_of(stored, place)
        (folder / ABOUT).write_bytes(
            data.draw(json_files(json.loads((stored / ABOUT).read_text())))
        )
        with read_or_refused(folder):
            same_model(load_model(folder), model)
        with read_or_refused(folder):
            _refuse_another_source(folder / ABOUT, "parts")
        (folder / WEIGHTS).write_bytes(pickle.dumps(Trap(place / "trapped")))
        with pytest.raises(UserError, match="damaged"):
            load_model(folder)
        assert not (place / "trapped").exists()


@pytest.fixture
def begun(make_image_set, tmp_path):
    """A training that has a file to go on from: what it was of, and the file's content."""
    system, file = new("autoencoder"), tmp_path / "resume.pt"
    fit(system, *(make_image_set(n, 32, SHAPES) for n in (10, 4)), CONFIG, 0, file)
    return system, file.read_bytes()


@given(st.data())
def test_the_file_that_training_goes_on_from(begun, tmp_path, data):
    trained, content = begun
    with folder_in(tmp_path) as place:
        file = place / "resume.pt"
        trap = pickle.dumps(Trap(place / "trapped"))
        archive = io.BytesIO()
        torch.save({"system": Trap(place / "trapped")}, archive)
        others = io.BytesIO()
        torch.save(data.draw(st.sampled_from([{}, [], {"system": {}}, torch.ones(3)])), others)
        odd = st.sampled_from([trap, archive.getvalue(), others.getvalue()])
        file.write_bytes(data.draw(damaged(content) | damaged(content, 1) | odd))
        system = new("autoencoder", seed=5)
        with read_or_refused(file):
            history, lowest = _resume(system, system.optimizers(CONFIG), file)
            assert len(history) == CONFIG.epochs and lowest is None
            mine, its = system.state_dict(), trained.state_dict()
            assert all(torch.equal(mine[name], tensor) for name, tensor in its.items())
        assert not (place / "trapped").exists()


KINDS = st.sampled_from(["file", "file", "link", "hard link", "device", "pipe", "folder"])
MEMBERS = st.lists(st.tuples(TEXTS.filter(bool), KINDS, st.binary(max_size=50)), max_size=4)
PACKED = {"": bytes, "gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}
TAR_KINDS = {
    "link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
    "folder": tarfile.DIRTYPE,
}


def tar_of(members):
    file = io.BytesIO()
    with tarfile.open(
        fileobj=file, mode="w", format=tarfile.PAX_FORMAT, errors="surrogatepass"
    ) as tar:
        for name, kind, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = TAR_KINDS.get(kind, tarfile.REGTYPE), "../../outside"
            member.size = len(content) if kind == "file" else 0
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def zip_of(members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kind, content in members:
            member = zipfile.ZipInfo(name.encode("utf-8", "replace").decode()[:9000])
            kinds = {"link": stat.S_IFLNK, "device": stat.S_IFCHR, "pipe": stat.S_IFIFO}
            member.external_attr = (kinds.get(kind, stat.S_IFREG) | 0o644) << 16
            archive.writestr(member, content)
    return file.getvalue()


def unpacked(place, name, content):
    """Unpack an archive in `place`; nothing of it may be anywhere else."""
    file, target = place / name, place / "inner/target"
    target.parent.mkdir()
    file.write_bytes(content)
    (place / "outside").mkdir()
    with read_or_refused(file):
        unpack(file, target)
    assert {path.name for path in place.iterdir()} == {name, "inner", "outside"}
    assert not list((place / "outside").iterdir())
    assert {path.name for path in target.parent.iterdir()} <= {"target"}
    found = list(target.rglob("*"))
    assert all(not path.is_symlink() and (path.is_file() or path.is_dir()) for path in found)
    return [path.read_bytes() for path in found if path.is_file()]


@given(MEMBERS, st.sampled_from(["zip", *PACKED]))
def test_an_archive_of_any_members(tmp_path, members, kind):
    with folder_in(tmp_path) as place:
        if kind == "zip":
            unpacked(place, "set.zip", zip_of(members))
        else:
            unpacked(place, f"set.tar.{kind}".rstrip("."), PACKED[kind](tar_of(members)))


SOUND = [("a/b.png", "file", b"one" * 30), ("a/c.png", "file", b"two" * 90), ("d", "file", b"")]


@given(st.data(), st.sampled_from(["zip", *PACKED]))
def test_a_damaged_archive(tmp_path, data, kind):
    content = zip_of(SOUND) if kind == "zip" else PACKED[kind](tar_of(SOUND))
    name = "set.zip" if kind == "zip" else f"set.tar.{kind}".rstrip(".")
    with folder_in(tmp_path) as place:
        found = unpacked(place, name, data.draw(damaged(content) | st.just(content)))
        if kind == "zip":  # each of its members has a checksum
            sound = {content for _, _, content in SOUND}
            assert set(found) <= sound


@pytest.mark.parametrize("what", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("kind", ["gz", "bz2"])
def test_an_archive_that_grows_without_end(tmp_path, what, kind):
    member = tarfile.TarInfo("a")
    member.size, member.type = 6 << 30, what
    head, zeros = member.tobuf(), bytes(1 << 20)
    packed = PACKED[kind](zeros)  # in each format several streams may follow each other
    file = tmp_path / f"set.tar.{kind}"
    file.write_bytes(PACKED[kind](head) + packed * (member.size >> 20))
    with read_or_refused(file):
        unpack(file, tmp_path / "target")
    assert not (tmp_path / "target").exists()


KEY = {"what": "test", "size": 3}
ALL = [f"{n:032x}" for n in range(6)]


def ask(folder):
    def fill(block):
        return {"a": [np.full(3, n + 0.5, "float32") for n in block]}

    return cached_rows(folder, {"a": KEY}, ALL, fill, "test")["a"]


@given(st.data())
def test_the_cache_gives_right_rows_whatever_became_of_its_files(tmp_path, data):
    with folder_in(tmp_path) as place:
        ask(place)
        (file,) = place.glob(f"*.{data.draw(st.sampled_from(['rows', 'index', 'json']))}")
        content = file.read_bytes()
        odd = json_files(json.loads(content)) if file.suffix == ".json" else damaged(content)
        file.unlink()  # whoever reads keeps the old one
        file.write_bytes(data.draw(odd | damaged(content)))
        for _ in range(2):
            expected = np.repeat(np.arange(6) + 0.5, 3).reshape(-1, 3)
            np.testing.assert_array_equal(ask(place)[:], expected)
        assert len(stored_arrays(place)) == 1


@given(st.data())
def test_what_the_cache_holds_is_listed_and_removed(tmp_path, data):
    with folder_in(tmp_path) as place:
        ask(place)
        (file,) = place.glob("*.json")
        file.write_bytes(data.draw(json_files(json.loads(file.read_text()))))
        for array in stored_arrays(place):
            array.key.get("what")
        remove_arrays(place)
        assert not list(place.glob("*.rows"))


@pytest.fixture
def remembered(own_cache, tmp_path, monkeypatch):
    """Two files, and where their digests are remembered at once."""
    monkeypatch.setattr(identity, "SETTLED", -1)
    files = [tmp_path / "a", tmp_path / "b"]
    for file in files:
        file.write_bytes(file.name.encode())
    true = identity.digests(files, tmp_path)
    (memory,) = (own_cache / "digests").glob("*.json")
    return files, true, memory, memory.read_text()


@given(st.data())
def test_remembered_digests_are_those_of_the_files(remembered, tmp_path, data):
    files, true, memory, text = remembered
    assert true[0] in text
    memory.write_bytes(data.draw(json_files(json.loads(text))))
    assert identity.digests(files, tmp_path) == true
