"""Metrics, thresholds and intervals against hand cases, brute force and scikit-learn."""

from fractions import Fraction

import numpy as np
import pytest

from aeflow_utils import metrics
from aeflow_utils.metrics import CLASSIFICATION, auroc, classification


def random_case(n, seed=0, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    return labels, rng.normal(size=n) + shift * labels


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 1.0),
        ([1, 1, 0, 0], [1, 2, 3, 4], 0.0),
        ([0, 1, 0, 1], [5, 5, 5, 5], 0.5),
        ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 0.75),
        ([0, 0, 0], [1, 2, 3], np.nan),  # one class only
        ([1, 1, 1], [1, 2, 3], np.nan),
    ],
)
def test_auroc_of_hand_cases(labels, scores, expected):
    np.testing.assert_equal(auroc(labels, scores), expected)


def test_auroc_of_large_raw_scores_equals_that_of_standardised_ones():
    labels, scores = random_case(200)
    raw = 1000 + 0.01 * scores  # a sigmoid would make every one of these 1
    assert auroc(labels, raw) == auroc(labels, (raw - raw.mean()) / raw.std())
    assert 0.6 < auroc(labels, raw) < 0.95


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 0, 1], [1, np.nan, 3, np.inf], "2 scores are not finite, the first at position 1"),
        ([0, 1, 0], [1, 2], "must be one"),
        ([0, 1, 2], [1, 2, 3], "labels must be 0"),
    ],
)
@pytest.mark.parametrize("metric", [auroc, metrics.f1_max_threshold, metrics.auroc_sample])
def test_bad_input_is_refused(metric, labels, scores, message):
    with pytest.raises(ValueError, match=message):
        metric(np.array(labels), np.array(scores, dtype=float))


def test_classification_of_a_hand_computed_confusion_matrix():
    labels = [1] * 4 + [0] * 6
    predicted = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]  # TP 3, FN 1, FP 2, TN 4
    expected = {"f1": 6 / 9, "acc": 0.7, "sen": 3 / 4, "spe": 4 / 6, "bacc": 17 / 24}
    assert classification(labels, predicted) == pytest.approx(expected)
    assert set(expected) == set(CLASSIFICATION)


def test_classification_without_abnormal_images_has_no_sensitivity():
    result = classification([0, 0, 0, 0], [1, 0, 0, 0])
    assert np.isnan(result["sen"]) and np.isnan(result["bacc"])
    assert (result["f1"], result["acc"], result["spe"]) == (0, 0.75, 0.75)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([0, 0, 1, 1], [1, 2, 3, 4], 3),
        ([0, 1, 0, 1], [1, 2, 2, 3], 2),  # a tie of both classes at 2: 4/5 beats 2/3 at 3
        ([0, 1, 0, 0, 1], [1, 2, 2, 2, 3], 3),  # 2/3 at 2 and at 3: the higher wins
        ([1, 1, 1], [7, 5, 6], 5),  # all abnormal: call everything abnormal
        ([1, 0, 0], [1, 2, 3], 1),  # only the lowest score flags the abnormal image
        ([0, 0, 0], [1, 2, 3], np.nan),  # no abnormal image: not the minimum
    ],
)
def test_f1_max_threshold_of_hand_cases(labels, scores, expected):
    np.testing.assert_equal(metrics.f1_max_threshold(labels, scores), expected)


def exact_f1(labels, predicted):
    return Fraction(2 * int(np.sum(labels & predicted)), int(labels.sum() + predicted.sum()))


@pytest.mark.parametrize("seed", range(20))
def test_f1_max_threshold_equals_brute_force_on_tied_scores(seed):
    rng = np.random.default_rng(seed)
    labels = np.r_[1, rng.integers(0, 2, 29)]
    scores = (rng.integers(0, 8, 30) + labels).astype(float)
    best = max(np.unique(scores), key=lambda cut: (exact_f1(labels, scores >= cut), cut))
    assert metrics.f1_max_threshold(labels, scores) == best


# Scores fall from left to right.
SEVEN = np.array([0, 1, 0, 0, 0, 0, 1]), np.array([7, 6, 5, 4, 3, 2, 1])


@pytest.mark.parametrize("strictly", [False, True])
def test_best_threshold_tries_every_score_and_keeps_the_highest_of_a_tie(strictly):
    seen = {}

    def criterion(tp, fp, fn, tn):
        seen.update(tp=tp.tolist(), fp=fp.tolist(), fn=fn.tolist(), tn=tn.tolist())
        return np.where(tp == 1, 1.0, 0.0)

    found = metrics.best_threshold(*SEVEN, criterion, strictly)
    at_or_above = {  # the thresholds are 1 to 7
        "tp": [2, 1, 1, 1, 1, 1, 0],
        "fp": [5, 5, 4, 3, 2, 1, 1],
        "fn": [0, 1, 1, 1, 1, 1, 2],
        "tn": [0, 0, 1, 2, 3, 4, 4],
    }
    nothing = {"tp": 0, "fp": 0, "fn": 2, "tn": 5}
    above = {name: [*counts[1:], nothing[name]] for name, counts in at_or_above.items()}
    assert seen == (above if strictly else at_or_above)
    assert found == (5 if strictly else 6)


def f1_of(called, labels, of):
    hits = sum(c == label == of for c, label in zip(called, labels, strict=True))
    either = sum((c == of) + (label == of) for c, label in zip(called, labels, strict=True))
    return 2 * hits / either if either else 0


def weighted_by_hand(called, labels):
    return sum(f1_of(called, labels, of=label) for label in labels) / len(labels)


def youden_by_hand(called, labels):
    shares = [
        np.mean([c for c, label in zip(called, labels, strict=True) if label == k]) for k in (0, 1)
    ]
    return shares[1] - shares[0]


@pytest.mark.parametrize(
    ("criterion", "value"),
    [(metrics.class_weighted_f1, weighted_by_hand), (metrics.youden, youden_by_hand)],
)
@pytest.mark.parametrize("seed", range(20))
def test_best_threshold_is_the_one_found_by_trying_each_in_plain_python(criterion, value, seed):
    rng = np.random.default_rng(seed)
    labels, scores = np.append(rng.integers(0, 2, 12), [0, 1]), rng.integers(0, 9, 14)
    plain = labels.tolist()
    tried = {cut: value([int(s >= cut) for s in scores], plain) for cut in np.unique(scores)}
    best = max(cut for cut in tried if tried[cut] >= max(tried.values()) - 1e-9)
    assert metrics.best_threshold(labels, scores, criterion) == best


def test_a_criterion_without_a_value_has_no_best_threshold():
    assert np.isnan(metrics.best_threshold([1, 1], [1, 2], metrics.youden))  # no normal image
    assert np.isnan(metrics.best_threshold([0, 0], [1, 2], metrics.youden))


def test_class_weighted_f1_of_a_hand_case():
    # F1 of the abnormal class 2/3, of the normal class 6/7; 2 abnormal, 3 normal images
    found = metrics.class_weighted_f1(1, 0, 1, 3)
    assert found == pytest.approx((2 * 2 / 3 + 3 * 6 / 7) / 5)


def test_normal_quantile_threshold():
    assert metrics.normal_quantile_threshold(np.arange(101)) == pytest.approx(95)
    assert metrics.normal_quantile_threshold(np.arange(101), 0.5) == pytest.approx(50)
    assert np.isnan(metrics.normal_quantile_threshold([]))
    with pytest.raises(ValueError, match="1 scores are not finite"):
        metrics.normal_quantile_threshold([1, np.nan])


def test_each_threshold_sees_only_the_images_of_its_regime():
    (val_labels, val), (test_labels, test) = random_case(60, seed=1), random_case(60, seed=2)
    before = metrics.thresholds(val_labels, val, test_labels, test)
    assert list(before) == ["normal_quantile", "val_f1", "oracle_f1"]
    assert before["val_f1"] == metrics.f1_max_threshold(val_labels, val)

    def changed_by(*arrays):
        after = metrics.thresholds(*arrays)
        return {name for name in before if before[name] != after[name]}

    assert changed_by(val_labels, val, 1 - test_labels, test) == {"oracle_f1"}
    assert changed_by(val_labels, val + 9 * val_labels, test_labels, test) == {"val_f1"}


def squares(size=20):
    """Two defects of very different size in the first image, none in the second."""
    masks = np.zeros((2, size, size), bool)
    masks[0, 2:12, 2:12] = True
    masks[0, 16, 16] = True
    return masks


def test_pixel_metrics_of_a_perfect_a_constant_and_a_reversed_map():
    masks = squares()
    assert metrics.pixel_auroc(masks, masks.astype(float)) == 1
    assert metrics.aupro(masks, masks.astype(float)) == 1
    assert metrics.pixel_auroc(masks, np.zeros(masks.shape)) == 0.5
    assert metrics.aupro(masks, np.zeros(masks.shape)) == pytest.approx(
        0.15
    )  # the diagonal up to 0.3
    assert metrics.aupro(masks, -masks.astype(float)) == 0


def test_aupro_counts_regions_not_pixels():
    masks = squares()
    found_large = masks.astype(float)
    found_large[0, 16, 16] = -1  # the one-pixel defect ranks last of all
    assert metrics.pixel_auroc(masks, found_large) > 0.98
    assert metrics.aupro(masks, found_large) == pytest.approx(0.5)


def test_aupro_joins_pixels_that_touch_at_a_corner():
    masks = np.zeros((1, 4, 4), bool)
    masks[0, 1, 1] = masks[0, 2, 2] = True
    half = np.zeros((1, 4, 4))
    half[0, 1, 1], half[0, 2, 2] = 1, -1
    assert metrics.aupro(masks, half) == pytest.approx(0.5)  # one region, half of it found


def test_aupro_against_its_definition_by_thresholds():
    rng = np.random.default_rng(0)
    masks = squares()
    maps = rng.normal(size=masks.shape) + masks
    curve = []
    for cut in np.sort(maps.ravel())[::-1]:
        hit = maps >= cut
        overlap = (hit[0, 2:12, 2:12].mean() + hit[0, 16, 16]) / 2
        curve.append((hit[~masks].mean(), overlap))
    fpr, overlap = np.array([(0, 0), *curve]).T
    grid = np.linspace(0, 0.3, 20001)
    expected = np.trapezoid(np.interp(grid, fpr, overlap), grid) / 0.3
    assert metrics.aupro(masks, maps) == pytest.approx(expected, abs=2e-3)


def test_many_aurocs_are_those_of_each():
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 50), rng.integers(0, 9, (2, 3, 50))  # with ties
    each = [[metrics.auroc(labels, row) for row in rows] for rows in scores]
    np.testing.assert_allclose(metrics.aurocs(labels, scores), each)
