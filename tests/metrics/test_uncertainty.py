"""Error detection, calibration, conformal sets: hand cases, scikit-learn and simulation."""

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from aeflow_utils import metrics
from aeflow_utils.metrics import uncertainty

WRONG = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
RISING = np.arange(10.0)
RISING_1 = np.arange(1, 11)


def test_a_perfect_uncertainty():
    found = uncertainty.quality(WRONG, RISING)
    assert found["auroc"] == 1
    assert found["aurc"] == pytest.approx((1 / 9 + 2 / 10) / 10)
    assert found["rest_accuracy"] == pytest.approx(8 / 9)
    assert found["caught"] == pytest.approx(0.5)  # one image of ten is referred, and it is wrong


def test_a_reversed_uncertainty():
    found = uncertainty.quality(WRONG, -RISING)
    assert found["auroc"] == 0
    assert found["aurc"] == pytest.approx(np.mean(np.minimum(np.arange(1, 11), 2) / RISING_1))
    assert found["rest_accuracy"] == pytest.approx(7 / 9)
    assert found["caught"] == 0


def test_an_uncertainty_that_is_the_same_for_all_is_a_coin():
    found = uncertainty.quality(WRONG, np.ones(10))
    assert found["auroc"] == 0.5
    for figure, expected in (("rest_accuracy", 0.8), ("aurc", 0.2), ("caught", 0.1)):
        assert found[figure] == pytest.approx(expected)


def test_a_random_uncertainty_is_one_on_average():
    rng = np.random.default_rng(0)
    each = [uncertainty.quality(WRONG, rng.normal(size=10)) for _ in range(2000)]
    assert np.mean([q["auroc"] for q in each]) == pytest.approx(0.5, abs=0.02)
    assert np.mean([q["aurc"] for q in each]) == pytest.approx(0.2, abs=0.01)


def test_ties_count_as_the_mean_over_their_orders():
    wrong, tied = np.array([0, 1, 0, 1, 1, 0]), np.array([0, 1, 1, 1, 2, 2])
    rng = np.random.default_rng(1)
    orders = [uncertainty.quality(wrong, tied + 1e-6 * rng.random(6)) for _ in range(4000)]
    found = uncertainty.quality(wrong, tied)
    for figure in ("auroc", "aurc", "rest_accuracy", "caught"):
        assert found[figure] == pytest.approx(np.mean([o[figure] for o in orders]), abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_auroc_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    wrong, values = rng.integers(0, 2, 50), rng.integers(0, 12, 50)
    assert uncertainty.quality(wrong, values)["auroc"] == pytest.approx(
        roc_auc_score(wrong, values)
    )


@pytest.mark.parametrize("seed", range(3))
def test_only_the_order_counts(seed):
    rng = np.random.default_rng(seed)
    wrong, values = rng.integers(0, 2, 40), rng.normal(size=40)
    found = uncertainty.quality(wrong, values)
    assert uncertainty.quality(wrong, np.exp(values)) == found
    assert uncertainty.quality(wrong, rankdata(values)) == found


@pytest.mark.parametrize("value", [0, 1])
def test_without_both_right_and_wrong_verdicts_nothing_can_be_ranked(value):
    found = uncertainty.quality(np.full(4, value), np.arange(4))
    assert np.isnan(found["auroc"])
    assert found["aurc"] == value
    assert np.isnan(found["caught"]) == (value == 0)


@pytest.mark.parametrize("values", [[0, np.nan, 1], [0, np.inf, 1], [0, 1]])
def test_what_is_no_uncertainty_is_refused(values):
    with pytest.raises(ValueError, match=r"finite|must be one"):
        uncertainty.quality(np.array([0, 1, 0]), np.array(values))


@pytest.mark.parametrize("seed", range(3))
def test_no_uncertainty_is_better_than_knowing_the_errors(seed):
    rng = np.random.default_rng(seed)
    wrong = (rng.random(50) < 0.3).astype(int)
    best = uncertainty.quality(wrong, wrong)
    assert best["caught"] == pytest.approx(5 / wrong.sum())  # of ten per cent, all are errors
    for _ in range(20):
        found = uncertainty.quality(wrong, wrong + rng.normal(size=50))
        assert found["aurc"] >= best["aurc"] - 1e-12
        for figure in ("auroc", "rest_accuracy", "caught"):
            assert found[figure] <= best[figure] + 1e-12


def test_nothing_to_judge_is_refused():
    with pytest.raises(ValueError, match="no verdict"):
        uncertainty.quality(np.array([]), np.array([]))


def test_draws_are_the_quality_of_resampled_images():
    rng = np.random.default_rng(0)
    wrong, values = rng.integers(0, 2, 30), rng.integers(0, 9, 30)
    draws = uncertainty.quality_draws(wrong, values, n_resamples=20, seed=3)
    positions = metrics.resampled(30, 20, 3)
    for row, chosen in zip(draws.to_dict("records"), positions, strict=True):
        assert row == pytest.approx(uncertainty.quality(wrong[chosen], values[chosen]))


def test_the_risk_coverage_curve_ends_at_the_error_rate():
    coverage, risk = uncertainty.risk_coverage(WRONG, RISING)
    np.testing.assert_allclose(coverage, RISING_1 / 10)
    np.testing.assert_allclose(risk, [0] * 8 + [1 / 9, 0.2])


def test_the_best_cut_parts_errors_from_right_verdicts():
    assert uncertainty.best_cut(WRONG, RISING) == 7  # uncertain is what lies above
    for wrong in (np.zeros(3), np.ones(3)):
        assert np.isnan(uncertainty.best_cut(wrong, np.arange(3)))


def test_the_best_cut_of_a_reversed_uncertainty_calls_nothing_uncertain():
    assert uncertainty.best_cut(WRONG, -RISING) == 0


def test_calibration_error_by_hand():
    labels, forecast = np.array([0, 1, 1, 1]), np.array([0.1, 0.1, 0.9, 0.9])
    bins = uncertainty.reliability(labels, forecast)
    assert bins.to_dict("list") == {
        "forecast": pytest.approx([0.1, 0.9]),
        "observed": [0.5, 1],
        "images": [2, 2],
    }
    found = uncertainty.calibration(labels, forecast)
    assert found["ece"] == pytest.approx((0.4 + 0.1) / 2)
    assert found["brier"] == pytest.approx((0.01 + 0.81 + 0.01 + 0.01) / 4)


def test_reliability_is_scikit_learns_curve():
    rng = np.random.default_rng(0)
    forecast = rng.random(200)
    labels = (rng.random(200) < forecast).astype(int)
    bins = uncertainty.reliability(labels, forecast)
    observed, mean = calibration_curve(labels, forecast, n_bins=10)
    np.testing.assert_allclose(bins["observed"], observed)
    np.testing.assert_allclose(bins["forecast"], mean)
    assert bins["images"].sum() == 200


def test_a_probability_above_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        uncertainty.calibration(np.array([0, 1]), np.array([0.5, 1.1]))


def test_conformal_p_values_by_hand():
    p = uncertainty.conformal_p_values(np.array([1.0, 2.0, 3.0]), np.array([0.0, 2.0, 2.5, 9.0]))
    np.testing.assert_allclose(p, [1, 3 / 4, 2 / 4, 1 / 4])  # an equal score counts as usual


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.2])
def test_conformal_sets_keep_their_promise_where_images_are_exchangeable(alpha):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(300):
        labels = np.repeat([0, 1], 99)
        fit, new = (rng.normal(size=198) + labels for _ in range(2))
        sets = uncertainty.conformal_sets(labels, fit, new, alpha)
        covered.append([sets[labels == k, k].mean() for k in (0, 1)])
    np.testing.assert_allclose(np.mean(covered, axis=0), 1 - alpha, atol=0.012)


def test_a_conformal_score_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        uncertainty.conformal_p_values(np.array([1.0, np.nan]), np.array([1.0]))
