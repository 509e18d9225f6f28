"""What tests of several rooms need beside fixtures."""

import mmap
from pathlib import Path

import numpy as np
from PIL import Image

REPOSITORY = Path(__file__).resolve().parent.parent


def fresh_memory(n_bytes):
    """Pages in use that come from the system: malloc may have old ones to hand out again."""
    block = mmap.mmap(-1, n_bytes, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    np.frombuffer(block, np.uint8)[:] = 1
    return block


def save_noise(path, rng, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (20, 24) if grey else (20, 24, 3), np.uint8)).save(path)
