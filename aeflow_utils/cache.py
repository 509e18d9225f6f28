"""Arrays computed once: prepared images and encoder features, as memory-mapped ``.npy`` files.

An array appears under its own name only when it is whole: it is filled under a temporary name,
flushed, then renamed. Of several processes that want the same arrays, one computes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock


@dataclass(frozen=True)
class ArraySpec:
    """An array of the cache: `key` holds everything its content depends on, JSON-ready."""

    key: dict
    shape: tuple[int, ...]
    dtype: str


def key_hash(key: dict) -> str:
    """Short, stable name for a JSON-ready description."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cached_arrays(
    folder: Path,
    wanted: dict[int, ArraySpec],
    fill: Callable[[dict[int, np.ndarray]], None],
) -> dict[int, np.ndarray]:
    """Read-only memory maps of the arrays in `wanted`.

    Args:
        folder: where the cache lives; created if missing.
        wanted: the arrays, by any label.
        fill: called once with those that are missing, to write their content in one pass. What
            it raises leaves no file behind.
    """
    found = {label: _open_if_valid(folder, spec) for label, spec in wanted.items()}
    if all(array is not None for array in found.values()):
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        missing = {k: s for k, s in wanted.items() if _open_if_valid(folder, s) is None}
        if missing:
            _compute(folder, missing, fill)
    return {label: _open_if_valid(folder, spec) for label, spec in wanted.items()}


def _compute(folder: Path, missing: dict[int, ArraySpec], fill: Callable) -> None:
    partial = {k: folder / f"{key_hash(s.key)}.partial" for k, s in missing.items()}
    try:
        arrays = {
            label: np.lib.format.open_memmap(path, "w+", missing[label].dtype, missing[label].shape)
            for label, path in partial.items()
        }
        fill(arrays)
        for label, array in arrays.items():
            array.flush()
            final = folder / f"{key_hash(missing[label].key)}.npy"
            final.with_suffix(".json").write_text(json.dumps(missing[label].key, indent=1))
            partial[label].replace(final)
    finally:
        for path in partial.values():
            path.unlink(missing_ok=True)


def _open_if_valid(folder: Path, spec: ArraySpec) -> np.ndarray | None:
    """The stored array, or None where there is none or it is not what was asked for."""
    try:
        array = np.load(folder / f"{key_hash(spec.key)}.npy", mmap_mode="r")
    except Exception:  # absent, cut off, or damaged in ways that numpy reports in many kinds
        return None
    whole = array.shape == spec.shape and array.dtype == np.dtype(spec.dtype)
    return array if whole else None
