"""What tests of several rooms need beside fixtures."""

import html
import mmap
import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
from PIL import Image

from aeflow_utils.data.cache import cached_rows
from aeflow_utils.paths import locked
from aeflow_utils.study.runs import seal

REPOSITORY = Path(__file__).resolve().parent.parent


def fresh_memory(n_bytes):
    """Pages in use that come from the system: malloc may have old ones to hand out again."""
    block = mmap.mmap(-1, n_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    np.frombuffer(block, np.uint8)[:] = 1
    return block


def save_noise(path, rng, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (20, 24) if grey else (20, 24, 3), np.uint8)).save(path)


def rewrite(folder, name, table):
    """Another table in the place of a run's, as if the run had written it."""
    table.to_csv(folder / name, index=False)
    seal(folder)


def compute_rows(folder, key, digests, log, barrier):
    """One of several processes that ask for the same rows at the same time: row n holds n."""

    def fill(block):
        with log.open("a") as file:
            file.write("filled\n")
        time.sleep(0.3)
        return {"a": [np.full(3, number, "float32") for number in block]}

    barrier.wait(timeout=30)
    rows = cached_rows(folder, {"a": key}, digests, fill, "test")["a"]
    np.testing.assert_array_equal(rows[:], np.repeat(range(len(digests)), 3).reshape(-1, 3))


def hold_lock(file, held):
    """A process that holds a lock until it is killed."""
    with locked(file):
        held.set()
        time.sleep(600)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def framed(tmp_path, page, message, width, dark, *options):
    """What a page in a frame of this width posts to its parent, by headless Chromium.

    In a frame, because a window is never as narrow as a phone.

    Args:
        page: name of the file in `tmp_path`.
        message: JavaScript for the text to keep of the event `e`.
    """
    frame = tmp_path / "frame.html"
    frame.write_text(
        f"<body><script>onmessage = e => document.body.dataset.seen = {message}</script>"
        f'<iframe width="{width}" height="800" style="border:0" src="{page}"></iframe>'
    )
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"),
        *("--hide-scrollbars", "--disable-background-networking", *options),
        f"--user-data-dir={tmp_path / 'browser'}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        frame.as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120).stdout
    return html.unescape(re.search(r'data-seen="([^"]*)"', shown)[1])
