"""The ensemble's tables and plots from run folders written by hand."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from aeflow_utils.show import ensemble_calibration as calibration
from aeflow_utils.show import ensemble_figures as figures
from aeflow_utils.show import ensemble_tables as tables
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.ensemble_measurements import ensemble_measurements
from aeflow_utils.study import ensemble
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.recording import published
from aeflow_utils.study.runs import seal, write_json


@pytest.fixture
def members(write_ensemble):
    write_ensemble()
    return ensembles("smoke")


def test_quality_has_a_row_a_measure_and_one_is_chosen_on_validation(members):
    table = tables.quality_table(members, n_resamples=50)
    assert table["measure"].tolist() == [*ensemble.MEASURES, tables.PERFECT]
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
    after = tables.quality_table(members | {"elpv": tuple(turned)}, n_resamples=2)
    pd.testing.assert_series_equal(before["chosen"], after["chosen"])
    pd.testing.assert_series_equal(before["validation"], after["validation"])
    assert not np.allclose(before["auroc"], after["auroc"])


def test_the_ceiling_is_that_of_all_errors_last(members):
    table = tables.quality_table(members, n_resamples=2)
    best = table[table["measure"] == tables.PERFECT].iloc[0]
    assert best["auroc"] == 1
    assert best["caught"] == pytest.approx(6 / best["errors"])
    assert (table["aurc"] >= best["aurc"]).all()
    assert tables.format_quality(table)["labels seen"].iloc[-1] == "those of test"


def test_fewer_members_stand_beside_all(members, write_ensemble):
    table = tables.quality_table(members, n_resamples=2).set_index("measure")
    assert table.loc["sigma_raw", "one"] == 0.5  # a coin
    assert table.loc["sigma_raw", "three"] == table.loc["sigma_raw", "auroc"]  # all there are
    (fits, seen) = (ensemble.readings(members["elpv"], split) for split in ("val", "test"))
    alone = [ensemble.judge([fit], [own]) for fit, own in zip(fits, seen, strict=True)]
    each = [ensemble.error_auroc(table, table["entropy_parts"]) for table in alone]
    assert table.loc["entropy_parts", "one"] == pytest.approx(np.mean(each))


def test_three_of_five_are_the_first(write_ensemble):
    write_ensemble(n_members=5)
    members = ensembles("smoke")
    of_five = tables.quality_table(members, n_resamples=2).set_index("measure")
    first = {name: runs[:3] for name, runs in members.items()}
    of_three = tables.quality_table(first, n_resamples=2).set_index("measure")
    assert of_five.loc["sigma_rank", "three"] == of_three.loc["sigma_rank", "auroc"]
    found = ensemble_measurements(members, n_resamples=2).set_index("key")
    assert found.loc["three_sigma", "value"] == of_three.loc["sigma_raw", "auroc"]
    assert found.loc[["three_sigma", "sigma"], "members"].tolist() == [3, 5]


def test_a_data_set_without_labelled_validation_is_judged_without_labels(write_run):
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 30)
    for seed in range(2):
        val, test = rng.normal(size=30), labels + rng.normal(size=60)
        write_run(seed=seed, val=([0] * 30, val), test=(labels, test), variant="conv_like")
    members = ensembles("smoke")
    assert len(members) == 1
    assert tables.usable(members) == {}
    assert tables.quality_table(members).empty
    assert tables.members_by_seed_and_fold("smoke", members).empty
    assert set(tables.quality_table(members, "normals", n_resamples=2)["data set"]) == {"elpv"}
    assert tables.chosen_measures(members, "normals") == {"elpv": ensemble.WITHOUT_LABELS}
    keys = ensemble_measurements(members, n_resamples=2)["key"]
    assert keys.str.contains("normals_").all()
    assert "normals_sigma" in set(keys)


def test_labels_of_validation_change_nothing_where_none_has_entered(members):
    before = tables.quality_table(members, "normals", n_resamples=2)
    unlabelled = []
    for run in members["elpv"]:
        keep = (run.scores["split"] == "test") | (run.scores["label"] == 0)
        unlabelled.append(replace(run, scores=run.scores[keep]))
    after = tables.quality_table({"elpv": tuple(unlabelled)}, "normals", n_resamples=2)
    pd.testing.assert_frame_equal(before, after)
    assert set(before["labels"]) == {"none", "those of test"}


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
    table = tables.referral_table(tables.quality_table(members, n_resamples=10))
    row, best = table.iloc[0], table.iloc[-1]
    assert best["caught"] == pytest.approx(6)
    test = tables.per_image(members["elpv"]).sort_values("sigma", ascending=False)
    assert row["referred"] == 6
    assert row["errors"] == (~test["correct"]).sum()
    assert row["caught"] == pytest.approx((~test["correct"].iloc[:6]).sum())
    assert row["accuracy of the rest"] == pytest.approx(test["correct"].iloc[6:].mean())


def test_coverage_is_near_nominal_where_splits_are_alike(members):
    table = calibration.coverage_table(members)
    assert table["covered"].between(table["expected_low"], table["expected_high"]).mean() > 0.6
    assert set(table["class"]) == {"normal", "abnormal"}


def test_the_expected_range_is_that_of_chance(write_ensemble):
    write_ensemble(n_members=2, n=100)  # 50 of each class, in validation and in test
    rows = calibration.coverage_table(ensembles("smoke"), alphas=(0.1,))
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
        seal(run.folder.rename(run.folder.with_name(config.run_name)))
    table = tables.members_by_seed_and_fold("smoke", members).set_index("members differ by")
    assert table["members"].to_dict() == {"seeds": 3, "folds": 2}


def test_measurements_are_a_tidy_table(members):
    found = ensemble_measurements(members, n_resamples=50)
    assert not found.duplicated(["key", "data set"]).any()
    values = found.set_index("key")["value"]
    test = tables.per_image(members["elpv"])
    assert values["sigma"] == pytest.approx(ensemble.error_auroc(test, test["sigma"]))
    assert values["chosen_gain"] == pytest.approx(values["chosen"] - values["sigma"])
    expected = spearmanr(test["mu"], test["sigma"]).statistic
    assert values["rank_correlation"] == pytest.approx(expected)
    assert found["low"].le(found["high"]).all()
    labels = found.set_index("key")["labels"]
    assert labels[["normals_sigma", "sigma", "chosen"]].tolist() == [
        "none",
        "by the decision",
        "by both",
    ]


def test_every_plot_draws(members):
    per_image = {name: tables.per_image(runs) for name, runs in members.items()}
    free = {name: tables.per_image(runs, "normals") for name, runs in members.items()}
    drawn = (
        figures.mu_sigma(per_image),
        figures.risk_coverage_curves(per_image, {"elpv": "chance_of_error_parts"}),
        figures.risk_coverage_curves(free, tables.chosen_measures(members, "normals")),
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
