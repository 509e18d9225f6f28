"""What the whole study would take on a few cards, reckoned on paper: ``-m benchmarks.paper_plan``.

No run of profile `paper` is recorded. Of what is trained by gradient, the seconds of a step are
those of results/card.csv: one H100, the paper's size, a run at a time. Of the rest, they are those
of the recorded runs on ISIC 2018, which shared one H100 sixteen at a time, in proportion to images,
their pixels and the encoder's weight. The numbers of images are the official ones.
Written to results/paper_plan.csv and into slurm/README.md.
"""

import heapq
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils.config import RunConfig
from aeflow_utils.data.catalog import SPECS, DatasetSpec
from aeflow_utils.data.encoders import map_channels
from aeflow_utils.methods import METHODS
from aeflow_utils.profiles import EVIDENCE, PROFILES
from aeflow_utils.study.costs import FEATURE_BYTES, work
from aeflow_utils.study.results import find
from aeflow_utils.study.training import epochs_of
from benchmarks.marked import write_marked

HOME = Path(__file__).resolve().parents[1]
CARDS, SHARED_BY = 8, 16
N_STEP = 16 * 64  # images: whole batches of each method
MEASURED_ON, SHARE = "isic2018", 0.9  # of its training normals, the rest being validation


def card_seconds() -> dict[str, float]:
    """Seconds of a card for a unit of `work`, by method."""
    n_images = round(SHARE * SPECS[MEASURED_ON].counts[""]["train", 0])
    rates: dict[str, list[float]] = {}
    for run in find(EVIDENCE, "recorded"):
        if run.config.data.dataset == MEASURED_ON and not run.config.is_side_run:
            took = run.environment["fit_seconds"] + run.environment["score_seconds"]
            rate = took / SHARED_BY / work(run.config, n_images)
            rates.setdefault(run.config.model.name, []).append(rate)
    return {name: float(np.mean(each)) for name, each in rates.items()} | _by_steps()


def _by_steps() -> dict[str, float]:
    """The same, of methods whose step was timed at the paper's size."""
    steps = pd.read_csv(HOME / "results" / "card.csv").query("section == 'training step'")
    paper, found = PROFILES["paper"], {}
    for name, method in METHODS.items():
        variants = [f"{method.title}, {v}" if v else method.title for v in method.variants]
        mine = steps[steps["case"].isin(variants)]
        if len(mine):
            one = RunConfig.build(paper, MEASURED_ON, name, variant=next(iter(method.variants)))
            steps_of_run = epochs_of(one.train, N_STEP) * N_STEP / one.train.batch_size
            found[name] = mine["median"].mean() / 1000 * steps_of_run / work(one, N_STEP)
    return found


def images(spec: DatasetSpec, category: str) -> tuple[int, int]:
    """Training images of a split, and all that are read."""
    counts = spec.counts[category]
    train = counts.get(("train", 0)) or counts["pool", 0]
    held_out = [n for (split, _), n in counts.items() if split in ("val", "test")]
    if ("pool", 0) in counts:
        return round(0.6 * train), train + counts["pool", 1]
    return round(SHARE * train), train + sum(held_out)


def runs() -> pd.DataFrame:
    """A row a run of the study: data set, seconds of a card."""
    paper, rates, rows = PROFILES["paper"], card_seconds(), []
    for dataset, spec in SPECS.items():
        for category in spec.categories:
            n_train, _ = images(spec, category)
            for name, method in METHODS.items():
                for variant, row in method.variants.items():
                    config = RunConfig.build(
                        paper, dataset, name, 0, category, variant, **row.options
                    )
                    seconds = rates[name] * work(config, n_train)
                    n_seeds = 1 if method.deterministic else paper.seeds
                    rows += [(spec.title, name, seconds)] * n_seeds
    return pd.DataFrame(rows, columns=["data set", "method", "seconds"])


def gigabytes(spec: DatasetSpec) -> float:
    """Of prepared images and features, at the strides that any method reads."""
    paper = PROFILES["paper"]
    channels, side = map_channels(paper.encoder), paper.image_size
    strides = {
        stride
        for name, method in METHODS.items()
        for row in method.variants.values()
        for stride in method.config(encoder=paper.encoder, **row.options).strides
    }
    values = sum(channels[stride] * (side // stride) ** 2 for stride in strides)
    n_images = sum(images(spec, category)[1] for category in spec.categories)
    return n_images * (FEATURE_BYTES * values + (1 if spec.grey else 3) * side**2) / 1e9


def longest_first(seconds: np.ndarray, cards: int) -> float:
    """When the last card is done, each taking the longest run that is left."""
    free = [0.0] * cards
    for each in sorted(seconds, reverse=True):
        heapq.heappush(free, heapq.heappop(free) + each)
    return max(free)


def table() -> pd.DataFrame:
    """A row a data set, then all of them."""
    found, rows = runs(), []
    for spec in SPECS.values():
        mine = found[found["data set"] == spec.title]
        rows.append(_row(spec.title, mine["seconds"].to_numpy(), gigabytes(spec)))
    rows.append(_row("all", found["seconds"].to_numpy(), sum(row["GB of cache"] for row in rows)))
    return pd.DataFrame(rows)


def _row(title: str, seconds: np.ndarray, size: float) -> dict:
    return {
        "data set": title,
        "runs": len(seconds),
        "hours of one card": seconds.sum() / 3600,
        f"hours on {CARDS} cards": longest_first(seconds, CARDS) / 3600,
        "longest run, hours": seconds.max() / 3600,
        "GB of cache": size,
    }


def markdown(rows: pd.DataFrame) -> str:
    """The table as text; hours and GB to one digit after the point, or two below one."""
    lines = [list(rows), ["---"] + ["--:"] * (rows.shape[1] - 1)]
    for title, n_runs, *values in rows.itertuples(index=False):
        lines.append([title, f"{n_runs:,}", *(f"{v:,.{1 if v >= 1 else 2}f}" for v in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    found = table()
    found.to_csv(HOME / "results" / "paper_plan.csv", index=False, float_format="%.4g")
    text = markdown(pd.read_csv(HOME / "results" / "paper_plan.csv"))
    write_marked(HOME / "slurm" / "README.md", "plan", text)
    print(text)
