"""What the results here say: measurements with intervals, and one rule from them to a verdict.

Values are in percentage points. Images are resampled; both sides of a comparison see the same
resamples, so its interval is that of the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article import ensemble_story as uncertainty_story
from aeflow_utils.article.audit import audit_findings
from aeflow_utils.article.findings import Finding
from aeflow_utils.config import DataConfig, get_profile
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.show.tables import SCORE_COLUMNS
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.grid import BASE, ablation_table, fold_table, grid_profile
from aeflow_utils.study.results import (
    dataset_title,
    find,
    grouped,
    labels_and_scores,
    run_title,
)
from aeflow_utils.study.runs import RunResult

CONFIRMED, PARTLY, REFUTED = "confirmed", "partly", "refuted"
OPEN, NOT_TESTABLE = "open", "not testable here"
VERDICTS = (CONFIRMED, PARTLY, REFUTED, OPEN, NOT_TESTABLE)
Runs = list[RunResult]


@dataclass(frozen=True)
class Measurement:
    """One number that speaks for a claim where it is above 0, and against it below.

    Args:
        where: title of the data set.
        value, low, high: the number and its 95 % interval, in points.
        text: the same for readers, without the data set.
    """

    where: str
    value: float
    low: float
    high: float
    text: str


def verdict_of(measurements: list[Measurement]) -> str:
    """One word for all of them.

    A measurement supports a claim when its whole interval lies above 0, and contradicts it when
    it lies below. All support: confirmed. Some do: partly. None does and at least one contradicts:
    refuted. None says either: open. Nothing was measured: not testable here.
    """
    if not measurements:
        return NOT_TESTABLE
    supports = sum(m.low > 0 for m in measurements)
    if supports == len(measurements):
        return CONFIRMED
    if supports:
        return PARTLY
    return REFUTED if any(m.high < 0 for m in measurements) else OPEN


@dataclass(frozen=True)
class Evidence:
    """Everything that a claim is judged by, read once from the runs of `profile`."""

    profile: str

    @cached_property
    def runs(self) -> Runs:
        return find(self.profile)

    @property
    def shown(self) -> str:
        """The profile whose runs these are: the recorded laptop's where `profile` has none."""
        return self.runs[0].config.profile

    @cached_property
    def methods(self) -> dict[tuple[str, str, str], Runs]:
        """Runs that differ by seed, by (data set, model, variant)."""
        return grouped(self.runs)

    @cached_property
    def datasets(self) -> list[str]:
        return list(dict.fromkeys(dataset for dataset, *_ in self.methods))

    @cached_property
    def findings(self) -> dict[str, Finding]:
        """Findings of the audit, by name."""
        return {finding.finding: finding for finding in audit_findings()}

    @cached_property
    def ensemble(self) -> pd.DataFrame:
        """What the ensembles show, as `uncertainty_story.evidence` gives it."""
        return uncertainty_story.evidence(ensembles(self.profile))

    @cached_property
    def grid(self) -> str:
        """The profile whose ablations and folds are shown."""
        return grid_profile(get_profile(self.profile))

    @cached_property
    def grid_methods(self) -> dict[tuple[str, str, str], Runs]:
        """As `methods`, of the profile of ablations and folds: they are compared with these."""
        return self.methods if self.grid == self.shown else grouped(find(self.grid))

    @property
    def bases(self) -> dict[str, Runs]:
        """The default AE-FLOW of each data set: what ablations and folds are compared with."""
        found = self.grid_methods.items()
        return {d: runs for (d, model, name), runs in found if (model, name) == ("ae_flow", BASE)}

    @cached_property
    def side(self) -> dict[tuple[str, str], Runs]:
        """Ablations and folds by (data set, variant); the folds of one way are together."""
        found: dict[tuple[str, str], Runs] = {}
        for run in find(self.grid, "side"):
            found.setdefault((run.config.data.dataset, run.config.variant), []).append(run)
        return found

    @cached_property
    def choices(self) -> pd.DataFrame:
        return ablation_table(self.grid)

    @cached_property
    def folds(self) -> pd.DataFrame:
        return fold_table(self.grid)

    def domain(self, dataset: str) -> str:
        """``medical`` or ``industrial``."""
        return SPECS[parse_label(dataset)[0]].domain

    def best(self, dataset: str, *models: str) -> Runs | None:
        """Of the methods of these models, the one that validation prefers, else the first."""
        found = [r for (d, model, _), r in self.methods.items() if d == dataset and model in models]
        return max(found, key=_validation_auroc, default=None)

    @cached_property
    def ae_flow(self) -> dict[str, Runs]:
        """AE-FLOW's `best` of each data set that has one."""
        found = {dataset: self.best(dataset, "ae_flow") for dataset in self.datasets}
        return {dataset: runs for dataset, runs in found.items() if runs}


def _validation_auroc(runs: Runs) -> float:
    value = np.mean([run.metrics["val_auroc"] for run in runs])
    return -1.0 if np.isnan(value) else float(value)


def auroc_gap(
    runs: Runs, others: Runs, column: str = "image_score", where: DataConfig | None = None
) -> Measurement:
    """Test AUROC of `runs` minus that of `others`, both means over seeds.

    Args:
        column: of the stored scores, for `others`.
        where: the data set to name, if not that of `runs`.
    """
    labels, ours = labels_and_scores(runs)
    theirs = labels_and_scores(others, column)[1]
    a, b = (100 * np.mean([metrics.auroc(labels, s) for s in side]) for side in (ours, theirs))
    draws = 100 * (metrics.auroc_draws(labels, ours) - metrics.auroc_draws(labels, theirs))
    theirs_name = run_title(others[0]) if column == "image_score" else f"its {_part(column)}"
    text = f"{run_title(runs[0])} {a:.1f} %, {theirs_name} {b:.1f} %"
    return measured(where or runs[0].config.data, a - b, draws, text)


def auroc_above(runs: Runs, level: float, column: str = "image_score") -> Measurement:
    """Test AUROC, mean over seeds, minus `level`, in percent."""
    labels, scores = labels_and_scores(runs, column)
    value = 100 * np.mean([metrics.auroc(labels, s) for s in scores])
    draws = 100 * metrics.auroc_draws(labels, scores) - level
    low, high = metrics.percentile_interval(draws + level)
    text = f"{value:.1f} % [{low:.1f}, {high:.1f}]"
    return measured(runs[0].config.data, value - level, draws, text, with_span=False)


def f1_gap(runs: Runs, cuts: np.ndarray, other_cuts: np.ndarray) -> Measurement:
    """Test F1 of `runs` at `cuts` (S,) minus that at `other_cuts` (S,), means over seeds."""
    labels, scores = labels_and_scores(runs)
    sides = [scores >= np.asarray(c, dtype=float)[:, None] for c in (cuts, other_cuts)]
    a, b = (
        100 * np.mean([metrics.classification(labels, p)["f1"] for p in side]) for side in sides
    )
    first, second = (metrics.classification_draws(labels, side, "f1") for side in sides)
    text = f"{a:.1f} % and {b:.1f} %"
    return measured(runs[0].config.data, a - b, 100 * (first - second), text)


def measured(
    data: DataConfig, value: float, draws: np.ndarray, text: str, with_span: bool = True
) -> Measurement:
    """A measurement with the interval of its bootstrap `draws` (R,), in points.

    Args:
        text: its numbers; difference and interval are added to it if `with_span`.
    """
    low, high = metrics.percentile_interval(draws)
    span = f" ({signed(value)} [{signed(low)}, {signed(high)}])" if with_span else ""
    return Measurement(dataset_title(data), value, low, high, text + span)


def signed(value: float) -> str:
    """``+1.2`` or ``−1.2``, with a minus and not a hyphen."""
    return f"{value:+.1f}".replace("-", "−")


def _part(column: str) -> str:
    return next(title for title, name in SCORE_COLUMNS.items() if name == column) + " alone"
