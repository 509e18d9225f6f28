"""Scores against other implementations and hand-computed numbers."""

import math

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils.models.scores import (
    Scores,
    bits_per_dim,
    flow_score,
    gaussian_log_prob,
    likelihood_map,
    pool_map,
    recon_score,
    score_parts,
    ssim,
    ssim_map,
    upsample,
)
from aeflow_utils.options import CHOICES

torch.set_num_threads(1)


def images(n=3, height=24, width=32, seed=0, smooth=False):
    x = torch.rand(n, 3, height + 4, width + 4, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(x, 5, stride=1) if smooth else x[..., :-4, :-4]


@pytest.mark.parametrize("smooth", [False, True])
def test_ssim_equals_torchmetrics_where_the_window_fits(smooth):
    x = images(smooth=smooth).double()
    y = (x + 0.2 * (images(seed=1, smooth=smooth) - 0.5)).clamp(0, 1)
    _, full = structural_similarity_index_measure(
        y, x, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = full[..., 5:-5, 5:-5]  # torchmetrics pads by reflection and counts the border too
    torch.testing.assert_close(ssim_map(x, y), inside, atol=1e-10, rtol=0)
    expected = inside.mean(dim=(1, 2, 3)).float()
    torch.testing.assert_close(ssim(x.float(), y.float()), expected, atol=1e-5, rtol=0)


def test_ssim_of_constant_images_is_the_luminance_term():
    x, y = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(x, y).item() == pytest.approx(expected, abs=1e-4)


def test_ssim_of_identical_images_is_1():
    x = images()
    torch.testing.assert_close(ssim(x, x), torch.ones(3))


def test_ssim_is_symmetric():
    x, y = images(), images(seed=1)
    torch.testing.assert_close(ssim(x, y), ssim(y, x))


def test_ssim_of_an_image_does_not_depend_on_its_batch_mates():
    x, y = 0.3 * images(), 0.3 * images(seed=1)
    x[1:], y[1:] = x[1:] / 0.3, 0.0  # the mates have another range
    torch.testing.assert_close(ssim(x, y)[:1], ssim(x[:1], y[:1]), atol=1e-6, rtol=0)


def test_ssim_map_covers_the_positions_where_the_window_fits():
    assert ssim_map(images(2, 11, 20), images(2, 11, 20)).shape == (2, 3, 1, 10)


@pytest.mark.parametrize(("height", "width"), [(10, 32), (32, 10)])
def test_image_smaller_than_the_ssim_window_raises(height, width):
    x = images(1, height, width)
    with pytest.raises(ValueError, match=f"{height}x{width}"):
        ssim(x, x)


def latent(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def parts_of(z, log_jac_det):
    image = torch.zeros(len(z), 3, 16, 16)
    return score_parts(z, log_jac_det, image, image)


@pytest.mark.parametrize(("pooling", "expected"), [("mean", 5.5), ("top10", 19.0), ("max", 20)])
def test_poolings_of_a_hand_case(pooling, expected):
    values = torch.arange(-9.0, 21).view(1, 1, 5, 6)  # 30 values: the top tenth is 18, 19, 20
    assert pool_map(values, pooling).item() == expected


def test_parts_of_the_score_are_those_of_its_definitions():
    z, log_jac_det = latent(3, 4, 5, 5), latent(3)
    x, y = latent(3, 3, 16, 16).sigmoid(), latent(3, 3, 16, 16, seed=1).sigmoid()
    parts = score_parts(z, log_jac_det, x, y)
    torch.testing.assert_close(parts["energy_mean"], -gaussian_log_prob(z) / 100)
    torch.testing.assert_close(parts["log_jac_det"], log_jac_det / 100)
    torch.testing.assert_close(parts["ssim"], ssim(x, y))
    torch.testing.assert_close(parts["mse"], ((x - y) ** 2).mean(dim=(1, 2, 3)))
    full = flow_score(parts, "full")
    torch.testing.assert_close(full, bits_per_dim(z, log_jac_det) * math.log(2))
    assert (parts["energy_max"] > parts["energy_top10"]).all()
    assert (parts["energy_top10"] > parts["energy_mean"]).all()
    assert torch.equal(recon_score(parts, "ssim"), -parts["ssim"])
    assert torch.equal(recon_score(parts, "mse"), parts["mse"])


def test_gaussian_log_prob_equals_torch_distributions():
    z = 2 * latent(5, 4, 3, 2)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(dim=(1, 2, 3))
    torch.testing.assert_close(gaussian_log_prob(z), expected)


def test_bits_per_dim_of_a_hand_case():
    z = torch.stack([torch.zeros(4, 1, 1), torch.ones(4, 1, 1)])
    log_jac_det = torch.tensor([math.log(2), 0.0])
    # zeros: log2 p = -2 log2(2 pi) + 1; ones: another exp(-1/2) for each of the 4 dimensions
    half_log2_2pi = 0.5 * math.log2(2 * math.pi)
    expected = [half_log2_2pi - 0.25, half_log2_2pi + 0.5 / math.log(2)]
    assert bits_per_dim(z, log_jac_det).tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("exp", [-0.398942, -0.241971]),  # minus the standard normal density at 0 and at 1
        ("nll", [0.918939, 1.418939]),
        ("full", [0.918939 - math.log(2) / 4, 1.418939 + 0.25]),
    ],
)
def test_flow_score_of_a_hand_case(form, expected):
    z = torch.stack([torch.zeros(4, 1, 1), torch.ones(4, 1, 1)])
    log_jac_det = torch.tensor([math.log(2), -1.0])
    assert flow_score(parts_of(z, log_jac_det), form).tolist() == pytest.approx(expected, abs=1e-5)


def test_exp_and_nll_rank_images_equally():
    z = torch.linspace(0.5, 3, 12).roll(5).view(-1, 1, 1, 1) * latent(12, 4, 3, 2)
    by_exp, by_nll = (flow_score(parts_of(z, torch.zeros(12)), form) for form in ("exp", "nll"))
    assert by_exp.argsort().tolist() == by_nll.argsort().tolist()
    assert by_nll.argsort().tolist() != list(range(12))


@pytest.mark.parametrize("form", CHOICES["flow_score"])
def test_every_flow_score_rises_with_distance_from_the_mode(form):
    z = torch.arange(4.0).view(-1, 1, 1, 1).expand(4, 3, 2, 2)
    assert (flow_score(parts_of(z, torch.zeros(4)), form).diff() > 0).all()


def test_an_unknown_flow_score_raises():
    with pytest.raises(KeyError, match="'log'"):
        flow_score(parts_of(latent(1, 2, 1, 1), torch.zeros(1)), "log")


def test_likelihood_map_is_half_the_mean_square_over_channels():
    z = torch.zeros(2, 4, 3, 2)
    z[1, :, 2, 1] = torch.tensor([1.0, -1.0, 3.0, 5.0])
    result = likelihood_map(z)
    assert result.shape == (2, 1, 3, 2)
    assert result[1, 0, 2, 1] == 4.5
    assert result.sum() == 4.5


def test_upsample_is_bilinear_to_the_size_asked_for():
    result = upsample(torch.tensor([[[[0.0, 4.0]]]]), (3, 4))
    assert result.shape == (1, 1, 3, 4)
    assert result[0, 0, 1].tolist() == [0, 1, 3, 4]


@pytest.mark.parametrize(("pooling", "expected"), [("max", [3, -1]), ("mean", [1.5, -2.5])])
def test_pool_map_reduces_each_image(pooling, expected):
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]], [[[-4.0, -3.0], [-2.0, -1.0]]]])
    assert pool_map(maps, pooling).tolist() == expected


def test_scores_fill_missing_parts_with_nan():
    scores = Scores(torch.tensor([1.0, 2.0]), recon_score=torch.tensor([3.0, 4.0]))
    assert scores.image_score.tolist() == [1, 2]
    assert scores.recon_score.tolist() == [3, 4]
    assert scores.flow_score.shape == (2,) and scores.flow_score.isnan().all()
    assert scores.anomaly_map is None


def test_a_pooling_that_nobody_knows_is_refused_and_not_taken_for_the_mean():
    with pytest.raises(ValueError, match="median"):
        pool_map(torch.zeros(1, 1, 2, 2), "median")
