"""Fetching archives: progress, resume, checksum, and an extraction that cannot leave its folder."""

from __future__ import annotations

import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import requests
from tqdm.auto import tqdm

from aeflow_utils.data.cache import file_sha256
from aeflow_utils.data.catalog import Archive
from aeflow_utils.errors import UserError

MAX_RATIO, MAX_BYTES = 200, 100e9  # beyond either, an archive is taken for a bomb
MAX_NOTES = 1 << 20
TIMEOUT = 30  # seconds without a byte before a server counts as gone


def fetch(archive: Archive, folder: Path) -> Path:
    """The archive in `folder`, downloaded unless it is there; a cut-off download is continued.

    Raises:
        UserError: the server cannot be reached or the content is not what it must be. What was
            there before is left as it is.
    """
    target = folder / archive.name
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}.part")
        try:
            _download(archive.url, partial)
        except (requests.RequestException, OSError) as error:
            raise UserError(
                f"cannot download {archive.url} ({error}). Run the command again to go on where it "
                f"stopped, or put the file at {target} by hand"
            ) from None
        _verify(archive, partial, "it is kept for inspection; delete it and run again")
        return partial.replace(target)
    _verify(archive, target, "delete or replace it, and run again")
    return target


def _download(url: str, partial: Path) -> None:
    """Append to `partial` what it lacks, if the server can continue; else start anew."""
    have = partial.stat().st_size if partial.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as reply:
        if reply.status_code == 416:  # nothing is missing
            return
        reply.raise_for_status()
        resumed = reply.status_code == 206
        length = int(reply.headers.get("Content-Length", 0))
        start = have if resumed else 0
        options = {"total": start + length or None, "initial": start, "desc": partial.stem}
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm.wrapattr(file, "write", mininterval=1, **options) as counted,
        ):
            for block in reply.iter_content(1 << 16):
                counted.write(block)
    if length and partial.stat().st_size != start + length:
        raise OSError(f"{partial.stat().st_size} of {start + length} bytes arrived")


def _verify(archive: Archive, path: Path, remedy: str) -> None:
    found = file_sha256(path)
    if not archive.sha256:
        print(f"{path.name}: {path.stat().st_size:,} bytes, SHA-256 {found} (none published)")
    elif found != archive.sha256:
        raise UserError(f"{path} has SHA-256 {found}, expected {archive.sha256}: {remedy}")


def unpack(path: Path, folder: Path) -> None:
    """Extract a zip or tar archive into `folder`, whole or not at all; copy any other file there.

    Raises:
        UserError: a member would leave the folder, is a link or a device, the content is far
            larger than the archive, or the archive is damaged; nothing is left behind.
    """
    partial = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        _extract(path, partial)
        shutil.copytree(partial, folder, dirs_exist_ok=True, copy_function=shutil.move)
    except UserError:
        raise
    except Exception as error:  # damaged archives make readers fail in many kinds
        raise UserError(f"{path} cannot be unpacked ({error}): delete it and fetch again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _extract(path: Path, folder: Path) -> None:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check(path, ((m.filename, m.file_size, _is_link(m)) for m in members))
            archive.extractall(folder)
    elif ".tar" in path.suffixes:
        with tarfile.open(path, tarinfo=_Member) as archive:
            # One by one: each is refused before what it holds is passed over.
            _check(path, ((m.name, m.size, not (m.isfile() or m.isdir())) for m in archive))
            archive.extractall(folder, filter="data")
    else:
        shutil.copy2(path, folder)


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


class _Member(tarfile.TarInfo):
    """A member whose long name and notes, which are read into memory, are of a usual size."""

    @classmethod
    def frombuf(cls, *arguments: object) -> tarfile.TarInfo:
        member = super().frombuf(*arguments)
        if not (member.isreg() or member.isdir()) and member.size > MAX_NOTES:
            raise ValueError(f"a name or note of {member.size:,} bytes")
        return member


def _check(path: Path, members: Iterable[tuple[str, int, bool]]) -> None:
    """Refuse an archive by its members: name, size, and whether it is a link or a device."""
    total, most = 0, min(MAX_BYTES, MAX_RATIO * max(path.stat().st_size, 1 << 16))
    for name, size, special in members:
        pure = PurePosixPath(name.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in (pure.parts or ("",))[0]:
            raise UserError(f"{path}: member '{name}' points outside the folder, which is refused")
        if special:
            raise UserError(f"{path}: {name} is a link or device, which is refused")
        total += size
        if total > most:
            raise UserError(f"{path}: {total:,} bytes or more unpacked is too much for it, refused")
