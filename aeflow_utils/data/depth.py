"""How a reader's images are stored: in grey or colour, and what is white where 8 bits are not all.

The rule for images of more than 8 bits, one for the whole set: white is the full scale of 8, 10,
12, 14 or 16 bits, or 1, whichever is the least that no image exceeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from aeflow_utils.errors import UserError

WHITE = 65535.0  # of 16 bits
GREY_MODES = {"1", "L", "LA", "F"}  # and all that begin with I
FULL_SCALES = (1, 255, 1023, 4095, 16383, WHITE)


def depth_of(files: Sequence[Path]) -> tuple[bool, float]:
    """Whether all images are grey, and the value that is white in those of more than 8 bits.

    Raises:
        UserError: an image has values that are below 0, beyond 16 bits or no numbers; names it.
    """
    with ThreadPoolExecutor() as pool:
        looked = [state for state in pool.map(_look, files) if state]
    modes = {mode for mode, _ in looked}
    grey = all(mode in GREY_MODES or mode.startswith("I") for mode in modes)
    top = max((highest for _, highest in looked), default=0)
    return grey, float(next((white for white in FULL_SCALES if top <= white and top), WHITE))


def _look(file: Path) -> tuple[str, float] | None:
    """An image's mode and, if it has more than 8 bits, its highest value; else 0."""
    try:
        with Image.open(file) as image:
            if not is_deep(image):
                return image.mode, 0.0
            mode, values = image.mode, np.asarray(image)
    except Exception:  # said when the images are prepared
        return None
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= WHITE):  # NaN neither
        raise UserError(
            f"{file} has values from {low:g} to {high:g}: store it in 8 or 16 bits, from 0 on"
        )
    return mode, high


def is_deep(image: Image.Image) -> bool:
    """Whether its one channel has more than 8 bits."""
    return image.mode.startswith(("I", "F"))
