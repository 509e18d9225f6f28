"""The rate of a converged run, the epoch that it keeps, and what watches it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from study.small import CONFIG, SHAPES, Killed, kill_in_step, new

from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.study.training import fit, kept_epoch, rate_factor, score_images

COSINE = replace(CONFIG, schedule="cosine")
LOWEST = replace(CONFIG, keep="lowest")
NAN = float("nan")


@pytest.fixture
def images(make_image_set):
    return make_image_set(21, 32, SHAPES), make_image_set(5, 32, SHAPES, seed=1)


def assert_same_weights(system, other):
    for name, tensor in system.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name


# --- the rate


def test_a_cosine_rises_for_a_tenth_and_falls_to_where_it_began():
    factors = np.array([rate_factor(COSINE, step / 1000) for step in range(1000)])
    assert factors[0] == pytest.approx(1 / 50)
    assert factors[100] == factors.max() == 1
    assert factors[-1] == pytest.approx(1 / 50, abs=1e-4)
    assert factors[50] == pytest.approx((1 + 1 / 50) / 2)
    assert factors[550] == pytest.approx((1 + 1 / 50) / 2)  # half of the way down
    assert (np.diff(factors[:101]) > 0).all()
    assert (np.diff(factors[100:]) < 0).all()


def test_a_constant_rate_stays():
    assert {rate_factor(CONFIG, progress) for progress in (0, 0.05, 0.5, 0.99)} == {1.0}
    with pytest.raises(UserError, match=r"'linear'.*constant, cosine"):
        replace(CONFIG, schedule="linear")


def rates_seen_by(monkeypatch, system):
    """Every rate of every optimizer in each training step, a list a step."""
    train_step, seen = system.train_step, []

    def told(batch, optimizers, progress):
        groups = [group for optimizer in optimizers for group in optimizer.param_groups]
        seen.append([group["lr"] for group in groups])
        return train_step(batch, optimizers, progress)

    monkeypatch.setattr(system, "train_step", told)
    return seen


@pytest.mark.parametrize(
    ("model", "options", "rates"),
    [
        ("autoencoder", {}, [1]),
        ("f_anogan", {"image_size": 32, "n_features": 2}, [1, 1, 0.5]),  # its encoder's is half
    ],
)
@pytest.mark.parametrize("config", [CONFIG, COSINE], ids=["constant", "cosine"])
def test_every_optimizer_has_the_rate_of_its_step_after_a_resume_too(
    model, options, rates, config, images, tmp_path, monkeypatch
):
    whole, killed, resumed = (new(model, **options) for _ in range(3))
    shares = [step / 9 * whole.phases % 1 for step in range(9)]  # 3 epochs of 3 steps
    factors = [rate_factor(config, share) for share in shares]
    expected = np.outer(factors, np.multiply(rates, config.lr))
    seen = rates_seen_by(monkeypatch, whole)
    fit(whole, *images, config, 0)
    np.testing.assert_allclose(seen, expected)

    kill_in_step(monkeypatch, killed, 5)
    with pytest.raises(Killed):
        fit(killed, *images, config, 0, tmp_path / "resume.pt")
    seen = rates_seen_by(monkeypatch, resumed)
    fit(resumed, *images, config, 0, tmp_path / "resume.pt")
    np.testing.assert_allclose(seen, expected[3:])


def test_a_system_of_two_phases_has_its_rate_rise_and_fall_in_each(images, monkeypatch):
    config = replace(COSINE, epochs=4)
    system = new("f_anogan", image_size=32, n_features=2, n_critic=2)
    seen = rates_seen_by(monkeypatch, system)
    fit(system, *images, config, 0)
    critic, encoder = np.array(seen)[:, 0], np.array(seen)[:, -1]
    half = len(critic) // 2
    np.testing.assert_allclose(critic[:half], critic[half:])
    np.testing.assert_allclose(encoder, critic / 2)


# --- the epoch that is kept


def with_val_losses(monkeypatch, system, losses, term="total"):
    """A term's loss on validation, an epoch a value; training sees its own."""
    loss, left = system.loss, iter(losses)

    def told(batch):
        found = loss(batch)
        return found if system.training else found | {term: torch.tensor(next(left))}

    monkeypatch.setattr(system, "loss", told)
    return system


@pytest.mark.parametrize(
    ("model", "term", "losses", "kept"),
    [
        ("autoencoder", "total", (3.0, 1.0, 2.0), 2),
        ("autoencoder", "total", (1.0, 1.0, 2.0), 1),
        ("autoencoder", "total", (3.0, 2.0, 1.0), 3),
        ("fastflow", "density", (3.0, 1.0, 2.0), 2),
        ("fastflow", "total", (1.0, 3.0, 2.0), 3),  # its density falls on, and decides
    ],
)
def test_the_epoch_of_the_lowest_loss_is_kept(model, term, losses, kept, images, monkeypatch):
    system, until = new(model), new(model)
    with_val_losses(monkeypatch, system, losses, term)
    history = fit(system, *images, LOWEST, 0)
    assert history[f"val_{term}"].tolist() == list(losses)
    fit(until, *images, replace(CONFIG, epochs=kept), 0)
    assert_same_weights(system, until)


def test_the_last_epoch_is_kept_unless_it_is_said(images, monkeypatch):
    system, until = new("autoencoder"), new("autoencoder")
    fit(with_val_losses(monkeypatch, system, (1.0, 2.0, 3.0)), *images, CONFIG, 0)
    fit(until, *images, CONFIG, 0)
    assert_same_weights(system, until)


def test_the_lowest_epoch_is_kept_through_a_resume(images, tmp_path, monkeypatch):
    killed, resumed, until = (new("autoencoder") for _ in range(3))
    with_val_losses(monkeypatch, killed, (1.0, 2.0))
    kill_in_step(monkeypatch, killed, 8)  # in the third epoch
    with pytest.raises(Killed):
        fit(killed, *images, LOWEST, 0, tmp_path / "resume.pt")
    with_val_losses(monkeypatch, resumed, (3.0,))
    history = fit(resumed, *images, LOWEST, 0, tmp_path / "resume.pt")
    assert history["val_total"].tolist() == [1, 2, 3]
    fit(until, *images, replace(CONFIG, epochs=1), 0)
    assert_same_weights(resumed, until)


@pytest.mark.parametrize("worst", [NAN, float("inf"), -float("inf")])
def test_a_loss_that_ends_after_a_good_epoch_keeps_that_epoch(worst, images, monkeypatch):
    system, until = new("autoencoder"), new("autoencoder")
    with_val_losses(monkeypatch, system, (2.0, worst))
    history = fit(system, *images, LOWEST, 0)
    assert history["epoch"].tolist() == [1, 2]  # there is no third
    fit(until, *images, replace(CONFIG, epochs=1), 0)
    assert_same_weights(system, until)


@pytest.mark.parametrize(("config", "losses"), [(CONFIG, (2.0, NAN)), (LOWEST, (NAN,))])
def test_without_a_good_epoch_to_keep_it_is_an_error(config, losses, images, monkeypatch):
    system = with_val_losses(monkeypatch, new("autoencoder"), losses)
    with pytest.raises(TrainingError, match=f"epoch {len(losses)}"):
        fit(system, *images, config, 0)


@pytest.mark.parametrize(
    ("losses", "lowest"),
    [([3, 1, 2], 2), ([2, 1, 1], 2), ([NAN, 2, 3], 2), ([3, -np.inf, 2], 3), ([2, np.inf], 1)],
)
def test_a_loss_that_is_not_finite_is_never_the_lowest(losses, lowest):
    assert kept_epoch(losses, "lowest") == lowest
    assert kept_epoch(losses, "last") == len(losses)


# --- the watch


def test_a_watch_is_told_each_epoch_and_changes_nothing(images, tmp_path):
    train, val = images
    system, alone, told = new(subnet="resnet_like"), new(subnet="resnet_like"), []

    def watch(epoch):
        told.append(epoch)
        return {"mean_score": score_images(system, val)["image_score"].mean()} if epoch > 1 else {}

    history = fit(system, train, val, COSINE, 0, tmp_path / "resume.pt", watch=watch)
    assert told == [1, 2, 3]
    assert history["mean_score"].isna().tolist() == [True, False, False]
    expected = fit(alone, train, val, COSINE, 0)
    pd.testing.assert_frame_equal(history[expected.columns], expected, check_exact=True)
    assert_same_weights(system, alone)
