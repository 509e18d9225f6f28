"""Summaries and comparisons of hand-made run folders, against numbers worked out by hand."""

import numpy as np
import pytest

from aeflow_utils.errors import UserError
from aeflow_utils.metrics import CLASSIFICATION
from aeflow_utils.paths import paths
from aeflow_utils.profiles import EVIDENCE
from aeflow_utils.study.ensemble import ensembles
from aeflow_utils.study.recording import compare, record
from aeflow_utils.study.results import REGIMES, find, grouped, summary

LABELS = (0, 0, 1, 1)
PERFECT = (LABELS, (1, 2, 3, 4))
ONE_WRONG = (LABELS, (1, 3, 2, 4))  # AUROC 3/4
NORMAL_ONLY = ((0, 0, 0, 0), (1, 2, 3, 4))


def row_of(table, model, dataset="elpv"):
    (position,) = np.flatnonzero((table["model"] == model) & (table["dataset"] == dataset))
    return table.iloc[position]


def test_summary_is_the_mean_and_sample_deviation_over_seeds(write_run):
    runs = [write_run(seed=0, test=PERFECT), write_run(seed=1, test=ONE_WRONG)]
    row = row_of(summary(runs), "ae_flow")
    assert row["n_seeds"] == 2
    assert row["auroc"] == pytest.approx((1 + 0.75) / 2)
    assert row["auroc_sd"] == pytest.approx(0.25 / np.sqrt(2))
    # The threshold of both is 3, from validation: seed 0 is right, seed 1 has one of each error.
    assert row["f1"] == pytest.approx((1 + 0.5) / 2)
    assert row["acc"] == pytest.approx((1 + 0.5) / 2)
    assert row["auroc_low"] <= row["auroc"] <= row["auroc_high"]
    assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_a_single_seed_has_no_deviation(write_run):
    assert np.isnan(row_of(summary([write_run()]), "ae_flow")["auroc_sd"])


@pytest.mark.parametrize("regime", REGIMES)
def test_the_all_abnormal_row_is_the_floor_of_f1(regime, write_run):
    run = write_run(test=((0, 0, 0, 1), (1, 2, 3, 4)))
    row = row_of(summary([run], regime), "all_abnormal")
    expected = {"f1": 2 * 1 / (2 * 1 + 3), "acc": 0.25, "sen": 1, "spe": 0, "bacc": 0.5}
    assert row[list(expected)].to_dict() == pytest.approx(expected)
    assert row["auroc"] == 0.5


def test_every_data_set_has_one_all_abnormal_row(write_run):
    runs = [write_run(), write_run("knn"), write_run(dataset="chest_xray", test=ONE_WRONG)]
    table = summary(runs)
    assert table["model"].value_counts()["all_abnormal"] == 2
    assert len(table) == 5


def test_thresholds_of_one_regime_never_stand_in_for_another(write_run):
    run = write_run(val=((0, 0, 1, 1), (1, 5, 6, 7)), test=ONE_WRONG)
    by_regime = {name: row_of(summary([run], name), "ae_flow") for name in REGIMES}
    assert by_regime["val_f1"]["sen"] == 0  # threshold 6: above every test score
    assert by_regime["oracle_f1"]["sen"] == 1  # threshold 2
    assert by_regime["normal_quantile"]["sen"] == 0  # threshold 4.8


def test_a_regime_that_a_data_set_does_not_allow_is_empty(write_run):
    run = write_run(val=NORMAL_ONLY)
    row = row_of(summary([run], "val_f1"), "ae_flow")
    assert row[list(CLASSIFICATION)].isna().all()
    assert np.isnan(row["val_auroc"])
    assert row["auroc"] == 1
    assert row_of(summary([run], "normal_quantile"), "ae_flow")["f1"] > 0


def test_a_test_split_without_abnormal_images_has_an_empty_auroc(write_run):
    table = summary([write_run(test=NORMAL_ONLY)], "normal_quantile")
    row = row_of(table, "ae_flow")
    assert np.isnan(row["auroc"])
    assert 0 <= row["spe"] <= 1


def test_an_unknown_regime_lists_the_known_ones(write_run):
    with pytest.raises(UserError, match=rf"'best'.*{', '.join(REGIMES)}"):
        summary([write_run()], "best")


def test_metrics_come_from_the_scores_not_from_the_stored_summary(write_run):
    run = write_run(test=ONE_WRONG)
    run.metrics["auroc"] = 0.99
    assert row_of(summary([run]), "ae_flow")["auroc"] == 0.75


def test_runs_are_grouped_by_everything_but_the_seed(write_run):
    for seed in (0, 1):
        write_run(seed=seed, variant="conv_like", profile="laptop")
    write_run(variant="resnet_like", subnet="resnet_like", profile="laptop")
    write_run(dataset="chest_xray", variant="conv_like", profile="laptop")
    sizes = {key: len(runs) for key, runs in grouped(find("laptop")).items()}
    assert sizes == {
        ("elpv", "ae_flow", "conv_like"): 2,
        ("elpv", "ae_flow", "resnet_like"): 1,
        ("chest_xray", "ae_flow", "conv_like"): 1,
    }


def test_find_prefers_this_machines_run_over_the_recorded_one(write_run):
    write_run(seed=0, test=ONE_WRONG, recorded=True, profile="laptop")
    write_run(seed=1, test=ONE_WRONG, recorded=True, profile="laptop")
    write_run(seed=0, test=PERFECT, profile="laptop")
    found = {run.config.seed: run for run in find("laptop")}
    assert {seed: run.source for seed, run in found.items()} == {0: "re-run", 1: "recorded"}
    assert {seed: run.metrics["auroc"] for seed, run in found.items()} == {0: 1.0, 1: 0.75}


def test_an_ensemble_never_mixes_two_machines(write_run):
    for seed in range(5):
        write_run(seed=seed, variant="conv_like", profile="laptop", recorded=True)
    for seed in range(4):
        write_run(seed=seed, variant="conv_like", profile="laptop", test=ONE_WRONG)
    assert {run.source for run in ensembles("laptop")["elpv"]} == {"recorded"}
    write_run(seed=4, variant="conv_like", profile="laptop", test=ONE_WRONG)
    assert {run.source for run in ensembles("laptop")["elpv"]} == {"re-run"}


def test_a_profile_without_an_ensemble_shows_the_evidences(write_run, capsys):
    write_run(variant="conv_like")
    for seed in range(2):
        write_run(seed=seed, variant="conv_like", profile=EVIDENCE, recorded=True)
    assert len(ensembles("smoke")["elpv"]) == 2
    assert EVIDENCE in capsys.readouterr().out


def test_an_ensemble_has_no_folds_ablations_or_other_variants(write_run):
    for seed in range(2):
        write_run(seed=seed, variant="conv_like")
        write_run(seed=seed, variant="conv_like+alpha=0.1", alpha=0.1)
        write_run(seed=seed, variant="resnet_like", subnet="resnet_like")
    assert [r.config.variant for r in ensembles("smoke")["elpv"]] == ["conv_like"] * 2


def test_a_rerun_with_the_same_scores_says_so(write_run):
    write_run(recorded=True)
    write_run()
    assert [run.source for run in find("smoke")] == ["re-run = recorded"]


def test_a_rerun_with_other_settings_stands_for_the_recorded_run_not_beside_it(write_run):
    write_run(recorded=True, test=ONE_WRONG)
    write_run(test=PERFECT, n_blocks=4)
    assert [run.metrics["auroc"] for run in find("smoke")] == [1.0]


def test_find_keeps_only_the_models_asked_for(write_run):
    write_run()
    write_run("knn")
    assert [run.config.model.name for run in find("smoke", methods=("knn",))] == ["knn"]


def test_a_profile_without_runs_shows_the_evidence_and_says_so(write_run, capsys):
    write_run(profile=EVIDENCE, recorded=True)
    (run,) = find("smoke")
    assert run.source == "recorded"
    assert EVIDENCE in capsys.readouterr().out


def test_what_is_not_trained_stands_in_the_tables_of_both_policies(write_run):
    write_run(profile="as_published", variant="conv_like")
    for model in ("ae_flow", "fastflow", "knn", "brightness"):
        write_run(model, profile="overnight", recorded=model == "knn", seed=0)
    found = [(run.config.model.name, run.config.profile) for run in find("as_published")]
    shared = [("knn", "overnight"), ("brightness", "overnight")]
    assert found == [("ae_flow", "as_published"), *shared]
    assert len(find("overnight")) == 4
    assert [run.config.model.name for run in find("as_published", "here")] == ["ae_flow"]


def test_there_is_no_other_kind_of_run():
    with pytest.raises(ValueError, match="'best'"):
        find("smoke", "best")


def test_a_home_called_recorded_does_not_make_its_runs_recorded(write_run, tmp_path, monkeypatch):
    (tmp_path / "recorded").mkdir()
    monkeypatch.setenv("AEFLOW_HOME", str(tmp_path / "recorded"))
    assert write_run().source == "re-run"
    assert write_run(recorded=True).source == "recorded"


def scores_with_auroc(auroc, n=100):
    """Labels and scores of `n` normal and one abnormal image that have this AUROC."""
    return (0,) * n + (1,), (*range(n), round(auroc * n) - 0.5)


@pytest.mark.parametrize(
    ("rerun", "verdict"),
    [(0.80, "equal"), (0.95, "as a re-run"), (0.65, "as a re-run"), (0.96, "beyond a seed")],
)
def test_a_rerun_may_move_as_far_as_two_seeds_differ(rerun, verdict, write_run):
    for seed, auroc in enumerate((0.80, 0.78, 0.83)):
        write_run(seed=seed, test=scores_with_auroc(auroc), recorded=True)
    write_run(seed=0, test=scores_with_auroc(rerun))
    row = compare("smoke").set_index("metric").loc["auroc"]
    assert row["verdict"] == verdict
    assert row["recorded"] == pytest.approx(0.80)
    assert row["difference"] == pytest.approx(rerun - 0.80)
    # Deviation of the three seeds, times sqrt(2), times Student's t of 2 degrees of freedom.
    assert row["a seed moves"] == pytest.approx(0.025166 * 1.414214 * 4.302653, rel=1e-4)


def test_without_a_second_seed_only_what_is_equal_is_reproduced(write_run):
    write_run(test=scores_with_auroc(0.80), recorded=True)
    write_run(test=scores_with_auroc(0.81))
    assert compare("smoke").set_index("metric").loc["auroc", "verdict"] == "beyond a seed"


@pytest.mark.parametrize(("moved", "verdict"), [(1, "as a re-run"), (3, "beyond a seed")])
def test_a_method_without_seeds_may_move_by_a_thousandth(moved, verdict, write_run):
    for shift, recorded in ((0, True), (moved * 0.0005, False)):
        write_run("knn", test=scores_with_auroc(0.8 + shift, 2000), recorded=recorded)
    assert compare("smoke").set_index("metric").loc["auroc", "verdict"] == verdict


def test_compare_knows_only_runs_on_both_sides(write_run):
    write_run(seed=0, recorded=True)
    write_run(seed=1)
    assert compare("smoke").empty


def test_compare_leaves_out_metrics_that_neither_side_has(write_run):
    for recorded in (True, False):
        write_run(val=NORMAL_ONLY, recorded=recorded)
    assert set(compare("smoke")["metric"]) == {"auroc", "f1"}


def test_record_copies_runs_without_their_checkpoints(write_run):
    run = write_run()
    (copy,) = record("smoke")
    assert copy.parent == paths().recorded("smoke")
    names = {path.name for path in run.folder.iterdir()}
    assert {path.name for path in copy.iterdir()} == names - {"checkpoint.safetensors"}
    assert compare("smoke")["verdict"].eq("equal").all()


def test_record_replaces_the_same_run(write_run):
    write_run(test=ONE_WRONG, recorded=True)
    write_run(test=PERFECT)
    record("smoke")
    verdicts = compare("smoke").set_index("metric")["verdict"]
    assert verdicts["auroc"] == "equal"


def test_record_replaces_runs_of_the_same_method_with_older_settings(write_run):
    write_run(recorded=True, n_blocks=4)
    write_run("knn", recorded=True)
    new = write_run(n_blocks=8)
    record("smoke")
    names = {path.name for path in paths().recorded("smoke").iterdir()}
    assert new.folder.name in names
    assert len(names) == 2  # the new one, and the other method's


def write_products(write_run, aurocs, **more):
    """One run a product of MVTec AD and seed; each AUROC is 1 or 3/4."""
    for (category, seed), auroc in aurocs.items():
        test = PERFECT if auroc == 1 else ONE_WRONG
        yield write_run(dataset="mvtec", category=category, seed=seed, test=test, **more)


def test_several_categories_have_their_rows_and_their_mean(write_run):
    aurocs = {("bottle", 0): 1, ("bottle", 1): 0.75, ("cable", 0): 0.75, ("cable", 1): 0.75}
    table = summary([*write_products(write_run, aurocs), write_run()])
    assert list(dict.fromkeys(table["dataset"])) == [
        "mvtec-bottle",
        "mvtec-cable",
        "mvtec, mean of 2",
        "elpv",
    ]
    row = row_of(table, "ae_flow", "mvtec, mean of 2")
    assert row["auroc"] == 0.8125
    each = [row_of(table, "ae_flow", f"mvtec-{name}") for name in ("bottle", "cable")]
    for metric in ("auroc", *CLASSIFICATION):
        assert row[metric] == pytest.approx(np.mean([part[metric] for part in each]))
    # seed 0 has a mean of 0.875, seed 1 of 0.75
    assert row["auroc_sd"] == pytest.approx(np.std([0.875, 0.75], ddof=1))
    assert row["domain"] == "industrial"
    assert 0 <= row["auroc_low"] < 0.8125 < row["auroc_high"] <= 1


def test_an_interval_of_a_share_ends_at_one_and_zero(write_run):
    runs = [write_run(seed=0, test=PERFECT), write_run(seed=1, test=(LABELS, (4, 3, 2, 1)))]
    row = row_of(summary(runs), "ae_flow")
    assert (row["auroc_low"], row["auroc_high"]) == (0, 1)  # two seeds tell nothing
    assert (row["f1_low"], row["f1_high"]) == (0, 1)


def test_methods_with_other_categories_have_means_of_their_own(write_run):
    runs = list(write_products(write_run, {("bottle", 0): 1, ("cable", 0): 0.75}))
    runs += write_products(write_run, {("bottle", 0): 1}, model="knn")
    table = summary(runs)
    assert table.loc[table["dataset"] == "mvtec, mean of 2", "model"].tolist() == ["ae_flow"]


def test_one_category_has_no_mean(write_run):
    table = summary(list(write_products(write_run, {("bottle", 0): 1})))
    assert not table["dataset"].str.contains("mean").any()


def test_a_mean_without_thresholds_leaves_their_columns_empty(write_run):
    runs = write_products(write_run, {("bottle", 0): 1, ("cable", 0): 1}, val=NORMAL_ONLY)
    row = row_of(summary(list(runs), "val_f1"), "ae_flow", "mvtec, mean of 2")
    assert row["auroc"] == 1
    assert np.isnan(row["f1"])
