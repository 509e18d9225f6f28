"""Sentences on the ensembles hold the numbers that were measured."""

import numpy as np
import pandas as pd

from aeflow_utils.article.story import SENTENCES, ensemble_findings
from aeflow_utils.data.catalog import SPECS

WITHOUT_LABELS = ["normals_sigma", "normals_chosen", "normals_label_free_best"]
KEYS = [*WITHOUT_LABELS, "sigma", "three_sigma", "rank_correlation", "standardised"]
KEYS += ["standardising_change", "mean_gain", "chosen", "one_chosen", "chosen_gain", "caught"]
KEYS += ["sigma_caught", "most_caught", "normals_caught", "normals_most_caught", "accuracy"]
KEYS += ["rest_accuracy", "covered_normal", "covered_abnormal", "parts_auroc_gain"]
KEYS += ["parts_accuracy", "parts_chosen", "parts_caught"]


def measurements(keys=KEYS, **values):
    rows = [(key, "elpv", values.get(key, 0.5), 0.25, 0.75, "a measure") for key in keys]
    return pd.DataFrame(rows, columns=["key", "data set", "value", "low", "high", "measure"])


def sentences(table):
    return {finding.name: finding.sentence for finding in ensemble_findings(table)}


def test_a_sentence_has_each_value_with_its_data_set_and_interval():
    found = sentences(measurements(sigma=0.4321, chosen_gain=-0.1))
    assert list(found) == list(SENTENCES)
    where = SPECS["elpv"].title
    assert f"43.2 % on {where} [25.0, 75.0]" in found["ensemble, raw sigma"]
    assert f"-10.0 points on {where} [+25.0, +75.0]" in found["ensemble, chosen measure"]
    assert f"“a measure” ({where})" in found["ensemble, chosen measure"]


def test_without_labelled_validation_only_the_sentence_without_labels_is_told():
    assert set(sentences(measurements(WITHOUT_LABELS))) == {"ensemble, without labels"}


def test_a_correlation_is_no_percentage():
    found = sentences(measurements(rank_correlation=0.357))["ensemble, raw sigma"]
    assert f"+0.36 on {SPECS['elpv'].title} [+0.25, +0.75]" in found


def test_an_ensemble_without_errors_has_no_order_to_judge():
    found = sentences(measurements(sigma=np.nan))["ensemble, raw sigma"]
    assert "undefined on" in found
    assert "nan" not in found


def test_without_an_ensemble_there_is_nothing_to_say():
    assert ensemble_findings(measurements([])) == []
