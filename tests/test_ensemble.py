"""Members must be alike; the blog's table and the error ranking on hand cases."""

import numpy as np
import pandas as pd
import pytest

from aeflow_utils import ensemble
from aeflow_utils.errors import UserError
from aeflow_utils.results import grouped
from aeflow_utils.runs import load_run

LABELS = (0, 0, 1, 1)


def members(write_run, *scores, **settings):
    return [write_run(seed=s, test=(LABELS, each), **settings) for s, each in enumerate(scores)]


def combined(sigma, correct, labels=LABELS):
    return pd.DataFrame({"label": labels, "sigma": sigma, "correct": correct})


def test_scores_of_members_are_stacked_image_by_image(write_run):
    runs = members(write_run, (1, 2, 3, 4), (5, 6, 7, 8))
    images, scores = ensemble.member_scores(runs, "test")
    np.testing.assert_array_equal(scores, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert images["path"].tolist() == ["test0.png", "test1.png", "test2.png", "test3.png"]
    assert images["label"].tolist() == list(LABELS)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_members_are_no_ensemble(n, write_run):
    with pytest.raises(UserError, match=f"at least two runs, got {n}"):
        ensemble.member_scores(members(write_run, *[(1, 2, 3, 4)] * n), "test")


def test_members_that_scored_other_images_are_named(write_run):
    first = write_run(seed=0)
    second = write_run(seed=1, test=((0, 1), (1, 2)))
    with pytest.raises(UserError, match="other images") as error:
        ensemble.member_scores([first, second], "test")
    assert second.folder.name in str(error.value)


def test_members_in_another_order_are_refused(write_run):
    first, second = members(write_run, (1, 2, 3, 4), (1, 2, 3, 4))
    scores = second.folder / "scores.csv"
    pd.read_csv(scores)[::-1].to_csv(scores, index=False)
    with pytest.raises(UserError, match="other images"):
        ensemble.member_scores([first, load_run(second.folder)], "test")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_not_finite_names_the_run(bad, write_run):
    runs = members(write_run, (1, 2, 3, 4), (1, bad, 3, 4))
    with pytest.raises(UserError, match="not finite") as error:
        ensemble.member_scores(runs, "test")
    assert runs[1].folder.name in str(error.value)


def test_the_ensemble_decides_by_mean_score_and_mean_threshold(write_run):
    runs = [
        write_run(seed=0, val=(LABELS, (1, 2, 3, 4)), test=(LABELS, (1, 6, 1, 9))),  # threshold 3
        write_run(seed=1, val=(LABELS, (1, 2, 7, 8)), test=(LABELS, (3, 6, 5, 9))),  # threshold 7
    ]
    assert ensemble.mean_threshold(runs, "val_f1") == 5
    table = ensemble.combine(runs)
    assert table["mu"].tolist() == [2, 6, 3, 9]
    assert table["sigma"].tolist() == [1, 0, 2, 0]  # population deviation of two
    assert table["predicted"].tolist() == [0, 1, 0, 1]
    assert table["correct"].tolist() == [True, False, False, True]


def test_the_certainty_table_counts_every_image_once():
    table = ensemble.certainty_table(
        combined([0.01, 0.2, 0.01, 0.3], [True, True, False, False]), sigma=0.1
    )
    assert table.to_dict("index") == {
        "right": {"certain": 1, "uncertain": 1},
        "wrong": {"certain": 1, "uncertain": 1},
    }


def test_an_uncertainty_of_exactly_sigma_is_certain():
    table = ensemble.certainty_table(combined([0.1] * 4, [True] * 4), sigma=0.1)
    assert table.loc["right"].tolist() == [4, 0]
    assert table.loc["wrong"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("predicted", "degenerate"), [([1, 1, 1], True), ([0, 0], True), ([0, 1, 1], False)]
)
def test_one_verdict_for_all_images_is_degenerate(predicted, degenerate):
    assert ensemble.is_degenerate(np.array(predicted)) == degenerate


def test_error_auroc_of_a_perfect_a_reversed_and_a_blind_uncertainty():
    table = combined([0.0] * 4, [True, True, False, False])
    assert ensemble.error_auroc(table, np.array([1, 2, 3, 4])) == 1
    assert ensemble.error_auroc(table, np.array([4, 3, 2, 1])) == 0
    assert ensemble.error_auroc(table, np.ones(4)) == 0.5


@pytest.mark.parametrize("correct", [True, False])
def test_error_auroc_without_both_right_and_wrong_is_empty(correct):
    assert np.isnan(ensemble.error_auroc(combined([0.0] * 4, [correct] * 4), np.arange(4)))


def test_has_threshold_needs_one_of_every_member(write_run):
    labelled = write_run(seed=0)
    unlabelled = write_run(seed=1, val=((0, 0), (1, 2)))
    assert ensemble.has_threshold([labelled], "val_f1")
    assert not ensemble.has_threshold([labelled, unlabelled], "val_f1")
    assert ensemble.has_threshold([labelled, unlabelled], "normal_quantile")


def test_the_error_table_ranks_errors_by_spread_and_by_closeness(write_run):
    # Thresholds 3; image 1 is wrong (mean 4), close to the threshold and with the largest spread.
    runs = members(write_run, (0, 2, 8, 9), (0, 6, 8, 9))
    (row,) = ensemble.error_table(grouped(runs)).to_dict("records")
    assert row["members"] == 2
    assert row["AUROC of the mean"] == 100
    assert row["right"] == "75.0"
    assert row["sigma ranks errors"] == 100
    assert row["closeness ranks errors"] == 100
