"""The grid changes one thing at a time; folds do not leak; scores come back from their parts."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
import torch

from aeflow_utils.config import N_FOLDS, DataConfig, RunConfig
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.models import build_system
from aeflow_utils.options import CHOICES, AEFlowConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import grid
from aeflow_utils.study.experiments import run
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import load_run
from aeflow_utils.study.training import fit, score_images, seed_everything

SMOKE = PROFILES["smoke"]
BASE = RunConfig.build(SMOKE, "elpv", "ae_flow", variant=grid.BASE)


def differences(a, b):
    """Options of two configurations that are not equal."""
    a, b = (pd.json_normalize(asdict(c)).iloc[0] for c in (a, b))
    return {name for name in a.index if a[name] != b[name]}


@pytest.mark.parametrize(("question", "option", "value"), grid.GRID)
def test_each_row_of_the_grid_changes_one_thing(question, option, value):
    config = grid.changed(BASE, option, value)
    expected = {
        "crop": {"data.image_size", "data.resize"},
        "optimizer": {"train.optimizer"},
    }.get(option, {f"model.{option}"})
    assert differences(BASE, config) == expected | {"variant"}
    assert config.variant == grid.variant_of(option, value)
    assert config.is_side_run == (option != "subnet")  # that one is a row of the study
    assert RunConfig.from_dict(config.to_dict()) == config


def test_a_variant_is_named_by_what_was_changed():
    assert grid.variant_of("likelihood_unit", "nats") == "conv_like+likelihood_unit=nats"
    assert grid.variant_of("strides", (16, 32)) == "conv_like+strides=16,32"
    assert grid.variant_of("encoder", "untrained", base="") == "+encoder=untrained"
    assert grid.variant_of(*grid.CARRY_OVER) == "conv_like+carry_over=True"
    assert grid.variant_of("subnet", "resnet_like") == "resnet_like"


@pytest.mark.parametrize(("option", "value"), [("alpha", 0.2), ("beta", 0.9), ("subnet", "conv")])
def test_what_the_grid_does_not_hold_has_no_name(option, value):
    with pytest.raises(ValueError, match=option):
        grid.variant_of(option, value)
    with pytest.raises(ValueError, match=option):
        grid.changed(BASE, option, value)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_cropped_image_has_whole_positions_at_every_profile(profile):
    base = RunConfig.build(profile, "elpv", "ae_flow", variant=grid.BASE)
    cropped = grid.changed(base, "crop", True).data
    assert 0.7 * cropped.resize < cropped.image_size < cropped.resize
    assert all(cropped.image_size % stride == 0 for stride in base.model.strides)


def test_a_run_on_cropped_images_trains():
    config = grid.changed(BASE, "crop", True)
    config = replace(config, model=replace(config.model, n_blocks=2))
    assert 0 <= run(config).metrics["auroc"] <= 1


def test_the_grid_needs_labelled_validation(mvtec_tree, chest_tree):
    plan = grid.grid_plan(SMOKE)
    assert {config.data.dataset for config in plan} == {"elpv", "chest_xray"}
    assert len({config.run_name for config in plan}) == len(plan)
    assert all(config.is_side_run for config in plan)


def test_folds_share_nothing_and_together_are_everything(chest_tree):
    tables = [list_images(DataConfig("chest_xray", fold=k)).table for k in range(1, N_FOLDS + 1)]
    whole = list_images(DataConfig("chest_xray")).table
    pool = set(whole.loc[whole["split"] != "test", "path"])
    parts = [set(table.loc[table["split"] == "val", "path"]) for table in tables]
    assert set.union(*parts) == pool
    assert sum(map(len, parts)) == len(pool)
    for table in tables:
        groups = table[table["split"] != "test"].groupby("group")["split"].nunique()
        assert (groups == 1).all()
        assert (table.loc[table["split"] == "train", "label"] == 0).all()
        test = table.loc[table["split"] == "test", "path"]
        assert set(test) == set(whole.loc[whole["split"] == "test", "path"])


def test_there_are_no_other_folds():
    with pytest.raises(UserError, match=f"no fold {N_FOLDS + 1}"):
        DataConfig("elpv", fold=N_FOLDS + 1)


def test_weights_are_carried_from_fold_to_fold_only_where_it_is_asked_for(chest_tree):
    base = RunConfig.build(SMOKE, "chest_xray", "ae_flow", variant=grid.BASE, n_blocks=1)
    base = replace(base, train=replace(base.train, lr=1e-2))
    first, second = grid.fold_plan(base, carry_over=True)[:2]
    carried = run(second)  # runs the first on its way
    fresh = run(grid.fold_plan(base, carry_over=False)[1])
    before = load_run(carried.folder.with_name(first.run_name))
    began, ended = (before.history["train_total"].iloc[epoch] for epoch in (0, -1))
    goes_on, begins = (result.history["train_total"].iloc[0] for result in (carried, fresh))
    assert abs(goes_on - ended) < abs(goes_on - began)
    assert abs(begins - began) < abs(begins - ended)
    table = grid.fold_table("smoke")
    assert table["way"].value_counts().to_dict() == {"weights carried over": 2, "fresh model": 1}


@pytest.fixture(scope="module")
def trained(small_elpv):
    """A briefly trained AE-FLOW and its stored scores."""
    seed_everything(0)
    shapes = {16: small_elpv.train.features[16].shape[1:]}
    system = build_system(AEFlowConfig(n_blocks=2), shapes, 64)
    fit(system, small_elpv.train, small_elpv.val, replace(BASE.train, epochs=1), 0)
    return system, score_images(system, small_elpv.test)


@pytest.mark.parametrize("form", CHOICES["flow_score"])
@pytest.mark.parametrize("pooling", CHOICES["pooling"])
@pytest.mark.parametrize(("recon", "beta"), [("ssim", 0.9), ("mse", 0.5)])
def test_rescoring_stored_parts_is_scoring_again(form, pooling, recon, beta, trained, small_elpv):
    system, stored = trained
    options = {"flow_score": form, "pooling": pooling, "recon_score": recon, "beta": beta}
    config = replace(system.config, **options)
    before, system.config = system.config, config
    again = score_images(system, small_elpv.test)
    system.config = before
    np.testing.assert_allclose(grid.rescore(stored, config), again["image_score"], rtol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"strides": (32,)}, {"strides": (16, 32)}, {"tune_encoder": True}, {"pooling": "max"}],
    ids=str,
)
def test_every_form_of_ae_flow_trains_and_rebuilds_images(options, small_elpv):
    seed_everything(0)
    shapes = {s: maps.shape[1:] for s, maps in small_elpv.train.features.items()}
    system = build_system(AEFlowConfig(n_blocks=2, **options), shapes, 64)
    encoder = "encoder.network.conv_stem.weight"
    trainable = [(name, p) for name, p in system.named_parameters() if p.requires_grad]
    before = {name: p.detach().clone() for name, p in trainable}
    fit(system, small_elpv.train, small_elpv.val, replace(BASE.train, epochs=1), 0)
    moved = {name for name, p in trainable if not torch.equal(p, before[name])}
    assert moved == set(before)  # gradients reach everything
    assert (encoder in moved) == options.get("tune_encoder", False)
    assert system.reconstruct(small_elpv.test.batch(np.arange(2))).shape == (2, 3, 64, 64)


def write_study(write_run, rows):
    """Runs by hand: {variant: validation AUROC is 1 or 3/4}."""
    for variant, good in rows.items():
        order = (1, 2, 3, 4) if good else (1, 3, 2, 4)
        options = {} if variant == grid.BASE else {"alpha": 0.1 if "0.1" in variant else 0.9}
        write_run(variant=variant, val=((0, 0, 1, 1), order), **options)


def test_validation_marks_what_could_be_chosen(write_run):
    rows = {"conv_like": False, "conv_like+alpha=0.1": True, "conv_like+alpha=0.9": False}
    write_study(write_run, rows)
    table = grid.ablation_table("smoke").set_index("value")
    assert table["best_on_validation"].to_dict() == {"0.5": False, "0.1": True, "0.9": False}
    assert table["default"].to_dict() == {"0.5": True, "0.1": False, "0.9": False}
    assert table["validation"].tolist() == [75, 100, 75]
    assert (table["low"] <= table["test"]).all()


def test_every_row_of_the_ablations_is_of_seed_0(write_run):
    for seed, order in ((0, (1, 2, 3, 4)), (1, (1, 3, 2, 4)), (2, (4, 3, 2, 1))):
        scores = ((0, 0, 1, 1), order)
        other = {"variant": "resnet_like", "subnet": "resnet_like", "profile": "laptop"}
        write_run(seed=seed, val=scores, test=scores, **other)
    write_run(variant=grid.BASE, profile="laptop")
    table = grid.ablation_table("laptop").set_index("value")
    assert table.loc["resnet_like", ["validation", "test"]].tolist() == [100, 100]


def test_ablations_and_folds_stay_out_of_the_main_tables(write_run):
    write_study(write_run, {"conv_like": True, "conv_like+alpha=0.1": True})
    assert [run.config.variant for run in find("smoke")] == ["conv_like"]
    assert [run.config.variant for run in find("smoke", "side")] == ["conv_like+alpha=0.1"]


def test_without_runs_the_tables_are_empty(home):
    for table in (grid.ablation_table, grid.score_table, grid.fold_table):
        assert table("smoke").empty
