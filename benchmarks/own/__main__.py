"""How long a reader waits: fit and score on a folder, ours and anomalib's. `make bench-own`.

Whole processes take turns, ours with an empty cache. Rows that are measured again replace those in
results/own_benchmarks.csv, and the table in benchmarks/README.md is made of it.
"""

import argparse
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import torch

from aeflow_utils.config import FolderConfig
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.data.encoders import get_encoder_spec
from aeflow_utils.data.layouts import image_paths
from aeflow_utils.data.table import list_images
from aeflow_utils.own.fit import plan_of
from aeflow_utils.profiles import get_profile
from aeflow_utils.study.training import epochs_of
from benchmarks.marked import write_marked
from benchmarks.own.pairs import ALL, FEW, ONNX, Costs, Job, ours, theirs
from benchmarks.own.report import STOPPED, table
from benchmarks.speed.measuring import Row, describe_machine, table_of
from benchmarks.speed.pipelines import LITE0, VERSION

REPOSITORY = Path(__file__).parents[2]
# {title: (ours, what is not anomalib's default)}. With another encoder than its own PaDiM must be
# told how many channels to keep: all, as ours.
CASES = {
    "PaDiM": ("padim", {"n_features": 152}),
    "PatchCore": ("patchcore", {}),
    "PatchCore, both keeping 1 %": ("patchcore", {"coreset_sampling_ratio": 0.01}),
    "FastFlow": ("fastflow", {}),
}
PATIENCE = 300  # seconds of rounds after which no new one begins
RATED = 400  # test images from which on one core is measured: fewer are too quick
N_FEW = 20


def elpv_folder(target: Path, n_images: int) -> Path:
    """60 % are normal and in train, 15 % normal and 25 % defective ones in test."""
    spec = SPECS["elpv"]
    listing = spec.scan(spec.root, "").sample(frac=1, random_state=0)
    normal, bad = (listing.loc[listing["label"] == label, "path"] for label in (0, 1))
    n_train, n_good, n_bad = (round(share * n_images) for share in (0.6, 0.15, 0.25))
    parts = {"train/good": normal[:n_train], "test/good": normal[n_train : n_train + n_good]}
    for name, paths in (parts | {"test/bad": bad[:n_bad]}).items():
        _copy(spec.root, paths, target / name)
    return target


def _copy(root: Path, paths: list[str], target: Path) -> Path:
    target.mkdir(parents=True)
    for number, path in enumerate(paths):
        shutil.copy(root / path, target / f"{number:05}{Path(path).suffix}")
    return target


def jobs(folder: Path, work: Path, titles: list[str]) -> Iterator[tuple[str, Job]]:
    """A job a detector. anomalib takes as many gradient steps, and holds out as many images."""
    work.mkdir()
    data = FolderConfig(source=str(folder), name=folder.name)
    n = list_images(data).table["split"].value_counts()
    test, few = image_paths(folder / "test"), None
    if len(test) >= RATED:
        some = test[:: len(test) // N_FEW]
        few = _copy(folder / "test", some, work / f"few of {folder.name}")
    spec, weights = get_encoder_spec(LITE0), work / "encoder.pth"
    torch.save(spec.rename(torch.load(spec.weights(), weights_only=True)), weights)
    for title in titles:
        detector, options = CASES[title]
        train = plan_of(data, get_profile("laptop"), detector)[0].train
        model = {"detector": detector, "weights": str(weights), "options": options}
        share, epochs = n["val"] / (n["val"] + n["train"]), epochs_of(train, int(n["train"]))
        yield title, Job(folder, few, detector, model, train.batch_size, float(share), epochs)


def rounds(job: Job, repeats: int) -> list[tuple[Costs, Costs]]:
    """What ours and theirs cost, in turns: as often as asked, or as `PATIENCE` allows."""
    found, start = [], time.perf_counter()
    while len(found) < repeats and time.perf_counter() - start < PATIENCE:
        found.append((ours(job), theirs(job)))
    return found


def rows_of(section: str, title: str, job: Job, found: list[tuple[Costs, Costs]]) -> list[Row]:
    """A row a quantity of both, then how many times as much of it anomalib takes."""
    stopped = any(cost["stopped"] for _, costs in found for cost in costs.values())
    note, rows, peer = STOPPED if stopped else "", [], f"anomalib {VERSION} {title}"
    mine, peers = ([_quantities(pair[side], job) for pair in found] for side in (0, 1))
    for case, each, known in ((title, mine, ""), (peer, peers, note)):
        for name, unit in [key for key in each[0] if all(key in one for one in each)]:
            values = [one[name, unit] for one in each]
            rows.append(Row(section, LITE0, case, name, unit, values, known))
    for key in list(mine[0])[:3]:
        ratios = [b[key] / a[key] for a, b in zip(mine, peers, strict=True)]
        rows.append(Row(section, LITE0, f"{peer} / {title}", key[0], "ratio", ratios, note))
    return rows


def _quantities(costs: Costs, job: Job) -> dict[tuple[str, str], float]:
    """{(quantity, unit): value} of one round; the rate is without a process's start."""
    both = {name: costs[name] for name in ("fit", "score") if name in costs}
    found = {
        ("wall time", "s"): sum(cost["wall"] for cost in both.values()),
        ("CPU time", "s"): sum(cost["cpu"] for cost in both.values()),
        ("peak memory", "MB"): max(cost["memory"] for cost in both.values()),
    }
    found |= {(f"wall time of {name}", "s"): cost["wall"] for name, cost in both.items()}
    for runtime in ("", ONNX):
        if FEW + runtime in costs and not costs[ALL + runtime]["stopped"]:
            n_more = len(image_paths(job.folder / "test")) - len(image_paths(job.few))
            seconds = costs[ALL + runtime]["wall"] - costs[FEW + runtime]["wall"]
            found[f"one core{runtime}", "images/s"] = n_more / seconds
    return found


def keep(found: pd.DataFrame, file: Path, readme: Path) -> str:
    """Put rows into the file in place of those that they repeat; the table, in the README too."""
    every = pd.concat([pd.read_csv(file, keep_default_na=False), found]).infer_objects()
    every = every.drop_duplicates(["section", "case", "quantity", "unit"], keep="last")
    every.to_csv(file, index=False, float_format="%.4g")
    text = table(pd.read_csv(file, keep_default_na=False))
    write_marked(readme, "own", text)
    return text


def main() -> None:
    """Measure what is asked for; file and table are written anew after each detector."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="*", default=[200, 2000], help="of ELPV")
    parser.add_argument("--source", type=Path, nargs="*", default=[], help="as MVTec's categories")
    parser.add_argument("--detectors", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repeats", type=int, default=3)
    options, machine = parser.parse_args(), describe_machine()
    print(machine, flush=True)
    files = REPOSITORY / "results" / "own_benchmarks.csv", REPOSITORY / "benchmarks" / "README.md"
    with TemporaryDirectory() as work:
        elpv = [elpv_folder(Path(work, f"{n}", "ELPV"), n) for n in options.images]
        for folder in [*elpv, *(source.resolve() for source in options.source)]:
            n_images = sum(len(image_paths(folder / part)) for part in ("train", "test"))
            section = f"{n_images:,} of {folder.name}"
            for title, job in jobs(folder, Path(work, f"work of {section}"), options.detectors):
                rows = rows_of(section, title, job, rounds(job, options.repeats))
                print(keep(table_of(rows).assign(machine=machine), *files), flush=True)


if __name__ == "__main__":
    main()
