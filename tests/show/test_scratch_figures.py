"""The figures of the notebook that builds AE-FLOW from nothing, where they compute something."""

import numpy as np
import pytest

from aeflow_utils.show import scratch_figures

LABELS = np.array([0, 0, 0, 1, 1, 1])
PARTS = np.array([[1.0, 2, 3, 4, 5, 6], [6, 5, 4, 1, 2, 7]])  # AUROC 1 and 1/3


def test_the_curve_of_weights_ends_at_the_auroc_of_each_part():
    figure = scratch_figures.weights(LABELS, PARTS, [0, 1])
    curve, *points = figure.axes[0].lines
    assert curve.get_ydata()[[0, -1]] == pytest.approx([100 / 3, 100])
    assert [point.get_ydata()[0] for point in points] == pytest.approx([100 / 3, 100])


def test_correlations_before_and_after_are_those_of_channels():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(50, 3, 4, 4))
    repeated = np.repeat(noise[:, :1], 3, axis=1)
    values = {"before": repeated, "after": noise}
    energies = {"before": np.arange(6.0), "after": np.arange(6.0)}
    figure = scratch_figures.before_and_after(values, LABELS, energies)
    before, after = (np.asarray(figure.axes[k].images[0].get_array()) for k in (1, 4))
    assert before == pytest.approx(np.ones((3, 3)))
    assert after == pytest.approx(np.eye(3), abs=0.15)


def test_the_line_stands_after_the_last_image_that_is_called_abnormal():
    images, scores = np.zeros((6, 1, 8, 8), np.uint8), PARTS[1]
    figure = scratch_figures.line_of_images(images, LABELS, scores, threshold=5)
    assert [len(axis.lines) for axis in figure.axes] == [0, 0, 1, 0, 0, 0]
