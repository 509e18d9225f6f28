"""Comparisons in which one thing differs: the same maps, the same pooling, the same runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.metrics.compare import Estimate, Sample
from aeflow_utils.metrics.verdicts import Measurement, in_family
from aeflow_utils.options import CHOICES, AEFlowConfig
from aeflow_utils.study.grid import BASE, MAPS, rescore, variant_of
from aeflow_utils.study.results import auroc_of, auroc_of_scores, find, grouped
from aeflow_utils.study.runs import RunResult

BETA = AEFlowConfig().beta
# AE-FLOW's variant and the Gaussian's on each choice of the encoder's maps.
ON_MAPS = {"16": (BASE, "stride_16")} | {
    "+".join(map(str, strides)): (
        variant_of("strides", strides),
        f"stride{'s' * (len(strides) > 1)}_{'_'.join(map(str, strides))}",
    )
    for strides in MAPS
}


def what_the_flow_adds(profile: str) -> pd.DataFrame:
    """AE-FLOW's flow part minus a Gaussian a position, on the same maps with the same pooling.

    The flow part is -log N(z') per dimension, without the log-determinant; the Gaussian's is the
    Mahalanobis distance. Both are pooled over positions by ``mean``, ``top10`` or ``max``. Columns:
    data set, maps, pooling, flow, Gaussian, difference, low, high (test AUROC in percent, intervals
    over seeds and images), seeds, relation (`Measurement.relation`, Holm over all rows).
    """
    runs = grouped([*find(profile, "study"), *find(profile, "side", ("ae_flow",))])
    rows, gaps = [], []
    for dataset in dict.fromkeys(label for label, *_ in runs):
        for (maps, (ours, theirs)), pooling in product(ON_MAPS.items(), CHOICES["pooling"]):
            flow = runs.get((dataset, "ae_flow", ours))
            gaussian = runs.get((dataset, "padim", theirs))
            if flow and gaussian and f"distance_{pooling}" in gaussian[0].scores:
                pair = (
                    auroc_of(flow, f"energy_{pooling}"),
                    auroc_of(gaussian, f"distance_{pooling}"),
                )
                gap = metrics.difference(*pair).times(100)
                gaps.append(Measurement(dataset, gap, ""))
                a, b = (100 * sample.observed.mean() for sample in pair)
                names = {"data set": dataset, "maps": maps, "pooling": pooling}
                rows.append(names | {"flow": a, "Gaussian": b, **_ends(gap), "seeds": len(flow)})
    relations = [gap.relation for gap in in_family(gaps)]
    return pd.DataFrame(rows).assign(relation=relations)


def share_of_reconstruction(profile: str) -> pd.DataFrame:
    """AE-FLOW's whole score minus its flow part, under each reading of S_flow, a row a reading.

    Columns: data set, subnet, reading of S_flow, flow part, whole score, difference, low, high
    (test AUROC in percent), relation.
    """
    rows, gaps = [], []
    for (dataset, _, variant), runs in grouped(find(profile, methods=("ae_flow",))).items():
        for reading in CHOICES["flow_score"]:
            whole, flow = (_rescored(runs, flow_score=reading, beta=beta) for beta in (BETA, 1))
            gap = metrics.difference(whole, flow).times(100)
            gaps.append(Measurement(dataset, gap, ""))
            row = {"data set": dataset, "subnet": variant, "reading of S_flow": reading}
            row |= {"flow part": 100 * flow.observed.mean()}
            row |= {"whole score": 100 * whole.observed.mean()}
            rows.append(row | _ends(gap))
    return pd.DataFrame(rows).assign(relation=[gap.relation for gap in in_family(gaps)])


def _rescored(runs: list[RunResult], **options: object) -> Sample:
    """Test AUROC of runs whose score has other options."""
    config = replace(runs[0].config.model, **options)
    return auroc_of_scores(runs, np.stack([rescore(run.labelled("test"), config) for run in runs]))


def _ends(gap: Estimate) -> dict[str, float]:
    return {"difference": gap.value, "low": gap.low, "high": gap.high}
