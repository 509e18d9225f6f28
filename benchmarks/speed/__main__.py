"""How fast is this bundle, and beside what? `make bench` writes a table and a picture of it.

Pipelines take turns, with the same inputs and threads: read the ratios, absolute times are this
machine's. What is measured and what did not pay stands in benchmarks/README.md.
"""

import time
from collections.abc import Iterator

import pandas as pd

from aeflow_utils.paths import paths
from benchmarks.speed.comparison import compare, each_alone, stages
from benchmarks.speed.measuring import Row, default_arithmetic, describe_machine, table_of
from benchmarks.speed.pipelines import HAS_PEERS, LITE0, WIDE_RESNET, elpv
from benchmarks.speed.quality import agreement_of_maps, time_to_auroc
from benchmarks.speed.report import aims_table, draw
from benchmarks.speed.scaling import curve, peak_memory


def sections(
    machine: str,
    batches: tuple[tuple[str, int], ...] = ((WIDE_RESNET, 8), (LITE0, 16)),  # images a step
    size: int = 256,  # of images, in pixels
    repeats: int = 5,  # rounds that count
    n_fitted: int = 64,  # images that PaDiM is fitted on
    n_train: int = 904,  # images on the way to a fixed AUROC
    n_val: int = 75,  # and a label
    max_steps: int = 120,
    numbers: tuple[int, ...] = (1000, 5000, 26315),  # images in an epoch
) -> Iterator[tuple[str, list[Row]]]:
    """Title and rows of every section in turn; the last encoder is trained to a fixed AUROC."""
    for encoder, batch_size in batches:
        kind = default_arithmetic(encoder, machine)
        inputs, _ = elpv(encoder, size, batch_size, n_fitted)
        measured = compare(inputs, repeats)
        yield f"{encoder}: pipelines", measured + agreement_of_maps(inputs)
        yield f"{encoder}: stages", stages(inputs, kind, repeats)
        yield f"{encoder}: each alone", each_alone(inputs, kind, repeats)
    train, val = elpv(encoder, size, batch_size, n_train)
    val = val.select((val.table.groupby("label").cumcount() < n_val).to_numpy())
    yield "time to a fixed AUROC", time_to_auroc(measured, train, val, max_steps)
    yield "number of images", curve(numbers, repeats)
    yield "peak memory", peak_memory((numbers[0], numbers[-1]))


def measure(**sizes: object) -> pd.DataFrame:
    """All sections as one table; says where it is."""
    machine, rows, start = describe_machine(), [], time.perf_counter()
    print(machine, flush=True)
    for title, found in sections(machine, **sizes):
        rows += found
        print(f"{time.perf_counter() - start:6.0f} s  {title}", flush=True)
    return table_of(rows).assign(machine=machine)


if __name__ == "__main__":
    measured = measure()
    file = paths().home / "results" / "benchmarks.csv"
    measured.to_csv(file, index=False, float_format="%.4g")
    picture = draw(measured, paths().home / "images" / "benchmarks.png")
    print(f"written to {file} and {picture}")
    print(aims_table(measured) if HAS_PEERS else "without anomalib, which `make bench` installs")
