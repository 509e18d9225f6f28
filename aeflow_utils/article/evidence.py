"""What the runs say: differences with intervals over seeds and images, in percentage points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.article.audit import Check, checks
from aeflow_utils.data.catalog import SPECS, parse_label
from aeflow_utils.errors import UserError
from aeflow_utils.methods import get_method, methods_of
from aeflow_utils.metrics.compare import Estimate, Sample
from aeflow_utils.metrics.verdicts import NOT_SUPPORTED, PARTLY, SUPPORTED, Measurement
from aeflow_utils.profiles import PROFILES
from aeflow_utils.show.ensemble_measurements import PREFIXES, ensemble_measurements
from aeflow_utils.show.tables import SCORE_COLUMNS
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.grid import BASE, variant_of
from aeflow_utils.study.histories import diverged
from aeflow_utils.study.results import (
    auroc_of,
    classification_of,
    dataset_title,
    find,
    grouped,
    grouped_by,
    run_title,
)
from aeflow_utils.study.runs import RunResult

Runs = list[RunResult]  # of one method on one data set: they differ by seed, or by fold
NOTHING = "no run here measures it"
TITLES = {"f1": "F1", "acc": "accuracy", "bacc": "balanced accuracy"}


@dataclass(frozen=True)
class Evidence:
    """Everything that a claim is judged by, read once from the runs of `profile`."""

    profile: str

    @cached_property
    def runs(self) -> list[RunResult]:
        """The rows of the study, in its own splits: images count once. What diverged is no score.

        Raises:
            UserError: there are none.
        """
        runs = [r for r in find(self.profile) if not (r.config.beside or diverged(r))]
        if not runs:
            raise UserError("there is no run to judge: make some with make reproduce")
        return runs

    @property
    def shown(self) -> str:
        """The profile whose runs these are: `EVIDENCE` where `profile` has none."""
        return self.runs[0].config.profile

    @property
    def other_policies(self) -> list[str]:
        """Profiles whose runs are these but for how they were trained, if there are any."""
        others = [name for name, other in PROFILES.items() if other.untrained_of == self.profile]
        return [name for name in others if find(name, "recorded") or find(name, "here")]

    @property
    def setting(self) -> str:
        """How these runs were trained and on what: encoder, size, policy, budget, seeds."""
        trained = (run.config for run in self.runs if not run.config.method.deterministic)
        config = next(trained, self.runs[0].config)
        profile = PROFILES[config.profile]
        return (
            f"{config.model.encoder}, {config.data.image_size} px, {profile.policy}, "
            f"{profile.seeds} seeds (profile {config.profile})"
        )

    @cached_property
    def methods(self) -> dict[tuple[str, str, str], Runs]:
        """Runs that differ by seed, by (data set, model, variant)."""
        return grouped(self.runs)

    @cached_property
    def datasets(self) -> list[str]:
        """Labels of the data sets with runs."""
        return list(dict.fromkeys(dataset for dataset, *_ in self.methods))

    @cached_property
    def checks(self) -> dict[str, Check]:
        """What the printed figures themselves say, by name."""
        return checks()

    @cached_property
    def ensemble(self) -> pd.DataFrame:
        """What the ensembles show, as `ensemble_measurements` gives it."""
        rest = [decision for decision in PREFIXES if decision != "scores"]
        return pd.concat(
            [self.study_ensemble, ensemble_measurements(ensembles(self.profile), rest)]
        )

    @cached_property
    def study_ensemble(self) -> pd.DataFrame:
        """The part of `ensemble` that judges by the study's decision: what claims are about."""
        return ensemble_measurements(ensembles(self.profile), ["scores"])

    def row(self, model: str, variant: str = "") -> dict[str, Runs]:
        """One row of the study, by data set."""
        return {d: runs for (d, *row), runs in self.methods.items() if row == [model, variant]}

    @cached_property
    def bases(self) -> dict[str, Runs]:
        """The default AE-FLOW of each data set: what ablations and folds are compared with."""
        return self.row("ae_flow", BASE)

    @cached_property
    def _side(self) -> dict[str, dict[str, Runs]]:
        """Ablations and folds by variant and data set; the folds of one way are together."""
        side = grouped_by(find(self.shown, "side"), lambda config: config.variant)
        return {
            variant: grouped_by(runs, lambda config: config.data.whole_label)
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

    def named(self, dataset: str) -> list[str]:
        """Labels with runs of the data set of this name: of one that has them, its categories."""
        return [d for d in self.datasets if parse_label(d)[0] == dataset]

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


def auroc_gap(
    runs: Runs, others: Runs, column: str = "image_score", spread: Runs | None = None
) -> Measurement:
    """Test AUROC of `runs` minus that of `others`, of whose stored scores `column` counts."""
    ours, theirs = auroc_of(runs), auroc_of(others, column)
    gap = metrics.difference(ours, theirs, auroc_of(spread) if spread else None)
    name = run_title(others[0])
    if column != "image_score":
        part = next(title for title, stored in SCORE_COLUMNS.items() if stored == column)
        name = f"its {part} alone"
    return _gap(runs, run_title(runs[0]), ours, name, theirs, gap)


def threshold_gap(runs: Runs, others: Runs, metric: str) -> Measurement:
    """A metric at each run's F1-max threshold of validation: that of `runs` minus `others`'."""
    sides = [classification_of(each, cuts_of(each, "val_f1"), metric) for each in (runs, others)]
    names = run_title(runs[0]), run_title(others[0])
    gap = metrics.difference(*sides)
    return _gap(runs, f"{names[0]}, {TITLES[metric]}", sides[0], names[1], sides[1], gap)


def cuts_gap(runs: Runs, cuts: list[float], others: list[float], metric: str) -> Measurement:
    """A metric of the same runs at two thresholds each: the first minus the second."""
    sides = [classification_of(runs, each, metric) for each in (cuts, others)]
    gap = metrics.difference(*sides)
    return _gap(runs, TITLES[metric], sides[0], "and", sides[1], gap)


def _gap(
    runs: Runs, name: str, ours: Sample, other: str, theirs: Sample, gap: Estimate
) -> Measurement:
    a, b = (100 * np.mean(sample.observed) for sample in (ours, theirs))
    text = f"{name} {a:.1f} %, {other} {b:.1f} %"
    return Measurement(dataset_title(runs[0].config.data), gap.times(100), text)


def above(runs: Runs, sample: Sample, level: float) -> Measurement:
    """A sample's mean, in percent, minus `level`."""
    estimate = metrics.mean_of(sample).times(100)
    where, text = dataset_title(runs[0].config.data), f"{estimate.value:.1f} %"
    return Measurement(where, estimate.minus(level), text, margin=0)


def cuts_of(runs: Runs, regime: str) -> list[float]:
    """Each run's threshold: of `REGIMES`, or the one that is best by ``weighted_f1``."""
    if regime != "weighted_f1":
        return [run.metrics["thresholds"][regime] for run in runs]
    each = [run.labelled("val") for run in runs]
    best, criterion = metrics.best_threshold, metrics.class_weighted_f1
    return [best(val["label"], val["image_score"], criterion) for val in each]


def signed(value: float) -> str:
    """``+1.2`` or ``−1.2``, with a minus and not a hyphen."""
    return f"{value:+.1f}".replace("-", "−")


def rivals() -> tuple[str, ...]:
    """Every method beside AE-FLOW that is trained."""
    return tuple(key for key in methods_of("trained", "gan") if key != "ae_flow")


@dataclass(frozen=True)
class Case:
    """What a claim is judged by.

    Args:
        measurements: the numbers that the rule of `metrics.verdicts` turns into a verdict.
        verdict: one that arithmetic, or the lack of something, gives without measurements.
        facts: what such a verdict rests on.
    """

    measurements: tuple[Measurement, ...] = ()
    verdict: str = ""
    facts: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """For readers: the facts, and every measurement with difference and interval, by set."""
        by_place: dict[str, list[str]] = {}
        for m in self.measurements:
            value, low, high = map(signed, (m.estimate.value, m.estimate.low, m.estimate.high))
            by_place.setdefault(m.where, []).append(f"{m.text} ({value} [{low}, {high}])")
        places = [f"{where}: {'; '.join(texts)}" for where, texts in by_place.items()]
        return ". ".join([*places, *self.facts]) or NOTHING


def measured(measurements: list[Measurement]) -> Case:
    """A case of those measurements that there are."""
    return Case(tuple(m for m in measurements if np.isfinite(m.estimate.value)))


def of_parts(holds: list[bool], failed: str = NOT_SUPPORTED) -> str:
    """The verdict on a claim that is not measured but holds or fails in each of its parts."""
    return SUPPORTED if all(holds) else PARTLY if any(holds) else failed
