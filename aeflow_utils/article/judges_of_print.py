"""How claims on figures in print are judged: by arithmetic, by the papers' own setting, or not."""

from __future__ import annotations

from aeflow_utils.article.audit import printed_row
from aeflow_utils.article.evidence import Case, Evidence, above, of_parts
from aeflow_utils.metrics.verdicts import NOT_TESTABLE, REFUTED, SUPPORTED
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.results import auroc_of


def not_testable(evidence: Evidence, reason: str) -> Case:
    """What no run could show, and why."""
    return Case(verdict=NOT_TESTABLE, note=reason)


def printed_auroc(evidence: Evidence, dataset: str) -> Case:
    """The paper's AUROC against runs in its own setting, if there are any."""
    printed = printed_row(source="paper", table="main", dataset=dataset, method="AE-FLOW")["auroc"]
    runs = evidence.ae_flow.get(dataset)
    if not runs:
        return Case(verdict=NOT_TESTABLE)
    gap, config = above(runs, auroc_of(runs), printed), runs[0].config
    lead = f"Test AUROC with {config.model.encoder} at {config.data.image_size} px"
    if config.model.encoder != PROFILES["paper"].encoder:
        note = "The paper's encoder and size have not been run."
        return Case(lead, (gap,), NOT_TESTABLE, note)
    reached = gap.estimate.low <= 0 <= gap.estimate.high
    return Case(lead, (gap,), of_parts([reached]))


def arithmetic(evidence: Evidence, check: str) -> Case:
    """What the figures themselves say of a claim: one of `audit.checks`."""
    counted, number, holds = evidence.checks[check]
    return Case(verdict=SUPPORTED if holds else REFUTED, note=f"{counted}: {number:.4g}")
