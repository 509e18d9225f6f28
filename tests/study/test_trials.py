"""How a rate is chosen, without a look at any score; and what more training does to scores."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from aeflow_utils.config import RunConfig
from aeflow_utils.errors import TrainingError
from aeflow_utils.methods import METHODS
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import curves, trials
from aeflow_utils.study.systems import new_system
from aeflow_utils.study.training import epochs_of, fit

NAN = float("nan")


def small(dataset="elpv", **training):
    """AE-FLOW's converged run on images of 16 pixels with features of one position."""
    config = RunConfig.build(PROFILES["overnight"], dataset, "ae_flow", variant="conv_like")
    model, data = replace(config.model, n_blocks=1), replace(config.data, image_size=16)
    train = replace(config.train, **{"min_steps": 0, "epochs": 2} | training)
    return replace(config, data=data, model=model, train=train)


@pytest.fixture
def parts(make_image_set):
    """Training and validation images, of which the last three are abnormal."""
    train, val = make_image_set(20, 16), make_image_set(9, 16, seed=1)
    val.table.loc[6:, "label"] = 1
    return train, val


# --- trials


@pytest.mark.parametrize(
    ("losses", "tried"),
    [
        ((9, 5, 4, 3, 6, 0), [1, 3, 8, 20]),  # better above: not looked for below
        ((9, 5, 4, 4, 0, 0), [1, 3, 8]),
        ((9, 5, 4, 3, 2, 1), [1, 3, 8, 20, 50]),  # to the end
        ((4, 5, 6, 0, 0, 0), [0.3, 1, 3]),
        ((6, 5, 6, 0, 0, 0), [0.3, 1, 3]),
        ((6, 5, NAN, 0, 0, 0), [0.3, 1, 3]),
        ((6, 5, float("inf"), 0, 0, 0), [0.3, 1, 3]),
    ],
)
def test_a_climb_goes_on_while_the_loss_falls(losses, tried, monkeypatch):
    table = dict(zip(trials.MULTIPLES, losses, strict=True))
    monkeypatch.setattr(trials, "_trial", lambda base, m: {"multiple": m, "loss": table[m]})
    assert sorted(row["multiple"] for row in trials._climb(small())) == tried


def test_a_trial_sees_no_score_no_test_image_and_no_anomaly(parts, monkeypatch):
    def refuse(*args):
        raise AssertionError("a trial scored an image")

    train, val = parts
    monkeypatch.setattr(AEFlow, "score", refuse)
    monkeypatch.setattr(trials, "splits_of", lambda config: SimpleNamespace(train=train, val=val))
    before = trials._losses(small())
    val.features[16].array[6:] = np.nan  # those that are abnormal
    pd.testing.assert_frame_equal(trials._losses(small()), before, check_exact=True)
    assert np.isfinite(before["val_total"]).all()


def test_a_trial_is_the_published_rate_times_its_multiple_and_done_once(monkeypatch):
    made = []

    def losses(config):
        made.append(config.train.lr)
        return pd.DataFrame({"epoch": [1, 2, 3], "val_total": [3.0, 1.0, 2.0], "val_flow": 4.0})

    monkeypatch.setattr(trials, "_losses", losses)
    for dataset, published in (("elpv", 2e-3), ("chest_xray", 1e-3)):
        rows = [trials._trial(small(dataset), 8.0) for _ in range(2)]
        assert made.pop() == pytest.approx(8 * published)
        assert not made  # the second time it is read
        assert rows[0] == rows[1]
        assert (rows[0]["epochs"], rows[0]["kept"], rows[0]["loss"]) == (3, 2, 1)
        assert rows[0]["rate"] == pytest.approx(8 * published)


def test_a_rate_that_diverges_is_tried_and_does_not_stop_the_others(parts, monkeypatch):
    def diverge_above(system, train, val, config, seed):
        if config.lr > 0.01:
            raise TrainingError("the loss is nan")
        return pd.DataFrame({"epoch": [1], "val_total": [-config.lr]})

    train, val = parts
    monkeypatch.setattr(trials, "splits_of", lambda config: SimpleNamespace(train=train, val=val))
    monkeypatch.setattr(trials, "fit", diverge_above)
    monkeypatch.setattr(trials, "bases", lambda: [small("chest_xray"), small("elpv")])
    monkeypatch.setattr(trials, "prepare", lambda configs: None)
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    table = trials.run_trials()
    assert table["dataset"].tolist() == ["chest_xray"] * 4 + ["elpv"] * 3
    assert table["multiple"].tolist() == [1, 3, 8, 20, 1, 3, 8]
    assert np.isinf(table["loss"]).tolist() == [False] * 3 + [True] + [False] * 2 + [True]


def test_every_trained_method_has_a_trial_on_shorter_runs_of_its_own_schedule():
    found = {(c.model.name, c.variant, c.model.strides) for c in trials.bases()}
    assert {model for model, *_ in found} == {
        name for name, method in METHODS.items() if not method.deterministic
    }
    assert len(found) == 2 + len(trials.MAPS) + 4
    for base in trials.bases():
        own = RunConfig.build(PROFILES["overnight"], "elpv", base.model.name).train
        assert (base.train.schedule, base.train.keep) == ("cosine", own.keep)
        assert 0 < base.train.min_steps < PROFILES["overnight"].min_steps * 3


# --- curves


def test_curves_score_at_some_epochs_and_train_as_ever(parts, make_image_set, monkeypatch):
    train, val = parts
    test = make_image_set(8, 16, seed=2)
    test.table.loc[4:, "label"] = 1
    splits = SimpleNamespace(train=train, val=val, test=test)
    monkeypatch.setattr(curves, "splits_of", lambda config: splits)
    config = small(epochs=2 * curves.N_POINTS + 1)
    found = curves._curve(config)
    scored = found.dropna(subset=["auroc_image_score"])
    assert scored["epoch"].tolist() == [1, *range(2, 25, 2), 25]
    assert found["step"].tolist() == [2 * epoch for epoch in range(1, 26)]  # 20 images by 16
    assert set(found["steps"]) == {50}
    assert set(found["policy"]) == {"overnight"}
    alone = fit(new_system(config, splits), train, val, config.train, config.seed)
    pd.testing.assert_frame_equal(found[alone.columns], alone)
    monkeypatch.delattr(curves, "splits_of")
    pd.testing.assert_frame_equal(curves._curve(config), found)  # is read, the second time


def test_curves_are_of_both_policies_at_several_lengths():
    configs = [c for c in curves.curve_plan() if c.model.name == "fastflow"]
    shortest = PROFILES["overnight"].min_steps
    assert [(c.profile, c.train.min_steps // shortest) for c in configs] == [*curves.LENGTHS]
    assert len({config.run_name for config in configs}) == len(configs)
    lengths = [epochs_of(config.train, 10**6) for config in configs]
    assert lengths == [length * PROFILES["overnight"].epochs for _, length in curves.LENGTHS]
