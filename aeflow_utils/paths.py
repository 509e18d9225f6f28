"""Where the bundle reads and writes: the checkout, or what the environment says."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from aeflow_utils.errors import UserError

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class Paths:
    """Where the bundle reads and writes. `home` is the checkout, or ``AEFLOW_HOME``."""

    home: Path
    data: Path
    cache: Path
    weights: Path

    def results(self, profile: str) -> Path:
        return self.home / "results" / profile

    def runs(self, profile: str) -> Path:
        return self.results(profile) / "runs"

    def own(self, profile: str) -> Path:
        """Runs and reports on a reader's own images: no part of the study's tables."""
        return self.results(profile) / "own"

    def recorded(self, profile: str) -> Path:
        return self.home / "results" / "recorded" / profile / "runs"

    def images(self, profile: str) -> Path:
        """The article's figures are the `laptop` ones; other profiles keep theirs apart."""
        return self.home / "images" if profile == "laptop" else self.results(profile) / "images"


def paths() -> Paths:
    """The folders in force: never relative to the working directory of a notebook.

    Raises:
        UserError: AEFLOW_DATA names a folder that does not exist.
    """

    def given(name: str, default: Path) -> Path:
        return expanded(os.environ.get(f"AEFLOW_{name}") or str(default)).resolve()

    checkout = Path(__file__).resolve().parent.parent
    if not (checkout / "pyproject.toml").exists():  # installed without -e
        checkout = Path.cwd()
    home = given("HOME", checkout)
    data = given("DATA", home / "data")
    if os.environ.get("AEFLOW_DATA") and not data.is_dir():
        raise UserError(f"AEFLOW_DATA is {data}, which is not a folder: set it to your data folder")
    cache = given("CACHE", home / "cache")
    return Paths(home, data, cache, given("WEIGHTS", cache / "weights"))


def expanded(name: str) -> Path:
    """A path as a person gives it, ~ being a home.

    Raises:
        UserError: it is nobody's home, or holds what no name can.
    """
    if "\0" in name:
        raise UserError(f"{name} is no name of a file")
    try:
        return Path(name).expanduser()
    except RuntimeError:
        raise UserError(f"{name}: there is no such user, write ./{name} for a file") from None


def code_version() -> str:
    """A hash of the package's code, in 12 digits."""
    package, digest = Path(__file__).parent, hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def check_writable(folder: Path) -> None:
    """Make the folder if it is not there, and try to write; for who is about to begin long work.

    Raises:
        UserError: it cannot be written; names the remedy.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):  # gone when it is closed, and with a killed process
            pass
    except OSError as error:
        raise _not_writable(folder, error.strerror) from None


@contextmanager
def locked(file: Path, blocking: bool = True) -> Iterator[None]:
    """Inside, no other process is inside for the same file. One that was killed is not, either.

    Raises:
        filelock.Timeout: another is, and `blocking` says not to wait for it.
        UserError: the file cannot be locked; names the remedy.
    """
    from filelock import FileLock, Timeout  # help comes at once

    lock = FileLock(file, blocking=blocking)
    try:
        with warnings.catch_warnings():
            # It says that the file's being there is to be the lock: a killed process would keep it.
            warnings.filterwarnings("error", "flock not supported")
            lock.acquire()
    except Timeout:
        raise
    except (OSError, NotImplementedError, UserWarning) as error:
        has_none = not isinstance(error, OSError) or error.errno in NO_LOCKS
        why = "its file system has no locks" if has_none else error.strerror
        raise _not_writable(file.parent, why) from None
    try:
        yield
    finally:
        lock.release()


def _not_writable(folder: Path, why: str) -> UserError:
    places, remedy = paths(), "name another folder"
    for name in ("home", "cache", "weights"):
        if folder.is_relative_to(getattr(places, name)):
            remedy = f"set AEFLOW_{name.upper()} to a folder elsewhere"
    return UserError(f"{folder} cannot be written ({why}): {remedy}")


@contextmanager
def whole(target: Path) -> Iterator[Path]:
    """A file beside `target` to write into, which takes its place when that went well.

    Who looks at `target` sees the old content or the new one, never a part. What killed processes
    of this machine left beside it is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    mine = f".{target.name}.{platform.node()}-"
    for old in target.parent.glob(f"{glob.escape(mine)}*.partial"):
        if not _is_alive(old.name.removeprefix(mine).removesuffix(".partial")):
            old.unlink(missing_ok=True)
    partial = target.with_name(f"{mine}{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _is_alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def switch(name: str) -> bool:
    """Whether an environment variable is on: 1, true, yes or on; 0, false, no, off or empty.

    Raises:
        UserError: it says something else.
    """
    value = os.environ.get(name, "").strip().lower()
    if value in ("1", "true", "yes", "on"):
        return True
    if value in ("", "0", "false", "no", "off"):
        return False
    raise UserError(f"{name} is {value!r}: set it to 1 or 0")
