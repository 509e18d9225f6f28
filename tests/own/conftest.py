"""Small folders of noise, as a reader may have them."""

import numpy as np
import pytest
from helpers import save_noise


@pytest.fixture
def tree(tmp_path):
    """Makes image files from {folder: count}; returns their root."""

    def make(counts, grey=False, suffix=".png"):
        rng, root = np.random.default_rng(0), tmp_path / "my parts"
        for folder, count in counts.items():
            for number in range(count):
                save_noise(root / folder / f"{number:03}{suffix}", rng, grey)
        return root

    return make
