"""Deep ensemble: several runs on the same images to one score, one uncertainty, one table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.errors import UserError
from aeflow_utils.runs import RunResult

BLOG_SIGMA = 0.0785  # above this the blog calls a prediction uncertain


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


def combine(runs: list[RunResult], regime: str = "val_f1") -> pd.DataFrame:
    """The blog's ensemble on the test images: one row an image.

    Columns: path, label, kind; mu and sigma (population) of the members' raw scores; predicted,
    by the mean of the members' own thresholds; correct.
    """
    images, scores = member_scores(runs, "test")
    predicted = (scores.mean(axis=0) >= mean_threshold(runs, regime)).astype(int)
    return images.assign(
        mu=scores.mean(axis=0),
        sigma=scores.std(axis=0),
        predicted=predicted,
        correct=predicted == images["label"],
    )


def mean_threshold(runs: list[RunResult], regime: str) -> float:
    """Mean of the members' own thresholds, as in the blog."""
    return float(np.mean([run.metrics["thresholds"][regime] for run in runs]))


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


def has_threshold(runs: list[RunResult], regime: str) -> bool:
    """Whether every member has a threshold in this regime."""
    return all(np.isfinite(run.metrics["thresholds"][regime]) for run in runs)


def error_auroc(combined: pd.DataFrame, uncertainty: np.ndarray) -> float:
    """AUROC of an uncertainty (N,) for telling wrong predictions from right ones.

    0.5 says nothing, below it is the wrong way round; NaN where nothing, or everything, is wrong.
    """
    return metrics.auroc((~combined["correct"]).astype(int).to_numpy(), uncertainty)


def error_table(members: dict[tuple[str, str, str], list[RunResult]]) -> pd.DataFrame:
    """How well two uncertainties rank wrong decisions, a row a data set, in percent.

    Args:
        members: runs of each ensemble by (data set, model, variant), as `grouped` gives them.
    """
    rows = []
    for (dataset, *_), runs in members.items():
        combined = combine(runs)
        closeness = -np.abs(combined["mu"] - mean_threshold(runs, "val_f1"))
        test = combined["label"], combined["mu"]
        rows.append(
            {
                "data set": dataset,
                "members": len(runs),
                "AUROC of a member": round(100 * np.mean([r.metrics["auroc"] for r in runs]), 1),
                "AUROC of the mean": round(100 * metrics.auroc(*test), 1),
                "right": f"{100 * combined['correct'].mean():.1f}",
                "sigma ranks errors": round(100 * error_auroc(combined, combined["sigma"]), 1),
                "closeness ranks errors": round(100 * error_auroc(combined, closeness), 1),
            }
        )
    return pd.DataFrame(rows)
