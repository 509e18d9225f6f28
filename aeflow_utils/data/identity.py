"""What tells one image file from another: its content, looked at again when the file changed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tqdm.auto import tqdm

from aeflow_utils.data.cache import key_hash, sealed, unsealed
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths, whole

SETTLED = 2.0  # seconds: a file that changed more lately may change again within one tick
SHOWN = 2000  # files: fewer are read before a progress bar is of use


def digests(files: Sequence[Path], root: Path) -> list[str]:
    """BLAKE2b of each file's content, as hexadecimal digits.

    Remembered by path, size, and times of change in the cache, under the name of `root`, so that a
    file is read once.

    Raises:
        UserError: a file is gone or cannot be read; names it.
    """
    memory = paths().cache / "digests" / f"{key_hash({'root': str(root)})}.json"
    known = _read(memory)
    states = {str(file): _state_of(file) for file in files}
    new = [file for file, state in states.items() if known.get(file, [None])[:-1] != state]
    with ThreadPoolExecutor() as pool:  # hashing needs no lock of Python's
        read = pool.map(_digest, new)
        bar = tqdm(read, f"{root.name}: reading", len(new), disable=len(new) < SHOWN or None)
        found = dict(zip(new, bar, strict=True))
    if found:
        now = time.time_ns()
        for file, digest in found.items():
            settled = now - max(states[file][1:]) > SETTLED * 1e9
            known[file] = [*states[file], digest] if settled else [digest]
        _write(memory, {file: entry for file, entry in known.items() if len(entry) > 1})
    return [known[str(file)][-1] for file in files]


def _state_of(file: Path) -> list[int]:
    """Size and times of change: of the content, and of anything, which nobody can turn back."""
    try:
        state = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from None
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns]


def _digest(file: str) -> str:
    try:
        with Path(file).open("rb") as content:
            return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: str | Path, error: OSError) -> UserError:
    return UserError(f"{file} cannot be read ({error.strerror}). Restore or remove it")


def _read(memory: Path) -> dict[str, list]:
    with suppress(OSError, ValueError):  # absent or damaged: files are read again
        return unsealed(memory.read_text())
    return {}


def _write(memory: Path, known: dict[str, list]) -> None:
    # A cache that cannot be written costs time alone.
    with suppress(OSError), whole(memory) as partial:
        partial.write_text(sealed(known))
