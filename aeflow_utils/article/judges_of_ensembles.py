"""How claims on the deep ensemble are judged: by what `ensemble_measurements` gives."""

from __future__ import annotations

import numpy as np

from aeflow_utils.article.evidence import Case, Evidence, measured, of_parts
from aeflow_utils.metrics.compare import Estimate
from aeflow_utils.metrics.verdicts import MARGIN, NOT_TESTABLE, Measurement
from aeflow_utils.study.ensemble import ensembles, readings
from aeflow_utils.study.results import label_title


def of_ensembles(evidence: Evidence, key: str, level: str = "0") -> Case:
    """A number of `ensemble_measurements`, in percent, above `level`; a change where that is 0."""
    return measured(_of_ensemble(evidence, key, float(level)))


def representative(evidence: Evidence) -> Case:
    """Whether sigma fares alike on every data set with an ensemble."""
    found = _of_ensemble(evidence, "three_sigma", 50.0)
    if len(found) < 2:
        return Case(tuple(found), NOT_TESTABLE)
    return Case(tuple(found), of_parts([len({m.relation for m in found}) == 1]))


def _of_ensemble(evidence: Evidence, key: str, level: float) -> list[Measurement]:
    table, found = evidence.study_ensemble, []
    # An ensemble without errors has none to find: its values are NaN.
    for _, row in table[table["key"] == key].dropna(subset="value").iterrows():
        error = 100 * (row["high"] - row["low"]) / (2 * 1.96)
        estimate = Estimate(100 * row["value"] - level, error, np.inf)
        text = f"{row['measure']}, labels seen: {row['labels']}"
        where, margin = label_title(row["data set"]), 0 if level else MARGIN
        found.append(Measurement(where, estimate, text, margin))
    return found


def one_member_drowns(evidence: Evidence) -> Case:
    """Whether one member's scores of normal images vary more than all the others' together."""
    texts, drowns = [], []
    for label, runs in ensembles(evidence.profile).items():
        normals = [fit.normals for fit in readings(runs, "val")]
        spreads = np.sort([scores.std() for scores in normals])
        drowns.append(spreads[-1] > spreads[:-1].sum())
        texts.append(f"{label_title(label)} {spreads[0]:.4f} to {spreads[-1]:.4f}")
    return Case(verdict=of_parts(drowns) if drowns else NOT_TESTABLE, facts=tuple(texts))
