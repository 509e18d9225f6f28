"""Arrays with a row an image, computed once: prepared images and encoder features on disk.

Rows are filled when somebody first asks for them, in blocks, and take no room before, on disks that
know sparse files; each row carries a stamp of the file it came from, written after the row itself.
So a killed computation goes on where it was, all models, splits and folds of a data set share its
rows, and a replaced file is read again. Of several processes that want the same rows, one computes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

BLOCK = 256  # rows between two points at which a killed computation can go on

Fill = Callable[[np.ndarray], dict[str, np.ndarray]]
Pair = tuple[np.ndarray, np.ndarray]  # an array, and the stamp of each of its rows


def key_hash(key: dict) -> str:
    """Short, stable name for a JSON-ready description."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_rows(
    folder: Path,
    keys: dict[str, dict],
    length: int,
    rows: np.ndarray,
    stamps: np.ndarray,
    fill: Fill,
    label: str,
) -> dict[str, np.ndarray]:
    """Read-only memory maps of some arrays, of which `rows` hold what they must.

    Args:
        folder: where the cache lives; created if missing.
        keys: of each array by name, everything that its rows depend on but the files, JSON-ready.
        length: of each array.
        rows: (N,) positions that are needed, at least one.
        stamps: (N,) uint32, not 0: what each row was made from; another stamp is another file.
        fill: computes some of `rows` (given in rising order), {name: (n, ...)}. What it raises
            leaves the blocks before it in place.
        label: of the progress bar.
    """
    pairs = {name: _open(folder, key, length, "r") for name, key in keys.items()}
    if _stale(pairs, rows, stamps).any():
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            pairs = {name: _open(folder, key, length, "r+") for name, key in keys.items()}
            missing = np.flatnonzero(_stale(pairs, rows, stamps))  # none, if another was faster
            missing = missing[np.argsort(rows[missing])]
            with tqdm(total=len(missing), desc=label, mininterval=1) as bar:
                for start in range(0, len(missing), BLOCK):
                    block = missing[start : start + BLOCK]
                    for name, values in fill(rows[block]).items():
                        pair = pairs[name] or _create(folder, keys[name], length, values)
                        pairs[name] = _write(pair, rows[block], values, stamps[block])
                    bar.update(len(block))
        pairs = {name: _open(folder, key, length, "r") for name, key in keys.items()}
    return {name: array for name, (array, _) in pairs.items()}


def _stale(pairs: dict[str, Pair | None], rows: np.ndarray, stamps: np.ndarray) -> np.ndarray:
    """(N,) bool: the rows that any of the arrays lacks, or has from another file."""
    stale = np.zeros(len(rows), dtype=bool)
    for pair in pairs.values():
        stale |= True if pair is None else pair[1][rows] != stamps
    return stale


@dataclass(frozen=True)
class Stored:
    """One array on disk: what it is of (empty where nobody can tell), its files, their room."""

    key: dict
    files: tuple[Path, ...]
    n_bytes: int


def stored_arrays(folder: Path, dataset: str = "") -> list[Stored]:
    """Every array, or those of one data set, largest first; bytes are those the disk gives."""
    found = []
    paths = [*folder.glob("*.npy"), *folder.glob("*.json")]  # weights lie in a folder below
    for name in sorted({path.name.split(".")[0] for path in paths}):
        files, key = tuple(folder.glob(f"{name}.*")), {}
        with suppress(OSError, ValueError):
            key = json.loads((folder / f"{name}.json").read_text())
        if dataset in ("", key.get("dataset")):
            found.append(Stored(key, files, sum(map(_room, files))))
    return sorted(found, key=lambda array: -array.n_bytes)


def remove_arrays(folder: Path, dataset: str = "") -> list[Stored]:
    """Delete every array, or those of one data set; what a process is reading stays readable."""
    if not folder.is_dir():
        return []
    with FileLock(folder / ".lock"):  # not while one is computed
        removed = stored_arrays(folder, dataset)
        for array in removed:
            for path in array.files:
                path.unlink(missing_ok=True)
    return removed


def _room(path: Path) -> int:
    state = path.stat()
    return getattr(state, "st_blocks", -(-state.st_size // 512)) * 512


def _write(pair: Pair, rows: np.ndarray, values: np.ndarray, stamps: np.ndarray) -> Pair:
    """A row is on disk before its stamp says so."""
    for array, content in zip(pair, (values, stamps), strict=True):
        array[rows] = content
        array.flush()
    return pair


def _files(folder: Path, key: dict) -> tuple[Path, Path]:
    name = key_hash(key)
    return folder / f"{name}.npy", folder / f"{name}.stamps.npy"


def _create(folder: Path, key: dict, length: int, values: np.ndarray) -> Pair:
    """An empty array for rows like `values`, and its stamps."""
    path, stamps_path = _files(folder, key)
    for old in (stamps_path, path):  # unlinked, not overwritten: somebody may be reading it
        old.unlink(missing_ok=True)
    path.with_suffix(".json").write_text(json.dumps(key, indent=1))
    shape = (length, *values.shape[1:])
    array = np.lib.format.open_memmap(path, "w+", values.dtype, shape)
    return array, np.lib.format.open_memmap(stamps_path, "w+", "uint32", shape[:1])


def _open(folder: Path, key: dict, length: int, mode: str) -> Pair | None:
    """The stored array and its stamps; None where there are none, or of another length."""
    try:
        for path in _files(folder, key):
            np.load(path, mmap_mode="r")  # a file that is too short fails; "r+" would lengthen it
        array, stamps = (np.load(path, mmap_mode=mode) for path in _files(folder, key))
        return (array, stamps) if len(array) == len(stamps) == length else None
    except Exception:  # absent, cut off, or damaged in ways that numpy reports in many kinds
        return None
