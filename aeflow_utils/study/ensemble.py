"""Deep ensemble: several runs on the same images to one score, one uncertainty, one table.

First as the 2023 study did it, on raw scores; then with the members' scales removed, and with every
uncertainty that can be had without training anything again. `metrics.uncertainty` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from aeflow_utils import metrics
from aeflow_utils.config import N_FOLDS
from aeflow_utils.errors import UserError
from aeflow_utils.metrics import calibration
from aeflow_utils.metrics.uncertainty import conformal_p_values
from aeflow_utils.options import CHOICES
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.results import find, grouped_by
from aeflow_utils.study.runs import RunResult

# What AE-FLOW stores of each image beside its score, which is a fixed mixture of two of them.
ENERGIES = tuple(f"energy_{pooling}" for pooling in CHOICES["pooling"])
PARTS = ("flow_score", "recon_score", *ENERGIES, "log_jac_det", "ssim", "mse")
MEASURES = {
    "sigma_raw": "σ of raw scores (blog)",
    "sigma_standardised": "σ of standardised scores",
    "sigma_rank": "σ of ranks",
    "sigma_probability": "σ of probabilities",
    "closeness": "closeness to the threshold",
    "conformal": "conformal p-value, one member",
    "entropy_unsupervised": "entropy, no abnormal image",
    "entropy_isotonic": "entropy, isotonic",
    "entropy": "entropy, logistic",
    "disagreement": "mutual information",
    "chance_of_error": "chance of error",
    "entropy_parts": "entropy, from parts",
    "disagreement_parts": "mutual information, from parts",
    "chance_of_error_parts": "chance of error, from parts",
}
DECISIONS = {  # two ways to decide which images are abnormal
    "scores": "mean score, mean threshold (the study's)",
    "parts": "mean probability from parts, one half",
}


def ensembles(profile: str) -> dict[str, list[RunResult]]:
    """The members of the default AE-FLOW's ensemble on each data set that has one, by its label."""
    members = find(profile, "members", ("ae_flow",), BASE)
    members = [run for run in members if not run.config.beside]
    return grouped_by(members, lambda config: config.data.label)


def error_auroc(table: pd.DataFrame, uncertainty: np.ndarray) -> float:
    """AUROC of an uncertainty (N,) for telling wrong decisions of a `judge` table from right ones.

    0.5 says nothing, below it is the wrong way round; NaN where nothing, or everything, is wrong.
    """
    return metrics.auroc((~table["correct"]).astype(int).to_numpy(), uncertainty)


@dataclass(frozen=True)
class Reading:
    """What one member says of some images.

    Args:
        labels: (N,), 1 = abnormal.
        scores: (N,), as the member gives them.
        parts: (N, F), what its scores are made of; F is 0 for a system without parts.
    """

    labels: np.ndarray
    scores: np.ndarray
    parts: np.ndarray

    @property
    def normals(self) -> np.ndarray:
        return self.scores[self.labels == 0]

    def take(self, positions: np.ndarray) -> Reading:
        return Reading(self.labels[positions], self.scores[positions], self.parts[positions])


def readings(runs: list[RunResult], split: str) -> list[Reading]:
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


def _reading(run: RunResult, split: str) -> Reading:
    # A column that is empty for all images is a part that this system does not have.
    names = [n for n in PARTS if n in run.scores and run.scores[n].notna().any()]
    rows = run.split(split)
    values = rows[["image_score", *names]].to_numpy()
    if not np.isfinite(values).all():
        raise UserError(f"{run.folder.name} holds scores that are not finite")
    return Reading(rows["label"].to_numpy(), values[:, 0], values[:, 1:])


def scaled(fit: Reading, seen: Reading) -> dict[str, np.ndarray]:
    """A member's scores (N,) of the images seen, in every scale learnt from its validation `fit`.

    Raises:
        ValueError: validation without normal or abnormal images.
    """
    if len(np.unique(fit.labels)) < 2:
        raise ValueError("calibration needs normal and abnormal validation images of each member")
    labels, normals, known, scores = fit.labels, fit.normals, fit.scores, seen.scores
    scales = {
        "raw": scores,
        "standardised": calibration.standardised(normals, scores),
        "rank": calibration.ranked(normals, scores),
        "unsupervised": calibration.gaussian_scaling(normals, scores),
        "isotonic": calibration.isotonic(labels, known, scores),
        "logistic": calibration.logistic(labels, known[:, None], scores[:, None]),
    }
    if seen.parts.shape[1] > 0:
        scales["parts"] = calibration.logistic(labels, fit.parts, seen.parts)
    return scales


def judge(fits: list[Reading], seen: list[Reading], decision: str = "scores") -> pd.DataFrame:
    """The per-image table: means, decision, whether it is right, and every uncertainty.

    Args:
        fits: the members' validation, from which scales, probabilities and threshold are learnt.
        seen: the members on the images in question.
        decision: key of `DECISIONS`.

    Returns:
        Columns label, mu, sigma (raw, population), ``mean_<scale>`` of each scale, predicted,
        correct, and those of `MEASURES` that can be had. The study's own are mu, sigma and, with
        the decision ``scores``, predicted: by the mean of the members' own F1-max thresholds.

    Raises:
        ValueError: other numbers of members, or as `scaled`.
    """
    members = [scaled(*pair) for pair in zip(fits, seen, strict=True)]
    values = {name: np.stack([each[name] for each in members]) for name in members[0]}
    mean = {name: scores.mean(axis=0) for name, scores in values.items()}
    sigma = {name: scores.std(axis=0) for name, scores in values.items()}
    cut = np.mean([metrics.f1_max_threshold(fit.labels, fit.scores) for fit in fits])
    abnormal = mean["raw"] >= cut if decision == "scores" else mean["parts"] >= 0.5
    predicted, labels = abnormal.astype(int), seen[0].labels
    columns = {"label": labels, "mu": mean["raw"], "sigma": sigma["raw"]}
    columns |= {f"mean_{name}": value for name, value in mean.items()}
    columns |= {"predicted": predicted, "correct": predicted == labels}
    measures = {
        "sigma_raw": sigma["raw"],
        "sigma_standardised": sigma["standardised"],
        "sigma_rank": sigma["rank"],
        "sigma_probability": sigma["logistic"],
        "closeness": -np.abs(mean["raw"] - cut),
        "conformal": _one_member(fits[0], seen[0]),
        "entropy_unsupervised": calibration.entropy(mean["unsupervised"]),
        "entropy_isotonic": calibration.entropy(mean["isotonic"]),
    }
    measures |= _of_probabilities(values["logistic"], predicted, "")
    if "parts" in values:
        measures |= _of_probabilities(values["parts"], predicted, "_parts")
    return pd.DataFrame(columns | measures)


def _of_probabilities(members: np.ndarray, predicted: np.ndarray, ending: str) -> dict:
    """The measures that take each member's probabilities (S, N)."""
    mean = members.mean(axis=0)
    return {
        f"entropy{ending}": calibration.entropy(mean),
        f"disagreement{ending}": calibration.mutual_information(members),
        f"chance_of_error{ending}": np.where(predicted == 1, 1 - mean, mean),
    }


def _one_member(fit: Reading, seen: Reading) -> np.ndarray:
    """Closeness of a conformal p-value, from normals alone, to that of the member's threshold.

    In bits, ``-log2 p``: all clear anomalies have a p-value near zero, and so near the threshold's.
    """
    cut = metrics.f1_max_threshold(fit.labels, fit.scores)
    bits = -np.log2(conformal_p_values(fit.normals, np.append(seen.scores, cut)))
    return -np.abs(bits[:-1] - bits[-1])


def cross_fitted(fits: list[Reading], decision: str = "scores") -> pd.DataFrame:
    """`judge` of the validation images themselves, each by what the other folds have taught.

    A scale, probability or threshold judged on the images it was learnt from would look too good.

    Raises:
        ValueError: members with other validation images (those of folds), or a class of one.
    """
    labels = fits[0].labels
    if any(not np.array_equal(fit.labels, labels) for fit in fits):
        raise ValueError("members have other validation images: there is nothing to cross-fit on")
    n_folds = min(N_FOLDS, int(np.bincount(labels, minlength=2).min()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    parts = []
    for known, held_out in folds.split(labels, labels):
        taken = ([fit.take(rows) for fit in fits] for rows in (known, held_out))
        parts.append(judge(*taken, decision=decision).set_index(held_out))
    return pd.concat(parts).sort_index()


def chosen_measure(validation: pd.DataFrame) -> str:
    """The measure that finds the errors of a cross-fitted validation table best, by AUROC.

    The first of `MEASURES` in a tie, up to rounding: two can be the same order of the images.
    """
    aurocs = {n: error_auroc(validation, validation[n]) for n in MEASURES if n in validation}
    return max(aurocs, key=lambda name: round(np.nan_to_num(aurocs[name], nan=-1), 6))
