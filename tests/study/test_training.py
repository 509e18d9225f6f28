"""Runs that are killed, that diverge, or whose last batch is small."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pandas as pd
import pytest
import torch
from study.small import CONFIG, SHAPES, Killed, kill_in_step, new

from aeflow_utils.config import TrainConfig
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.methods import METHODS
from aeflow_utils.models import build_system
from aeflow_utils.study.training import epochs_of, fit, score_images, seed_everything

COSINE = replace(CONFIG, schedule="cosine", keep="lowest")


@pytest.fixture
def images(make_image_set):
    return make_image_set(21, 32, SHAPES), make_image_set(5, 32, SHAPES, seed=1)


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("ae_flow", {"subnet": "conv_like"}),
        ("ae_flow", {"subnet": "resnet_like"}),
        ("autoencoder", {}),
        ("fastflow", {}),
        ("ganomaly", {"image_size": 32, "n_features": 2}),
        ("f_anogan", {"image_size": 32, "n_features": 2, "n_critic": 2}),
    ],
)
@pytest.mark.parametrize("config", [CONFIG, COSINE], ids=["constant", "cosine"])
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    model, options, config, images, tmp_path, monkeypatch
):
    train, val = images
    whole = new(model, **options)
    whole_history = fit(whole, train, val, config, seed=0)

    resume_file = tmp_path / "resume.pt"
    killed = new(model, **options)
    kill_in_step(monkeypatch, killed, 3 + 2)  # 3 steps an epoch
    with pytest.raises(Killed):
        fit(killed, train, val, config, 0, resume_file)
    assert [path.name for path in tmp_path.iterdir()] == ["resume.pt"]

    resumed = new(model, **options)
    resumed_history = fit(resumed, train, val, config, 0, resume_file)
    pd.testing.assert_frame_equal(resumed_history, whole_history, check_exact=True)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def seen_by(monkeypatch, system):
    """Which images each training step of `system` sees, by their sum, a list a step."""
    train_step, seen = system.train_step, []

    def counted(batch, *args):
        seen.append(batch.image.sum(dim=(1, 2, 3)).tolist())
        return train_step(batch, *args)

    monkeypatch.setattr(system, "train_step", counted)
    return seen


def test_resuming_repeats_only_the_missing_epochs(images, tmp_path, monkeypatch):
    resume_file = tmp_path / "resume.pt"
    fit(new(), *images, TrainConfig(epochs=2, batch_size=8), 0, resume_file)
    system = new()
    steps = seen_by(monkeypatch, system)
    history = fit(system, *images, CONFIG, 0, resume_file)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert len(steps) == 3  # 21 images in batches of 8


def test_every_epoch_has_its_own_order_that_only_the_seed_decides(images, monkeypatch):
    orders = []
    for seed in (0, 0, 1):
        system = new("autoencoder")
        steps = seen_by(monkeypatch, system)
        fit(system, *images, TrainConfig(epochs=2, batch_size=7), seed)
        orders += [list(chain(*steps[:3])), list(chain(*steps[3:]))]
    assert all(sorted(order) == sorted(orders[0]) for order in orders)
    assert len(set(orders[0])) == 21
    first, again, other = orders[:2], orders[2:4], orders[4:]
    assert first == again
    assert first[0] != first[1]
    assert first != other


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_names_the_epoch(value, images, tmp_path, monkeypatch):
    system = new()
    loss, calls = system.loss, []

    def diverging(batch):
        calls.append(batch)
        losses = loss(batch)
        return losses | {"total": losses["total"] * value} if len(calls) == 6 else losses

    monkeypatch.setattr(system, "loss", diverging)
    with pytest.raises(TrainingError, match=r"my run: .*epoch 2\b"):
        fit(system, *images, CONFIG, 0, tmp_path / "resume.pt", label="my run")
    assert len(torch.load(tmp_path / "resume.pt")["history"]) == 1


def test_weights_that_diverge_in_the_last_step_are_an_error_too(images):
    train, val = images
    huge = TrainConfig(epochs=1, batch_size=len(train), lr=1e30)  # one step: its loss is finite
    with pytest.raises(TrainingError, match="epoch 1"):
        fit(new(), train, val, huge, 0)


def test_batchnorm_survives_a_last_batch_of_one_image(make_image_set):
    train, val = make_image_set(9, 16), make_image_set(3, 16, seed=1)  # maps of one position
    seed_everything(0)
    config = METHODS["ae_flow"].config(subnet="resnet_like", n_blocks=2)
    system = build_system(config, {16: (8, 1, 1)}, 16)
    history = fit(system, train, val, CONFIG, 0)
    assert np.isfinite(history["train_total"]).all()
    assert np.isfinite(score_images(system, val)["image_score"]).all()


def test_the_validation_loss_is_that_of_normal_images_whatever_the_batch_size(images):
    train, val = images
    losses = []
    for labels, batch_size in (([0, 0, 0, 1, 1], 2), ([0, 0, 0, 1, 1], 5), ([0] * 5, 5)):
        labelled = type(val)(val.table.assign(label=labels), val.images, val.features)
        system = new("autoencoder")
        row = fit(system, train, labelled, TrainConfig(1, batch_size, lr=0.0), 0).iloc[0]
        losses.append(row["val_total"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] != pytest.approx(losses[2], rel=1e-5)


def test_the_history_names_every_term_on_both_splits(images):
    history = fit(new(), *images, TrainConfig(epochs=1), 0)
    terms = {f"{split}_{name}" for split in ("train", "val") for name in ("total", "flow", "recon")}
    assert set(history.columns) == {"epoch"} | terms


def test_a_term_that_only_some_steps_have_is_averaged_over_those(images, monkeypatch):
    system, steps = new("autoencoder"), []

    def sometimes(batch, optimizers, progress):
        steps.append(progress)
        value = torch.tensor(float(len(steps)))
        return {"total": value} | ({"rare": value} if len(steps) % 3 == 0 else {})

    monkeypatch.setattr(system, "train_step", sometimes)
    history = fit(system, *images, TrainConfig(epochs=2, batch_size=8), 0)  # 3 steps an epoch
    assert history["train_total"].tolist() == [2, 5]
    assert history["train_rare"].tolist() == [3, 6]
    assert steps == pytest.approx([0, 1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6])


def test_scoring_leaves_the_system_as_it_is(images):
    train, val = images
    system = new(subnet="resnet_like")
    fit(system, train, val, TrainConfig(epochs=1), 0)
    before = {name: tensor.clone() for name, tensor in system.state_dict().items()}
    system.train()  # batch statistics would move, and leak from one image to another
    first = score_images(system, val)
    assert first.equals(score_images(system, val))
    assert all(torch.equal(tensor, before[name]) for name, tensor in system.state_dict().items())
    assert first["path"].tolist() == val.table["path"].tolist()


def test_images_of_one_patient_have_one_number(make_image_set):
    images = make_image_set(5, 32, SHAPES)
    images.table["group"] = ["b", "a", "b", "c", "a"]
    group = score_images(new("autoencoder"), images)["group"]
    assert group.tolist() == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(("min_steps", "epochs"), [(0, 3), (9, 3), (10, 4), (16, 6)])
def test_small_sets_get_the_steps_that_are_asked_for(min_steps, epochs, images):
    config = replace(CONFIG, min_steps=min_steps)  # 21 images in batches of 8: 3 steps an epoch
    assert epochs_of(config, 21) == epochs
    assert len(fit(new("autoencoder"), *images, config, 0)) == epochs


def test_the_optimizer_is_the_one_that_is_asked_for():
    kinds = {
        name: type(new().optimizers(TrainConfig(optimizer=name))[0]) for name in ("adamw", "adam")
    }
    assert kinds == {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
    with pytest.raises(UserError, match=r"sgd.*adamw, adam"):
        TrainConfig(optimizer="sgd")


@pytest.mark.parametrize("damage", ["a flipped bit", "another system", "another kind"])
def test_a_file_to_go_on_from_that_was_damaged_is_refused(damage, images, tmp_path):
    file = tmp_path / "resume.pt"
    system = new("autoencoder")
    fit(system, *images, CONFIG, 0, file)
    if damage == "a flipped bit":
        content = bytearray(file.read_bytes())
        weights = next(iter(system.state_dict().values())).numpy().tobytes()
        content[content.index(weights)] ^= 1  # which torch would take
        file.write_bytes(content)
    elif damage == "another system":
        fit(new(), *images, CONFIG, 0, tmp_path / "other.pt")
        (tmp_path / "other.pt").replace(file)
    else:
        torch.save([1, 2], file)
    with pytest.raises(UserError, match=r"(?s)resume\.pt cannot be read.*delete it"):
        fit(new("autoencoder"), *images, CONFIG, 0, file)
