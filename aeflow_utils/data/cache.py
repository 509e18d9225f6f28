"""Arrays with a row an image, computed once: prepared images and encoder features on disk.

A row belongs to the content of an image file, by its digest: data sets, splits, folds and listings
that hold the same file share it, and a file of other content has another row. Rows are appended and
never written over, so nobody who reads can be disturbed. Each has a checksum, by which a damaged
one is noticed and made again, and counts only once its line in the index is there: a killed
computation goes on where it was. Of several processes that want the same rows, one computes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from aeflow_utils.errors import UserError
from aeflow_utils.paths import check_writable, locked

if TYPE_CHECKING:  # who reads results alone has no torch
    from torch import Tensor

SEALED = "sealed"
NOBODY = ("-", "-")  # in the place of digest and checksum
BLOCK = 256  # rows between two points at which a killed computation can go on

Fill = Callable[[list[int]], dict[str, Sequence[np.ndarray | None]]]


def key_hash(key: dict) -> str:
    """Short, stable name for a JSON-ready description."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]


def sealed(content: dict) -> str:
    """JSON with a hash of itself, for `unsealed`."""
    return json.dumps(content | {SEALED: key_hash(content)}, indent=1)


def unsealed(text: str) -> dict:
    """What was `sealed`.

    Raises:
        ValueError: it was cut, changed, or is something else.
    """
    try:
        content = json.loads(text)
        if content.pop(SEALED) == key_hash(content):
            return content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise ValueError("it is not as it was written")


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Rows:
    """Rows of an array that lie anywhere in it: `positions` (N,) into `array` (M, ...).

    `array` may be a tensor; what is read is of its kind.
    """

    array: np.ndarray | Tensor
    positions: np.ndarray

    @classmethod
    def every(cls, array: np.ndarray | Tensor) -> Rows:
        """All rows of an array, in their order."""
        return cls(array, np.arange(len(array)))

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.array.shape[1:])

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.array.itemsize

    def __getitem__(self, which: np.ndarray | slice | int) -> np.ndarray | Tensor:
        return self.array[self.positions[which]]

    def select(self, keep: np.ndarray) -> Rows:
        """Those where the boolean array `keep` (N,) holds."""
        return Rows(self.array, self.positions[keep])


def cached_rows(
    folder: Path, keys: dict[str, dict], digests: Sequence[str], fill: Fill, label: str
) -> dict[str, Rows]:
    """Read-only rows of some arrays, one for each digest.

    A row that `fill` cannot make has the position -1.

    Args:
        folder: where the cache lives; created if missing. One that holds all is only read.
        keys: of each array by name, everything that its rows depend on but the files, JSON-ready.
        digests: (N,) of the files that rows are of.
        fill: computes some of N (given by their numbers, rising), {name: one array each, or None
            where there can be none}. What it raises leaves the blocks before it in place.
        label: of the progress bar.

    Raises:
        UserError: rows are to be made and the folder cannot be written, or has no room for them.
    """
    first = {digest: number for number, digest in reversed(list(enumerate(digests)))}
    stores = {name: _Store(folder, key, first) for name, key in keys.items()}
    if _are_to_be_made(_missing(stores, first), fill, folder):
        with locked(folder / ".lock"):
            stores = {name: _Store(folder, key, first) for name, key in keys.items()}
            missing = _missing(stores, first)  # none, if another was faster
            with tqdm(total=len(missing), desc=label, mininterval=1) as bar:
                for start in range(0, len(missing), BLOCK):
                    block = missing[start : start + BLOCK]
                    filled = fill(block)
                    _check_room(folder, filled, (len(missing) - start) / len(block))
                    for name, values in filled.items():
                        named = zip((digests[number] for number in block), values, strict=True)
                        stores[name].append({d: row for d, row in named if row is not None})
                    bar.update(len(block))
    return {name: store.rows(digests) for name, store in stores.items()}


def _missing(stores: dict[str, _Store], first: dict[str, int]) -> list[int]:
    """Numbers of the digests that some array lacks, rising."""
    have = set.intersection(*(set(store.found) for store in stores.values()))
    return sorted(number for digest, number in first.items() if digest not in have)


def _are_to_be_made(missing: list[int], fill: Fill, folder: Path) -> bool:
    """Whether rows are to be written, for which `folder` must allow it.

    One that does not will do where nothing can be made: of images that nobody can read.
    """
    if not missing:
        return False
    try:
        check_writable(folder)
    except UserError:
        tried = (values for number in missing for values in fill([number]).values())
        if any(row is not None for values in tried for row in values):
            raise
        return False
    return True


def _check_room(folder: Path, filled: dict[str, Sequence[np.ndarray | None]], times: float) -> None:
    """Refuse to begin, or to go on, where a disk has no room for so many `times` these rows."""
    some = (row for values in filled.values() for row in values if row is not None)
    wanted, disk = times * sum(row.nbytes for row in some), shutil.disk_usage(folder)
    if disk.total and wanted > disk.free:  # some network disks say 0 of 0
        sizes = f"{wanted / 1e9:.3f} GB are wanted, {disk.free / 1e9:.3f} GB are free"
        raise UserError(f"{folder}: {sizes}. Make room, or set AEFLOW_CACHE to a larger disk")


class _Store:
    """One array: raw rows in a file, a line a row in its index, and what they are in a third.

    Args:
        wanted: digests whose rows are looked at; those that are whole are `found`, by position.
    """

    def __init__(self, folder: Path, key: dict, wanted: dict[str, int]) -> None:
        self.key, self.path = key, folder / f"{key_hash(key)}.rows"
        self.index, self.form = self.path.with_suffix(".index"), self.path.with_suffix(".json")
        self.found: dict[str, int] = {}
        self.array: np.ndarray | None = None
        with suppress(OSError, ValueError):  # absent, or damaged: made anew
            content = unsealed(self.form.read_text())
            self.array = self._mapped(np.dtype(content["dtype"]), tuple(content["shape"]))
        for position, (digest, checksum) in enumerate(self._lines() if len(self) else ()):
            # Of two rows of one digest the earlier one was damaged.
            looked_at = digest in wanted and position < len(self)
            if looked_at and checksum == _checksum(digest, self[position]):
                self.found[digest] = position

    def __len__(self) -> int:
        return 0 if self.array is None else len(self.array)

    def __getitem__(self, position: int) -> np.ndarray:
        return self.array[position]

    def rows(self, digests: Sequence[str]) -> Rows:
        positions = np.array([self.found.get(digest, -1) for digest in digests])
        return Rows(np.empty((0,)) if self.array is None else self.array, positions)

    def append(self, new: dict[str, np.ndarray]) -> None:
        """Rows by digest; called by who holds the lock. A row is on disk before its line is."""
        if not new:
            return
        some = np.asarray(next(iter(new.values())))
        # A damaged form may tell of other rows: cut by their size, a file would end amid what
        # somebody reads.
        known = self.array
        if known is None or (known.dtype, known.shape[1:]) != (some.dtype, some.shape):
            self._begin(some)
        n_before = self._mend(some.nbytes)
        with self.path.open("ab") as file:
            for row in new.values():
                file.write(np.ascontiguousarray(row).tobytes())
        self._write_lines([(digest, _checksum(digest, row)) for digest, row in new.items()], "a")
        self.array = self._mapped(some.dtype, some.shape)
        self.found |= {digest: n_before + n for n, digest in enumerate(new)}

    def _mend(self, row_bytes: int) -> int:
        """Index and rows of one length again, whatever a killed process left; gives that length.

        Whole rows stay, though no line names them: somebody may have read them before a damage.
        """
        n_rows, lines = self.path.stat().st_size // row_bytes, self._lines()
        os.truncate(self.path, n_rows * row_bytes)
        if len(lines) != n_rows or self._ends_amid_a_line():
            self._write_lines((lines + [NOBODY] * n_rows)[:n_rows], "w")
        return n_rows

    def _mapped(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray | None:
        n_rows = self.path.stat().st_size // (dtype.itemsize * int(np.prod(shape)))
        return np.memmap(self.path, dtype, "r", shape=(n_rows, *shape)) if n_rows else None

    def _begin(self, row: np.ndarray) -> None:
        for old in (self.index, self.path):  # unlinked, not emptied: somebody may be reading it
            old.unlink(missing_ok=True)
            old.touch()
        content = {"key": self.key, "dtype": str(row.dtype), "shape": row.shape}
        self.form.write_text(sealed(content))

    def _lines(self) -> list[tuple[str, str]]:
        """Digest and checksum of each row; what a killed process wrote half is none."""
        *lines, _ = self.index.read_text(errors="replace").split("\n")
        pairs = [tuple(line.split(" ")) for line in lines]
        whole = [len(pair) == 2 for pair in pairs]
        return pairs[: whole.index(False)] if False in whole else pairs

    def _ends_amid_a_line(self) -> bool:
        return self.index.read_bytes()[-1:] not in (b"", b"\n")

    def _write_lines(self, lines: list[tuple[str, str]], mode: str) -> None:
        with self.index.open(mode) as file:
            file.write("".join(f"{digest} {checksum}\n" for digest, checksum in lines))


def _checksum(digest: str, row: np.ndarray) -> str:
    """Of both, so that no row passes for another file's."""
    return f"{zlib.crc32(np.ascontiguousarray(row), zlib.crc32(digest.encode())):08x}"


@dataclass(frozen=True)
class Stored:
    """One array on disk: what it is of (empty where nobody can tell), its files, their room."""

    key: dict
    files: tuple[Path, ...]
    n_bytes: int


def stored_arrays(folder: Path, dataset: str = "") -> list[Stored]:
    """Every array, or those of one data set, largest first; bytes are those the disk gives."""
    found = []
    paths = [*folder.glob("*.rows"), *folder.glob("*.json")]  # weights lie in a folder below
    for name in sorted({path.stem for path in paths}):
        files, key = tuple(folder.glob(f"{name}.*")), {}
        with suppress(OSError, ValueError):
            key = unsealed((folder / f"{name}.json").read_text())["key"]
        if dataset in ("", key.get("dataset")):
            found.append(Stored(key, files, sum(map(_room, files))))
    return sorted(found, key=lambda array: -array.n_bytes)


def remove_arrays(folder: Path, dataset: str = "") -> list[Stored]:
    """Delete every array, or those of one data set; what a process is reading stays readable."""
    if not folder.is_dir():
        return []
    with locked(folder / ".lock"):  # not while one is computed
        removed = stored_arrays(folder, dataset)
        for array in removed:
            for path in array.files:
                path.unlink(missing_ok=True)
    return removed


def _room(path: Path) -> int:
    state = path.stat()
    return getattr(state, "st_blocks", -(-state.st_size // 512)) * 512
