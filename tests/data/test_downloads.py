"""Fetching from a server on this machine, with the faults that real ones have."""

import hashlib
import io
import os
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from aeflow_utils import __main__ as cli
from aeflow_utils.data import downloads
from aeflow_utils.data.catalog import SPECS, Archive
from aeflow_utils.data.downloads import fetch, unpack
from aeflow_utils.errors import UserError

CONTENT = os.urandom(1 << 17)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves `server.content`; cuts the first `server.cut` replies short; may honour ranges."""

    def do_GET(self):
        content, asked = self.server.content, self.headers.get("Range", "")
        self.server.ranges.append(asked)
        start = int(asked[6:-1]) if asked and self.server.resumable else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        body = content[start:]
        if self.server.cut:
            self.server.cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as instance:
        instance.content, instance.cut, instance.resumable, instance.ranges = CONTENT, 0, True, []
        thread = threading.Thread(target=instance.serve_forever, daemon=True)
        thread.start()
        yield instance
        instance.shutdown()
        thread.join()


def url(server, name="set.zip"):
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_an_archive_is_fetched_once(server, tmp_path):
    archive = Archive(url(server), SHA256)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    fetch(archive, tmp_path)
    assert len(server.ranges) == 1


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 1
    archive = Archive(url(server), SHA256)
    with pytest.raises(UserError, match="to go on where it stopped"):
        fetch(archive, tmp_path)
    assert not (tmp_path / "set.zip").exists()
    assert fetch(archive, tmp_path).read_bytes() == CONTENT
    assert server.ranges == ["", f"bytes={len(CONTENT) // 2}-"]


def test_a_server_that_cannot_resume_is_asked_for_everything_again(server, tmp_path):
    server.cut, server.resumable = 1, False
    archive = Archive(url(server), SHA256)
    with pytest.raises(UserError):
        fetch(archive, tmp_path)
    assert fetch(archive, tmp_path).read_bytes() == CONTENT


def test_a_whole_part_file_needs_no_more_bytes(server, tmp_path):
    (tmp_path / "set.zip.part").write_bytes(CONTENT)
    assert fetch(Archive(url(server), SHA256), tmp_path).read_bytes() == CONTENT


def test_a_wrong_hash_names_file_and_remedy_and_keeps_what_came(server, tmp_path):
    with pytest.raises(UserError, match=r"set\.zip\.part has SHA-256 .* delete it"):
        fetch(Archive(url(server), "0" * 64), tmp_path)
    assert (tmp_path / "set.zip.part").read_bytes() == CONTENT
    assert not (tmp_path / "set.zip").exists()


def test_a_wrong_file_of_the_readers_own_is_refused_but_not_touched(server, tmp_path):
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(UserError, match="delete or replace it"):
        fetch(Archive(url(server), SHA256), tmp_path)
    assert (tmp_path / "set.zip").read_bytes() == b"mine"
    assert not server.ranges


def test_without_a_published_hash_what_came_is_reported(server, tmp_path, capsys):
    fetch(Archive(url(server)), tmp_path)
    assert SHA256 in capsys.readouterr().out


def test_an_unreachable_server_names_the_address_and_the_place(tmp_path, server):
    address = url(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"127\.0\.0\.1.*by hand"):
        fetch(Archive(address, SHA256), tmp_path)


def test_a_server_that_stalls_counts_as_gone(tmp_path, server, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT", 0.2)
    monkeypatch.setattr(Handler, "do_GET", lambda self: threading.Event().wait(1))
    with pytest.raises(UserError, match="cannot download"):
        fetch(Archive(url(server), SHA256), tmp_path)


def zip_with(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tar_with(path, *members):
    with tarfile.open(path, "w:xz") as archive:
        for name, options in members:
            member = tarfile.TarInfo(name)
            for key, value in options.items():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def test_zip_and_tar_are_unpacked_beside_what_is_there(tmp_path):
    target = tmp_path / "set"
    target.mkdir()
    (target / "old.txt").write_text("kept")
    unpack(zip_with(tmp_path / "a.zip", {"train/ok/1.png": b"1"}), target)
    unpack(tar_with(tmp_path / "b.tar.xz", ("train/ok/2.png", {"size": 3})), target)
    found = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    assert found == {"old.txt", "train/ok/1.png", "train/ok/2.png"}


def test_a_file_that_is_no_archive_is_copied(tmp_path):
    (tmp_path / "groups.csv").write_text("image,lesion_id\n")
    unpack(tmp_path / "groups.csv", tmp_path / "set")
    assert (tmp_path / "set/groups.csv").exists()
    assert (tmp_path / "groups.csv").exists()


@pytest.mark.parametrize("name", ["../evil.png", "/etc/evil.png", "a/../../evil", "C:/evil.png"])
def test_members_that_leave_the_folder_are_refused(name, tmp_path):
    for path in (
        zip_with(tmp_path / "a.zip", {"good.png": b"1", name: b"2"}),
        tar_with(tmp_path / "b.tar.xz", ("good.png", {"size": 1}), (name, {"size": 1})),
    ):
        with pytest.raises(UserError, match="points outside"):
            unpack(path, tmp_path / "set")
    assert not (tmp_path / "set").exists()
    assert not (tmp_path.parent / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    path = tar_with(tmp_path / "b.tar.xz", ("link", {"type": kind, "linkname": "/etc/passwd"}))
    with pytest.raises(UserError, match="link"):
        unpack(path, tmp_path / "set")


def test_links_in_a_zip_are_refused(tmp_path):
    member = zipfile.ZipInfo("link")
    member.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(member, "/etc/passwd")
    with pytest.raises(UserError, match="link"):
        unpack(tmp_path / "a.zip", tmp_path / "set")


def test_a_bomb_is_refused(tmp_path):
    path = zip_with(tmp_path / "a.zip", {"big.png": bytes(50_000_000)})
    with pytest.raises(UserError, match="too much"):
        unpack(path, tmp_path / "set")


@pytest.mark.parametrize("name", ["a.zip", "b.tar.xz"])
def test_a_damaged_archive_leaves_nothing_behind(name, tmp_path):
    (tmp_path / name).write_bytes(b"PK\x03\x04 not an archive")
    with pytest.raises(UserError, match="cannot be unpacked"):
        unpack(tmp_path / name, tmp_path / "set")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_fetch_on_the_command_line_shows_the_licence_and_the_counts(
    server, data_folder, monkeypatch, capsys, tmp_path
):
    path = zip_with(tmp_path / "a.zip", {"BTech_Dataset_transformed/01/train/ok/1.png": b"1"})
    server.content = path.read_bytes()
    digest = hashlib.sha256(server.content).hexdigest()
    spec = replace(SPECS["btad"], archives=(Archive(url(server, "btad.zip"), digest),))
    monkeypatch.setitem(SPECS, "btad", spec)
    assert cli.main(["data", "fetch", "btad"]) == 0
    shown = capsys.readouterr().out
    assert "CC BY-NC-SA 4.0" in shown
    assert (data_folder / "btad/BTech_Dataset_transformed/01/train/ok/1.png").exists()


def test_a_set_that_no_program_may_fetch_says_how_to_get_it(capsys):
    assert cli.main(["data", "fetch", "miic"]) == 2
    assert "request it" in capsys.readouterr().err


def test_an_archive_that_is_locked_or_in_an_unknown_way_packed_is_one_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("a.txt", b"one")
    content = (tmp_path / "set.zip").read_bytes()
    for place, value in ((6, 1), (8, 97)):  # of the flags and the method, in both headers
        changed = bytearray(content)
        for start in (content.index(b"PK\3\4"), content.index(b"PK\1\2") + 2):
            changed[start + place] = value
        (tmp_path / "set.zip").write_bytes(changed)
        with pytest.raises(UserError, match=r"set\.zip cannot be unpacked"):
            unpack(tmp_path / "set.zip", tmp_path / "set")


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_an_archive_is_refused_before_what_it_claims_to_hold_is_read(kind, tmp_path):
    member = tarfile.TarInfo("a")
    member.type, member.size = kind, 6 << 30
    (tmp_path / "set.tar").write_bytes(member.tobuf() + bytes(1 << 16))
    with pytest.raises(UserError, match=f"{member.size:,} bytes"):
        unpack(tmp_path / "set.tar", tmp_path / "set")
