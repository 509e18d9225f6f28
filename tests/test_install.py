"""The install says which PyTorch it takes, and takes none of CUDA's libraries for the CPU build."""

import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from helpers import REPOSITORY

from tools import install

LOCK = (REPOSITORY / "requirements.lock").read_text()


@pytest.fixture
def commands(monkeypatch):
    """What would be run, and the requirement files as they were then."""
    found = []

    def run(command, check):
        assert check
        files = [command[i + 1] for i, word in enumerate(command) if word == "-r"]
        found.append((command, [open(file).read() for file in files]))  # noqa: PTH123, SIM115

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(install.platform, "system", lambda: "Linux")
    monkeypatch.setattr(install.platform, "machine", lambda: "x86_64")
    monkeypatch.delenv("CPU", raising=False)
    return found


@pytest.fixture
def index(monkeypatch):
    """A server in the place of PyTorch's index, with the status that it answers with."""

    class Handler(BaseHTTPRequestHandler):
        status = 200

        def do_GET(self):
            self.send_response(self.status)
            self.end_headers()

        def log_message(self, *args):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AEFLOW_TORCH_INDEX", f"http://127.0.0.1:{server.server_port}")
    yield Handler
    server.shutdown()


def test_every_entry_of_the_lock_is_taken_apart_and_none_is_lost():
    own, rest = install.without_cuda(LOCK)
    assert {pin.split("==")[0] for pin in own} == {"torch", "torchvision"}
    found = install.entries(LOCK)
    kept = install.entries(rest)
    dropped = found.keys() - kept.keys() - set(own)
    assert dropped and all(pin.startswith(("nvidia-", "cuda-", "triton")) for pin in dropped)
    assert all(found[pin] == entry and "--hash=sha256:" in entry for pin, entry in kept.items())


@pytest.mark.parametrize("asked", ["", "1"])
def test_without_a_card_the_cpu_build_is_taken_where_it_can_be_had(
    asked, commands, index, monkeypatch, capsys
):
    monkeypatch.setattr(install.shutil, "which", lambda name: None)
    monkeypatch.setenv("CPU", asked)
    install.main()
    (torch, _), (_, (rest,)) = commands
    assert torch[:4] == [sys.executable, "-m", "pip", "install"]
    assert {word.split("==")[0] for word in torch[-2:]} == {"torch", "torchvision"}
    assert "127.0.0.1" in torch[torch.index("--index-url") + 1]
    assert "nvidia" not in rest and "numpy==" in rest
    assert "CPU build" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "card", "status"),
    [("0", None, 200), ("", "/usr/bin/nvidia-smi", 200), ("1", None, 404)],
)
def test_else_the_lock_is_installed_as_it_is(asked, card, status, commands, index, monkeypatch):
    index.status = status
    monkeypatch.setattr(install.shutil, "which", lambda name: card)
    monkeypatch.setenv("CPU", asked)
    install.main()
    ((command, (lock,)),) = commands
    assert command[-2] == "-r" and lock == LOCK


def test_another_answer_is_refused(commands, monkeypatch):
    monkeypatch.setenv("CPU", "yes")
    with pytest.raises(SystemExit, match="CPU=1"):
        install.main()
