"""What the ensemble shows, as values with intervals and the findings that quote them."""

import numpy as np
import pytest

from aeflow_utils.article.ensemble_story import ensemble_findings, evidence
from aeflow_utils.show.ensemble_tables import per_image
from aeflow_utils.study.ensemble import ensembles, error_auroc


def test_evidence_is_a_tidy_table_and_findings_quote_it(write_ensemble):
    write_ensemble()
    members = ensembles("smoke")
    table = evidence(members, n_resamples=50)
    assert list(table) == ["key", "data set", "value", "low", "high", "measure"]
    assert not table.duplicated(["key", "data set"]).any()
    values = table.set_index("key")["value"]
    test = per_image(members["elpv"])
    assert values["sigma"] == pytest.approx(error_auroc(test, test["sigma"]))
    assert values["chosen_gain"] == pytest.approx(values["chosen"] - values["sigma"])
    assert values["members"] == len(members["elpv"])
    findings = ensemble_findings(table)
    assert findings[0].numbers["sigma, elpv"] == values["sigma"]
    assert all("{" not in f.sentence and "nan" not in f.sentence for f in findings)


def test_an_ensemble_that_never_errs_has_no_errors_to_rank(write_run):
    labels = np.tile([0, 1], 30)
    for seed in range(2):
        scores = (labels, labels + 0.01 * np.arange(60) / 60 * (seed + 1))
        write_run(seed=seed, val=scores, test=scores, variant="conv_like")
    table = evidence(ensembles("smoke"), n_resamples=5)
    values = table.set_index("key")["value"]
    assert values["accuracy"] == 1
    assert np.isnan(values["sigma"])
    assert not any("nan" in finding.sentence for finding in ensemble_findings(table))


def test_runs_without_parts_have_no_evidence_from_parts(write_ensemble):
    write_ensemble(parts=False)
    table = evidence(ensembles("smoke"), n_resamples=2)
    assert not table["key"].str.startswith("parts").any()
    assert ensemble_findings(table)


def test_without_labelled_validation_there_is_nothing_to_find(write_run):
    for seed in range(2):
        write_run(seed=seed, val=((0, 0), (1, 2)), variant="conv_like")
    assert ensemble_findings(evidence(ensembles("smoke"))) == []
