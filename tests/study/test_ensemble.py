"""Members must be alike; the blog's table and the error ranking on hand cases."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from helpers import rewrite

from aeflow_utils.errors import UserError
from aeflow_utils.metrics import auroc
from aeflow_utils.metrics.calibration import entropy
from aeflow_utils.study import ensemble
from aeflow_utils.study.runs import load_run

LABELS = (0, 0, 1, 1)


def members(write_run, *scores, **settings):
    return [write_run(seed=s, test=(LABELS, each), **settings) for s, each in enumerate(scores)]


def judged(runs):
    return ensemble.judge(*(ensemble.readings(runs, split) for split in ("val", "test")))


def decided(correct):
    return pd.DataFrame({"label": LABELS, "correct": correct})


def test_members_are_read_image_by_image(write_run):
    runs = members(write_run, (1, 2, 3, 4), (5, 6, 7, 8))
    first, second = ensemble.readings(runs, "test")
    np.testing.assert_array_equal([first.scores, second.scores], [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert first.labels.tolist() == second.labels.tolist() == list(LABELS)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_members_are_no_ensemble(n, write_run):
    with pytest.raises(UserError, match=f"at least two runs, got {n}"):
        ensemble.readings(members(write_run, *[(1, 2, 3, 4)] * n), "test")


def test_members_that_scored_other_images_are_named(write_run):
    first = write_run(seed=0)
    second = write_run(seed=1, test=((0, 1), (1, 2)))
    with pytest.raises(UserError, match="other images") as error:
        ensemble.readings([first, second], "test")
    assert second.folder.name in str(error.value)


def test_members_in_another_order_are_refused(write_run):
    first, second = members(write_run, (1, 2, 3, 4), (1, 2, 3, 4))
    scores = pd.read_csv(second.folder / "scores.csv.gz")
    rewrite(second.folder, "scores.csv.gz", scores[::-1])
    with pytest.raises(UserError, match="other images"):
        ensemble.readings([first, load_run(second.folder)], "test")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_names_the_run(bad, write_run):
    runs = members(write_run, (1, 2, 3, 4), (1, bad, 3, 4))
    with pytest.raises(UserError, match="not finite") as error:
        ensemble.readings(runs, "test")
    assert runs[1].folder.name in str(error.value)


def test_the_ensemble_decides_by_mean_score_and_mean_threshold(write_run):
    runs = [
        write_run(seed=0, val=(LABELS, (1, 2, 3, 4)), test=(LABELS, (1, 6, 1, 9))),  # threshold 3
        write_run(seed=1, val=(LABELS, (1, 2, 7, 8)), test=(LABELS, (3, 6, 5, 9))),  # threshold 7
    ]
    table = judged(runs)
    assert table["closeness"].tolist() == [-3, -1, -2, -4]  # to the mean threshold, 5
    assert table["mu"].tolist() == [2, 6, 3, 9]
    assert table["sigma"].tolist() == [1, 0, 2, 0]  # population deviation of two
    assert table["predicted"].tolist() == [0, 1, 0, 1]
    assert table["correct"].tolist() == [True, False, False, True]


def test_error_auroc_of_a_perfect_a_reversed_and_a_blind_uncertainty():
    table = decided([True, True, False, False])
    assert ensemble.error_auroc(table, np.array([1, 2, 3, 4])) == 1
    assert ensemble.error_auroc(table, np.array([4, 3, 2, 1])) == 0
    assert ensemble.error_auroc(table, np.ones(4)) == 0.5


@pytest.mark.parametrize("correct", [True, False])
def test_error_auroc_without_both_right_and_wrong_is_empty(correct):
    assert np.isnan(ensemble.error_auroc(decided([correct] * 4), np.arange(4)))


def test_spread_and_closeness_rank_an_error_by_hand(write_run):
    # Thresholds 3; image 1 is wrong (mean 4), close to the threshold and with the largest spread.
    runs = members(write_run, (0, 2, 8, 9), (0, 6, 8, 9))
    table = judged(runs)
    assert auroc(table["label"], table["mu"]) == 1
    assert table["correct"].mean() == 0.75
    assert ensemble.error_auroc(table, table["sigma"]) == 1
    assert ensemble.error_auroc(table, table["closeness"]) == 1


def reading(labels, scores, parts=None, groups=None):
    scores = np.asarray(scores, float)
    parts = scores[:, None] if parts is None else np.asarray(parts, float)
    groups = np.arange(len(scores)) if groups is None else np.asarray(groups)
    return ensemble.Reading(np.asarray(labels), scores, parts, groups)


def random_readings(n_members=3, n=60, seed=0):
    """Members that share a weak signal; the second part of their score tells the classes apart."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], n // 2)
    shared = labels + rng.normal(size=n)
    members = []
    for _ in range(n_members):
        scores = shared + 0.2 * rng.normal(size=n)
        two = np.stack([scores, 3 * labels + rng.normal(size=n)], axis=1)
        members.append(reading(labels, scores, two))
    return members


def rescaled(member, scale, offset):
    return replace(member, scores=scale * member.scores + offset)


def test_each_members_unit_is_removed_from_all_but_the_raw_scale():
    fits, seen = random_readings(seed=0), random_readings(seed=1)
    before = ensemble.judge(fits, seen)
    units = ((1, 0), (100, -3), (0.01, 8))
    fits, seen = (
        [rescaled(m, *unit) for m, unit in zip(members, units, strict=True)]
        for members in (fits, seen)
    )
    after = ensemble.judge(fits, seen)
    same = ["sigma_standardised", "sigma_rank", "sigma_probability", "entropy_isotonic"]
    np.testing.assert_allclose(after[same], before[same], atol=1e-6)
    assert not np.allclose(after["sigma_raw"], before["sigma_raw"])


def test_a_common_unit_changes_the_order_of_no_deviation():
    fits, seen = random_readings(seed=0), random_readings(seed=1)
    before = ensemble.judge(fits, seen)["sigma_raw"]
    fits, seen = ([rescaled(m, 7, -2) for m in members] for members in (fits, seen))
    np.testing.assert_allclose(ensemble.judge(fits, seen)["sigma_raw"], 7 * before)


def test_one_member_agrees_with_itself():
    table = ensemble.judge(random_readings(1, seed=0), random_readings(1, seed=1))
    for name in ("sigma_raw", "sigma_standardised", "sigma_rank", "sigma_probability"):
        assert (table[name] == 0).all()
    np.testing.assert_allclose(table["disagreement"], 0, atol=1e-12)
    assert table["entropy"].nunique() > 10
    assert ensemble.error_auroc(table, table["sigma_raw"]) == 0.5


def test_chance_of_error_is_the_probability_of_the_other_verdict():
    fits, seen = (random_readings(seed=seed) for seed in (0, 1))
    table = ensemble.judge(fits, seen)
    mean = table["mean_parts"]
    expected = np.where(table["predicted"] == 1, 1 - mean, mean)
    np.testing.assert_allclose(table["chance_of_error_parts"], expected)
    np.testing.assert_allclose(table["entropy_parts"], entropy(mean.to_numpy()))
    own = ensemble.judge(fits, seen, decision="parts")
    assert own["predicted"].tolist() == (mean >= 0.5).astype(int).tolist()
    assert own["correct"].mean() > table["correct"].mean()


def test_parts_find_errors_that_the_score_hides():
    fits, seen = (random_readings(seed=seed, n=200) for seed in (0, 1))
    table = ensemble.judge(fits, seen)
    aurocs = {n: ensemble.error_auroc(table, table[n]) for n in ensemble.MEASURES}
    assert aurocs["chance_of_error_parts"] > 0.9 > aurocs["entropy"]
    assert ensemble.chosen_measure(ensemble.cross_fitted(fits)) == "chance_of_error_parts"


def test_cross_fitting_returns_every_image_once_and_is_no_worse_than_honest():
    fits = random_readings(n=80, seed=2)
    table = ensemble.cross_fitted(fits)
    assert table["label"].tolist() == fits[0].labels.tolist()
    np.testing.assert_allclose(table["mu"], np.mean([f.scores for f in fits], axis=0))
    seen_before = ensemble.judge(fits, fits)
    assert not np.allclose(table["mean_parts"], seen_before["mean_parts"])


@pytest.mark.parametrize("decision", ensemble.DECISIONS)
def test_a_measure_that_has_seen_labels_judges_no_decision_that_has_not(decision):
    table = ensemble.judge(*(random_readings(seed=seed) for seed in (0, 1)), decision)
    without_threshold = {"closeness", "conformal"} if decision == "parts" else set()
    allowed = {
        name
        for name, measure in ensemble.MEASURES.items()
        if ensemble.DECISIONS[decision].labels or not measure.labels
    }
    assert {name for name in ensemble.MEASURES if name in table} == allowed - without_threshold


def test_what_has_seen_no_labels_does_not_change_with_them():
    fits, seen = random_readings(seed=0), random_readings(seed=1)
    # Of the abnormal validation images, half are lost and the others' scores are another's.
    few = np.flatnonzero((fits[0].labels == 0) | (np.arange(60) < 30))
    rng = np.random.default_rng(2)
    moved = [
        replace(f, scores=np.where(f.labels == 1, rng.normal(size=60), f.scores)) for f in fits
    ]
    moved = [fit.take(few) for fit in moved]
    before, after = (ensemble.judge(each, seen, "normals") for each in (fits, moved))
    pd.testing.assert_frame_equal(before, after)
    before, after = (ensemble.judge(each, seen, "scores") for each in (fits, moved))
    same = [name for name, m in ensemble.MEASURES.items() if not m.labels]
    same = [name for name in same if name not in ("closeness", "conformal")]  # to its threshold
    pd.testing.assert_frame_equal(before[same], after[same])
    for name in set(ensemble.MEASURES) - set(same):
        assert not np.allclose(before[name], after[name]), name


def test_the_decision_without_labels_cuts_at_a_quantile_of_normals():
    normals = np.arange(101.0)
    fits = [reading([0] * 101, normals), reading([0] * 101, 2 * normals)]
    seen = [reading([0, 1, 1], scores) for scores in ([94, 95, 99], [190, 191, 130])]
    table = ensemble.judge(fits, seen, "normals")  # the mean of 95 and 190
    np.testing.assert_allclose(table["closeness"], [-0.5, -0.5, -28])
    assert table["predicted"].tolist() == [0, 1, 0]
    assert table["correct"].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("measure", "decision", "seen"),
    [
        ("closeness", "normals", "none"),
        ("closeness", "scores", "by the decision"),
        ("entropy_parts", "parts", "by both"),
    ],
)
def test_who_has_seen_labels(measure, decision, seen):
    assert ensemble.labels_seen(measure, decision) == seen


def test_two_images_of_a_patient_are_never_in_both_parts_of_a_fold(monkeypatch):
    fits = random_readings(n=80)
    fits = [replace(fit, groups=np.arange(80) // 4) for fit in fits]  # both classes in each
    parts, judge = [], ensemble.judge
    monkeypatch.setattr(ensemble, "judge", lambda *p, **o: parts.append(p) or judge(*p, **o))
    table = ensemble.cross_fitted(fits)
    assert table.index.tolist() == list(range(80))
    assert len(parts) == 5
    for known, held_out in parts:
        assert not set(known[0].groups) & set(held_out[0].groups)


def test_what_a_calibrator_knows_of_a_patient_is_not_rewarded():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(24), 5)
    labels, looks = np.arange(24) % 2, rng.normal(size=(24, 18))  # of the patient, not its class
    fit = reading(labels[groups], rng.normal(size=120), looks[groups], groups)
    alone = replace(fit, groups=np.arange(120))
    leaked, honest = (
        ensemble.cross_fitted([each] * 2, "parts")["correct"].mean() for each in (alone, fit)
    )
    assert leaked > 0.85
    assert honest < 0.7


def test_groups_are_read_where_a_run_has_them(write_run):
    runs = members(write_run, (1, 2, 3, 4), (1, 2, 3, 4))
    assert ensemble.readings(runs, "val")[0].groups.tolist() == [0, 1, 2, 3]
    scores = runs[0].scores.assign(group=[7, 7, 8, 9, 1, 1, 1, 2])
    grouped = [replace(run, scores=scores) for run in runs]
    assert ensemble.readings(grouped, "val")[0].groups.tolist() == [7, 7, 8, 9]
    assert ensemble.readings(grouped, "test")[0].take([0, 3]).groups.tolist() == [1, 2]


def test_noise_that_a_calibrator_could_learn_is_not_rewarded():
    rng = np.random.default_rng(0)
    labels = np.tile([0, 1], 30)
    noise = [reading(labels, rng.normal(size=60), rng.normal(size=(60, 20))) for _ in range(2)]
    fitted = ensemble.judge(noise, noise, decision="parts")["correct"].mean()
    honest = ensemble.cross_fitted(noise, decision="parts")["correct"].mean()
    assert fitted > 0.7
    assert honest < 0.65


def test_members_with_other_validation_images_cannot_be_cross_fitted():
    first, second = reading(LABELS, (1, 2, 3, 4)), reading((0, 1, 1, 1), (1, 2, 3, 4))
    with pytest.raises(ValueError, match="other validation images"):
        ensemble.cross_fitted([first, second])


def test_members_may_calibrate_on_images_of_their_own():
    fits = [random_readings(1, n=40, seed=s)[0] for s in range(3)]
    assert len(ensemble.judge(fits, random_readings(3, seed=9))) == 60


def test_validation_without_abnormal_images_cannot_calibrate():
    normal = [reading((0, 0), (1, 2))] * 2
    with pytest.raises(ValueError, match="normal and abnormal"):
        ensemble.judge(normal, normal)


@pytest.mark.parametrize("column", ["image_score", "flow_score"])
def test_a_hole_in_a_members_scores_names_the_run(column, write_run):
    runs = members(write_run, (1, 2, 3, 4), (1, 2, 3, 4))
    scores = pd.read_csv(runs[1].folder / "scores.csv.gz")
    scores["flow_score"] = np.arange(8.0)
    scores.loc[5, column] = np.nan
    rewrite(runs[1].folder, "scores.csv.gz", scores)
    with pytest.raises(UserError, match="not finite") as error:
        ensemble.readings([runs[0], load_run(runs[1].folder)], "test")
    assert runs[1].folder.name in str(error.value)


def test_a_tie_between_measures_takes_the_first():
    table = pd.DataFrame({"correct": [True, False, False], "closeness": [1, 2, 3]})
    assert ensemble.chosen_measure(table.assign(entropy=[4, 5, 6], sigma_raw=0)) == "closeness"
