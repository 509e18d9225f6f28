"""Two levels of chance: images, or groups of them, and seeds."""

import numpy as np
import pytest
from scipy.stats import t as student
from sklearn.metrics import roc_auc_score

from aeflow_utils import metrics
from aeflow_utils.metrics import CLASSIFICATION, auroc, classification
from aeflow_utils.metrics.compare import Sample

N_RESAMPLES = 1000


def random_case(n, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, rng.normal(size=n) + shift * labels


def test_an_interval_holds_its_value_repeats_and_narrows_with_images():
    widths = []
    for case in (random_case(40), random_case(640)):
        estimate = metrics.mean_of(metrics.auroc_sample(*case, fixed=True))
        again = metrics.mean_of(metrics.auroc_sample(*case, fixed=True))
        assert estimate.value == pytest.approx(auroc(*case))
        assert estimate.low < estimate.value < estimate.high
        assert estimate == again != metrics.mean_of(metrics.auroc_sample(*case, seed=1))
        widths.append(estimate.high - estimate.low)
    assert 2.5 < widths[0] / widths[1] < 6  # 16 times the images: a quarter of the width


@pytest.mark.parametrize("n_images", [100, 1600])
def test_an_interval_of_a_share_has_the_binomial_width(n_images):
    labels, predicted = np.zeros(n_images, int), np.arange(n_images) % 4 == 0
    sample = metrics.classification_sample(labels, predicted, "acc", fixed=True)
    estimate = metrics.mean_of(sample)
    assert estimate.value == 0.75
    width = 2 * 1.96 * np.sqrt(0.75 * 0.25 / n_images)
    assert estimate.high - estimate.low == pytest.approx(width, rel=0.1)


def test_draws_are_sklearns_auroc_of_the_resampled_images():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 30), rng.integers(0, 5, 30)  # many ties
    drawn = metrics.auroc_sample(labels, scores, seed=3).draws[0]
    positions = metrics.resampled(30, seed=3)[:50]
    expected = [roc_auc_score(labels[p], scores[p]) for p in positions]
    np.testing.assert_allclose(drawn[:50], expected)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 30), rng.normal(size=30)
    groups = np.repeat(["a", "b", "c", "d", "e", "f"], 5)
    drawn = metrics.auroc_sample(labels, scores, groups, seed=3)
    assert drawn.n_groups == 6
    members = np.arange(30).reshape(6, 5)
    rows = [members[p].ravel() for p in metrics.resampled(6, seed=3)[:50]]
    expected = [roc_auc_score(labels[r], scores[r]) for r in rows]
    np.testing.assert_allclose(drawn.draws[0, :50], expected)


@pytest.mark.parametrize("metric", CLASSIFICATION)
def test_draws_are_the_metric_of_the_resampled_images(metric):
    rng = np.random.default_rng(0)
    labels, predicted = (rng.random((2, 6)) < 0.4).astype(int)  # some resamples hold one class
    drawn = metrics.classification_sample(labels, predicted, metric, seed=3)
    positions = metrics.resampled(6, seed=3)[:40]
    expected = [classification(labels[p], predicted[p])[metric] for p in positions]
    np.testing.assert_allclose(drawn.draws[0, :40], expected)
    assert drawn.observed == pytest.approx([classification(labels, predicted)[metric]], nan_ok=True)


def fixed_images(*values, fixed=False):
    """Trainings whose metric no image changes."""
    values = np.array(values, float)
    return Sample(values, np.repeat(values[:, None], N_RESAMPLES, axis=1), 100, fixed)


def test_seeds_alone_give_students_interval():
    values = [0.80, 0.83, 0.81, 0.86, 0.85]
    estimate = metrics.mean_of(fixed_images(*values))
    half = student.ppf(0.975, 4) * np.std(values, ddof=1) / np.sqrt(5)
    assert (estimate.low, estimate.high) == pytest.approx((0.83 - half, 0.83 + half))
    assert estimate.seed_df == 4


def test_a_method_without_seeds_has_only_images():
    estimate = metrics.mean_of(fixed_images(0.8, fixed=True))
    assert (estimate.low, estimate.high) == pytest.approx((0.8, 0.8))
    assert estimate.seed_df == np.inf


def test_a_difference_is_paired_by_seed_and_image():
    values, drawn = (
        np.array([0.7, 0.8, 0.9]),
        np.random.default_rng(0).normal(size=(3, N_RESAMPLES)),
    )
    a, b = Sample(values, drawn, 50), Sample(values - 0.1, drawn, 50)
    gap = metrics.difference(a, b)
    assert (gap.value, gap.error) == pytest.approx((0.1, 0))
    assert gap.p_value < 1e-12
    assert metrics.difference(a, a).p_value == 1
    fixed = fixed_images(0.7, fixed=True)
    assert metrics.difference(a, fixed).seed_df == 2
    assert metrics.difference(a, fixed).value == pytest.approx(0.1)


def test_one_training_against_five_has_the_spread_of_the_five():
    five, one = fixed_images(0.80, 0.83, 0.81, 0.86, 0.85), fixed_images(0.9)
    gap = metrics.difference(one, five)
    spread = np.std(five.observed, ddof=1)
    assert gap.value == pytest.approx(0.07)
    assert gap.seed_error == pytest.approx(spread * np.sqrt(1 + 1 / 5))
    assert gap.seed_df == 4
    single = metrics.difference(one, fixed_images(0.8), spread=five)
    assert single.seed_error == pytest.approx(spread * np.sqrt(2))
    assert single.seed_df == 4
    assert metrics.difference(one, fixed_images(0.8)).seed_df == 0


def test_an_average_over_sets_weighs_each_the_same():
    mean = metrics.average([fixed_images(0.6, 0.7), fixed_images(0.8, 0.9)])
    assert mean.observed.tolist() == pytest.approx([0.7, 0.8])
    assert mean.n_groups == 200


@pytest.mark.parametrize(
    ("seed_sd", "image_sd", "per_group"),
    [(0.0, 1.0, 1), (1.0, 0.0, 1), (0.1, 1.0, 1), (0.5, 1.0, 1), (0.1, 1.0, 4)],
)
def test_nominal_95_percent_cover_95_percent(seed_sd, image_sd, per_group):
    """Five trainings, 120 images; by images, by seeds, by both, and with images in groups."""
    rng, n_images, hits = np.random.default_rng(1), 120, []
    groups = np.arange(n_images) // per_group
    for _ in range(1500):
        shared = rng.normal(size=groups.max() + 1)[groups] if per_group > 1 else 0
        images = image_sd * (rng.normal(size=n_images) + shared)
        noise = image_sd * rng.normal(size=(5, n_images))
        values = seed_sd * rng.normal(size=(5, 1)) + images + noise
        estimate = metrics.mean_of(metrics.mean_sample(values, groups))
        hits.append(estimate.low <= 0 <= estimate.high)
    assert 0.93 <= np.mean(hits) <= 0.97


def test_auroc_intervals_cover_the_truth_where_seeds_and_images_vary():
    rng, truth, hits = np.random.default_rng(2), 0.7597, []  # by 10^7 draws of a shift
    labels = np.arange(200) % 2
    for _ in range(300):
        shifts = 1 + 0.1 * rng.normal(size=(5, 1))
        scores = 0.9 * rng.normal(size=200) + np.sqrt(0.19) * rng.normal(size=(5, 200))
        estimate = metrics.mean_of(metrics.auroc_sample(labels, scores + shifts * labels))
        hits.append(estimate.low <= truth <= estimate.high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_images_are_drawn_singly_or_with_their_group():
    alone = metrics.resampled(6, 20, seed=1, groups=np.array([5, 3, 1, 2, 4, 0]))
    np.testing.assert_array_equal(alone, metrics.resampled(6, 20, seed=1))
    groups = np.array([0, 1, 0, 2, 1, 0])
    together = metrics.resampled(6, 200, seed=1, groups=groups)
    assert together.shape == (200, 6)
    assert set(together.ravel()) == set(range(6))
    members = {0: [0, 2, 5], 1: [1, 4], 2: [3]}
    for row in together:  # whole groups, the last cut short
        at = 0
        while at < 6:
            whole = members[groups[row[at]]]
            assert row[at : at + len(whole)].tolist() == whole[: 6 - at]
            at += len(whole)
