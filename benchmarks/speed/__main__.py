"""How fast is this bundle, and beside what? `make bench` writes a table and a picture of it.

Everything that is compared runs in one process and in turn, with the same inputs and threads: read
the ratios, absolute times are this machine's. What is measured and what did not pay stands in
benchmarks/README.md.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import pandas as pd

from aeflow_utils.paths import paths
from benchmarks.speed import aims, comparison, machine, picture, scaling, stages
from benchmarks.speed.inputs import LITE0, WIDE_RESNET, make_inputs
from benchmarks.speed.timing import Row


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Args:
        batches: {encoder: images a step}.
        image_size: side in pixels.
        repeats: rounds, the first of which is not counted.
        n_fitted: images PaDiM is fitted on.
        n_train, n_val, max_steps: of the way to a fixed AUROC; n_val a label.
        curve: numbers of images whose epochs are timed.
        full: numbers of images at which the full model's peak memory is taken.
    """

    batches: tuple[tuple[str, int], ...] = ((WIDE_RESNET, 8), (LITE0, 16))
    image_size: int = 256
    repeats: int = 5
    n_fitted: int = 64
    n_train: int = 904
    n_val: int = 75
    max_steps: int = 120
    curve: tuple[int, ...] = (1000, 5000, 26315)
    full: tuple[int, ...] = (1000, 26315)


def measure(sizes: Sizes, with_anomalib: bool) -> list[Row]:
    """Every section in turn; says where it is."""
    rows, clock = [], time.perf_counter()

    def done(section: str, found: list[Row]) -> None:
        nonlocal clock
        rows.extend(found)
        print(f"{time.perf_counter() - clock:6.0f} s  {section}", flush=True)
        clock = time.perf_counter()

    for encoder, batch_size in sizes.batches:
        n_images = max(sizes.n_fitted, batch_size)
        inputs = make_inputs(encoder, sizes.image_size, batch_size, n_images)
        done(f"{encoder}: inputs", [])
        done(
            f"{encoder}: pipelines",
            comparison.pipelines(inputs, sizes.repeats, sizes.n_fitted, with_anomalib),
        )
        done(f"{encoder}: stages", stages.breakdown(inputs, sizes.repeats))
        alone = (encoder, sizes.image_size, batch_size, sizes.repeats, with_anomalib)
        done(f"{encoder}: each alone", comparison.each_alone(*alone))
    of_lite0 = [row for row in rows if row.encoder == LITE0]
    done("time to a fixed AUROC", comparison.time_to_auroc(of_lite0, sizes, with_anomalib))
    done("number of images", scaling.curve(sizes.curve, sizes.repeats))
    done("peak memory", scaling.peak_memory(sizes.full))
    return rows


def main() -> int:
    """Measure, write results/benchmarks.csv and images/benchmarks.png."""
    with_anomalib = find_spec("anomalib") is not None
    if not with_anomalib:
        print("anomalib is not installed here, its rows are left out: `make bench` installs it")
    on = machine.describe()
    print(on, flush=True)
    table = pd.DataFrame([asdict(row) for row in measure(Sizes(), with_anomalib)])
    table["machine"] = on
    path = paths().home / "results" / "benchmarks.csv"
    table.to_csv(path, index=False, float_format="%.4g")
    shown = table.drop(columns=["machine", "note", "repeats"])
    print(shown.to_string(index=False, float_format="%.4g"))
    drawn = picture.draw(table, paths().home / "images" / "benchmarks.png")
    print(f"written to {path} and {drawn}\n\n{aims.aims_table(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
