"""How claims on detectors are judged: runs in, measurements and what else they rest on out.

Every public function is a judge. The claims and a judge's arguments are rows of
``results/claims_in_print.csv``; every argument is text.
"""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np

from aeflow_utils import metrics
from aeflow_utils.article.evidence import (
    Case,
    Evidence,
    above,
    auroc_gap,
    cuts_gap,
    cuts_of,
    measured,
    of_parts,
    rivals,
    threshold_gap,
)
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.metrics.verdicts import NOT_TESTABLE, Measurement
from aeflow_utils.options import CHOICES
from aeflow_utils.study.grid import BASE, LEFT_OPEN
from aeflow_utils.study.results import auroc_of, dataset_title, label_title

NEAR_ZERO = 0.05  # share of its first value below which a loss rests at zero


def _gaps(evidence: Evidence, datasets: list[str], model: str, *others: str) -> list[Measurement]:
    """AUROC of a method minus that of the better of others, on each data set that has both."""
    pairs = [(evidence.best(d, model), evidence.best(d, *others)) for d in datasets]
    return [auroc_gap(*pair) for pair in pairs if all(pair)]


def against_rivals(evidence: Evidence, domain: str) -> Case:
    """AE-FLOW against every method that is trained, on the data sets of a domain."""
    here = evidence.of_domain(domain)
    gaps = [gap for rival in rivals() for gap in _gaps(evidence, here, "ae_flow", rival)]
    return measured(gaps)


def in_order(evidence: Evidence, dataset: str, order: str) -> Case:
    """Orders of methods on one data set, as ``acc: autoencoder < ae_flow | f1: ...``.

    By default an order is one of AUROC; the other metrics are those at F1-max thresholds. With
    ``=`` for ``<`` it claims that two methods are level, within the margin of a `Measurement`.
    """
    here, gaps = evidence.named(dataset), []
    for each in order.split(" | "):
        metric, _, methods = each.rpartition(": ")
        for low, high in pairwise(re.split(" [<=] ", methods)):
            pairs = [(evidence.best(label, high), evidence.best(label, low)) for label in here]
            compare = threshold_gap if metric else auroc_gap
            gaps += [compare(*pair, *filter(None, [metric])) for pair in pairs if all(pair)]
    case = measured(gaps)
    if " = " in order and gaps:
        case = Case(case.measurements, of_parts([gap.relation == "same" for gap in gaps]))
    return _of_whole_set(case, dataset, here)


def _of_whole_set(case: Case, dataset: str, here: list[str]) -> Case:
    """A claim on a data set of many categories is not tested on some of them."""
    categories = len(SPECS[dataset].categories)
    if not 0 < len(here) < categories:
        return case
    facts = (case.told, f"{len(here)} of {categories} categories here")
    return Case(verdict=NOT_TESTABLE, facts=facts)


def worse_on(evidence: Evidence, dataset: str, other: str) -> Case:
    """AE-FLOW on one data set against AE-FLOW on another."""
    pair = [evidence.ae_flow.get(name) for name in (other, dataset)]
    if not all(pair):
        return Case(verdict=NOT_TESTABLE)
    gap = metrics.difference(*(auroc_of(runs, seed=k) for k, runs in enumerate(pair)))
    where = " and ".join(dataset_title(runs[0].config.data) for runs in pair)
    return measured([Measurement(where, gap.times(100), "the difference")])


def joined(evidence: Evidence) -> Case:
    """The whole score against each of its parts, on the same runs."""
    columns, best = ("flow_score", "recon_score"), evidence.ae_flow.values()
    gaps = [auroc_gap(runs, runs, column) for column in columns for runs in best]
    return measured(gaps)


def badly_painted(evidence: Evidence) -> Case:
    """Whether the reconstruction alone ranks abnormal images above normal ones."""
    levels = [above(r, auroc_of(r, "recon_score"), 50) for r in evidence.ae_flow.values()]
    return measured(levels)


def subnets(evidence: Evidence, subnet: str, dataset: str) -> Case:
    """One subnet against the other on one data set, the other way round elsewhere."""
    (other,) = (name for name in CHOICES["subnet"] if name != subnet)
    gaps = []
    for label in evidence.datasets:
        order = (subnet, other) if label == dataset else (other, subnet)
        pair = [evidence.variant(label, "ae_flow", name) for name in order]
        if all(pair):
            gaps.append(auroc_gap(*pair))
    return measured(gaps)


def changed_choice(evidence: Evidence, option: str, value: str, better: str = "changed") -> Case:
    """A choice of the grid against the default, one training against all of the default's.

    Args:
        better: which of the two the claim is for, ``changed`` or ``default``.
    """
    gaps = []
    for dataset, changed in evidence.changed(option, {"True": True}.get(value, value)).items():
        if base := evidence.bases.get(dataset):
            pair = (changed, base) if better == "changed" else (base, changed)
            gaps.append(auroc_gap(*pair))
    return measured(gaps)


def losses_cancel(evidence: Evidence) -> Case:
    """Whether the literal loss comes to rest near 0, where its terms have equal size."""
    texts, rests = [], []
    for dataset, in_nats in evidence.changed("likelihood_unit", "nats").items():
        total = in_nats[0].history["train_total"].to_numpy()
        rests.append(abs(total[-1]) < NEAR_ZERO * abs(total[0]))
        texts.append(f"{label_title(dataset)}: {total[0]:,.0f} and {total[-1]:,.0f}")
    return Case(verdict=of_parts(rests) if rests else NOT_TESTABLE, facts=tuple(texts))


def thresholds(
    evidence: Evidence, rule: str, other: str, by: str = "f1", allowed: str = "0"
) -> Case:
    """AE-FLOW at the threshold of one rule against that of another, where validation has labels.

    Args:
        rule, other: as `cuts_of` knows them.
        by: some of `metrics.CLASSIFICATION`, as ``f1, bacc``.
        allowed: points that the first may lose; none else decides where some are.
    """
    gaps, lost = [], float(allowed)
    for runs in evidence.ae_flow.values():
        if all(np.isfinite(run.metrics["val_auroc"]) for run in runs):
            sides = cuts_of(runs, rule), cuts_of(runs, other)
            gaps += [cuts_gap(runs, *sides, metric) for metric in by.split(", ")]
    if lost:
        gaps = [Measurement(g.where, g.estimate.minus(-lost), g.text, margin=0) for g in gaps]
    return measured(gaps)


def folds_help(evidence: Evidence) -> Case:
    """Fresh folds, all together, against the single split on test."""
    pairs = [(evidence.folds.get(dataset), base) for dataset, base in evidence.bases.items()]
    return measured([auroc_gap(*pair) for pair in pairs if all(pair)])


def choices_matter(evidence: Evidence) -> Case:
    """Of the choices that the paper leaves open, the best against the worst by validation."""
    gaps = []
    choices = [evidence.changed(*choice) for choice in LEFT_OPEN]
    for dataset, base in evidence.bases.items():
        runs = [changed[dataset] for changed in choices if dataset in changed]
        if runs:
            ranked = sorted([*runs, base[:1]], key=lambda each: each[0].metrics["val_auroc"])
            gaps.append(auroc_gap(ranked[-1], ranked[0], spread=base))
    return measured(gaps)


def residual_maps(evidence: Evidence) -> Case:
    """AE-FLOW's residual |x - x'| against its likelihood map, pixel AUROC within an image."""
    gaps = []
    for dataset in evidence.datasets:
        runs = evidence.variant(dataset, "ae_flow", BASE) or []
        if runs and all("residual_auroc" in run.scores for run in runs):
            sides = []
            for column in ("residual_auroc", "map_auroc"):
                values = [run.split("test")[column].dropna().to_numpy() for run in runs]
                sides.append(metrics.mean_sample(np.stack(values)))
            a, b = (100 * side.observed.mean() for side in sides)
            gap, where = metrics.difference(*sides), dataset_title(runs[0].config.data)
            text = f"residual {a:.1f} %, likelihood map {b:.1f} %"
            gaps.append(Measurement(where, gap.times(100), text))
    return measured(gaps)
