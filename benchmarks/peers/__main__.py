"""Do our methods and metrics compute what others' do? `make peers` writes results/peers.csv.

Each check gives this bundle and a peer (anomalib, torchmetrics) the same seeded inputs and, where
there are weights, the same weights, and measures how far their answers are apart. The maximum
relative difference is the largest absolute difference over the peer's largest magnitude.

Where conventions are known to differ, the check first removes the difference and compares the
rest; the difference has a row of its own, which says in words what it is and how much it makes.
"""

import sys

import pandas as pd
import torch

from aeflow_utils.paths import paths
from benchmarks.peers.fastflow import check_fastflow, check_hidden_widths
from benchmarks.peers.ganomaly import check_ganomaly
from benchmarks.peers.metrics import check_metrics, check_ssim
from benchmarks.peers.padim import check_padim
from benchmarks.peers.patchcore import check_patchcore


def main() -> int:
    """Run all checks and write the table; 1 where a row agrees that should not, or the reverse."""
    torch.set_num_threads(1)
    rows = [
        *check_fastflow(hidden_ratio=1.0),
        *check_fastflow(hidden_ratio=0.16),
        *check_hidden_widths(),
        *check_padim(),
        *check_patchcore(),
        *check_ganomaly(),
        *check_metrics(),
        *check_ssim(),
    ]
    table = pd.DataFrame(rows)
    path = paths().home / "results" / "peers.csv"
    table.to_csv(path, index=False, float_format="%.2g")
    print(table.drop(columns="known_difference").to_string(index=False, float_format="%.2g"))
    print(f"written to {path}")
    expected = table["known_difference"] == ""  # a difference that is gone must not stay "known"
    return int((table["agrees"] != expected).any())


if __name__ == "__main__":
    sys.exit(main())
