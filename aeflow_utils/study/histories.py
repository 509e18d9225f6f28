"""How far a training came, by the losses that a run wrote down."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils.config import WARM_UP
from aeflow_utils.study.runs import RunResult


def kept_row(run: RunResult) -> pd.Series:
    """The losses of the epoch whose weights a run kept."""
    lowest = run.config.train.keep == "lowest"
    return run.history.loc[judged_losses(run).idxmin() if lowest else run.history.index[-1]]


def judged_losses(run: RunResult) -> pd.Series:
    """The loss on validation normals that rate and epoch are chosen by, where it is finite."""
    losses = run.history.get(f"val_{run.config.method.judged_by}", pd.Series(dtype=float))
    return losses[np.isfinite(losses)]


def diverged(run: RunResult) -> bool:
    """Whether the weights that were kept have learnt nothing at the full rate, or were lost.

    So are those of an epoch with no lower loss on validation normals than the first; and those of
    the first, if that ended within the warm-up, or if no loss after it was finite. A GAN's losses
    rise and fall with its adversary's, and say nothing of the kind.
    """
    losses, n_epochs = judged_losses(run), len(run.history)
    if run.config.method.kind != "trained" or losses.empty or n_epochs < 2:
        return False
    kept, first = kept_row(run).name, losses.index[0]
    if kept == first:
        return 1 / n_epochs <= WARM_UP or len(losses) == 1
    return not losses[kept] < losses[first]


def still_falling(run: RunResult) -> float:
    """By what share of itself the loss on validation normals fell in the last tenth of training.

    Of the lowest loss so far, at the end and a tenth before it, over the fall since the first
    epoch: 0.1 would be a loss that falls as fast at the end as on average. NaN without a loss.
    """
    losses = judged_losses(run)
    if len(losses) < 2:
        return float("nan")
    lowest = losses.cummin().to_numpy()
    before = lowest[-1 - max(1, round(len(lowest) / 10))]
    whole = lowest[0] - lowest[-1]
    return float((before - lowest[-1]) / whole) if whole else 0.0
