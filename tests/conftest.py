"""Every test works in folders of its own: no run, cache or image of the checkout is touched."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

os.environ["TQDM_DISABLE"] = "1"  # tqdm reads it when it is imported
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # bit-identical results are promised on the CPU

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import REPOSITORY, rewrite, save_noise

from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.cache import Rows
from aeflow_utils.data.features import ImageSet, load_splits
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import evaluate
from aeflow_utils.study.runs import load_run, seal

torch.set_num_threads(1)

ORIGINAL_DATA = os.environ.get("AEFLOW_DATA", "")


@pytest.fixture(scope="session", autouse=True)
def session_folders(tmp_path_factory):
    """One cache for all tests, so that images are prepared and encoded once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HOME", "CACHE", "DATA"):
            patch.setenv(f"AEFLOW_{name}", str(tmp_path_factory.mktemp(name.lower())))
        for name in ("PROFILE", "WEIGHTS"):
            patch.delenv(f"AEFLOW_{name}", raising=False)
        yield


@pytest.fixture(autouse=True)
def home(session_folders, tmp_path_factory, monkeypatch):
    """A fresh AEFLOW_HOME with the three tables that are sources, and nothing else."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "results").mkdir()
    for name in ("published.csv", "peers.csv", "claims_in_print.csv"):
        shutil.copy(REPOSITORY / "results" / name, folder / "results")
    monkeypatch.setenv("AEFLOW_HOME", str(folder))
    return folder


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """A cache for this test alone."""
    monkeypatch.setenv("AEFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def real_data(monkeypatch):
    """The real data folder named by AEFLOW_DATA, or a skip."""
    folder = Path(ORIGINAL_DATA)
    if not ORIGINAL_DATA or not (folder / "chest_xray").is_dir():
        pytest.skip("AEFLOW_DATA does not hold the real chest_xray images")
    monkeypatch.setenv("AEFLOW_DATA", ORIGINAL_DATA)
    return folder


@pytest.fixture(scope="session")
def small_elpv(session_folders):
    """Real ELPV images in the smoke profile's sizes: 24 a split and label, 64 px."""
    data = DataConfig("elpv", image_size=64, limit=24)
    return load_splits(data, "efficientnet_lite0", (8, 16, 32))


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    """An empty AEFLOW_DATA to fill with synthetic images."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("AEFLOW_DATA", str(folder))
    return folder


@pytest.fixture
def chest_tree(data_folder):
    """chest_xray/ in its official layout: 10 patients with 3 normal images each, 8 with 2."""
    rng, root = np.random.default_rng(0), data_folder / "chest_xray"
    for patient in range(10):
        series = f"IM-{115 + patient:04}" if patient % 2 else f"NORMAL2-IM-{501 + patient:04}"
        for image in range(3):
            save_noise(root / f"train/NORMAL/{series}-{image + 1:04}.jpeg", rng, grey=True)
    for patient in range(8):
        kind = ("bacteria", "virus")[patient % 2]
        for image in range(2):
            name = f"person{patient + 1}_{kind}_{10 * patient + image}.jpeg"
            save_noise(root / "train/PNEUMONIA" / name, rng, grey=True)
    for image in range(4):
        save_noise(root / f"test/NORMAL/IM-{image + 1:04}-0001.jpeg", rng, grey=True)
    for image in range(5):
        save_noise(root / f"test/PNEUMONIA/person{image + 100}_virus_1.jpeg", rng, grey=True)
    return root


@pytest.fixture
def mvtec_tree(data_folder):
    """mvtec/bottle/ in its official layout: 10 training images, 4 good and 2 x 3 defective."""
    rng, root = np.random.default_rng(1), data_folder / "mvtec"
    counts = {"train/good": 10, "test/good": 4, "test/crack": 3, "test/dirt": 3}
    for folder, count in counts.items():
        for image in range(count):
            save_noise(root / f"bottle/{folder}/{image:03}.png", rng, grey=False)
    for image in range(3):
        save_noise(root / f"bottle/ground_truth/crack/{image:03}_mask.png", rng, grey=True)
    return root


@pytest.fixture(scope="session")
def make_image_set():
    """An `ImageSet` of seeded noise, with features of any shape, without files or encoder."""

    def make(n, size=16, shapes=None, seed=0):
        rng = np.random.default_rng(seed)
        shapes = shapes or {16: (8, size // 16, size // 16)}
        paths = [f"{row}.png" for row in range(n)]
        columns = {"label": 0, "kind": "good", "split": "train", "group": paths}
        images = rng.integers(0, 256, (n, 1, size, size), np.uint8)
        features = {s: rng.normal(size=(n, *shape)).astype("f2") for s, shape in shapes.items()}
        rows = {stride: Rows.every(maps) for stride, maps in features.items()}
        table = pd.DataFrame({"path": paths} | columns)
        return ImageSet(table, Rows.every(images), rows)

    return make


@pytest.fixture
def write_run():
    """Writes a finished run folder by hand, from the image scores it shall hold."""

    def write(
        model="ae_flow",
        seed=0,
        variant="",
        val=((0, 0, 1, 1), (1, 2, 3, 4)),
        test=((0, 0, 1, 1), (1, 2, 3, 4)),
        dataset="elpv",
        recorded=False,
        profile="smoke",
        category="",
        **options,
    ):
        smoke = PROFILES["smoke"]
        config = RunConfig.build(smoke, dataset, model, seed, category, variant, **options)
        config = replace(config, profile=profile)
        root = paths().recorded(profile) if recorded else paths().runs(profile)
        folder = root / config.run_name
        folder.mkdir(parents=True)
        parts = [
            pd.DataFrame({"label": labels, "image_score": np.asarray(scores, float)}).assign(
                path=[f"{split}{row}.png" for row in range(len(labels))], kind="x", split=split
            )
            for split, (labels, scores) in (("val", val), ("test", test))
        ]
        scores = pd.concat(parts)
        part = scores["image_score"] if model == "ae_flow" else np.nan
        scores = scores.assign(flow_score=part, recon_score=part)
        scores.to_csv(folder / "scores.csv.gz", index=False)
        pd.DataFrame({"epoch": [1, 2], "train_total": [2.0, 1.0]}).to_csv(
            folder / "history.csv", index=False
        )
        environment = {
            "fingerprint": "abc",
            "fit_seconds": 1.5,
            "score_seconds": 0.5,
            "trainable_parameters": 1234,
            "peak_memory_mb": 900,
            "device": "cpu",
        }
        finite = scores[np.isfinite(scores["image_score"])]
        for name, content in (
            ("config", config.to_dict()),
            ("environment", environment),
            ("metrics", evaluate(finite)),
        ):
            (folder / f"{name}.json").write_text(json.dumps(content))
        (folder / "checkpoint.safetensors").write_bytes(b"large")
        seal(folder)
        return load_run(folder)

    return write


@pytest.fixture
def write_ensemble(write_run):
    """Writes members that share a signal, with noise of their own; a second part tells more."""

    def write(n_members=3, n=60):
        rng = np.random.default_rng(0)
        labels = np.tile([0, 1], n // 2)
        shared = [1.5 * labels + rng.normal(size=n) for _ in ("val", "test")]
        more = np.concatenate([2 * labels + rng.normal(size=n) for _ in shared])
        for seed in range(n_members):
            val, test = ((labels, values + 0.3 * rng.normal(size=n)) for values in shared)
            run = write_run(seed=seed, val=val, test=test, variant="conv_like")
            scores = run.scores.assign(flow_score=run.scores["image_score"], recon_score=more)
            rewrite(run.folder, "scores.csv.gz", scores)

    return write
