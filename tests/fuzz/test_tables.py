"""Tables: a run's, a plan, a reader's own listing, a data set's labels, what is in print."""

import csv
import gzip
import io
import shutil

import pandas as pd
import pytest
from fuzz.hostile import FILE_NAMES, ODD, TEXTS, damaged, folder_in, read_or_refused
from helpers import REPOSITORY
from hypothesis import given
from hypothesis import strategies as st

from aeflow_utils.article.claims import claims_in_print
from aeflow_utils.config import FolderConfig
from aeflow_utils.data import own
from aeflow_utils.data.layouts import UNLABELLED, scan_elpv, scan_isic
from aeflow_utils.own.score import images_of
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.tables import peers
from aeflow_utils.study import manifest
from aeflow_utils.study.experiments import plan
from aeflow_utils.study.recording import published
from aeflow_utils.study.runs import SCORES, load_run, seal

CELLS = TEXTS | st.sampled_from(["a.png", "b c.png", "ü.png", "normal", "bad", "train", "test", ""])
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
IMAGES = ("a.png", "b c.png", "ü.png")


@st.composite
def tables(draw, header):
    """The text of a CSV file with nearly these columns and cells of any kind."""
    header = draw(st.just(header) | st.permutations([*header, draw(CELLS)]))
    widths = st.sampled_from([len(header)] * 5 + [len(header) - 1, len(header) + 1, 0])
    rows = [[draw(CELLS) for _ in range(draw(widths))] for _ in range(draw(st.integers(0, 4)))]
    text = io.StringIO()
    csv.writer(text, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows(
        [header, *rows]
    )
    return text.getvalue()


@st.composite
def table_files(draw, header, sound):
    """The bytes of a CSV file: of `tables`, or `sound` and then damaged, or of a gzip file."""
    text = draw(tables(header)).encode(draw(ENCODINGS), "replace")
    return draw(st.just(text) | damaged(sound) | st.just(gzip.compress(sound)))


@given(st.data())
def test_a_runs_own_tables(a_run, data):
    name = data.draw(st.sampled_from(["history.csv", SCORES]))
    stored = (a_run.folder / name).read_bytes()
    text = gzip.decompress(stored) if name == SCORES else stored
    header = text.decode().splitlines()[0].split(",")
    content = data.draw(table_files(header, text))
    if name == SCORES:
        content = data.draw(damaged(stored) | st.just(gzip.compress(content)) | st.just(content))
    with folder_in(a_run.folder.parent) as place:
        folder = place / a_run.folder.name
        shutil.copytree(a_run.folder, folder)
        (folder / name).write_bytes(content)
        with read_or_refused(folder):
            assert load_run(folder).scores.equals(a_run.scores)
        seal(folder)  # as if it had been written so
        with read_or_refused(folder):
            found = load_run(folder)
            assert {"path", "label", "split", "image_score"} <= set(found.scores)
            assert found.scores["image_score"].dtype == float


@given(st.data())
def test_a_plan(tmp_path, data):
    table = manifest.freeze(plan(PROFILES["smoke"], methods=("knn", "padim")), 1000)
    content = data.draw(table_files(manifest.COLUMNS, table.to_csv(index=False).encode()))
    file = tmp_path / "plan.csv"
    file.write_bytes(content)
    with read_or_refused(file):
        found = manifest.read_manifest(file)
        assert found["run"].tolist() == table["run"].tolist()
        assert found[["row", "task"]].equals(table[["row", "task"]])


@given(st.lists(st.sampled_from(range(9)), unique=True, max_size=8))
def test_a_plan_that_lacks_rows(tmp_path, gone):
    table = manifest.freeze(plan(PROFILES["smoke"], methods=("knn", "padim", "brightness")), 1000)
    file = tmp_path / "plan.csv"
    table.drop(index=[row for row in gone if row < len(table)]).to_csv(file, index=False)
    with read_or_refused(file):
        assert len(manifest.read_manifest(file)) == len(table)


def sound(header):
    rows = zip(IMAGES, ("normal", "bad", "normal"), ("train", "test", "val"), strict=True)
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode()


@pytest.fixture
def photos(tmp_path):
    for name in IMAGES:
        (tmp_path / name).write_bytes(b"not looked at")
    return tmp_path


@given(st.data())
def test_a_readers_own_listing(photos, data):
    header = ["path", "label", "split"]
    content = data.draw(table_files(header, sound(header)))
    listing = photos / "parts.csv"
    listing.write_bytes(content)
    with read_or_refused(listing):
        spec = own.spec(FolderConfig(source=str(listing), name="parts"))
        found = spec.scan(spec.root, "")
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        assert all(None not in row and None not in row.values() for row in rows)
        rows = [{k.strip(): v.strip() for k, v in row.items()} for row in rows]
        assert sorted(found["path"]) == sorted(row["path"] for row in rows)
        of = {row["path"]: row["label"].lower() for row in rows}
        for row in found.itertuples():
            kinds = {"normal": 0, "": UNLABELLED}
            assert row.label == kinds.get(of[row.path], row.label)


@given(st.data())
def test_a_listing_to_score(photos, data):
    content = data.draw(table_files(["path", "label"], sound(["path", "label", "split"])))
    listing = photos / "parts.csv"
    listing.write_bytes(content)
    with read_or_refused(listing):
        found = images_of([str(listing)])
        rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
        assert found == list(dict.fromkeys(str(photos / row["path"]) for row in rows))


@given(st.data())
def test_a_data_sets_own_labels(tmp_path, data):
    with folder_in(tmp_path) as root:
        elpv = root / "labels.csv"
        elpv.write_bytes(data.draw(table_files(["a.png", "0.0", "mono"], b"a.png  1.0  mono\n")))
        with read_or_refused(elpv):
            assert set(scan_elpv(root, "")["label"]) <= {0, 1}
        truth = root / "ISIC2018_Task3_Test_GroundTruth.csv"
        (root / "ISIC2018_Task3_Test_Input").mkdir()
        (root / "ISIC2018_Task3_Test_Input/a.jpg").touch()
        header = ["image", "MEL", "NV"]
        truth.write_bytes(data.draw(table_files(header, b"image,MEL,NV\na,0.0,1.0\nb,1.0,0.0\n")))
        with read_or_refused(truth):
            assert set(scan_isic(root, "")["label"]) <= {0, 1}


@given(st.data())
def test_what_came_with_the_bundle(home, data):
    names = {"published.csv": published, "peers.csv": peers, "claims_in_print.csv": claims_in_print}
    name = data.draw(st.sampled_from(sorted(names)))
    file = home / "results" / name
    whole = (REPOSITORY / "results" / name).read_bytes()
    header = whole.decode().splitlines()[0].split(",")
    file.write_bytes(data.draw(table_files(header, b"\n".join(whole.split(b"\n")[:20]))))
    with read_or_refused(file):
        found = names[name]()
        assert len(found.columns) and isinstance(found, pd.DataFrame)


@given(FILE_NAMES, st.sampled_from(ODD))
def test_a_listing_of_any_name(tmp_path, name, odd):
    with folder_in(tmp_path) as root:
        (root / f"{name}.png").touch()
        listing = root / "parts.csv"
        with listing.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            csv.writer(file).writerows([["path", "label"], [f"{name}.png", "good"]])
        with read_or_refused(listing):
            assert images_of([str(listing)]) == [str(root / f"{name}.png")]
        with read_or_refused(listing):
            spec = own.spec(FolderConfig(source=str(listing), name="parts"))
            assert list(spec.scan(root, "")["path"]) == [f"{name}.png"]
