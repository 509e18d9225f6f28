"""The comparison on a folder, without anomalib: what a process costs, and what is made of it."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from helpers import REPOSITORY

from aeflow_utils.config import FolderConfig
from aeflow_utils.data.table import list_images
from benchmarks.own import __main__ as own
from benchmarks.own import pairs
from benchmarks.own.report import STOPPED, table
from benchmarks.speed.measuring import table_of

RECORDED = pd.read_csv(REPOSITORY / "results" / "own_benchmarks.csv", keep_default_na=False)
needs_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss in KB")


def python(code, limit=pairs.NO_LIMIT):
    return pairs._cost(limit, sys.executable, "-c", code)


@needs_linux
def test_memory_is_that_of_the_process_and_not_of_who_starts_it():
    small, large = python("pass"), python("x = b'1' * 200_000_000")
    assert small["memory"] < 60  # this process has torch
    assert large["memory"] - small["memory"] == pytest.approx(200, abs=10)


@needs_linux
def test_cpu_time_counts_children_and_not_waiting():
    code = "import time, subprocess, sys; subprocess.run([sys.executable, '-c', {!r}])"
    busy = python(code.format("import time\nwhile time.process_time() < 0.5: pass"))
    idle = python("import time; time.sleep(0.5)")
    assert busy["cpu"] > 0.5 > idle["cpu"] and idle["wall"] > 0.5


@needs_linux
def test_a_process_at_its_limit_is_stopped_and_one_that_fails_is_an_error():
    assert not python("pass", 60)["stopped"]
    stopped = python("import time; time.sleep(60)", 0.3)
    assert stopped["stopped"] and stopped["wall"] < 30
    with pytest.raises(subprocess.CalledProcessError):
        python("raise SystemExit(3)")


def test_both_are_given_the_same_folder_steps_and_shares(tmp_path, monkeypatch):
    monkeypatch.setattr(own, "RATED", 10)
    monkeypatch.setattr(own, "N_FEW", 5)
    folder = own.elpv_folder(tmp_path / "ELPV", 40)
    parts = {part: len(list((folder / part).iterdir())) for part in ("train/good", "test/bad")}
    assert parts == {"train/good": 24, "test/bad": 10}
    (_, padim), (_, fastflow) = own.jobs(folder, tmp_path / "work", ["PaDiM", "FastFlow"])
    splits = list_images(FolderConfig(source=str(folder), name="x")).table["split"].value_counts()
    assert padim.val_share * 24 == pytest.approx(splits["val"])
    steps = fastflow.epochs * -(-splits["train"] // fastflow.batch)
    assert 340 <= steps < 340 + 2  # the profile's, to a whole epoch
    assert 0 < len(list(padim.few.iterdir())) <= 16
    json.dumps(fastflow.model)


def cost(wall, cpu=1.0, memory=1000.0, stopped=False):
    return {"wall": wall, "cpu": cpu, "memory": memory, "stopped": stopped}


@pytest.fixture
def job(tmp_path):
    for name, n in {"folder/test": 12, "few": 2}.items():
        (tmp_path / name).mkdir(parents=True)
        for number in range(n):
            (tmp_path / name / f"{number}.png").touch()
    return pairs.Job(tmp_path / "folder", tmp_path / "few", "padim", {}, 16, 0.2, 1)


def test_rows_are_of_both_processes_and_the_rate_is_without_the_start(job):
    mine = {"fit": cost(2), "score": cost(1, memory=1200), "all": cost(3), "few": cost(1)}
    mine |= {"all by ONNX": cost(2), "few by ONNX": cost(1)}
    peers = {"fit": cost(8), "score": cost(4), "all": cost(9), "few": cost(4)}
    rows = table_of(own.rows_of("2 of ELPV", "PaDiM", job, [(mine, peers)]))
    median = rows.set_index(["case", "quantity"])["median"]
    peer = f"anomalib {own.VERSION} PaDiM"
    assert median["PaDiM", "wall time"] == 3 and median[peer, "wall time"] == 12
    assert median[f"{peer} / PaDiM", "wall time"] == 4
    assert median["PaDiM", "peak memory"] == 1200
    assert (median["PaDiM", "one core"], median[peer, "one core"]) == (5, 2)
    assert median["PaDiM", "one core by ONNX"] == 10
    assert "| 1,200 and 1,000 | 10, 5, 2 |" in table(rows)
    assert "| 2 of ELPV | PaDiM | 3 s | 12 s | 4.0 (4.0 to 4.0) | 2 |" in table(rows)


def test_what_was_stopped_is_at_least_so_much(job):
    stopped = {"fit": cost(400, stopped=True)}
    found = [({"fit": cost(30), "score": cost(10)}, stopped)]
    rows = table_of(own.rows_of("2 of ELPV", "PatchCore", job, found))
    of_peer = rows["case"].str.startswith("anomalib")
    assert set(rows.loc[of_peer, "note"]) == {STOPPED} and set(rows.loc[~of_peer, "note"]) == {""}
    line = table(rows).splitlines()[2]
    assert "| > 400 s | > 10.0 (10.0 to 10.0) | 10 |" in line and "speed yes" in line


def test_rows_that_are_measured_again_replace_those_before(job, tmp_path):
    file, readme = tmp_path / "rows.csv", tmp_path / "README.md"
    RECORDED.head(0).to_csv(file, index=False)
    readme.write_text("before\n<!-- own -->\nold\n<!-- /own -->\nafter\n")
    for wall in (2, 5):
        found = [({"fit": cost(wall)}, {"fit": cost(10 / 3)})]
        rows = table_of(own.rows_of("2 of ELPV", "PaDiM", job, found)).assign(machine="m")
        text = own.keep(rows, file, readme)
    written = pd.read_csv(file)
    assert len(written) == len(rows) and 3.333 in set(written["median"])
    assert readme.read_text() == f"before\n<!-- own -->\n{text}\n<!-- /own -->\nafter\n"
    assert "| 5 s | 3 s |" in text


def test_the_table_is_what_was_recorded():
    written = (REPOSITORY / "benchmarks" / "README.md").read_text()
    assert f"<!-- own -->\n{table(RECORDED)}\n<!-- /own -->" in written
