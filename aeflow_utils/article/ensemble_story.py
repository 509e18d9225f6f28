"""What the ensembles show, as sentences composed from `show.ensemble_measurements`."""

from __future__ import annotations

import numpy as np
import pandas as pd

from aeflow_utils.article.findings import Finding
from aeflow_utils.show.alt_texts import listed
from aeflow_utils.show.ensemble_measurements import NOMINAL
from aeflow_utils.study.results import label_title

OF_PARTS = "ensemble, verdict from parts"
# Name of each finding and its sentence, in the order of the argument. `{sigma}` is what `_Listed`
# makes of the measurements of the key ``sigma`` on every data set.
SENTENCES = {
    "ensemble, raw sigma": "Chance that the deviation of raw scores is larger for a wrong verdict "
    "than for a right one (50 % is a coin): {sigma}.",
    "ensemble, normalised sigma": "With each member standardised on its validation normals first: "
    "{standardised}; the change is {standardising_change}.",
    "ensemble, mean score": "AUROC of the members' mean score minus their mean AUROC: {mean_gain}.",
    "ensemble, chosen measure": "Of the measures compared, cross-fitted validation chooses "
    "{chosen:measure}. Chance that it is larger for a wrong verdict: {chosen}; against σ that is "
    "{chosen_gain}.",
    "ensemble, referral": "Share of errors caught by referring the least certain tenth of the "
    "images to a person: {caught}; by σ {sigma_caught}. Share of right verdicts: {accuracy} of "
    "all, and {rest_accuracy} of those not referred.",
    "ensemble, conformal coverage": f"Conformal sets that promise {100 * NOMINAL:.0f} % hold the "
    "truth of so many normal test images: {covered_normal}; and of abnormal ones: "
    "{covered_abnormal}.",
    OF_PARTS: "AUROC of the mean probability from parts minus that of the "
    "mean score: {parts_auroc_gain}. Taken as the verdict it is right in {parts_accuracy}; error "
    "AUROC of the measure that validation then chooses: {parts_chosen}; referring a tenth catches "
    "of its errors {parts_caught}.",
}


def ensemble_findings(table: pd.DataFrame) -> list[Finding]:
    """One finding a claim, in the order of the argument; none where there is no ensemble.

    Args:
        table: as `ensemble_measurements` gives it. The finding on parts is left out where no
            system has any.
    """
    if table.empty:
        return []
    told = {key: _Listed(rows) for key, rows in table.groupby("key")}
    left_out = () if "parts_accuracy" in told else (OF_PARTS,)
    return [
        Finding(name, sentence.format(**told))
        for name, sentence in SENTENCES.items()
        if name not in left_out
    ]


class _Listed:
    """Values of one key on every data set, for a sentence: ``43.2 % on ELPV [39.1, 47.5]``.

    With the format ``measure``, the measures meant instead, and on which data sets.
    """

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows = rows

    def __format__(self, how: str) -> str:
        if how == "measure":
            titles = self.rows["data set"].map(label_title)
            names = titles.groupby(self.rows["measure"], sort=False).agg(list)
            return "; ".join(f"“{name}” ({listed(where)})" for name, where in names.items())
        return ", ".join(self._one(row) for row in self.rows.itertuples(index=False))

    @staticmethod
    def _one(row: tuple) -> str:
        where = label_title(row[1])
        if np.isnan(row.value):  # nothing, or everything, is wrong: there is no order to judge
            return f"undefined on {where}"
        change = "change" in row.key or "gain" in row.key
        unit, sign = (" points", "+") if change else (" %", "")
        value, low, high = (format(100 * v, f"{sign}.1f") for v in (row.value, row.low, row.high))
        return f"{value}{unit} on {where} [{low}, {high}]"
