"""Deep ensemble: several runs on the same images to one score, one uncertainty, one table.

First the blog's, on raw scores; then members with their scales removed, and every uncertainty that
can be had from them without training anything again. `uncertainty` judges them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

from aeflow_utils import metrics
from aeflow_utils.errors import UserError
from aeflow_utils.metrics.calibration import (
    entropy,
    gaussian_scaling,
    isotonic,
    logistic,
    mutual_information,
    ranked,
    standardised,
)
from aeflow_utils.metrics.uncertainty import conformal_p_values
from aeflow_utils.study.grid import BASE
from aeflow_utils.study.results import by_dataset, find
from aeflow_utils.study.runs import RunResult

BLOG_SIGMA = 0.0785  # above this the blog calls a prediction uncertain
# What AE-FLOW stores of each image beside its score, which is a fixed mixture of two of them.
PARTS = (
    "flow_score",
    "recon_score",
    "energy_mean",
    "energy_top10",
    "energy_max",
    "log_jac_det",
    "ssim",
    "mse",
)
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
VERDICTS = {
    "scores": "mean score, mean threshold (the study's)",
    "parts": "mean probability from parts, one half",
}


def ensembles(profile: str) -> dict[str, list[RunResult]]:
    """The members of the default AE-FLOW's ensemble on each data set that has one, by its label."""
    return by_dataset(find(profile, "members", ("ae_flow",), BASE))


def member_scores(runs: list[RunResult], split: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Members' image scores, aligned by image.

    Returns:
        The images (path, label, kind) and the scores (S, N).

    Raises:
        UserError: fewer than two runs, members that saw different images, or a score that is
            not finite; names the run.
    """
    if len(runs) < 2:
        raise UserError(f"an ensemble needs at least two runs, got {len(runs)}")
    first = runs[0].split(split)
    images = first[["path", "label", "kind"]]
    rows = []
    for run in runs:
        part = run.split(split)
        if not part["path"].equals(first["path"]):
            raise UserError(f"{run.folder.name} scored other images than {runs[0].folder.name}")
        scores = part["image_score"].to_numpy()
        if not np.isfinite(scores).all():
            raise UserError(f"{run.folder.name} holds scores that are not finite")
        rows.append(scores)
    return images, np.stack(rows)


def certainty_table(combined: pd.DataFrame, sigma: float) -> pd.DataFrame:
    """The blog's table: rows right and wrong predictions, columns certain and uncertain."""
    uncertain = combined["sigma"] > sigma
    counts = {
        name: [int((rows & ~uncertain).sum()), int((rows & uncertain).sum())]
        for name, rows in (("right", combined["correct"]), ("wrong", ~combined["correct"]))
    }
    return pd.DataFrame(counts, index=["certain", "uncertain"]).T


def is_degenerate(predicted: np.ndarray) -> bool:
    """Whether every image got the same verdict: then right and wrong are just the classes."""
    return len(np.unique(predicted)) < 2


def verdict_note(predicted: np.ndarray) -> str:
    """A warning where `is_degenerate`, else empty."""
    if not is_degenerate(predicted):
        return ""
    called = "abnormal" if np.all(predicted) else "normal"
    return f"every image called {called}: right and wrong are just the classes"


def has_threshold(runs: list[RunResult], regime: str) -> bool:
    """Whether every member has a threshold in this regime."""
    return all(np.isfinite(run.metrics["thresholds"][regime]) for run in runs)


def error_auroc(combined: pd.DataFrame, uncertainty: np.ndarray) -> float:
    """AUROC of an uncertainty (N,) for telling wrong predictions from right ones.

    0.5 says nothing, below it is the wrong way round; NaN where nothing, or everything, is wrong.
    """
    return metrics.auroc((~combined["correct"]).astype(int).to_numpy(), uncertainty)


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
    """Each member's reading of a split. Those of ``test`` must be of the same images.

    Raises:
        UserError: members that scored other test images, or a number that is not finite; names
            the run.
    """
    if split == "test" and len(runs) > 1:
        member_scores(runs, split)
    return [_reading(run, split) for run in runs]


def _reading(run: RunResult, split: str) -> Reading:
    rows = run.split(split)
    # A column that is empty for all images is a part that this system does not have.
    names = [n for n in PARTS if n in run.scores and run.scores[n].notna().any()]
    if not np.isfinite(rows[["image_score", *names]].to_numpy()).all():
        raise UserError(f"{run.folder.name} holds scores that are not finite")
    scores, parts = rows["image_score"].to_numpy(), rows[names].to_numpy()
    return Reading(rows["label"].to_numpy(), scores, parts)


def normalised(fits: list[Reading], seen: list[Reading]) -> dict[str, np.ndarray]:
    """The members' scores (S, N) in every scale, each member's learnt from its own validation.

    Raises:
        ValueError: other numbers of members, or validation without normal or abnormal images.
    """
    pairs = list(zip(fits, seen, strict=True))
    if any(len(np.unique(fit.labels)) < 2 for fit in fits):
        raise ValueError("calibration needs normal and abnormal validation images of each member")
    out = {
        "raw": [new.scores for _, new in pairs],
        "standardised": [standardised(fit.normals, new.scores) for fit, new in pairs],
        "rank": [ranked(fit.normals, new.scores) for fit, new in pairs],
        "unsupervised": [gaussian_scaling(fit.normals, new.scores) for fit, new in pairs],
        "isotonic": [isotonic(fit.labels, fit.scores, new.scores) for fit, new in pairs],
        "logistic": [
            logistic(fit.labels, fit.scores[:, None], new.scores[:, None]) for fit, new in pairs
        ],
    }
    if seen[0].parts.shape[1]:
        out["parts"] = [logistic(fit.labels, fit.parts, new.parts) for fit, new in pairs]
    return {name: np.stack(members) for name, members in out.items()}


def judge(fits: list[Reading], seen: list[Reading], verdict: str = "scores") -> pd.DataFrame:
    """The per-image table: means, verdict, whether it is right, and every uncertainty.

    Args:
        fits: the members' validation, from which scales, probabilities and threshold are learnt.
        seen: the members on the images in question.
        verdict: key of `VERDICTS`.

    Returns:
        Columns label, mu, sigma (raw, population), ``mean_<scale>`` of each scale, predicted,
        correct, and those of `MEASURES` that can be had. The study's own are mu, sigma and, with
        the verdict ``scores``, predicted: by the mean of the members' own F1-max thresholds.
    """
    values = normalised(fits, seen)
    means = {f"mean_{name}": scores.mean(axis=0) for name, scores in values.items()}
    cut = np.mean([metrics.f1_max_threshold(fit.labels, fit.scores) for fit in fits])
    own = means["mean_raw"] >= cut if verdict == "scores" else means["mean_parts"] >= 0.5
    predicted = own.astype(int)
    labels = seen[0].labels
    base = {"label": labels, "mu": means["mean_raw"], "sigma": values["raw"].std(axis=0), **means}
    base |= {"predicted": predicted, "correct": predicted == labels}
    return pd.DataFrame(base | _measures(values, predicted, cut, fits, seen))


def _measures(
    values: dict[str, np.ndarray],
    predicted: np.ndarray,
    cut: float,
    fits: list[Reading],
    seen: list[Reading],
) -> dict[str, np.ndarray]:
    found = {
        "sigma_raw": values["raw"].std(axis=0),
        "sigma_standardised": values["standardised"].std(axis=0),
        "sigma_rank": values["rank"].std(axis=0),
        "sigma_probability": values["logistic"].std(axis=0),
        "closeness": -np.abs(values["raw"].mean(axis=0) - cut),
        "conformal": _one_member(fits[0], seen[0]),
        "entropy_unsupervised": entropy(values["unsupervised"].mean(axis=0)),
        "entropy_isotonic": entropy(values["isotonic"].mean(axis=0)),
    }
    for scale, ending in (("logistic", ""), ("parts", "_parts")):
        if scale in values:
            mean = values[scale].mean(axis=0)
            found |= {
                f"entropy{ending}": entropy(mean),
                f"disagreement{ending}": mutual_information(values[scale]),
                f"chance_of_error{ending}": np.where(predicted == 1, 1 - mean, mean),
            }
    return {name: found[name] for name in MEASURES if name in found}


def _one_member(fit: Reading, seen: Reading) -> np.ndarray:
    """Closeness of a conformal p-value, from normals alone, to that of the member's threshold.

    In bits, ``-log2 p``: all clear anomalies have a p-value near zero, and so near the threshold's.
    """
    cut = metrics.f1_max_threshold(fit.labels, fit.scores)
    scores = np.append(seen.scores, cut)
    bits = -np.log2(conformal_p_values(fit.normals, scores))
    return -np.abs(bits[:-1] - bits[-1])


def cross_fitted(
    fits: list[Reading], verdict: str = "scores", n_folds: int = 5, seed: int = 0
) -> pd.DataFrame:
    """`judge` of the validation images themselves, each by what the other folds have taught.

    A scale, probability or threshold judged on the images it was learnt from would look too good.

    Raises:
        ValueError: members with other validation images (those of folds), or a class of one.
    """
    labels = fits[0].labels
    if any(not np.array_equal(fit.labels, labels) for fit in fits):
        raise ValueError("members have other validation images: there is nothing to cross-fit on")
    n_folds = min(n_folds, int(np.bincount(labels, minlength=2).min()))
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    parts = []
    for known, held_out in folds.split(labels, labels):
        taken = ([fit.take(rows) for fit in fits] for rows in (known, held_out))
        parts.append(judge(*taken, verdict=verdict).set_index(held_out))
    return pd.concat(parts).sort_index()


def chosen_measure(validation: pd.DataFrame) -> str:
    """The measure that finds the errors of a cross-fitted validation table best, by AUROC.

    The first of `MEASURES` in a tie, up to rounding: two can be the same order of the images.
    """
    found = {n: error_auroc(validation, validation[n]) for n in MEASURES if n in validation}
    return max(found, key=lambda name: round(np.nan_to_num(found[name], nan=-1), 6))
