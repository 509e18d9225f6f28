"""How claims about the ensembles and about figures in print are judged; as in `judges`."""

from __future__ import annotations

import numpy as np

from aeflow_utils.article.evidence import Evidence, signed
from aeflow_utils.article.judges import Judgement, judgement, of_parts
from aeflow_utils.metrics.compare import CONFIRMED, NOT_TESTABLE, PARTLY, REFUTED, Measurement
from aeflow_utils.study.results import label_title


def sigma_finds_errors(evidence: Evidence) -> Judgement:
    """The chance that sigma is larger for a wrong verdict than for a right one, against 50 %."""
    lead = "Chance that σ is larger for a wrong verdict than for a right one"
    return judgement(lead, _of_ensemble(evidence, "sigma", 50.0))


def ensemble_change(evidence: Evidence, key: str) -> Judgement:
    """A change of that chance against raw sigma's, by its key in `ensemble_measurements`."""
    return judgement("Change of that chance, in points", _of_ensemble(evidence, key, 0.0))


def representative(evidence: Evidence) -> Judgement:
    """Whether sigma fares alike on every data set with an ensemble."""
    measurements = _of_ensemble(evidence, "sigma", 50.0)
    if len(measurements) < 2:
        return Judgement(NOT_TESTABLE, "Fewer than two data sets have an ensemble here.")
    sides = {np.sign(m.low) if np.sign(m.low) == np.sign(m.high) else 0 for m in measurements}
    told = judgement("Chance that σ is larger for a wrong verdict", measurements).told
    return Judgement(of_parts([len(sides) == 1]), told)


def _of_ensemble(evidence: Evidence, key: str, level: float) -> list[Measurement]:
    """Values of `Evidence.ensemble` minus `level`, in percent; a change where `level` is 0."""
    table, measurements = evidence.ensemble, []
    # An ensemble without errors has none to find: its values are NaN.
    for _, row in table[table["key"] == key].dropna(subset="value").iterrows():
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        numbers = (f"{v:.1f} %" if level else signed(v) for v in (value, low, high))
        text = "{} [{}, {}] ({})".format(*numbers, row["measure"])
        where = label_title(row["data set"])
        measurements.append(Measurement(where, value - level, low - level, high - level, text))
    return measurements


def arithmetic(evidence: Evidence, finding: str, number: str, refuted_by: str) -> Judgement:
    """A finding of the audit refutes a claim when its `number` has the value `refuted_by`."""
    shown = evidence.findings[finding]
    return Judgement(of_parts([shown.numbers[number] != float(refuted_by)]), shown.sentence)


def beats_the_paper(evidence: Evidence) -> Judgement:
    """What one printed F1 leaves open of the other metrics."""
    shown = evidence.findings["what one F1 leaves open"]
    n = shown.numbers
    better = [n[name] == n["matrices"] for name in ("better_acc", "better_auc")]
    return Judgement(of_parts(better), shown.sentence)


def training_images(evidence: Evidence) -> Judgement:
    """A printed number of training images against one folder, and against two."""
    shown = evidence.findings["training images"]
    n = shown.numbers
    verdict = {n["train"]: CONFIRMED, n["both"]: PARTLY}.get(n["printed"], REFUTED)
    return Judgement(verdict, shown.sentence)
