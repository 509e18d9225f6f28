"""The networks that both GANs are made of: their shapes, and images in and out."""

import pytest
import torch
import torch.nn.functional as F

from aeflow_utils.errors import UserError
from aeflow_utils.models.dcgan import image_to_vector, shrink, vector_to_image
from aeflow_utils.models.ganomaly import N_LATENT, GANomaly
from aeflow_utils.options import GANomalyConfig


def test_the_layers_are_those_whose_weights_can_be_exchanged_with_anomalib():
    # Its GanomalyModel((64, 64), 3, n_features=4, latent_vec_size=N_LATENT), as listed by hand.
    encoder = [(4, 3, 4, 4)]
    for width in (4, 8, 16):
        encoder += [(2 * width, width, 4, 4), (2 * width,), (2 * width,)]
    encoder.append((N_LATENT, 32, 4, 4))
    decoder = [(N_LATENT, 32, 4, 4), (32,), (32,)]
    for width in (32, 16, 8):
        decoder += [(width, width // 2, 4, 4), (width // 2,), (width // 2,)]
    decoder.append((4, 3, 4, 4))
    discriminator = [*encoder[:-1], (1, 32, 4, 4)]
    system = GANomaly(GANomalyConfig(image_size=64, n_features=4), {}, 64)
    shapes = [tuple(parameter.shape) for parameter in system.parameters()]
    assert shapes == encoder + decoder + encoder + discriminator
    assert system.encoder[0].padding == (4, 4)


@pytest.mark.parametrize("side", [32, 64, 128])
def test_the_two_networks_invert_each_others_shapes(side):
    vector = image_to_vector(side, 4, 7)(torch.rand(2, 3, side, side))
    assert vector.shape == (2, 7, 1, 1)
    image = vector_to_image(side, 4, 7)(vector)
    assert image.shape == (2, 3, side, side)
    assert -1 <= image.min() <= image.max() <= 1


@pytest.mark.parametrize("side", [16, 48, 65])
def test_an_image_size_that_cannot_be_halved_to_4_is_refused(side):
    for make in (image_to_vector, vector_to_image):
        with pytest.raises(UserError, match=f"image_size {side}"):
            make(side, 4, 7)


def test_shrinking_keeps_the_range_and_averages_what_it_merges():
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    small = shrink(image, 32)
    assert -1 <= small.min() <= small.max() <= 1
    torch.testing.assert_close(shrink(image, 64), 2 * image - 1)
    stripes = torch.zeros(1, 3, 64, 64)
    stripes[..., ::2] = 1
    assert shrink(stripes, 32)[..., 4:-4].abs().max() < 0.1  # grey, not one of the two
    expected = F.interpolate(image, 32, mode="bilinear", antialias=True)
    torch.testing.assert_close((small + 1) / 2, expected)
