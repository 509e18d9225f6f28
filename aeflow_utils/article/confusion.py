"""Which confusion matrices can lie behind printed figures: counts in, tables out.

Figures are in percent here, as they are printed. A matrix on given class counts is two numbers:
TP, the abnormal images called abnormal, and TN, the normal images called normal.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils.metrics import classification_of_counts

RULES = ("either", "rounded", "cut")
_SLACK = 1e-9  # a value on the border of an interval is inside


def matrices(tp: np.ndarray, tn: np.ndarray, n_normal: int, n_abnormal: int) -> pd.DataFrame:
    """One row a matrix: tp, fn, tn, fp, and the metrics of `metrics.CLASSIFICATION` in percent."""
    tp, tn = np.atleast_1d(tp), np.atleast_1d(tn)
    counts = {"tp": tp, "fn": n_abnormal - tp, "tn": tn, "fp": n_normal - tn}
    values = classification_of_counts(tp, tn, n_normal, n_abnormal)
    return pd.DataFrame(counts | {name: 100 * value for name, value in values.items()})


def all_abnormal(n_normal: int, n_abnormal: int) -> dict[str, float]:
    """What calling every image abnormal scores, in percent."""
    return matrices(n_abnormal, 0, n_normal, n_abnormal).iloc[0].to_dict()


def decimals(figure: float) -> int:
    """Digits after the point. Zeros at the end do not count, which widens what can be meant."""
    return len(f"{figure:.10g}".partition(".")[2])


def prints_as(values: np.ndarray, figure: float, rule: str = "either") -> np.ndarray:
    """Where `values` (N,) in percent would be printed as `figure`.

    Args:
        rule: ``rounded`` to the figure's decimals, ``cut`` after them, or ``either``.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in RULES:
        raise ValueError(f"unknown rule '{rule}': choose one of {', '.join(RULES)}")
    unit = 10.0 ** -decimals(figure)
    low = figure if rule == "cut" else figure - unit / 2
    high = figure + unit / 2 + _SLACK if rule == "rounded" else figure + unit - _SLACK
    return (values >= low - _SLACK) & (values <= high)


def rights(acc: float, n_images: int, rule: str = "either") -> np.ndarray:
    """Every number of right decisions on so many images whose share would be printed as `acc`."""
    right = np.arange(n_images + 1)
    return right[prints_as(100 * right / n_images, acc, rule)]


def matching(
    printed: dict[str, float], n_normal: int, n_abnormal: int, rule: str = "either"
) -> pd.DataFrame:
    """Every matrix on these images whose metrics would be printed as the figures.

    Args:
        printed: some of `metrics.CLASSIFICATION`, in percent.
        rule: as in `prints_as`, for each figure by itself.
    """
    right = np.arange(n_normal + n_abnormal + 1)
    if "acc" in printed:  # few numbers of right decisions are left, and so few matrices to try
        right = rights(printed["acc"], right[-1], rule)
    tp, right = (grid.ravel() for grid in np.meshgrid(np.arange(n_abnormal + 1), right))
    tn = right - tp
    possible = (tn >= 0) & (tn <= n_normal)
    table = matrices(tp[possible], tn[possible], n_normal, n_abnormal)
    for metric, figure in printed.items():
        table = table[prints_as(table[metric].to_numpy(), figure, rule)]
    return table.reset_index(drop=True)
