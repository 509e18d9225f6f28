"""How well a map finds the defect within its image, by maps made by hand."""

import numpy as np
import pytest
import torch
from study.small import CONFIG, SHAPES, new

from aeflow_utils import metrics
from aeflow_utils.study.pixels import evaluate_pixels, pixel_columns
from aeflow_utils.study.training import fit, residual_maps, score_maps

MASK = np.array([[[1, 0], [0, 0]], [[0, 0], [0, 0]], [[1, 1], [0, 0]]], bool)
MAP = np.array([[[3, 1], [2, 0]], [[0, 1], [2, 3]], [[0, 3], [1, 2]]], float)


def test_the_auroc_within_an_image_is_of_its_own_pixels_and_empty_without_a_defect():
    columns = pixel_columns({"mask": MASK, "map": MAP, "residual": -MAP})
    assert columns == {
        "map_auroc": pytest.approx([1, np.nan, 2 / 4], nan_ok=True),
        "residual_auroc": pytest.approx([0, np.nan, 2 / 4], nan_ok=True),
    }
    scaled = MAP * np.array([1, 5, 100])[:, None, None]  # an image's own scale plays no part
    assert pixel_columns({"mask": MASK, "map": scaled})["map_auroc"][::2] == [1, 2 / 4]


def test_a_set_without_masks_and_a_system_without_maps_have_no_columns():
    assert pixel_columns({}) == evaluate_pixels({}) == {}
    assert list(pixel_columns({"mask": MASK, "residual": MAP})) == ["residual_auroc"]


def test_figures_over_all_pixels_are_of_the_likelihood_map_and_of_the_residual():
    found = evaluate_pixels({"mask": MASK, "map": MAP, "residual": -MAP})
    assert found["pixel_auroc"] == metrics.pixel_auroc(MASK, MAP)
    assert found["pixel_auroc_residual"] == pytest.approx(1 - found["pixel_auroc"])
    assert {name.removesuffix("_residual") for name in found} == {"pixel_auroc", "aupro"}


def test_a_residual_is_how_far_each_pixel_is_from_its_reconstruction(make_image_set, monkeypatch):
    images = make_image_set(3, 32, SHAPES)
    system = new("autoencoder")
    bias = torch.tensor([0.1, -0.2, 0.6]).view(3, 1, 1)
    monkeypatch.setattr(system, "reconstruct", lambda batch: batch.image + bias)
    np.testing.assert_allclose(residual_maps(system, images), np.full((3, 32, 32), 0.3), rtol=1e-5)


def test_what_remakes_no_image_has_no_residual(make_image_set):
    images = make_image_set(12, 32, SHAPES)
    system = new("padim")
    fit(system, images, images, CONFIG, 0)
    assert residual_maps(system, images) is None
    assert score_maps(system, images).shape == (12, 32, 32)
