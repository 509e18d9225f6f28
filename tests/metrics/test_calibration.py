"""Scales and probabilities: what they must not depend on, and hand-worked entropies."""

import numpy as np
import pytest

from aeflow_utils.metrics import calibration

NORMALS = np.array([1.0, 2.0, 3.0])
LABELS = np.array([0, 0, 0, 1, 1, 1])
SCORES = np.array([1.0, 2.0, 4.0, 3.0, 5.0, 6.0])


@pytest.mark.parametrize("scale", ["standardised", "ranked", "gaussian_scaling"])
def test_a_members_unit_and_offset_are_removed(scale):
    function = getattr(calibration, scale)
    rescaled = function(10 * NORMALS - 3, 10 * SCORES - 3)
    np.testing.assert_allclose(rescaled, function(NORMALS, SCORES))


def test_standardised_by_hand():
    spread = np.sqrt(2 / 3)
    np.testing.assert_allclose(
        calibration.standardised(NORMALS, np.array([2.0, 3.0])), [0, 1 / spread]
    )


def test_normals_of_one_score_have_no_scale():
    with pytest.raises(ValueError, match="no scale"):
        calibration.standardised(np.ones(3), SCORES)


def test_ranks_by_hand():
    np.testing.assert_allclose(
        calibration.ranked(NORMALS, np.array([0.0, 2.0, 2.5, 9.0])), [0, 1 / 3, 2 / 3, 1]
    )


def test_gaussian_scaling_is_zero_up_to_the_mean_and_tends_to_one():
    found = calibration.gaussian_scaling(NORMALS, np.array([0.0, 2.0, 2 + np.sqrt(2 / 3), 50.0]))
    np.testing.assert_allclose(found, [0, 0, 0.6827, 1], atol=1e-4)


def test_calibrated_probabilities_rise_with_the_score():
    grid = np.linspace(0, 7, 30)
    smooth = calibration.logistic(LABELS, SCORES[:, None], grid[:, None])
    steps = calibration.isotonic(LABELS, SCORES, grid)
    assert (np.diff(smooth) > 0).all()
    assert (np.diff(steps) >= 0).all()
    np.testing.assert_allclose(
        calibration.isotonic(LABELS, SCORES, np.array([-9, 3.5, 99])), [0, 0.5, 1]
    )


def test_entropy_in_bits():
    np.testing.assert_allclose(
        calibration.entropy(np.array([0, 0.25, 0.5, 1])), [0, 0.811278, 1, 0], atol=1e-6
    )


def test_mutual_information_is_what_members_disagree_about():
    members = np.array([[0.5, 0.0, 0.9], [0.5, 1.0, 0.9]])
    np.testing.assert_allclose(calibration.mutual_information(members), [0, 1, 0], atol=1e-9)


def test_one_member_has_nobody_to_disagree_with():
    np.testing.assert_allclose(calibration.mutual_information(np.array([[0.2, 0.7]])), 0)
