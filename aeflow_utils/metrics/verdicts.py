"""One rule from measurements to a verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aeflow_utils.metrics.compare import LEVEL, Estimate

SUPPORTED, PARTLY, NOT_SUPPORTED = "supported here", "supported in part here", "not supported here"
SAME, UNDECIDED, NOT_TESTABLE = "no difference", "undecided", "not testable here"
REFUTED = "refuted"  # of printed numbers that arithmetic contradicts, and of nothing else
VERDICTS = (SUPPORTED, PARTLY, NOT_SUPPORTED, SAME, UNDECIDED, REFUTED, NOT_TESTABLE)

MARGIN = 1.0  # points: a difference whose whole interval is nearer to 0 is none in practice
MIN_SEEDS = 5  # fewer carry no claim about trainings


def holm(p_values: np.ndarray, alpha: float = 1 - LEVEL) -> np.ndarray:
    """Which of a family of comparisons stand, (M,) bool, with `alpha` for the whole family.

    The smallest p-value is held against alpha / M, the next against alpha / (M - 1), and so on
    until one fails (Holm, 1979).
    """
    order = np.argsort(p_values, kind="stable")
    limits = alpha / np.arange(len(order), 0, -1)
    stand = np.zeros(len(order), dtype=bool)
    stand[order] = np.logical_and.accumulate(np.asarray(p_values)[order] <= limits)
    return stand


@dataclass(frozen=True)
class Measurement:
    """One number that speaks for a claim where it is above 0, and against it below.

    Args:
        where: title of the data set.
        estimate: the number, in percentage points.
        text: what was measured, for readers, without the data set and the number.
        margin: points within which it is no difference in practice; 0 where it is none at all,
            but a distance from a level.
        stands: whether it is told from 0 within its family of comparisons, see `holm`.
    """

    where: str
    estimate: Estimate
    text: str
    margin: float = MARGIN
    stands: bool = True

    @property
    def relation(self) -> str:
        """``same``, within `margin` of 0; ``for`` or ``against`` a claim; or ``open``."""
        low, high = self.estimate.low, self.estimate.high
        if not (np.isfinite(self.estimate.value) and self.estimate.seed_df >= MIN_SEEDS - 1):
            return "open"
        if -self.margin < low and high < self.margin:
            return "same"
        if not self.stands:
            return "open"
        return "for" if low > 0 else "against" if high < 0 else "open"


def in_family(measurements: list[Measurement]) -> list[Measurement]:
    """The same, each knowing whether it stands among all of them."""
    stand = holm(np.array([m.estimate.p_value for m in measurements]))
    return [replace(m, stands=bool(s)) for m, s in zip(measurements, stand, strict=True)]


def verdict_of(measurements: list[Measurement], needs: str) -> str:
    """The verdict on a claim that needs ``all of`` its measurements, or any of them.

    ``all of``: supported if all speak for it, not supported as soon as one speaks against it or
    shows no difference. ``any of``: supported if all speak for it, in part if some do, not
    supported only if none can. No difference if no measurement shows any. Else undecided.

    Raises:
        ValueError: `needs` is something else.
    """
    if needs not in ("all of", "any of"):
        raise ValueError(f"a claim needs 'all of' or 'any of' its measurements, not '{needs}'")
    if not measurements:
        return NOT_TESTABLE
    relations = [m.relation for m in measurements]
    kinds = set(relations)
    if kinds == {"for"}:
        return SUPPORTED
    if kinds == {"same"}:
        return SAME
    failed = kinds & {"against", "same"}
    if needs == "all of":
        return NOT_SUPPORTED if failed else UNDECIDED
    if "for" in kinds:
        return PARTLY
    return UNDECIDED if "open" in kinds else NOT_SUPPORTED
