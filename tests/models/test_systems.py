"""Every system of the study scores images one by one, is deterministic and learns."""

import numpy as np
import pytest
import torch

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch
from aeflow_utils.errors import UserError
from aeflow_utils.methods import METHODS
from aeflow_utils.models import build_system
from aeflow_utils.models.knn import N_NEIGHBORS
from aeflow_utils.models.padim import REGULARISATION
from aeflow_utils.options import CHOICES
from aeflow_utils.study.training import fit, score_images, seed_everything

STUDY = [(m, v, row.options) for m in METHODS for v, row in METHODS[m].variants.items()]
TRAINED = [row for row in STUDY if METHODS[row[0]].kind == "trained"]
GANS = [row for row in STUDY if METHODS[row[0]].kind == "gan"]  # more in test_gans.py


def systems(rows):
    return pytest.mark.parametrize(
        ("model", "options"),
        [(model, options) for model, _, options in rows],
        ids=["-".join(filter(None, row[:2])) for row in rows],
    )


def untrained(images, model, options, seed=0):
    """A system built for `images`, small where that can be, with its statistics fitted."""
    size = {"n_blocks": 2} if model in ("ae_flow", "fastflow") else {}
    shapes = {stride: maps.shape[1:] for stride, maps in images.features.items()}
    seed_everything(seed)
    config = METHODS[model].config(**{**size, **options})
    system = build_system(config, shapes, images.images.shape[-1])
    system.fit_statistics(images)
    return system


@torch.inference_mode()
def scores_of(system, images, batch_size=64, order=None):
    """Image scores and maps (None where there are none) over batches."""
    system.eval()
    parts = [system.score(batch) for batch in images.batches(batch_size, order)]
    maps = [part.anomaly_map for part in parts]
    scores = torch.cat([part.image_score for part in parts])
    return scores, None if maps[0] is None else torch.cat(maps)


def trained(small_elpv, model, options, epochs=1, seed=0):
    system = untrained(small_elpv.train, model, options, seed)
    train_config = TrainConfig(epochs=epochs, batch_size=8)
    return system, fit(system, small_elpv.train, small_elpv.val, train_config, seed)


def test_the_study_has_every_model_and_both_subnets():
    assert {model for model, *_ in STUDY} == set(METHODS)
    subnets = {options["subnet"] for model, _, options in STUDY if model == "ae_flow"}
    assert subnets == set(CHOICES["subnet"])


@systems(STUDY)
def test_scores_are_finite_one_an_image_with_a_map_of_its_size(model, options, small_elpv):
    scores, maps = scores_of(untrained(small_elpv.train, model, options), small_elpv.test)
    n_images = len(small_elpv.test)
    assert scores.shape == (n_images,)
    assert scores.isfinite().all()
    assert scores.std() > 0
    assert (maps is not None) == METHODS[model].has_map
    if maps is not None:
        assert maps.shape == (n_images, 1, 64, 64)
        assert maps.isfinite().all()


@systems(STUDY)
def test_scores_do_not_depend_on_batch_size_or_order(model, options, small_elpv):
    system = untrained(small_elpv.train, model, options)
    expected, _ = scores_of(system, small_elpv.test)
    order = np.random.default_rng(0).permutation(len(small_elpv.test))
    shuffled, _ = scores_of(system, small_elpv.test, 7, order)
    torch.testing.assert_close(shuffled, expected[order], rtol=1e-5, atol=1e-6)
    single, _ = scores_of(system, small_elpv.test, 1, np.arange(3))
    torch.testing.assert_close(single, expected[:3], rtol=1e-5, atol=1e-6)


@systems(STUDY)
def test_a_system_reads_no_other_strides_than_it_declares(model, options, small_elpv):
    strides = METHODS[model].config(**options).strides
    part = small_elpv.train
    features = {stride: part.features[stride] for stride in strides}
    alone = type(part)(part.table, part.images, features)
    scores, _ = scores_of(untrained(alone, model, options), alone)
    assert scores.isfinite().all()


@systems(STUDY)
def test_the_same_seed_gives_the_same_bits(model, options, small_elpv):
    first, first_history = trained(small_elpv, model, options)
    second, second_history = trained(small_elpv, model, options)
    assert first_history.equals(second_history)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert score_images(first, small_elpv.test).equals(score_images(second, small_elpv.test))


@systems(TRAINED + GANS)
def test_another_seed_gives_other_scores(model, options, small_elpv):
    first, _ = trained(small_elpv, model, options)
    second, _ = trained(small_elpv, model, options, seed=1)
    assert not torch.equal(
        scores_of(first, small_elpv.test)[0], scores_of(second, small_elpv.test)[0]
    )


@systems(TRAINED)
def test_the_loss_falls(model, options, small_elpv):
    _, history = trained(small_elpv, model, options, epochs=3)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["train_total"].iloc[-1] < history["train_total"].iloc[0]
    assert history["val_total"].iloc[-1] < history["val_total"].iloc[0]


@systems(TRAINED)
def test_gradients_reach_every_trainable_parameter(model, options, small_elpv):
    system = untrained(
        small_elpv.train, model, {**options, "n_blocks": 4} if "flow" in model else options
    )
    system.train()
    system.loss(small_elpv.train.batch(np.arange(8)))["total"].backward()
    for name, parameter in system.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().max() > 0, name


@systems([row for row in STUDY if row not in TRAINED + GANS])
def test_untrained_systems_have_no_history(model, options, small_elpv):
    _, history = trained(small_elpv, model, options)
    assert history.empty


def test_the_literal_likelihood_is_summed_over_all_dimensions(small_elpv):
    batch = small_elpv.train.batch(np.arange(8))
    options = {"likelihood_unit": "nats"}
    losses = untrained(small_elpv.train, "ae_flow", options).loss(batch)
    nats = losses["flow"] * batch.features[16][0].numel() * np.log(2)
    torch.testing.assert_close(losses["total"], 0.5 * nats + 0.5 * losses["recon"])


def test_ae_flow_weighs_its_two_losses_by_alpha(small_elpv):
    batch = small_elpv.train.batch(np.arange(4))
    for alpha in (0.0, 0.3, 1.0):
        losses = untrained(small_elpv.train, "ae_flow", {"alpha": alpha}).loss(batch)
        expected = alpha * losses["flow"] + (1 - alpha) * losses["recon"]
        torch.testing.assert_close(losses["total"], expected)


def test_ae_flow_weighs_its_two_scores_by_beta(small_elpv):
    for beta in (0.0, 0.4, 1.0):
        table = score_images(
            untrained(small_elpv.train, "ae_flow", {"beta": beta}), small_elpv.test
        )
        expected = beta * table["flow_score"] + (1 - beta) * table["recon_score"]
        np.testing.assert_allclose(table["image_score"], expected, rtol=1e-5)


@pytest.mark.parametrize("model", ["ae_flow", "autoencoder", "ganomaly", "f_anogan"])
def test_reconstructions_are_images(model, small_elpv):
    batch = small_elpv.test.batch(np.arange(5))
    picture = untrained(small_elpv.train, model, {}).reconstruct(batch)
    assert picture.shape == batch.image.shape
    assert 0 <= picture.min() <= picture.max() <= 1


def test_padim_is_the_mahalanobis_distance_at_every_position(make_image_set):
    train, test = make_image_set(30, 32, seed=0), make_image_set(5, 32, seed=1)
    _, maps = scores_of(untrained(train, "padim", {}), test)
    x, y = (images.features[16][:].astype(np.float64) for images in (train, test))
    expected = np.empty((5, 1, 2, 2))
    for row, column in np.ndindex(2, 2):
        mean = x[:, :, row, column].mean(0)
        covariance = np.cov(x[:, :, row, column].T) + REGULARISATION * np.eye(8)
        d = y[:, :, row, column] - mean
        squared = np.einsum("nc,cd,nd->n", d, np.linalg.inv(covariance), d)
        expected[:, 0, row, column] = np.sqrt(squared)
    # The corner pixels of the enlarged map are those of the map itself.
    np.testing.assert_allclose(maps[:, :, [[0], [-1]], [0, -1]], expected, rtol=1e-4)


@pytest.mark.parametrize("pooling", ["max", "mean"])
def test_padim_pools_its_distances(pooling, small_elpv):
    system = untrained(small_elpv.train, "padim", {"pooling": pooling})
    scores, maps = scores_of(system, small_elpv.test)
    assert (scores >= maps.amax((1, 2, 3)) - 1e-3).all() == (pooling == "max")
    assert (scores > maps.amin((1, 2, 3))).all()


def test_padim_stores_its_distance_in_every_pooling(make_image_set):
    train, test = make_image_set(30, 64, seed=0), make_image_set(5, 64, seed=1)
    batch = test.batch(np.arange(5))
    parts = untrained(train, "padim", {}).score(batch).parts
    assert parts.keys() == {f"distance_{pooling}" for pooling in CHOICES["pooling"]}
    for pooling in CHOICES["pooling"]:
        expected = untrained(train, "padim", {"pooling": pooling}).score(batch).image_score
        assert torch.equal(parts[f"distance_{pooling}"], expected)
    assert (parts["distance_max"] > parts["distance_top10"]).all()
    assert (parts["distance_top10"] > parts["distance_mean"]).all()


def test_padim_keeps_a_fixed_subset_of_many_channels(small_elpv):
    first, second = (
        untrained(small_elpv.train, "padim", {"strides": (16, 32), "max_channels": 50}, seed)
        for seed in (0, 1)
    )
    assert torch.equal(first.channels, second.channels)
    assert len(first.channels.unique()) == 50
    assert first.channels.max() >= small_elpv.train.features[16].shape[1]  # both maps take part


def test_knn_is_the_mean_distance_of_brute_force(small_elpv):
    scores, _ = scores_of(untrained(small_elpv.train, "knn", {}), small_elpv.test)

    def pooled(images):
        maps = images.features[16][:].astype(np.float64)
        maps = maps.reshape(*maps.shape[:2], -1)
        return np.hstack([maps.mean(2), maps.std(2, ddof=1)])

    bank, queries = pooled(small_elpv.train), pooled(small_elpv.test)
    distances = np.linalg.norm(queries[:, None] - bank[None], axis=2)
    expected = np.sort(distances, axis=1)[:, :N_NEIGHBORS].mean(1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


def test_knn_with_fewer_training_images_than_neighbours_uses_them_all(make_image_set):
    images = make_image_set(N_NEIGHBORS - 2, 32)
    scores, _ = scores_of(untrained(images, "knn", {}), images)
    assert scores.isfinite().all()


def test_brightness_calls_dark_images_abnormal(small_elpv):
    scores, _ = scores_of(untrained(small_elpv.train, "brightness", {}), small_elpv.test)
    means = small_elpv.test.images[:].mean((1, 2, 3)) / 255
    np.testing.assert_allclose(scores, -means, rtol=1e-4)


def test_smoothness_calls_images_without_local_contrast_abnormal(small_elpv):
    noise = torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)).expand(3, -1, -1)
    batch = Batch(torch.stack([noise, 0.5 + 0.1 * (noise - 0.5)]), {})
    rough, smooth = untrained(small_elpv.train, "smoothness", {}).score(batch).image_score
    assert smooth > rough
    assert rough == pytest.approx(-0.29, abs=0.01)  # uniform noise: sd 1/sqrt(12), in windows
    assert smooth == pytest.approx(-0.029, abs=0.001)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("ae_flow", {"subnet": "dense_like"}),
        ("ae_flow", {"features": "pca"}),
        ("ae_flow", {"flow_score": "log"}),
        ("ae_flow", {"last_activation": "relu"}),
        ("ae_flow", {"pooling": "median"}),
        ("padim", {"pooling": "median"}),
    ],
)
def test_an_unknown_option_value_is_named_before_training(model, options, small_elpv):
    with pytest.raises(UserError, match=f"'{next(iter(options.values()))}'"):
        untrained(small_elpv.train, model, options)


def test_fastflows_density_is_that_of_the_features_before_the_layernorms_weights(make_image_set):
    """Halving every weight takes log 2 a number off the log-density."""
    shapes = {8: (6, 4, 4), 16: (8, 2, 2), 32: (10, 1, 1)}
    seed_everything(0)
    system = build_system(METHODS["fastflow"].config(n_blocks=2), shapes, 32)
    batch = make_image_set(5, 32, shapes).batch(np.arange(5))
    before = system.loss(batch)
    assert before["density"] == pytest.approx(before["total"].item())  # weights are 1 at first
    with torch.no_grad():
        for norm in system.norms.values():
            norm.weight.mul_(0.5)
    after = system.loss(batch)
    n_numbers = sum(np.prod(shape) for shape in shapes.values())
    gap = (after["density"] - after["total"]).item()
    assert gap == pytest.approx(n_numbers * np.log(2), rel=1e-5)
    assert after["total"] < before["total"]  # smaller features are likelier, and no better fitted
