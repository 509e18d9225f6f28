"""GANomaly and f-AnoGAN: each step trains its own part, and what is learnt is the normal image."""

import numpy as np
import pytest
import torch
from torch import nn

from aeflow_utils.config import RunConfig, TrainConfig
from aeflow_utils.data.cache import Rows
from aeflow_utils.data.features import Batch
from aeflow_utils.methods import METHODS
from aeflow_utils.models import build_system
from aeflow_utils.models.f_anogan import KAPPA
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.training import fit, seed_everything

GANS = ["ganomaly", "f_anogan"]
SMALL = {"image_size": 32, "n_features": 4}
FIRST_HALF, SECOND_HALF = 0.49, 0.5

both = pytest.mark.parametrize("model", GANS)


def new(model, seed=0, **options):
    seed_everything(seed)
    return build_system(METHODS[model].config(**{**SMALL, **options}), {}, 32).train()


def noise(n=6, size=32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Batch(torch.rand(n, 3, size, size, generator=generator), {})


def state(module):
    """Weights and running statistics, as they are now."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def unchanged(module, before):
    return all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def every_weight_moved(module, before):
    return all(not torch.equal(p, before[name]) for name, p in module.named_parameters())


def freeze(optimizer):
    optimizer.param_groups[0]["lr"] = 0.0


@pytest.fixture(scope="module")
def patterns(make_image_set):
    """Training and validation images of one pattern, a bright square, under a little noise."""

    def make(n, seed):
        images = make_image_set(n, 32, seed=seed)
        dim = images.images[:] // 16
        dim[:, :, 8:24, 8:24] += 200
        return type(images)(images.table, Rows.every(dim), {})

    return make(64, 0), make(16, 1)


@pytest.fixture(scope="module")
def trained(patterns):
    """Each GAN after a short training on the pattern, with its history."""
    systems = {}
    for model, epochs, options in (("ganomaly", 12, {}), ("f_anogan", 30, {"n_critic": 1})):
        system = new(model, n_features=8, **options)
        config = TrainConfig(epochs, batch_size=4, lr=2e-3, weight_decay=0.0)
        systems[model] = system, fit(system, *patterns, config, 0)
        system.eval()
    return systems


@both
def test_an_inverted_image_scores_higher_than_any_normal_one(model, trained, patterns):
    system, _ = trained[model]
    normal = patterns[1].batch(np.arange(16))
    with torch.inference_mode():
        inverted = system.score(Batch(1 - normal.image, {}))
        scores = system.score(normal)
    for part in ("image_score", "recon_score"):
        assert getattr(inverted, part).min() > getattr(scores, part).max(), part
    assert inverted.anomaly_map.mean() > scores.anomaly_map.mean()


@both
def test_the_map_is_high_where_the_image_is_abnormal(model, trained, patterns):
    system, _ = trained[model]
    image = patterns[1].batch(np.arange(16)).image.clone()
    # A hole in the square: a larger one can lead f-AnoGAN's encoder to another image altogether.
    image[:, :, 14:18, 14:18] = 0
    with torch.inference_mode():
        maps = system.score(Batch(image, {})).anomaly_map[:, 0]
    assert maps[:, 14:18, 14:18].mean() > 4 * maps.mean()


@both
def test_training_learns_the_pattern(model, trained, patterns):
    system, history = trained[model]
    assert history["val_recon"].iloc[-1] < 0.2 * history["val_recon"].iloc[0]
    normal = patterns[1].batch(np.arange(16))
    error = (system.reconstruct(normal) - normal.image).abs().mean()
    assert error < 0.1  # a grey image is off by 0.35


@both
def test_scores_of_a_trained_gan_do_not_depend_on_batch_mates(model, trained, patterns):
    system, _ = trained[model]
    batch = patterns[1].batch(np.arange(16))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        together = system.score(batch).image_score
        shuffled = system.score(Batch(batch.image[order], {})).image_score
        alone = torch.cat(
            [system.score(Batch(image[None], {})).image_score for image in batch.image]
        )
    torch.testing.assert_close(shuffled, together[order], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-6)


@both
def test_scores_maps_and_reconstructions_have_the_size_of_the_image(model):
    system, batch = new(model).eval(), noise(3, 48)
    scores = system.score(batch)
    assert scores.image_score.shape == scores.recon_score.shape == (3,)
    assert scores.anomaly_map.shape == (3, 1, 48, 48)
    picture = system.reconstruct(batch)
    assert picture.shape == (3, 3, 48, 48)
    assert 0 <= picture.min() <= picture.max() <= 1


def test_the_history_of_ganomaly_has_every_term_and_its_discriminator_lives(trained):
    _, history = trained["ganomaly"]
    terms = ("total", "adversarial", "recon", "latent", "discriminator")
    expected = {f"{part}_{term}" for part in ("train", "val") for term in terms}
    assert set(history.columns) == expected | {"epoch"}
    assert np.isfinite(history).all(axis=None)
    assert history["train_discriminator"].min() > 1e-4  # 0: it would be sure of everything
    assert history["train_adversarial"].min() > 1e-4


def test_the_history_of_f_anogan_has_the_terms_of_each_half(trained):
    _, history = trained["f_anogan"]
    first, second = history[:15], history[15:]
    gan, encoder = ("wasserstein", "penalty", "generator"), ("recon", "feature")
    assert np.isfinite(history[["train_total", "val_total", "val_recon", "val_feature"]]).all(
        axis=None
    )
    assert np.isfinite(first[[f"train_{term}" for term in gan[:2]]]).all(axis=None)
    assert second[[f"train_{term}" for term in gan]].isna().all(axis=None)
    assert np.isfinite(second[[f"train_{term}" for term in encoder]]).all(axis=None)
    assert first[[f"train_{term}" for term in encoder]].isna().all(axis=None)
    assert first["train_penalty"].iloc[-1] < 1  # of about (norm - 1)^2: the critic stays Lipschitz
    assert second["train_total"].iloc[-1] < second["train_total"].iloc[0]


def test_ganomaly_scores_by_the_two_latents_and_maps_by_the_images():
    system, batch = new("ganomaly").eval(), noise()
    x = 2 * batch.image - 1
    z = system.encoder(x)
    remade = system.decoder(z)
    z_again = system.second_encoder(remade)
    scores = system.score(batch)
    expected = (z - z_again).flatten(1).square().mean(dim=1)
    torch.testing.assert_close(scores.image_score, expected)
    torch.testing.assert_close(scores.anomaly_map[:, 0], (x - remade).abs().sum(1) / 3)


def test_ganomaly_weighs_its_three_losses_by_1_50_and_1():
    system, batch = new("ganomaly"), noise()
    losses = system.loss(batch)
    x = 2 * batch.image - 1
    remade, z, z_again = system(x)
    features = [nn.Sequential(*list(system.discriminator)[:-1])(image) for image in (x, remade)]
    torch.testing.assert_close(losses["adversarial"], ((features[0] - features[1]) ** 2).mean())
    torch.testing.assert_close(losses["recon"], (x - remade).abs().mean())
    torch.testing.assert_close(losses["latent"], ((z - z_again) ** 2).mean())
    expected = losses["adversarial"] + 50 * losses["recon"] + losses["latent"]
    torch.testing.assert_close(losses["total"], expected)


def test_ganomalys_discriminator_loss_is_low_when_it_tells_real_from_remade():
    system, batch = new("ganomaly"), noise()
    for sign, low in ((1.0, True), (-1.0, False)):
        system.discriminator = nn.Sequential(  # the logit of an image is its own mean, times 20
            nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Conv2d(3, 1, 1, bias=False)
        )
        nn.init.constant_(system.discriminator[2].weight, sign * 20 / 3)
        real, fake = torch.ones(6, 3, 32, 32), -torch.ones(6, 3, 32, 32)
        assert (system._discriminator_loss(real, fake) < 1e-3) == low
    assert system.loss(batch)["discriminator"].isfinite()


def test_each_step_of_ganomaly_trains_its_own_part():
    for trains_discriminator in (True, False):
        system = new("ganomaly")
        optimizers = system.optimizers(TrainConfig(lr=1e-3))
        freeze(optimizers[trains_discriminator])
        generator = nn.ModuleList([system.encoder, system.decoder, system.second_encoder])
        discriminator = state(system.discriminator)
        weights = {name: p.clone() for name, p in generator.named_parameters()}
        system.train_step(noise(), optimizers, 0.0)
        moved = every_weight_moved(system.discriminator, discriminator)
        still = all(torch.equal(p, weights[name]) for name, p in generator.named_parameters())
        assert moved == still == trains_discriminator
        if not trains_discriminator:
            assert every_weight_moved(generator, weights)


def test_the_gradient_of_ganomalys_generator_does_not_reach_the_discriminator():
    system, batch = new("ganomaly"), noise()
    optimizers = system.optimizers(TrainConfig())
    for optimizer in optimizers:
        freeze(optimizer)
    system.train_step(batch, optimizers, 0.0)
    x = 2 * batch.image - 1
    loss = system._discriminator_loss(x, system(x)[0].detach())
    parameters = list(system.discriminator.parameters())
    for parameter, expected in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        torch.testing.assert_close(parameter.grad, expected)


def test_the_first_half_of_f_anogan_trains_the_critic_and_sometimes_the_generator():
    system, batch = new("f_anogan", n_critic=2), noise()
    optimizers = system.optimizers(TrainConfig(lr=1e-3))
    encoder = state(system.encoder)
    for step in (1, 2, 3, 4):
        critic, generator = state(system.critic), dict(system.generator.named_parameters())
        generator = {name: p.detach().clone() for name, p in generator.items()}
        losses = system.train_step(batch, optimizers, FIRST_HALF)
        assert every_weight_moved(system.critic, critic)
        if step % 2:
            assert all(torch.equal(p, generator[n]) for n, p in system.generator.named_parameters())
        else:
            assert every_weight_moved(system.generator, generator)
        assert ("generator" in losses) == (step % 2 == 0)
        assert unchanged(system.encoder, encoder)


def test_f_anogans_generator_step_leaves_the_critic_alone():
    system = new("f_anogan", n_critic=1)
    optimizers = system.optimizers(TrainConfig(lr=1e-3))
    freeze(optimizers[0])
    critic, generator = state(system.critic), state(system.generator)
    system.train_step(noise(), optimizers, FIRST_HALF)
    assert unchanged(system.critic, critic)
    assert every_weight_moved(system.generator, generator)


def test_the_second_half_of_f_anogan_trains_the_encoder_and_nothing_else():
    system = new("f_anogan")
    optimizers = system.optimizers(TrainConfig(lr=1e-3))
    encoder, critic, generator = map(state, (system.encoder, system.critic, system.generator))
    for _ in range(2):
        system.train()  # as at the start of every epoch
        system.train_step(noise(), optimizers, SECOND_HALF)
    assert unchanged(system.critic, critic)
    assert unchanged(system.generator, generator)
    assert every_weight_moved(system.encoder, encoder)


def test_f_anogans_score_is_the_image_residual_plus_kappa_times_that_of_the_features():
    system, batch = new("f_anogan").eval(), noise()
    x = 2 * batch.image - 1
    remade = system.generator(system.encoder(x))
    features = nn.Sequential(*list(system.critic)[:-1])
    residual = (features(x) - features(remade)).flatten(1).pow(2).mean(1)
    image = (x - remade).flatten(1).pow(2).mean(1)
    scores = system.score(batch)
    torch.testing.assert_close(scores.image_score, image + KAPPA * residual)
    torch.testing.assert_close(scores.recon_score, image)
    torch.testing.assert_close(system.loss(batch)["total"], scores.image_score.mean())


def test_the_gradient_penalty_of_a_linear_critic_is_that_of_its_slope():
    system = new("f_anogan")
    for slope in (1.0, 3.0):
        system.critic = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 1, bias=False))
        weight = system.critic[1].weight.data
        weight.mul_(slope / weight.norm())
        losses = system._critic_losses(2 * noise().image - 1)
        assert losses["penalty"].item() == pytest.approx((slope - 1) ** 2, abs=1e-4)
        expected = 10 * losses["penalty"] - losses["wasserstein"]
        torch.testing.assert_close(losses["total"], expected)


def test_f_anogans_critic_sees_contrast():
    system, x = new("f_anogan"), 2 * noise().image - 1
    judged, halved = system.critic(x), system.critic(x / 2)
    assert ((judged - halved).abs() > 0.01 * judged.abs()).all()


def test_f_anogans_critic_judges_each_image_alone():
    system, x = new("f_anogan"), noise().image
    torch.testing.assert_close(system.critic(x)[:2], system.critic(x[:2]))


def test_the_paper_profile_has_the_papers_widths_and_an_option_overrules_it():
    for model in GANS:
        config = RunConfig.build(PROFILES["paper"], "elpv", model)
        assert (config.model.n_features, config.train.batch_size) == (64, 64)
        assert RunConfig.build(PROFILES["paper"], "elpv", model, n_features=8).model.n_features == 8
