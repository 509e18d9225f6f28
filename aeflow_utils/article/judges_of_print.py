"""How claims on figures in print are judged: by arithmetic, by the papers' own setting, or not."""

from __future__ import annotations

from aeflow_utils.article.audit import printed_row
from aeflow_utils.article.evidence import Case, Evidence, above, of_parts
from aeflow_utils.metrics.verdicts import NOT_TESTABLE, REFUTED, SUPPORTED
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.results import auroc_of


def not_testable(evidence: Evidence) -> Case:
    """What no run here could show; the claim's row says why."""
    return Case(verdict=NOT_TESTABLE)


def printed_auroc(evidence: Evidence, dataset: str) -> Case:
    """The paper's AUROC against runs in its own setting, if there are any."""
    printed = printed_row(source="paper", table="main", dataset=dataset, method="AE-FLOW")["auroc"]
    runs = evidence.ae_flow.get(dataset)
    if not runs:
        return Case(verdict=NOT_TESTABLE)
    gap, encoder = above(runs, auroc_of(runs), printed), runs[0].config.model.encoder
    if encoder != PROFILES["paper"].encoder:
        return Case((gap,), NOT_TESTABLE, (f"with {encoder}",))
    return Case((gap,), of_parts([gap.estimate.low <= 0 <= gap.estimate.high]))


def arithmetic(evidence: Evidence, check: str) -> Case:
    """What the figures themselves say of a claim: one of `audit.checks`."""
    counted, number, holds = evidence.checks[check]
    return Case(verdict=SUPPORTED if holds else REFUTED, facts=(f"{counted}: {number:.4g}",))
