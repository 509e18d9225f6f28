"""What the runs say: differences with intervals, in percentage points, and verdicts on them.

Images are resampled; both sides of a comparison see the same resamples, so its interval is that of
the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.audit import audit_findings
from aeflow_utils.article.findings import Finding
from aeflow_utils.config import DataConfig
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.errors import UserError
from aeflow_utils.methods import get_method, methods_of
from aeflow_utils.metrics import compare
from aeflow_utils.metrics.compare import Measurement
from aeflow_utils.profiles import get_profile
from aeflow_utils.show.ensemble_measurements import ensemble_measurements
from aeflow_utils.show.tables import SCORE_COLUMNS
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.grid import BASE, grid_profile, variant_of
from aeflow_utils.study.results import (
    dataset_title,
    find,
    grouped,
    grouped_by,
    labels_and_scores,
    run_title,
)
from aeflow_utils.study.runs import RunResult

Runs = list[RunResult]  # of one method on one data set: they differ by seed, or by fold
MISSING = "No run here measures it: the data are not here."


@dataclass(frozen=True)
class Evidence:
    """Everything that a claim is judged by, read once from the runs of `profile`."""

    profile: str

    @cached_property
    def runs(self) -> list[RunResult]:
        """The rows of the study.

        Raises:
            UserError: there are none.
        """
        runs = find(self.profile)
        if not runs:
            raise UserError("there is no run to judge: make some with make reproduce")
        return runs

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
        """Labels of the data sets with runs."""
        return list(dict.fromkeys(dataset for dataset, *_ in self.methods))

    @cached_property
    def findings(self) -> dict[str, Finding]:
        """Findings of the audit, by name."""
        return {finding.name: finding for finding in audit_findings()}

    @cached_property
    def ensemble(self) -> pd.DataFrame:
        """What the ensembles show, as `ensemble_measurements` gives it."""
        return ensemble_measurements(ensembles(self.profile))

    @cached_property
    def grid(self) -> str:
        """The profile whose ablations and folds are shown."""
        return grid_profile(get_profile(self.profile))

    def of_grid(self, model: str, variant: str = "") -> dict[str, Runs]:
        """One row of the study by data set, of the profile of `grid`."""
        rows = grouped(find(self.grid, methods=(model,), variant=variant))
        return {dataset: runs for (dataset, *_), runs in rows.items()}

    @cached_property
    def bases(self) -> dict[str, Runs]:
        """The default AE-FLOW of each data set: what ablations and folds are compared with."""
        return self.of_grid("ae_flow", BASE)

    @cached_property
    def _side(self) -> dict[str, dict[str, Runs]]:
        """Ablations and folds by variant and data set; the folds of one way are together."""
        side = grouped_by(find(self.grid, "side"), lambda config: config.variant)
        return {
            variant: grouped_by(runs, lambda config: config.data.dataset)
            for variant, runs in side.items()
        }

    @property
    def folds(self) -> dict[str, Runs]:
        """The default trained anew on each fold, by data set."""
        return self._side.get(BASE, {})

    def changed(self, option: str, value: object, base: str = BASE) -> dict[str, Runs]:
        """The variant `base` (empty where a method has one) with one option changed, by data set.

        Raises:
            ValueError: the plan changes no such option, or not to this value.
        """
        return self._side.get(variant_of(option, value, base), {})

    def variant(self, dataset: str, model: str, name: str) -> Runs | None:
        """One of a method's rows in the study.

        Raises:
            ValueError: the method has no such row.
        """
        if name not in get_method(model).variants:
            raise ValueError(f"the study has no variant '{name}' of {model}")
        return self.methods.get((dataset, model, name))

    def of_domain(self, domain: str) -> list[str]:
        """Labels of the data sets that have runs and are ``medical`` or ``industrial``.

        Raises:
            ValueError: no data set is of this domain.
        """
        names = [name for name, spec in SPECS.items() if spec.domain == domain]
        if not names:
            raise ValueError(f"no data set is of the domain '{domain}'")
        return [label for label in self.datasets if parse_label(label)[0] in names]

    def best(self, dataset: str, *models: str) -> Runs | None:
        """Of the rows of these models, the one that validation prefers, else the first.

        Raises:
            UserError: there is no such model.
        """
        for model in models:
            get_method(model)
        rows = [r for (d, model, _), r in self.methods.items() if d == dataset and model in models]
        return max(rows, key=_validation_auroc, default=None)

    @cached_property
    def ae_flow(self) -> dict[str, Runs]:
        """AE-FLOW's `best` of each data set that has one."""
        best = {dataset: self.best(dataset, "ae_flow") for dataset in self.datasets}
        return {dataset: runs for dataset, runs in best.items() if runs}


def _validation_auroc(runs: Runs) -> float:
    return np.nan_to_num(np.mean([run.metrics["val_auroc"] for run in runs]), nan=-1)


def mean_auroc(runs: Runs, column: str = "image_score") -> float:
    """Test AUROC of a column of the stored scores, mean over seeds, in percent."""
    labels, scores = labels_and_scores(runs, column)
    return 100 * np.mean([metrics.auroc(labels, each) for each in scores])


def auroc_gap(runs: Runs, others: Runs, column: str = "image_score") -> Measurement:
    """`mean_auroc` of `runs` minus that of `others`, of whose stored scores `column` counts."""
    labels, ours = labels_and_scores(runs)
    theirs = labels_and_scores(others, column)[1]
    a, b = mean_auroc(runs), mean_auroc(others, column)
    draws = 100 * (metrics.auroc_draws(labels, ours) - metrics.auroc_draws(labels, theirs))
    name = run_title(others[0])
    if column != "image_score":
        part = next(title for title, stored in SCORE_COLUMNS.items() if stored == column)
        name = f"its {part} alone"
    text = f"{run_title(runs[0])} {a:.1f} %, {name} {b:.1f} %"
    return measured(runs[0].config.data, a - b, draws, text)


def auroc_above(runs: Runs, level: float, column: str = "image_score") -> Measurement:
    """Test AUROC, mean over seeds, minus `level`, in percent."""
    labels, scores = labels_and_scores(runs, column)
    draws = 100 * metrics.auroc_draws(labels, scores)
    return above(runs[0].config.data, mean_auroc(runs, column), draws, level)


def f1_gap(runs: Runs, other_cuts: list[float]) -> Measurement:
    """Test F1 at the F1-max thresholds of validation minus that at others, a threshold a run."""
    labels, scores = labels_and_scores(runs)
    cuts = [run.metrics["thresholds"]["val_f1"] for run in runs]
    sides = [scores >= np.array(each)[:, None] for each in (cuts, other_cuts)]
    a, b = (
        100 * np.mean([metrics.classification(labels, p)["f1"] for p in side]) for side in sides
    )
    first, second = (metrics.classification_draws(labels, side, "f1") for side in sides)
    text = f"{a:.1f} % and {b:.1f} %"
    return measured(runs[0].config.data, a - b, 100 * (first - second), text)


def above(data: DataConfig, value: float, draws: np.ndarray, level: float) -> Measurement:
    """`value` with the interval of its bootstrap `draws` (R,), minus `level`; all in percent."""
    low, high = metrics.percentile_interval(draws)
    text = f"{value:.1f} % [{low:.1f}, {high:.1f}]"
    return Measurement(dataset_title(data), value - level, low - level, high - level, text)


def measured(data: DataConfig, value: float, draws: np.ndarray, text: str) -> Measurement:
    """A difference with the interval of its bootstrap `draws` (R,), in points, added to `text`."""
    low, high = metrics.percentile_interval(draws)
    span = f"({signed(value)} [{signed(low)}, {signed(high)}])"
    return Measurement(dataset_title(data), value, low, high, f"{text} {span}")


def relation(gap: Measurement) -> str:
    """Where the first of two is, if the whole interval of their difference says so."""
    return "ahead of" if gap.low > 0 else "behind" if gap.high < 0 else "level with"


def signed(value: float) -> str:
    """``+1.2`` or ``−1.2``, with a minus and not a hyphen."""
    return f"{value:+.1f}".replace("-", "−")


def rivals() -> tuple[str, ...]:
    """Every method beside AE-FLOW that is trained."""
    return tuple(key for key in methods_of("trained", "gan") if key != "ae_flow")


class Judgement(NamedTuple):
    """One of `compare.VERDICTS`, and for readers what it rests on."""

    verdict: str
    told: str


def judgement(lead: str, measurements: list[Measurement]) -> Judgement:
    """The verdict of the rule, and `lead` with each measurement behind it."""
    measurements = [m for m in measurements if np.isfinite(m.value)]
    if not measurements:
        return Judgement(compare.NOT_TESTABLE, MISSING)
    by_place: dict[str, list[str]] = {}
    for m in measurements:
        by_place.setdefault(m.where, []).append(m.text)
    told = " ".join(f"{where}: {'; '.join(texts)}." for where, texts in by_place.items())
    return Judgement(compare.verdict_of(measurements), f"{lead}. {told}")


def of_parts(holds: list[bool]) -> str:
    """The verdict on a claim that is not measured but holds or fails in each of its parts."""
    return compare.CONFIRMED if all(holds) else compare.PARTLY if any(holds) else compare.REFUTED
