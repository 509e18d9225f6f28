"""The same configuration and images give the same bytes, whatever surrounds the process."""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import save_noise

RUN = """
import os, sys

class Listing(list):
    __enter__ = lambda self: self
    __exit__ = lambda self, *error: None

if "FILES_REVERSED" in os.environ:
    scandir, listdir = os.scandir, os.listdir
    os.scandir = lambda *folder: Listing(sorted(scandir(*folder), key=lambda e: e.name)[::-1])
    os.listdir = lambda *folder: sorted(listdir(*folder))[::-1]

from aeflow_utils.__main__ import main

images = ["--dataset", "mvtec", "--category", "bottle", "--profile", "smoke"]
for model in ("ae_flow", "f_anogan", "patchcore"):
    if main(["run", "--model", model, *images]):
        sys.exit(1)
"""
ONE = {"LC_ALL": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "TZ": "UTC"}
OTHER = {"LC_ALL": "C", "PYTHONHASHSEED": "4321", "OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo"}
SAME = ("scores.csv.gz", "history.csv", "checkpoint.safetensors", "metrics.json")


@pytest.fixture
def left_by(tmp_path, mvtec_tree):
    """{file: its bytes} that the runs leave in a process with these variables, in its own cache."""

    def left(name, **variables):
        home = tmp_path / name
        home.mkdir()
        places = {"AEFLOW_HOME": str(home), "AEFLOW_CACHE": str(home / "cache")}
        environment = os.environ | places | {"TQDM_DISABLE": "1"} | variables
        command = [sys.executable, "-W", "ignore", "-c", RUN]
        subprocess.run(command, env=environment, cwd=home, check=True, capture_output=True)
        runs = home / "results/smoke/runs"
        found = [path for path in sorted(runs.rglob("*")) if path.name in SAME]
        return {str(path.relative_to(runs)): path.read_bytes() for path in found}

    return left


def test_locale_hashes_threads_time_zone_and_the_order_of_files_change_no_byte(left_by, mvtec_tree):
    rng = np.random.default_rng(5)
    for name in ("größe", "Ωmega", "Zebra"):  # which locales sort otherwise
        save_noise(mvtec_tree / f"bottle/test/crack/{name}.png", rng, grey=False)
    one, other = left_by("one", **ONE), left_by("other", **OTHER, FILES_REVERSED="1")
    assert len(one) == 3 * len(SAME)
    assert [name for name in one if one[name] != other.get(name)] == []
    assert one.keys() == other.keys()
