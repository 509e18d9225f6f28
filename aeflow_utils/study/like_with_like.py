"""Comparisons in which one thing differs: the same maps, the same pooling, the same runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from aeflow_utils import metrics
from aeflow_utils.methods import METHODS
from aeflow_utils.metrics.compare import Sample
from aeflow_utils.metrics.verdicts import Measurement, in_family
from aeflow_utils.options import CHOICES, AEFlowConfig
from aeflow_utils.study.grid import BASE, MAPS, rescore, variant_of
from aeflow_utils.study.results import auroc_of, auroc_of_scores, find, grouped
from aeflow_utils.study.runs import RunResult

BETA = AEFlowConfig().beta
PARTS = {"whole score": "image_score", "flow": "flow_score", "reconstruction": "recon_score"}
# AE-FLOW's variant and the Gaussian's on each choice of the encoder's maps.
ON_MAPS = {
    "+".join(map(str, row.options["strides"])): (
        variant_of("strides", row.options["strides"]) if row.options["strides"] in MAPS else BASE,
        gaussian,
    )
    for gaussian, row in METHODS["padim"].variants.items()
}


def what_the_flow_adds(profile: str) -> pd.DataFrame:
    """AE-FLOW's flow part minus a Gaussian a position, on the same maps with the same pooling.

    The flow part is -log N(z') per dimension, without the log-determinant; the Gaussian's is the
    Mahalanobis distance. Both are pooled over positions by ``mean``, ``top10`` or ``max``.
    Columns: data set, maps, pooling, flow, Gaussian, and those of `compared`.
    """
    runs, rows = grouped([*find(profile), *find(profile, "side", ("ae_flow",))]), []
    for dataset in dict.fromkeys(label for label, *_ in runs):
        for (maps, (ours, theirs)), pooling in product(ON_MAPS.items(), CHOICES["pooling"]):
            flow = runs.get((dataset, "ae_flow", ours))
            gaussian = runs.get((dataset, "padim", theirs))
            if flow and gaussian and f"distance_{pooling}" in gaussian[0].scores:
                names = {"data set": dataset, "maps": maps, "pooling": pooling}
                sides = {"flow": auroc_of(flow, f"energy_{pooling}")}
                sides["Gaussian"] = auroc_of(gaussian, f"distance_{pooling}")
                rows.append((names, sides))
    return compared(rows)


def share_of_reconstruction(profile: str) -> pd.DataFrame:
    """AE-FLOW's whole score minus its flow part, under each reading of S_flow, a row a reading.

    Columns: data set, subnet, reading of S_flow, whole score, flow part, and those of `compared`.
    """
    rows = []
    for (dataset, _, variant), runs in grouped(find(profile, methods=("ae_flow",))).items():
        for reading in CHOICES["flow_score"]:
            whole, flow = (_rescored(runs, flow_score=reading, beta=beta) for beta in (BETA, 1))
            names = {"data set": dataset, "subnet": variant, "reading of S_flow": reading}
            rows.append((names, {"whole score": whole, "flow part": flow}))
    return compared(rows)


def by_beta(profile: str, betas: Sequence[float] = tuple(np.linspace(0, 1, 21))) -> pd.DataFrame:
    """AE-FLOW's test AUROC by the weight beta of S_flow, under each reading of it; no training.

    Columns: data set, subnet, reading of S_flow, beta, and in percent mean, lowest and highest
    over seeds.
    """
    rows = []
    for (dataset, _, variant), runs in grouped(find(profile, methods=("ae_flow",))).items():
        tests = [run.labelled("test") for run in runs]
        for reading in CHOICES["flow_score"]:
            flow, recon = (
                replace(runs[0].config.model, flow_score=reading, beta=beta) for beta in (1.0, 0.0)
            )
            flows, recons = (np.stack([rescore(t, each) for t in tests]) for each in (flow, recon))
            weights = np.asarray(betas)[:, None, None]
            mixed = weights * flows + (1 - weights) * recons
            by_seed = 100 * metrics.aurocs(tests[0]["label"], mixed)
            for beta, each in zip(betas, by_seed, strict=True):
                ends = each.mean(), each.min(), each.max()
                rows.append((dataset, variant, reading, beta, *ends))
    columns = ["data set", "subnet", "reading of S_flow", "beta", "mean", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


def likeness(profile: str, model: str) -> pd.DataFrame:
    """Rank correlation of each method's test scores with those of `model`, which has one run a set.

    Columns: data set, model, variant, and mean, lowest and highest over seeds.
    """
    runs, rows = grouped(find(profile)), []
    for (dataset, name, variant), of_row in runs.items():
        others = runs.get((dataset, model, ""))
        if others and name != model:
            each = [_likeness(run, others[0], "test") for run in of_row]
            rows.append((dataset, name, variant, np.mean(each), min(each), max(each)))
    columns = ["data set", "model", "variant", "mean", "lowest", "highest"]
    return pd.DataFrame(rows, columns=columns)


def parts_and_smoothness(profile: str) -> pd.DataFrame:
    """What each part of AE-FLOW's score finds, and what normal images alone say it looks at.

    Columns: data set, subnet; test AUROC in percent of flow, reconstruction and smooth, the score
    that calls smooth images abnormal; ρ flow and ρ reconstruction, the rank correlation of each
    part with smooth on validation normals. Means over seeds.
    """
    runs, rows = grouped([*find(profile), *find(profile, "side")]), []
    for (dataset, model, variant), of_row in runs.items():
        smooth = runs.get((dataset, "smoothness", ""))
        if model == "ae_flow" and variant in CHOICES["subnet"] and smooth:
            row = {"data set": dataset, "subnet": variant}
            parts = {title: PARTS[title] for title in ("flow", "reconstruction")}
            for title, column in parts.items():
                row[title] = 100 * auroc_of(of_row, column).observed.mean()
            row["smooth"] = 100 * smooth[0].metrics["auroc"]
            for title, column in parts.items():
                each = [_likeness(run, smooth[0], "val", column, normals=True) for run in of_row]
                row[f"ρ {title}"] = np.mean(each)
            rows.append(row)
    numbers = ["flow", "reconstruction", "smooth", "ρ flow", "ρ reconstruction"]
    table = pd.DataFrame(rows, columns=["data set", "subnet", *numbers])
    return table.astype(dict.fromkeys(numbers, float))


def _likeness(
    run: RunResult, other: RunResult, split: str, column: str = "image_score", normals: bool = False
) -> float:
    """Rank correlation of two runs' scores, image by image."""
    mine, theirs = run.split(split), other.split(split).set_index("path")["image_score"]
    mine = mine[mine["label"] == 0] if normals else mine
    return spearmanr(mine[column], theirs[mine["path"]]).statistic


def between_subnets(profile: str) -> pd.DataFrame:
    """One subnet minus the other on each data set, of the whole score and of its parts.

    Columns: data set, part, one for each subnet, and those of `compared`.
    """
    runs, rows = grouped(find(profile, methods=("ae_flow",))), []
    for dataset in dict.fromkeys(label for label, *_ in runs):
        pair = {name: runs.get((dataset, "ae_flow", name)) for name in CHOICES["subnet"]}
        for title, column in PARTS.items() if all(pair.values()) else ():
            sides = {name: auroc_of(each, column) for name, each in pair.items()}
            rows.append(({"data set": dataset, "part": title}, sides))
    return compared(rows)


def compared(rows: list[tuple[dict[str, str], dict[str, Sample]]]) -> pd.DataFrame:
    """Names and two samples a row: the first minus the second, of test AUROC in percent.

    Columns beside the names: both means; difference, low, high (interval over seeds and images);
    seeds; relation (`Measurement.relation`, after Holm for all rows).
    """
    if not rows:  # a profile that is not whole
        return pd.DataFrame(columns=["data set", "difference", "low", "high", "seeds", "relation"])
    table, gaps = [], []
    for names, sides in rows:
        gap = metrics.difference(*sides.values()).times(100)
        gaps.append(Measurement(names["data set"], gap, ""))
        means = {title: 100 * sample.observed.mean() for title, sample in sides.items()}
        ends = {"difference": gap.value, "low": gap.low, "high": gap.high}
        n_seeds = max(len(sample.observed) for sample in sides.values())
        table.append(names | means | ends | {"seeds": n_seeds})
    return pd.DataFrame(table).assign(relation=[gap.relation for gap in in_family(gaps)])


def _rescored(runs: list[RunResult], **options: object) -> Sample:
    """Test AUROC of runs whose score has other options."""
    config = replace(runs[0].config.model, **options)
    return auroc_of_scores(runs, np.stack([rescore(run.labelled("test"), config) for run in runs]))
