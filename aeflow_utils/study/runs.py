"""Run folders: what a finished run left behind, and how to find it."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from aeflow_utils.config import RunConfig
from aeflow_utils.data.cache import file_sha256
from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.data.reading import read_table
from aeflow_utils.errors import UserError
from aeflow_utils.paths import check_writable, paths, whole

SCORES, CHECKPOINT, SEAL = "scores.csv.gz", "checkpoint.safetensors", "files.json"
FILES = ("config.json", "environment.json", "metrics.json", "history.csv", SCORES)


@dataclass(frozen=True, eq=False)  # tables have no equality: a run is equal to itself
class RunResult:
    """A finished run, read from its folder. Shared by all who ask for it: not to be changed.

    Args:
        scores: one row an image of validation and test.
        history: one row an epoch; empty for systems without training.
        metrics: AUROCs, thresholds and the metrics at each.
        environment: versions, machine, seconds, fingerprint of the images.
        source: ``recorded`` if it came with the bundle, ``re-run`` if this machine made it.
    """

    config: RunConfig
    folder: Path
    scores: pd.DataFrame
    history: pd.DataFrame
    metrics: dict
    environment: dict
    source: str

    def split(self, name: str) -> pd.DataFrame:
        """Scores of ``val`` or ``test``."""
        return self.scores[self.scores["split"] == name].reset_index(drop=True)

    def labelled(self, name: str) -> pd.DataFrame:
        """As `split`, without images of unknown label (in a reader's own data)."""
        rows = self.split(name)
        return rows[rows["label"] != UNLABELLED].reset_index(drop=True)


def run_folder(config: RunConfig) -> Path:
    """Where a run is, or will be: a reader's own images keep theirs apart from the study's."""
    profile = config.profile
    runs = paths().own(profile) / "runs" if config.data.own else paths().runs(profile)
    return runs / config.run_name


def check_results(configs: Iterable[RunConfig]) -> None:
    """Before runs are made: see that there is where to put them.

    Raises:
        UserError: a folder cannot be written; names the remedy.
    """
    for folder in {run_folder(config).parent for config in configs}:
        check_writable(folder)


def lock_file(config: RunConfig) -> Path:
    """Held by the process that makes the run."""
    return _beside(config, "lock")


def failure_file(config: RunConfig) -> Path:
    """Says why the run could not be made, the last time that it was tried."""
    return _beside(config, "failed")


def partial_folder(config: RunConfig, fingerprint: str) -> Path:
    """Where a run on images of this fingerprint is made, and never one on others continued."""
    return _beside(config, f"{fingerprint}.partial")


def is_begun(config: RunConfig) -> bool:
    """Whether there is something to go on with."""
    folder = run_folder(config)
    return any(folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"))


def _beside(config: RunConfig, ending: str) -> Path:
    folder = run_folder(config)
    return folder.with_name(f".{folder.name}.{ending}")


def load_run(folder: Path) -> RunResult:
    """Read a run folder; once, as long as its files stay as they are.

    Raises:
        UserError: a file of it is missing, was cut, changed or exchanged, or is another run's.
    """
    recorded = paths().home / "results" / "recorded"
    source = "recorded" if folder.is_relative_to(recorded) else "re-run"
    try:
        states = [(folder / name).stat() for name in (SEAL, *FILES)]
        stamp = tuple((state.st_mtime_ns, state.st_size) for state in states)
        return _read_run(folder, source, stamp)
    except Exception as error:  # damaged files make readers fail in many kinds
        raise UserError(
            f"{folder} is damaged, or of another version ({error}): delete it and run again; a "
            "recorded one comes with the bundle"
        ) from None


@lru_cache(maxsize=1024)  # an article's tables, claims and figures ask for the same runs
def _read_run(folder: Path, source: str, stamp: tuple) -> RunResult:
    sealed = json.loads((folder / SEAL).read_text())
    for name in FILES:
        check_seal(folder, name, sealed)
    config, environment, metrics = (json.loads((folder / name).read_text()) for name in FILES[:3])
    # A kind or file may be called NA: only what is empty is missing.
    missing = {"keep_default_na": False, "na_values": [""]}
    history, scores = (pd.read_csv(folder / name, **missing) for name in FILES[3:])
    scores = scores.astype({"label": int, "image_score": float})
    config = RunConfig.from_dict(config)
    if not {"path", "split"} <= set(scores) or not isinstance(metrics | environment, dict):
        raise ValueError("it lacks what a run has")
    if config.run_name != folder.name:
        raise ValueError(f"it is the folder of {config.run_name}")
    return RunResult(config, folder, scores, history, metrics, environment, source)


def seal(folder: Path) -> None:
    """Write down the files of a run and what is in them, by their SHA-256."""
    names = [name for name in (*FILES, CHECKPOINT) if (folder / name).exists()]
    write_json(folder / SEAL, {name: file_sha256(folder / name) for name in names})


def check_seal(folder: Path, name: str, sealed: dict[str, str] | None = None) -> None:
    """Compare a file of a run with what was written down of it.

    Raises:
        ValueError: it was changed since.
        OSError: it is not there.
    """
    sealed = sealed or json.loads((folder / SEAL).read_text())
    if file_sha256(folder / name) != sealed.get(name):
        raise ValueError(f"{name} is not as the run left it")


def read_runs(profile: str, recorded: bool) -> Iterator[RunResult]:
    """All finished runs of a profile: this machine's, or those that came with the bundle."""
    folder = paths().recorded(profile) if recorded else paths().runs(profile)
    for path in sorted(folder.glob("[!.]*")):
        if path.is_dir():  # a stray file is no run
            yield load_run(path)


def cached_table(file: Path, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """The table in a CSV file, which is made if it is not there, whole or not at all."""
    if not file.exists():
        check_writable(file.parent)
        table = compute()
        with whole(file) as partial:
            table.to_csv(partial, index=False)
    return read_table(file, "delete it and run again")


def write_json(path: Path, content: dict) -> None:
    """Indented JSON with a final newline."""
    path.write_text(json.dumps(content, indent=1) + "\n")
