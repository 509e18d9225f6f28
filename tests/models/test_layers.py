"""The feature scaler against numpy, and the decoder's images."""

import numpy as np
import pytest
import torch

from aeflow_utils.models.layers import Decoder, FeatureScaler


def feature_matrix(images, stride=16):
    """(N h w, C) float64 of the images of a set."""
    maps = images.features[stride][:].astype(np.float64)
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])


def scaled(images, form):
    scaler = FeatureScaler({16: images.features[16].shape[1:]}, (16,), form)
    scaler.fit(images)
    maps = scaler(images.batch(np.arange(len(images))).features).numpy()
    return scaler, maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])


def test_channel_scaling_is_the_standardisation_of_numpy(small_elpv):
    x = feature_matrix(small_elpv.train)
    _, found = scaled(small_elpv.train, "channel")
    np.testing.assert_allclose(found, (x - x.mean(0)) / x.std(0), rtol=1e-4, atol=1e-4)


def test_zca_scaling_whitens_the_training_features(small_elpv):
    scaler, found = scaled(small_elpv.train, "zca")
    np.testing.assert_allclose(found.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.eye(found.shape[1]), atol=0.01)
    torch.testing.assert_close(scaler.scale, scaler.scale.T)  # zero-phase: symmetric


def test_zca_scaling_equals_the_inverse_root_of_numpys_covariance(make_image_set):
    images = make_image_set(100, 32)  # more than a batch
    x = feature_matrix(images)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    expected = (x - x.mean(0)) @ (vectors / np.sqrt(values)) @ vectors.T
    np.testing.assert_allclose(scaled(images, "zca")[1], expected, atol=1e-4)


def test_raw_features_are_left_alone(small_elpv):
    np.testing.assert_array_equal(
        scaled(small_elpv.train, "raw")[1], feature_matrix(small_elpv.train)
    )


@pytest.mark.parametrize("form", ["channel", "zca"])
def test_a_channel_that_never_varies_stays_finite(form, make_image_set):
    images = make_image_set(20)
    images.features[16].array[:, 3] = 0.25
    _, found = scaled(images, form)
    assert np.isfinite(found).all()
    assert np.abs(found[:, 3]).max() < 0.1


@pytest.mark.parametrize(("activation", "bounded"), [("tanh", True), ("linear", False)])
def test_the_decoder_makes_images_of_16_times_the_side(activation, bounded):
    torch.manual_seed(0)
    image = Decoder(32, 16, activation)(500 * torch.randn(2, 32, 2, 3)).detach()
    assert image.shape == (2, 3, 32, 48)
    assert (image.min() >= 0 and image.max() <= 1) == bounded
