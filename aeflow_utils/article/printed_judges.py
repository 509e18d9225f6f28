"""How claims about figures in print are judged: by the findings of the audit."""

from __future__ import annotations

from aeflow_utils.article.evidence import CONFIRMED, PARTLY, REFUTED, Evidence
from aeflow_utils.article.judges import Judgement


def arithmetic(evidence: Evidence, finding: str, number: str, refuted_by: float) -> Judgement:
    """A finding of the audit refutes a claim when its `number` has the value `refuted_by`."""
    found = evidence.findings[finding]
    refuted = found.numbers[number] == refuted_by
    return Judgement(REFUTED if refuted else CONFIRMED, found.sentence)


def beats_the_paper(evidence: Evidence) -> Judgement:
    """What one printed F1 leaves open of the other metrics."""
    found = evidence.findings["what one F1 leaves open"]
    n = found.numbers
    better = [n["better_acc"] == n["matrices"], n["better_auc"] == n["matrices"]]
    verdict = CONFIRMED if all(better) else PARTLY if any(better) else REFUTED
    return Judgement(verdict, found.sentence)


def shares_as_printed(evidence: Evidence) -> Judgement:
    """The printed uncertain share of right decisions against its own table."""
    found = evidence.findings["uncertain shares"]
    return Judgement(CONFIRMED if "not the" not in found.sentence else REFUTED, found.sentence)


def training_images(evidence: Evidence) -> Judgement:
    """1,349 normal chest X-rays for training."""
    found = evidence.findings["training images"]
    n = found.numbers
    verdict = {n["train"]: CONFIRMED, n["both"]: PARTLY}.get(n["printed"], REFUTED)
    return Judgement(verdict, found.sentence)
