"""What each form of AE-FLOW's score does, from what every run of it stores: nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pandas as pd
import torch

from aeflow_utils.methods import CHOICES, AEFlowConfig
from aeflow_utils.models.ae_flow import mix
from aeflow_utils.models.scores import POOLINGS
from aeflow_utils.study.grid import BASE, base_by_dataset, judged, mark_best
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import RunResult

BETAS = (0.0, 0.5, 0.9, 1.0)


def rescore(scores: pd.DataFrame, config: AEFlowConfig) -> np.ndarray:
    """The image scores (N,) that AE-FLOW would have given with the score options of `config`.

    Args:
        scores: stored scores with their parts, as `training.score_images` writes them.
    """
    columns = scores.select_dtypes("number").items()
    parts = {name: torch.from_numpy(column.to_numpy(copy=True)) for name, column in columns}
    return mix(parts, config)[0].numpy()


def score_table(profile: str) -> pd.DataFrame:
    """Form and pooling of the flow score, and features: AUROC in percent, seed 0, beta = 0.9.

    As in `ablations.ablation_table`, validation marks the best; test figures choose nothing.
    """
    rows = []
    for dataset, features, run in _feature_runs(profile):
        for form, pooling in product(CHOICES["flow_score"], POOLINGS):
            config = replace(run.config.model, flow_score=form, pooling=pooling)
            names = {"data set": dataset, "features": features, "form": form, "pooling": pooling}
            rows.append(names | judged(run, partial(rescore, config=config)))
    return mark_best(rows, ["data set"])


def _feature_runs(profile: str) -> list[tuple[str, str, RunResult]]:
    side = find(profile, "side")
    found = []
    for dataset, run in base_by_dataset(profile).items():
        found.append((dataset, "channel", run))
        for other in side:
            same = other.config.data == run.config.data
            if same and other.config.variant.startswith(f"{BASE}+features="):
                found.append((dataset, other.config.model.features, other))
    return found


def weight_table(profile: str) -> pd.DataFrame:
    """Weight of the flow score and form of the reconstruction score: AUROC in percent, seed 0."""
    rows = []
    for dataset, run in base_by_dataset(profile).items():
        for recon, beta in product(CHOICES["recon_score"], BETAS):
            config = replace(run.config.model, beta=beta, recon_score=recon)
            names = {"data set": dataset, "reconstruction": recon, "beta": beta}
            rows.append(names | judged(run, partial(rescore, config=config)))
    return mark_best(rows, ["data set"])
