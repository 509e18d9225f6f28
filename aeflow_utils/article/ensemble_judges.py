"""How the claims on the ensemble are judged, from `evidence.Evidence.ensemble`."""

from __future__ import annotations

import numpy as np

from aeflow_utils.article.evidence import (
    CONFIRMED,
    NOT_TESTABLE,
    REFUTED,
    Evidence,
    Measurement,
    signed,
)
from aeflow_utils.article.judges import Judgement, judged
from aeflow_utils.study.results import label_title


def sigma_finds_errors(evidence: Evidence) -> Judgement:
    """The chance that sigma is larger for a wrong verdict than for a right one, against 50 %."""
    lead = "Chance that σ is larger for a wrong verdict than for a right one"
    return judged(lead, _of_ensemble(evidence, "sigma", 50.0))


def ensemble_change(evidence: Evidence, key: str) -> Judgement:
    """A change of the chance that doubt is larger for a wrong verdict, against raw sigma's."""
    return judged("Change of that chance, in points", _of_ensemble(evidence, key, 0.0))


def _of_ensemble(evidence: Evidence, key: str, level: float) -> list[Measurement]:
    """Values of `evidence.ensemble` minus `level`, in percent."""
    table = evidence.ensemble
    rows = table[table["key"] == key] if len(table) else table
    found = []
    for _, row in rows.iterrows():
        value, low, high = (100 * row[name] for name in ("value", "low", "high"))
        if np.isnan(value):  # an ensemble without errors has none to find
            continue
        numbers = (f"{v:.1f} %" if level else signed(v) for v in (value, low, high))
        text = "{} [{}, {}]".format(*numbers)
        text += f" ({row['measure']})" if row["measure"] else ""
        where = label_title(row["data set"])
        found.append(Measurement(where, value - level, low - level, high - level, text))
    return found


def representative(evidence: Evidence) -> Judgement:
    """Whether sigma fares alike on every data set with an ensemble."""
    found = _of_ensemble(evidence, "sigma", 50.0)
    if len(found) < 2:
        return Judgement(NOT_TESTABLE, "Fewer than two data sets have an ensemble here.")
    sides = {np.sign(m.low) if np.sign(m.low) == np.sign(m.high) else 0 for m in found}
    same = judged("Chance that σ is larger for a wrong verdict", found).evidence
    return Judgement(CONFIRMED if len(sides) == 1 else REFUTED, same)
