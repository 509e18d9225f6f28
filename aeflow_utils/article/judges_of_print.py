"""How claims on figures in print are judged: by arithmetic, by the papers' own setting, or not."""

from __future__ import annotations

from aeflow_utils.article.audit import printed_row
from aeflow_utils.article.evidence import Case, Evidence, above, of_parts
from aeflow_utils.data.catalog import SPECS
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


def arithmetic(evidence: Evidence, finding: str, number: str, refuted_by: str) -> Case:
    """A finding of the audit refutes a claim when its `number` has the value `refuted_by`."""
    shown = evidence.findings[finding]
    verdict = REFUTED if shown.numbers[number] == float(refuted_by) else SUPPORTED
    return Case(verdict=verdict, note=shown.sentence)


def beats_the_paper(evidence: Evidence) -> Case:
    """In how many of the metrics that both print each matrix that fits is better."""
    shown = evidence.findings["what one F1 leaves open"]
    most = 2 * shown.numbers["fewest_better"] > shown.numbers["metrics_compared"]
    return Case(verdict=SUPPORTED if most else REFUTED, note=shown.sentence)


def training_images(evidence: Evidence) -> Case:
    """A printed number of training images against the official copies of the set."""
    shown = evidence.findings["training images"]
    known = any(shown.numbers[copy] for copy in SPECS["chest_xray"].copies)
    return Case(verdict=SUPPORTED if known else REFUTED, note=shown.sentence)
