"""Errors in evaluation code, demonstrated: the right and the wrong number from the same runs.

Each error was found in public code of the study. Those on scores need finished runs only; the two
that need a trained system are in `system_errors`, and are made where it is, and stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.evidence import Evidence
from aeflow_utils.data.reading import read_table
from aeflow_utils.errors import UserError
from aeflow_utils.metrics.detection import Criterion
from aeflow_utils.paths import paths
from aeflow_utils.study.grid import CARRY_OVER
from aeflow_utils.study.recording import SYSTEM_ERRORS
from aeflow_utils.study.results import dataset_title, run_title
from aeflow_utils.study.runs import RunResult


class Demonstration(NamedTuple):
    """What one error does to one number, in [0, 1]: `right` without it and `wrong` with it."""

    error: str
    measured: str
    right: float
    wrong: float


def error_table(evidence: Evidence) -> pd.DataFrame:
    """A row a number that an error changes: data set, error, measured, right, wrong.

    AE-FLOW is the one with the default subnet, first seed.
    """
    rows = [(where, *demonstration) for where, demonstration in _on_runs(evidence)]
    table = pd.DataFrame(rows, columns=["data set", *Demonstration._fields])
    table = pd.concat([table, stored(evidence.shown)], ignore_index=True)
    return table.sort_values(["error", "data set"], kind="stable", ignore_index=True)


def _on_runs(evidence: Evidence) -> Iterator[tuple[str, Demonstration]]:
    """Every error that the runs can show, with the title of its data set."""
    plain, fastflow = (evidence.row(model) for model in ("autoencoder", "fastflow"))
    without_training = evidence.changed("encoder", "untrained", base="")
    fresh, carried_over = evidence.folds, evidence.changed(*CARRY_OVER)
    for dataset, runs in evidence.bases.items():
        if np.isnan(runs[0].metrics["val_auroc"]):
            continue  # no abnormal validation image: most of these errors cannot be made
        shown = [f(runs[0]) for f in (threshold_on_test, weighted_f1, shifted_f1, counted_twice)]
        if dataset in plain:
            shown.append(flipped_sign(plain[dataset][0]))
        if dataset in fastflow and dataset in without_training:
            shown.append(untrained_encoder(fastflow[dataset][0], without_training[dataset][0]))
        if dataset in fresh and dataset in carried_over:
            shown.append(shared_folds(fresh[dataset], carried_over[dataset]))
        yield from ((dataset_title(runs[0].config.data), each) for each in chain(*shown))


def stored(profile: str) -> pd.DataFrame:
    """What `system_errors` kept on this machine, else what is recorded, else nothing."""
    for folder in (paths().results(profile) / "tables", paths().recorded(profile).parent):
        if (folder / f"{SYSTEM_ERRORS}.csv").exists():
            return read_table(folder / f"{SYSTEM_ERRORS}.csv")
    return pd.DataFrame()


def _split(run: RunResult, name: str, score: str = "image_score") -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of a split.

    Raises:
        UserError: the split has images of one class only.
    """
    part = run.split(name)
    labels = part["label"].to_numpy()
    if len(np.unique(labels)) < 2:
        raise UserError(f"{run.folder.name}: {name} needs normal and abnormal images for this")
    return labels, part[score].to_numpy()


def _f1(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    return metrics.classification(labels, scores >= threshold)["f1"]


def flipped_sign(run: RunResult) -> list[Demonstration]:
    """+SSIM as an anomaly score: similar, and so normal, images score highest.

    The AUROC of scores with the wrong sign is one minus the right one; the F1-max threshold then
    hides it by calling nearly everything abnormal.
    """
    labels, scores = _split(run, "test", "recon_score")
    signs = (scores, -scores)
    aurocs = (metrics.auroc(labels, each) for each in signs)
    highest = (_f1(labels, each, metrics.f1_max_threshold(labels, each)) for each in signs)
    error = "score with the wrong sign"
    return [
        Demonstration(error, "test AUROC", *aurocs),
        Demonstration(error, "highest test F1", *highest),
    ]


def weighted_f1(run: RunResult) -> list[Demonstration]:
    """`metrics.class_weighted_f1` as criterion on validation."""
    return _other_criterion(run, "class-weighted F1 as criterion", metrics.class_weighted_f1)


def shifted_f1(run: RunResult) -> list[Demonstration]:
    """`f1_of_shifted_rates` as criterion on validation: the maximum moves."""
    error = "one added to precision and recall before F1"
    return _other_criterion(run, error, f1_of_shifted_rates)


def f1_of_shifted_rates(
    tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, tn: np.ndarray
) -> np.ndarray:
    """F1 from counts of one shape, after ``precision + 1, recall + 1``."""
    precision, recall = tp / (tp + fp) + 1, tp / (tp + fn) + 1
    return 2 * precision * recall / (precision + recall)


def _other_criterion(run: RunResult, error: str, criterion: Criterion) -> list[Demonstration]:
    """Two thresholds chosen on validation, and F1 of both, there and on test."""
    val = _split(run, "val")
    cuts = metrics.f1_max_threshold(*val), metrics.best_threshold(*val, criterion)
    return [
        Demonstration(error, f"{title} F1", *(_f1(*_split(run, split), cut) for cut in cuts))
        for split, title in (("val", "validation"), ("test", "test"))
    ]


def threshold_on_test(run: RunResult) -> list[Demonstration]:
    """The F1-max threshold chosen on the test images that it is then judged on."""
    val, test = _split(run, "val"), _split(run, "test")
    each = (_f1(*test, metrics.f1_max_threshold(*chosen_on)) for chosen_on in (val, test))
    return [Demonstration("threshold chosen on test", "test F1", *each)]


def counted_twice(run: RunResult) -> list[Demonstration]:
    """The abnormal test images counted once more as normal, as a glob without an anchor does.

    A copy has its original's score, so AUROC loses the share of copies among the normals times
    what the detector is better than chance, and F1 cannot exceed 2/3.
    """
    labels, scores = once = _split(run, "test")
    copies = scores[labels == 1]
    twice = np.append(labels, np.zeros(len(copies), int)), np.append(scores, copies)
    cut = run.metrics["thresholds"]["normal_quantile"]
    error, both = "abnormal images counted twice", (once, twice)
    return [
        Demonstration(error, "test AUROC", *(metrics.auroc(*images) for images in both)),
        Demonstration(error, "test F1", *(_f1(*images, cut) for images in both)),
    ]


def untrained_encoder(run: RunResult, untrained: RunResult) -> list[Demonstration]:
    """The same method, seed and data on an encoder of random weights: ``pretrained`` was False."""
    measured = f"test AUROC of {run_title(run)}"
    each = (r.metrics["auroc"] for r in (run, untrained))
    return [Demonstration("encoder of random weights", measured, *each)]


def shared_folds(fresh: list[RunResult], carried: list[RunResult]) -> list[Demonstration]:
    """Folds, a run each, that go on with the weights of the fold before, against `fresh` ones."""
    return [
        Demonstration(
            "folds that share weights",
            f"{title} AUROC",
            *(float(np.mean([run.metrics[name] for run in runs])) for runs in (fresh, carried)),
        )
        for name, title in (("val_auroc", "validation"), ("auroc", "test"))
    ]


def threshold_table(results: list[RunResult]) -> pd.DataFrame:
    """AE-FLOW's test metrics in percent at thresholds chosen on validation by three criteria.

    Mean over subnets and seeds; data sets without labelled validation are left out.
    """
    rows, keys = [], ["data set", "threshold on validation"]
    for run in results:
        val = run.labelled("val")
        if run.config.model.name == "ae_flow" and val["label"].nunique() == 2:
            val, (labels, scores) = (val["label"], val["image_score"]), _split(run, "test")
            weighted = metrics.best_threshold(*val, metrics.class_weighted_f1)
            cuts = {
                "F1-max": metrics.f1_max_threshold(*val),
                "class-weighted F1, its maximum": weighted,
                "95 % of normals below": run.metrics["thresholds"]["normal_quantile"],
            }
            for criterion, cut in cuts.items():
                at_cut = metrics.classification(labels, scores >= cut)
                values = [100 * at_cut[name] for name in metrics.CLASSIFICATION]
                rows.append([run.config.data.label, criterion, *values])
    table = pd.DataFrame(rows, columns=[*keys, *metrics.CLASSIFICATION])
    return table.groupby(keys, sort=False).mean()
