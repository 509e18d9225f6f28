"""The ensemble's tables and plots from run folders written by hand."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from aeflow_utils.show import ensemble_figures as figures
from aeflow_utils.show import ensemble_tables as tables
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.ensemble_measurements import ensemble_measurements
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.recording import published
from aeflow_utils.study.runs import write_json


@pytest.fixture
def members(write_ensemble):
    write_ensemble()
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


def test_runs_without_parts_are_judged_by_the_score_alone(write_ensemble):
    write_ensemble(parts=False)
    members = ensembles("smoke")
    table = tables.quality_table(members, n_resamples=2)
    assert not table["measure"].str.endswith("_parts").any()
    referral = tables.referral_table(members, n_resamples=2)
    assert set(referral["verdict"]) == {ensemble.DECISIONS["scores"]}
    found = ensemble_measurements(members, n_resamples=2)
    assert not found["key"].str.startswith("parts").any()


def test_one_member_without_labelled_validation_leaves_its_data_set_out(write_run):
    for seed, val in enumerate((((0, 1), (1, 2)), ((0, 0), (1, 2)))):
        write_run(seed=seed, val=val, variant="conv_like")
    members = ensembles("smoke")
    assert len(members) == 1
    assert tables.usable(members) == {}
    assert tables.quality_table(members).empty
    assert tables.members_by_seed_and_fold("smoke", members).empty
    assert ensemble_measurements(members).empty


def test_every_image_is_counted_and_a_constant_detector_is_flagged(members):
    table = tables.certainty_counts(members)
    counts = table[[c for c in table if "certain" in c]]
    assert (counts.sum(axis=1) == 60).all()
    flagged = table["warning"] != ""
    assert table.index[flagged].tolist() == [("elpv", "all abnormal; σ, median")]
    sigma = published().query("metric == 'sigma_threshold'")["value"].item()
    assert table["threshold"].iloc[0] == sigma
    test = tables.per_image(members["elpv"])
    uncertain = table[["right, uncertain", "wrong, uncertain"]].iloc[0].sum()
    assert uncertain == (test["sigma"] > sigma).sum()


def test_right_and_wrong_are_counted_by_certainty():
    right = pd.Series([True, True, False, False, False])
    certain = pd.Series([True, False, True, False, False])
    assert tables.count_certain(right, certain) == {
        "right, certain": 1,
        "right, uncertain": 1,
        "wrong, certain": 1,
        "wrong, uncertain": 2,
    }


def test_referral_counts_errors_among_the_least_certain(members):
    row = tables.referral_table(members, n_resamples=10).iloc[0]
    test = tables.per_image(members["elpv"]).sort_values("sigma", ascending=False)
    assert row["referred"] == 6
    assert row["errors"] == (~test["correct"]).sum()
    assert row["caught"] == pytest.approx((~test["correct"].iloc[:6]).sum())
    assert row["accuracy of the rest"] == pytest.approx(test["correct"].iloc[6:].mean())


def test_coverage_is_near_nominal_where_splits_are_alike(members):
    table = tables.coverage_table(members)
    assert table["covered"].between(table["expected_low"], table["expected_high"]).mean() > 0.6
    assert set(table["class"]) == {"normal", "abnormal"}


def test_the_expected_range_is_that_of_chance(write_ensemble):
    write_ensemble(n_members=2, n=100)  # 50 of each class, in validation and in test
    rows = tables.coverage_table(ensembles("smoke"), alphas=(0.1,))
    rng = np.random.default_rng(0)
    known, new = (np.sort(rng.random((2000, 50)), axis=1) for _ in range(2))
    higher = 50 - np.array([np.searchsorted(*pair) for pair in zip(known, new, strict=True)])
    covered = ((1 + higher) / 51 > 0.1).mean(axis=1)
    low, high = np.quantile(covered, [0.025, 0.975])
    assert rows["expected_low"].to_numpy() == pytest.approx(low, abs=0.021)  # one image in fifty
    assert rows["expected_high"].to_numpy() == pytest.approx(high, abs=0.021)


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
    table = tables.members_by_seed_and_fold("smoke", members).set_index("members differ by")
    assert table["members"].to_dict() == {"seeds": 3, "folds": 2}


def test_measurements_are_a_tidy_table(members):
    found = ensemble_measurements(members, n_resamples=50)
    assert list(found) == ["key", "data set", "value", "low", "high", "measure"]
    assert not found.duplicated(["key", "data set"]).any()
    values = found.set_index("key")["value"]
    test = tables.per_image(members["elpv"])
    assert values["sigma"] == pytest.approx(ensemble.error_auroc(test, test["sigma"]))
    assert values["chosen_gain"] == pytest.approx(values["chosen"] - values["sigma"])
    assert values["members"] == 3


def test_every_plot_draws(members):
    per_image = {name: tables.per_image(runs) for name, runs in members.items()}
    drawn = (
        figures.mu_sigma(per_image),
        figures.risk_coverage_curves(per_image, {"elpv": "chance_of_error_parts"}),
        figures.reliability_curves(per_image, "test"),
        figures.member_curves(tables.member_table(members)),
    )
    for figure in drawn:
        assert figure.axes
        assert "elpv" in alt_text(figure).lower()
        assert "nan" not in alt_text(figure)
        plt.close(figure)


def test_the_least_certain_images_are_shown_first(members, small_elpv):
    run = members["elpv"][0]
    table = tables.per_image(members["elpv"])
    table["path"] = np.resize(small_elpv.test.table["path"].to_numpy(), len(table))
    figure = figures.doubtful_images(table, "closeness", run.config.data, n=4)
    wrong = (~table.nlargest(4, "closeness")["correct"]).sum()
    assert f"{wrong} of the 4" in figure.get_suptitle()
    plt.close(figure)


def test_an_ensemble_that_never_errs_has_no_errors_to_rank(write_run):
    labels = np.tile([0, 1], 30)
    for seed in range(2):
        scores = (labels, labels + 0.01 * np.arange(60) / 60 * (seed + 1))
        write_run(seed=seed, val=scores, test=scores, variant="conv_like")
    values = ensemble_measurements(ensembles("smoke"), n_resamples=5).set_index("key")["value"]
    assert values["accuracy"] == 1
    assert np.isnan(values["sigma"])
