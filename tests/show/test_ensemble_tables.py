"""The ensemble's tables, sentences and plots from run folders written by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from aeflow_utils.show import ensemble_figures as uncertainty_figures
from aeflow_utils.show import ensemble_tables as tables
from aeflow_utils.show import figures
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.ensemble_measurements import ensemble_measurements
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.runs import write_json


def write_ensemble(write_run, n_members=3, n=60, dataset="elpv", parts=True):
    """Members that share a signal, with noise of their own; a second part tells a little more."""
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], n // 2)
    shared = {split: 1.5 * labels + rng.normal(size=n) for split in ("val", "test")}
    more = np.concatenate([2 * labels + rng.normal(size=n) for _ in shared])
    for seed in range(n_members):
        val, test = ((labels, values + 0.3 * rng.normal(size=n)) for values in shared.values())
        run = write_run(seed=seed, val=val, test=test, dataset=dataset, variant="conv_like")
        write_parts(run, *((run.scores["image_score"], more) if parts else (np.nan, np.nan)))


def write_parts(run, flow, recon):
    scores = run.scores.assign(flow_score=flow, recon_score=recon)
    scores.to_csv(run.folder / "scores.csv", index=False)


@pytest.fixture
def members(write_run):
    write_ensemble(write_run)
    return ensembles("smoke")


def test_quality_has_a_row_a_measure_and_one_is_chosen_on_validation(members):
    table = tables.quality_table(members, n_resamples=50)
    assert table["measure"].tolist() == list(ensemble.MEASURES)
    assert table["chosen"].sum() == 1
    assert table.loc[table["chosen"], "validation"].item() == table["validation"].max()
    assert (table["auroc_low"] <= table["auroc"]).all()
    assert (table["auroc"] <= table["auroc_high"]).all()
    assert len(tables.format_quality(table)) == len(table)
    assert "*" in tables.article_table(table).to_string()


def test_the_choice_does_not_look_at_the_test_split(members):
    before = tables.quality_table(members, n_resamples=2)
    turned = []
    for run in members["elpv"]:
        test = run.scores["split"] == "test"
        labels = run.scores["label"].where(~test, 1 - run.scores["label"])
        turned.append(replace(run, scores=run.scores.assign(label=labels)))
    after = tables.quality_table(members | {"elpv": turned}, n_resamples=2)
    pd.testing.assert_series_equal(before["chosen"], after["chosen"])
    pd.testing.assert_series_equal(before["validation"], after["validation"])
    assert not np.allclose(before["auroc"], after["auroc"])


def test_runs_without_parts_are_judged_by_the_score_alone(write_run):
    write_ensemble(write_run, parts=False)
    members = ensembles("smoke")
    table = tables.quality_table(members, n_resamples=2)
    assert not table["measure"].str.endswith("_parts").any()
    referral = tables.referral_table(members, n_resamples=2)
    assert set(referral["verdict"]) == {ensemble.VERDICTS["scores"]}
    found = ensemble_measurements(members, n_resamples=2)
    assert not found["key"].str.startswith("parts").any()


def test_a_data_set_without_abnormal_validation_is_left_out(write_run):
    for seed in range(2):
        write_run(seed=seed, val=((0, 0), (1, 2)), variant="conv_like")
    members = ensembles("smoke")
    assert len(members) == 1
    assert tables.usable(members) == {}
    assert tables.quality_table(members).empty
    assert tables.fold_table("smoke", members).empty
    assert ensemble_measurements(members).empty


def test_every_image_is_counted_and_a_constant_detector_is_flagged(members):
    table = tables.certainty_counts(members)
    counts = table[[c for c in table if "certain" in c]]
    assert (counts.sum(axis=1) == 60).all()
    flagged = table["warning"] != ""
    assert table.index[flagged].tolist() == [("elpv", "all abnormal; σ, median")]


def test_referral_counts_errors_among_the_least_certain(members):
    row = tables.referral_table(members, n_resamples=10).iloc[0]
    test = tables.judged(members["elpv"]).sort_values("sigma", ascending=False)
    assert row["referred"] == 6
    assert row["errors"] == (~test["correct"]).sum()
    assert row["caught"] == pytest.approx((~test["correct"].iloc[:6]).sum())
    assert row["accuracy of the rest"] == pytest.approx(test["correct"].iloc[6:].mean())


def test_coverage_is_near_nominal_where_splits_are_alike(members):
    table = tables.coverage_table(members)
    assert table["covered"].between(table["expected_low"], table["expected_high"]).mean() > 0.6
    assert set(table["class"]) == {"normal", "abnormal"}


def test_the_expected_range_is_that_of_chance():
    found = tables._expected(n_fit=99, n_test=100, alpha=0.1)
    assert found["expected_low"] == pytest.approx(0.81, abs=0.02)
    assert found["expected_high"] == pytest.approx(0.97, abs=0.02)


def test_quality_by_number_of_members(members):
    table = tables.member_table(members)
    alone = table[(table["members"] == 1) & (table["figure"] == "error AUROC of σ")].iloc[0]
    assert alone["mean"] == 0.5
    assert set(table["members"]) == {1, 2, 3}
    whole = table[table["members"] == 3]
    pd.testing.assert_series_equal(whole["low"], whole["high"], check_names=False)


def test_folds_are_an_ensemble_too(write_run, members):
    labels = np.tile([0, 1], 30)
    for fold in (1, 2):
        run = write_run(seed=0, variant="conv_like", n_blocks=fold, test=(labels, labels * 1.0))
        config = replace(run.config, data=replace(run.config.data, fold=fold))
        write_json(run.folder / "config.json", config.to_dict())
        write_parts(run, run.scores["image_score"], 1.0)
    table = tables.fold_table("smoke", members).set_index("members differ by")
    assert table["members"].to_dict() == {"seeds": 3, "folds": 2}


def test_measurements_are_a_tidy_table(members):
    found = ensemble_measurements(members, n_resamples=50)
    assert list(found) == ["key", "data set", "value", "low", "high", "measure"]
    assert not found.duplicated(["key", "data set"]).any()
    values = found.set_index("key")["value"]
    test = tables.judged(members["elpv"])
    assert values["sigma"] == pytest.approx(ensemble.error_auroc(test, test["sigma"]))
    assert values["chosen_gain"] == pytest.approx(values["chosen"] - values["sigma"])
    assert values["members"] == 3


def test_every_plot_draws(members):
    judged = {name: tables.judged(runs) for name, runs in members.items()}
    drawn = (
        uncertainty_figures.mu_sigma(judged),
        uncertainty_figures.risk_coverage_curves(judged, {"elpv": "chance_of_error_parts"}),
        uncertainty_figures.reliability_curves(judged, "test"),
        uncertainty_figures.member_curves(tables.member_table(members)),
    )
    for figure in drawn:
        assert figure.axes
        assert "elpv" in alt_text(figure).lower()
        assert "nan" not in alt_text(figure)
        figures.plt.close(figure)


def test_the_least_certain_images_are_shown_first(members, small_elpv):
    run = members["elpv"][0]
    table = tables.judged(members["elpv"])
    table["path"] = np.resize(small_elpv.test.table["path"].to_numpy(), len(table))
    figure = uncertainty_figures.doubtful_images(table, "closeness", run.config.data, n=4)
    wrong = (~table.nlargest(4, "closeness")["correct"]).sum()
    assert f"{wrong} of the 4" in figure.get_suptitle()
    figures.plt.close(figure)


def test_an_ensemble_that_never_errs_has_no_errors_to_rank(write_run):
    labels = np.tile([0, 1], 30)
    for seed in range(2):
        scores = (labels, labels + 0.01 * np.arange(60) / 60 * (seed + 1))
        write_run(seed=seed, val=scores, test=scores, variant="conv_like")
    values = ensemble_measurements(ensembles("smoke"), n_resamples=5).set_index("key")["value"]
    assert values["accuracy"] == 1
    assert np.isnan(values["sigma"])
