"""Deep ensemble: several runs on the same images to one score, one uncertainty, one table.

First as the 2023 study did it, on raw scores; then with the members' scales removed, and with every
uncertainty that can be had without training anything again. `metrics.uncertainty` judges them.
Each measure, and each way to decide, says whether labelled validation images entered it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from aeflow_utils import metrics
from aeflow_utils.config import N_FOLDS
from aeflow_utils.errors import UserError
from aeflow_utils.metrics import calibration
from aeflow_utils.metrics.uncertainty import conformal_p_values
from aeflow_utils.options import CHOICES
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.results import REGIMES, find, grouped_by
from aeflow_utils.study.runs import RunResult

# What AE-FLOW stores of each image beside its score, which is a fixed mixture of two of them.
ENERGIES = tuple(f"energy_{pooling}" for pooling in CHOICES["pooling"])
PARTS = ("flow_score", "recon_score", *ENERGIES, "log_jac_det", "ssim", "mse")
N_STUDY = 3  # members of the 2023 study's ensemble


class Named(NamedTuple):
    """Title of a measure or a decision, and whether labelled validation images entered it."""

    title: str
    labels: bool


MEASURES = {
    "sigma_raw": Named("σ of raw scores (blog)", False),
    "sigma_standardised": Named("σ of standardised scores", False),
    "sigma_rank": Named("σ of ranks", False),
    "sigma_probability": Named("σ of probabilities", True),
    "closeness": Named("closeness to the threshold", False),
    "conformal": Named("conformal p-value, one member", False),
    "entropy_unsupervised": Named("entropy, no abnormal image", False),
    "entropy_isotonic": Named("entropy, isotonic", True),
    "entropy": Named("entropy, logistic", True),
    "disagreement": Named("mutual information", True),
    "chance_of_error": Named("chance of error", True),
    "entropy_parts": Named("entropy, from parts", True),
    "disagreement_parts": Named("mutual information, from parts", True),
    "chance_of_error_parts": Named("chance of error, from parts", True),
}
DECISIONS = {  # three ways to decide which images are abnormal
    "normals": Named(f"mean score, {REGIMES['normal_quantile']}", False),
    "scores": Named(f"mean score, {REGIMES['val_f1']} (the study's)", True),
    "parts": Named("mean probability from parts, one half", True),
}
WITHOUT_LABELS = "closeness"  # where no label may choose, this measure is named beforehand


def labels_seen(measure: str, decision: str) -> str:
    """Who has seen labelled validation images: nobody, the decision, or its measure as well."""
    seen = DECISIONS[decision].labels + MEASURES[measure].labels
    return ("none", "by the decision", "by both")[seen]


def ensembles(profile: str) -> dict[str, tuple[RunResult, ...]]:
    """The members of the default AE-FLOW's ensemble on each data set that has one, by its label."""
    members = find(profile, "members", ("ae_flow",), BASE)
    members = [run for run in members if not run.config.beside]
    by_label = grouped_by(members, lambda config: config.data.label)
    return {label: tuple(runs) for label, runs in by_label.items()}


def error_auroc(table: pd.DataFrame, uncertainty: np.ndarray) -> float:
    """AUROC of an uncertainty (N,) for telling wrong decisions of a `judge` table from right ones.

    0.5 says nothing, below it is the wrong way round; NaN where nothing, or everything, is wrong.
    """
    return metrics.auroc((~table["correct"]).astype(int).to_numpy(), uncertainty)


@dataclass(frozen=True, eq=False)  # equal to itself alone, so that what is learnt can be kept
class Reading:
    """What one member says of some images. Shared by all who ask: not to be changed.

    Args:
        labels: (N,), 1 = abnormal.
        scores: (N,), as the member gives them.
        parts: (N, F), what its scores are made of.
        groups: (N,), equal for images of one patient or lesion.
    """

    labels: np.ndarray
    scores: np.ndarray
    parts: np.ndarray
    groups: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        return self.scores[self.labels == 0]

    def take(self, positions: np.ndarray) -> Reading:
        return _taken(self, np.asarray(positions, dtype=np.intp).tobytes())


@lru_cache(maxsize=512)
def _taken(reading: Reading, positions: bytes) -> Reading:
    rows = np.frombuffer(positions, dtype=np.intp)
    return Reading(*(values[rows] for values in vars(reading).values()))


def readings(runs: Sequence[RunResult], split: str) -> list[Reading]:
    """Each member's reading of a split. Those of ``test`` must be of the same images, in order.

    Raises:
        UserError: fewer than two runs, members that scored other test images, or a number that is
            not finite; names the run.
    """
    if len(runs) < 2:
        raise UserError(f"an ensemble needs at least two runs, got {len(runs)}")
    images = runs[0].split("test")["path"]
    for run in runs:
        if split == "test" and not run.split("test")["path"].equals(images):
            raise UserError(f"{run.folder.name} scored other images than {runs[0].folder.name}")
    return [_reading(run, split) for run in runs]


@lru_cache(maxsize=512)
def _reading(run: RunResult, split: str) -> Reading:
    # A column that is empty for all images is a part that this system does not have.
    names = [n for n in PARTS if n in run.scores and run.scores[n].notna().any()]
    rows = run.split(split)
    values = rows[["image_score", *names]].to_numpy()
    if not np.isfinite(values).all():
        raise UserError(f"{run.folder.name} holds scores that are not finite")
    groups = rows["group"].to_numpy() if "group" in rows else np.arange(len(rows))
    return Reading(rows["label"].to_numpy(), values[:, 0], values[:, 1:], groups)


@lru_cache(maxsize=2048)  # three decisions, and ensembles of one, three and five, ask for the same
def scaled(fit: Reading, seen: Reading, with_labels: bool = True) -> dict[str, np.ndarray]:
    """A member's scores (N,) of the images seen, in every scale learnt from its validation `fit`.

    Args:
        with_labels: also in those that labelled validation images teach.

    Raises:
        ValueError: validation without normal or, with labels, abnormal images.
    """
    labels, normals, known, scores = fit.labels, fit.normals, fit.scores, seen.scores
    if len(np.unique(labels)) < 2 and with_labels:
        raise ValueError("calibration needs normal and abnormal validation images of each member")
    scales = {
        "raw": scores,
        "standardised": calibration.standardised(normals, scores),
        "rank": calibration.ranked(normals, scores),
        "unsupervised": calibration.gaussian_scaling(normals, scores),
    }
    if with_labels:
        scales["isotonic"] = calibration.isotonic(labels, known, scores)
        scales["logistic"] = calibration.logistic(labels, known[:, None], scores[:, None])
        scales["parts"] = calibration.logistic(labels, fit.parts, seen.parts)
    return scales


def judge(fits: list[Reading], seen: list[Reading], decision: str = "scores") -> pd.DataFrame:
    """The per-image table: means, decision, whether it is right, and its uncertainties.

    Args:
        fits: the members' validation, from which scales, probabilities and threshold are learnt.
        seen: the members on the images in question.
        decision: key of `DECISIONS`; a mean score meets the mean of the members' own thresholds.

    Returns:
        Columns label, group, mu, sigma (raw, population), ``mean_<scale>`` of each scale,
        predicted, correct, and those of `MEASURES`, without those that have seen labels if the
        decision has seen none.

    Raises:
        ValueError: other numbers of members, or as `scaled`.
    """
    with_labels = DECISIONS[decision].labels
    members = [scaled(*pair, with_labels) for pair in zip(fits, seen, strict=True)]
    values = {name: np.stack([each[name] for each in members]) for name in members[0]}
    mean = {name: scores.mean(axis=0) for name, scores in values.items()}
    sigma = {name: scores.std(axis=0) for name, scores in values.items()}
    measures = {f"sigma_{name}": sigma[name] for name in ("raw", "standardised", "rank")}
    measures["entropy_unsupervised"] = calibration.entropy(mean["unsupervised"])
    if decision == "parts":  # its closeness to one half is the entropy from parts
        abnormal = mean["parts"] >= 0.5
    else:
        cuts = np.array([_threshold(fit, decision) for fit in fits])
        abnormal = mean["raw"] >= cuts.mean()
        measures["closeness"] = -np.abs(mean["raw"] - cuts.mean())
        measures["conformal"] = _one_member(fits[0], seen[0], cuts[0])
    predicted, labels = abnormal.astype(int), seen[0].labels
    if with_labels:
        measures["sigma_probability"] = sigma["logistic"]
        measures["entropy_isotonic"] = calibration.entropy(mean["isotonic"])
        measures |= _of_probabilities(values["logistic"], predicted, "")
        measures |= _of_probabilities(values["parts"], predicted, "_parts")
    columns = {"label": labels, "group": seen[0].groups, "mu": mean["raw"], "sigma": sigma["raw"]}
    columns |= {f"mean_{name}": value for name, value in mean.items()}
    columns |= {"predicted": predicted, "correct": predicted == labels}
    return pd.DataFrame(columns | measures)


def _threshold(fit: Reading, decision: str) -> float:
    if decision == "normals":
        return metrics.normal_quantile_threshold(fit.normals)
    return metrics.f1_max_threshold(fit.labels, fit.scores)


def _of_probabilities(members: np.ndarray, predicted: np.ndarray, ending: str) -> dict:
    """The measures that take each member's probabilities (S, N)."""
    mean = members.mean(axis=0)
    return {
        f"entropy{ending}": calibration.entropy(mean),
        f"disagreement{ending}": calibration.mutual_information(members),
        f"chance_of_error{ending}": np.where(predicted == 1, 1 - mean, mean),
    }


def _one_member(fit: Reading, seen: Reading, cut: float) -> np.ndarray:
    """Closeness of a conformal p-value, from normals alone, to that of the member's threshold.

    In bits, ``-log2 p``: all clear anomalies have a p-value near zero, and so near the threshold's.
    """
    bits = -np.log2(conformal_p_values(fit.normals, np.append(seen.scores, cut)))
    return -np.abs(bits[:-1] - bits[-1])


def cross_fitted(fits: list[Reading], decision: str = "scores") -> pd.DataFrame:
    """`judge` of the validation images themselves, each by what the other folds have taught.

    A scale, probability or threshold judged on the images it was learnt from would look too good,
    and so it would on other images of the same patients: a group is in one fold.

    Raises:
        ValueError: members with other validation images (those of folds), or a class of one group.
    """
    labels, groups = fits[0].labels, fits[0].groups
    if any(not np.array_equal(fit.labels, labels) for fit in fits):
        raise ValueError("members have other validation images: there is nothing to cross-fit on")
    n_folds = min(N_FOLDS, *(len(np.unique(groups[labels == label])) for label in (0, 1)))
    folds = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    parts = []
    for known, held_out in folds.split(labels, labels, groups):
        taken = ([fit.take(rows) for fit in fits] for rows in (known, held_out))
        parts.append(judge(*taken, decision=decision).set_index(held_out))
    return pd.concat(parts).sort_index()


def chosen_measure(validation: pd.DataFrame) -> str:
    """The measure that finds the errors of a cross-fitted validation table best, by AUROC.

    The first of `MEASURES` in a tie, up to rounding: two can be the same order of the images.
    """
    aurocs = {n: error_auroc(validation, validation[n]) for n in MEASURES if n in validation}
    return max(aurocs, key=lambda name: round(np.nan_to_num(aurocs[name], nan=-1), 6))
