"""A run is written whole or not at all, is found again, and can be checked from its files."""

import json
import os
from dataclasses import fields, replace

import numpy as np
import pandas as pd
import pytest
from helpers import fresh_memory, save_noise

from aeflow_utils.config import DataConfig, RunConfig
from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import load_splits
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.methods import KINDS, METHODS, methods_of
from aeflow_utils.models.ae_flow import AEFlow
from aeflow_utils.options import CHOICES
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study import experiments
from aeflow_utils.study.experiments import (
    evaluate,
    plan,
    run,
    run_all,
    splits_of,
)
from aeflow_utils.study.machine import peak_memory_mb, reset_peak_memory
from aeflow_utils.study.results import find
from aeflow_utils.study.runs import CHECKPOINT, SEAL, load_run, seal
from aeflow_utils.study.systems import load_system
from aeflow_utils.study.training import fit, score_images

SMOKE = PROFILES["smoke"]
STUDY = [(m, v, row.options) for m in METHODS for v, row in METHODS[m].variants.items()]
STUDY_IDS = ["-".join(filter(None, row[:2])) for row in STUDY]


def smoke(model="autoencoder", seed=0, dataset="elpv", category="", **options):
    if model in ("ae_flow", "fastflow"):
        options.setdefault("n_blocks", 2)
    return RunConfig.build(SMOKE, dataset, model, seed, category, **options)


BRIGHTNESS = smoke("brightness", dataset="mvtec", category="bottle")


def folders():
    """Names of the run folders of the smoke profile, hidden ones left out."""
    return sorted(path.name for path in paths().runs("smoke").glob("[!.]*"))


def fail(*args, **kwargs):
    raise RuntimeError("the lights went out")


def test_a_run_writes_everything_that_it_depends_on_and_says(small_elpv):
    config = smoke()
    result = run(config, small_elpv.listed)
    names = {path.name for path in result.folder.iterdir()}
    tables = {"history.csv", "scores.csv.gz", "metrics.json"}
    assert names == tables | {"config.json", "environment.json", CHECKPOINT, SEAL}
    assert result.config == config
    assert result.folder == paths().runs("smoke") / config.run_name
    assert result.source == "re-run"
    assert result.history["epoch"].tolist() == [1, 2]
    assert result.environment["fingerprint"] == small_elpv.fingerprint
    assert result.environment["packages"]["FrEIA"] == "0.2"
    assert result.environment["trainable_parameters"] > 0
    assert result.environment["fit_seconds"] > 0


def test_a_run_scores_every_validation_and_test_image_once(small_elpv):
    result = run(smoke(), small_elpv.listed)
    assert result.split("val")["path"].tolist() == small_elpv.val.table["path"].tolist()
    assert result.split("test")["path"].tolist() == small_elpv.test.table["path"].tolist()
    assert result.split("test")["label"].tolist() == small_elpv.test.table["label"].tolist()
    assert len(result.scores) == 96


def test_the_second_time_a_run_is_loaded_without_images_or_training(mvtec_tree):
    first = run(BRIGHTNESS)
    mvtec_tree.rename(mvtec_tree.with_name("elsewhere"))
    second = run(BRIGHTNESS)
    pd.testing.assert_frame_equal(first.scores, second.scores)
    assert second.metrics == first.metrics


def test_a_run_whose_images_are_not_given_looks_them_up(small_elpv):
    given = run(smoke("knn"), small_elpv.listed)
    pd.testing.assert_frame_equal(
        given.scores, run(replace(smoke("knn"), variant="again")).scores, rtol=1e-6
    )


@pytest.mark.parametrize("stage", ["fit", "score_images", "evaluate"])
def test_a_failure_in_the_middle_leaves_no_run_folder(stage, small_elpv, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(experiments, stage, fail)
        with pytest.raises(RuntimeError, match="lights"):
            run(smoke(), small_elpv.listed)
    assert folders() == []
    assert find("smoke", "here") == []
    assert run(smoke(), small_elpv.listed).history["epoch"].tolist() == [1, 2]


def test_a_run_that_was_killed_goes_on_and_ends_the_same(small_elpv, monkeypatch):
    config = smoke("ae_flow", subnet="resnet_like")
    whole = run(replace(config, variant="whole"), small_elpv.listed)
    step, calls = AEFlow.train_step, []

    def killed_in_epoch_two(*args):
        calls.append(args)
        if len(calls) == 5:  # of 3 steps an epoch
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(AEFlow, "train_step", killed_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            run(config, small_elpv.listed)
    resumed = run(config, small_elpv.listed)
    pd.testing.assert_frame_equal(resumed.scores, whole.scores, check_exact=True)
    pd.testing.assert_frame_equal(resumed.history, whole.history, check_exact=True)
    assert not list(resumed.folder.glob("resume*"))


@pytest.mark.parametrize(("model", "variant", "options"), STUDY, ids=STUDY_IDS)
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_configuration_survives_the_way_through_json(profile, model, variant, options):
    config = RunConfig.build(profile, "mvtec", model, 3, "bottle", variant, **options)
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    assert again.run_name == config.run_name


def changed(value, field=""):
    if field in CHOICES:
        return next(choice for choice in CHOICES[field] if choice != value)
    if isinstance(value, tuple):
        return (*value, 64)
    return value + ("x" if isinstance(value, str) else 1)


@pytest.mark.parametrize("model", METHODS)
def test_every_field_changes_the_name_of_the_run(model):
    config = RunConfig.build(SMOKE, "elpv", model)
    names = [config.run_name]
    for field in ("profile", "seed", "variant"):
        names.append(replace(config, **{field: changed(getattr(config, field))}).run_name)
    for part_name in ("data", "model", "train"):
        part = getattr(config, part_name)
        for field in fields(part):
            if field.name == "resize":  # must not be smaller than the crop
                part = replace(part, resize=500)
            other = replace(part, **{field.name: changed(getattr(part, field.name), field.name)})
            names.append(replace(config, **{part_name: other}).run_name)
    assert len(names) > 10
    assert len({name[-8:] for name in names}) == len(names)


def test_a_run_folder_is_named_by_data_method_seed_and_hash():
    config = RunConfig.build(SMOKE, "mvtec", "padim", 2, "bottle", "stride_16")
    assert config.run_name.startswith("mvtec-bottle--padim--seed2--stride_16-")
    assert len(config.run_name.rsplit("-", 1)[1]) == 8
    assert RunConfig.build(SMOKE, "elpv", "knn").run_name.startswith("elpv--knn--seed0-")


def test_an_option_that_a_model_does_not_have_is_named():
    with pytest.raises(UserError, match=r"'knn'.*pooling"):
        RunConfig.build(SMOKE, "elpv", "knn", pooling="max")


@pytest.mark.parametrize(
    "name", ["config.json", "environment.json", "metrics.json", "scores.csv.gz", "history.csv"]
)
@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_a_damaged_folder_is_named(name, damage, write_run):
    folder = write_run().folder
    (folder / name).unlink()
    if damage == "empty":
        (folder / name).touch()
    with pytest.raises(UserError, match="damaged") as error:
        load_run(folder)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("model", [{"name": "transformer"}, {"name": "knn", "depth": 3}])
def test_a_configuration_of_another_version_is_named(model, write_run):
    folder = write_run().folder
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"model": model}))
    seal(folder)
    with pytest.raises(UserError, match="damaged"):
        load_run(folder)


@pytest.mark.parametrize(("model", "variant", "options"), STUDY, ids=STUDY_IDS)
def test_a_loaded_system_reproduces_the_stored_scores(model, variant, options, small_elpv):
    result = run(smoke(model, **options), small_elpv.listed)
    scores = score_images(load_system(result, small_elpv), small_elpv.test)
    stored = result.split("test")[["image_score", "flow_score", "recon_score"]]
    np.testing.assert_allclose(scores[stored.columns], stored, rtol=1e-5, atol=1e-6)


def test_loading_a_system_for_other_images_is_refused(mvtec_tree):
    result = run(BRIGHTNESS)
    assert load_system(result, splits_of(BRIGHTNESS))
    (mvtec_tree / "bottle/test/good/000.png").unlink()
    with pytest.raises(UserError, match=result.folder.name):
        load_system(result, splits_of(BRIGHTNESS))


def test_loading_a_system_without_its_checkpoint_is_refused(small_elpv):
    result = run(smoke(), small_elpv.listed)
    (result.folder / "checkpoint.safetensors").unlink()
    with pytest.raises(UserError, match=CHECKPOINT):
        load_system(result, small_elpv)


def test_a_run_of_images_that_have_changed_is_made_anew(mvtec_tree, caplog):
    (before,) = run_all([BRIGHTNESS])
    (mvtec_tree / "bottle/train/good/000.png").unlink()
    (after,) = run_all([BRIGHTNESS])
    assert after.environment["fingerprint"] != before.environment["fingerprint"]
    assert before.folder.name in caplog.text
    assert folders() == [before.folder.name]


@pytest.mark.parametrize("change", ["label", "pixels of test", "pixels of training"])
def test_what_changed_is_done_again_and_nothing_else(change, mvtec_tree, monkeypatch):
    config = RunConfig.build(SMOKE, "mvtec", "ae_flow", category="bottle")
    (before,) = run_all([config])
    root = mvtec_tree / "bottle"
    if change == "label":
        (root / "test/dirt/000.png").rename(root / "test/good/900.png")
    else:  # of equal size and time
        file = root / ("test/dirt" if "test" in change else "train/good") / "000.png"
        state = file.stat()
        save_noise(file, np.random.default_rng(9), grey=False)
        content = file.read_bytes()[: state.st_size]
        file.write_bytes(content + bytes(state.st_size - len(content)))
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    fitted = []
    monkeypatch.setattr(experiments, "fit", lambda *args: fitted.append(args) or fit(*args))
    (after,) = run_all([config])
    assert len(fitted) == ("training" in change)
    test = after.split("test").set_index("path")
    old = before.split("test").set_index("path")
    if change == "label":
        moved = test.loc["bottle/test/good/900.png"]
        assert (moved["label"], moved["kind"]) == (0, "good")
        assert moved["image_score"] == old.loc["bottle/test/dirt/000.png", "image_score"]
    elif "test" in change:
        same = test["image_score"] == old["image_score"]
        assert same[~same].index.tolist() == ["bottle/test/dirt/000.png"]


def test_run_all_loads_finished_runs_when_the_images_are_gone(mvtec_tree):
    (before,) = run_all([BRIGHTNESS])
    mvtec_tree.rename(mvtec_tree.with_name("elsewhere"))
    (after,) = run_all([BRIGHTNESS])
    assert after.metrics == before.metrics


def test_run_all_in_several_processes_gives_what_one_gives(small_elpv, monkeypatch):
    configs = [smoke("brightness"), smoke("knn"), smoke("ae_flow")]
    alone = [run(replace(config, variant="alone"), small_elpv.listed) for config in configs]
    monkeypatch.setitem(PROFILES, "smoke", replace(SMOKE, workers=2))
    together = run_all(configs)
    assert [result.config for result in together] == configs
    for one, other in zip(alone, together, strict=True):
        pd.testing.assert_frame_equal(one.scores, other.scores, check_exact=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_run_that_its_loss_stops_does_not_stop_the_others(
    workers, small_elpv, monkeypatch, capsys
):
    monkeypatch.setitem(PROFILES, "smoke", replace(SMOKE, workers=workers))
    diverging = replace(smoke(), train=replace(smoke().train, lr=1e30))
    others = [smoke("brightness"), smoke("knn")]
    with pytest.raises(TrainingError, match="elpv autoencoder seed 0"):
        run_all([others[0], diverging, others[1]])
    assert folders() == sorted(config.run_name for config in others)
    told = f"stopped: {diverging.run_name}" in capsys.readouterr().out  # as soon as it happens
    assert told == (workers > 1)


def test_run_all_looks_a_data_set_up_once(mvtec_tree, monkeypatch):
    models = ("brightness", "knn", "padim")
    configs = [smoke(model, dataset="mvtec", category="bottle") for model in models]
    walked, walk = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda top: walked.append(str(top)) or walk(top))
    run_all(configs)
    assert walked.count(str(mvtec_tree / "bottle")) == 1
    run_all(configs, [list_images(BRIGHTNESS.data)])
    assert walked.count(str(mvtec_tree / "bottle")) == 1 * 2  # by `list_images`


def test_prepare_encodes_what_every_model_of_a_data_set_needs(mvtec_tree, monkeypatch):
    configs = [
        smoke("fastflow", dataset="mvtec", category="bottle"),
        smoke("padim", dataset="mvtec", category="bottle", strides=(16, 32)),
    ]
    experiments.prepare(configs)
    monkeypatch.setattr(Encoder, "forward", fail)
    assert set(load_splits(configs[0].data, "efficientnet_lite0", (8, 16, 32)).train.features)


def test_metrics_can_be_recomputed_from_the_scores_alone(small_elpv):
    folder = run(smoke(), small_elpv.listed).folder
    again = evaluate(pd.read_csv(folder / "scores.csv.gz"))
    assert again == json.loads((folder / "metrics.json").read_text())
    assert set(again["thresholds"]) == set(again["at_threshold"])
    assert 0 <= again["auroc"] <= 1


def test_a_hand_made_score_table_is_evaluated_by_hand():
    val = pd.DataFrame({"split": "val", "label": [0, 0, 1], "image_score": [1.0, 2.0, 3.0]})
    test = pd.DataFrame({"split": "test", "label": [0, 0, 1, 1], "image_score": [0, 4, 3, 5.0]})
    found = evaluate(pd.concat([val, test]))
    assert found["auroc"] == 0.75
    assert found["val_auroc"] == 1.0
    assert found["thresholds"] == {"normal_quantile": 1.95, "val_f1": 3.0, "oracle_f1": 3.0}
    expected = {"f1": 0.8, "acc": 0.75, "sen": 1.0, "spe": 0.5, "bacc": 0.75}
    assert found["at_threshold"]["val_f1"] == expected


def test_a_test_split_without_abnormal_images_has_no_auroc_but_completes(mvtec_tree):
    for defect in ("crack", "dirt"):
        (mvtec_tree / "bottle/test" / defect).rename(mvtec_tree / f"bottle/{defect}")
    result = run(BRIGHTNESS)
    assert np.isnan(result.metrics["auroc"])
    assert np.isnan(result.metrics["thresholds"]["oracle_f1"])
    assert set(result.metrics["at_threshold"]) == {"normal_quantile"}
    assert len(result.split("test")) == 4


def test_the_plan_is_the_study_on_the_data_that_are_here():
    configs = plan(SMOKE)
    assert [(c.model.name, c.variant) for c in configs] == [row[:2] for row in STUDY]
    assert {c.data for c in configs} == {DataConfig("elpv", image_size=64, limit=24)}
    assert len({c.run_name for c in configs}) == len(STUDY)


def test_the_plan_repeats_seeds_only_where_they_matter():
    configs = plan(PROFILES["laptop"])
    for model in METHODS:
        seeds = {c.seed for c in configs if c.model.name == model}
        n_seeds = 1 if METHODS[model].deterministic else PROFILES["laptop"].seeds
        assert seeds == set(range(n_seeds))


def test_the_plan_covers_every_data_set_in_a_fixed_order(chest_tree, mvtec_tree):
    labels = [config.data.label for config in plan(SMOKE)]
    assert list(dict.fromkeys(labels)) == ["elpv", "chest_xray", "mvtec-bottle"]
    assert len(labels) == 3 * len(STUDY)


def test_the_plan_can_be_narrowed(chest_tree):
    configs = plan(SMOKE, methods=("knn", "padim"), datasets=("chest_xray",))
    assert [c.model.name for c in configs] == ["padim"] * 3 + ["knn"]
    assert {c.data.dataset for c in configs} == {"chest_xray"}


def test_both_policies_train_the_same_rows_for_as_long():
    by_policy = {}
    for name in ("overnight", "as_published"):
        configs = [c for c in plan(PROFILES[name]) if not c.method.deterministic and not c.beside]
        by_policy[name] = {(c.model.name, c.variant, c.seed): c.train for c in configs}
    converged, published = by_policy.values()
    assert converged.keys() == published.keys()
    assert {seed for *_, seed in converged} == set(range(5))
    for (model, *_), train in converged.items():
        other = published[model, *_]
        assert (train.schedule, train.keep) == ("cosine", METHODS[model].keep)
        assert (other.schedule, other.keep) == ("constant", "last")
        assert replace(train, schedule="constant", keep="last", lr=other.lr) == other


def test_what_is_not_trained_is_run_under_one_policy_alone():
    assert {c.method.kind for c in plan(PROFILES["overnight"])} == set(KINDS)
    assert {c.method.kind for c in plan(PROFILES["as_published"])} == {"trained", "gan"}


def test_blocks_of_elpv_stand_beside_the_study_in_the_night_alone(chest_tree):
    labels = {name: {c.data.label for c in plan(profile)} for name, profile in PROFILES.items()}
    whole = {"elpv", "chest_xray"}
    assert labels.pop("overnight") == whole | {"elpv-blocks"}
    assert all(found == whole for found in labels.values())
    blocks = [c for c in plan(PROFILES["overnight"]) if c.data.split]
    assert all(c.beside for c in blocks)
    assert {c.model.name for c in blocks} == {"ae_flow", *methods_of("untrained", "trivial")}
    assert not [c for c in plan(PROFILES["overnight"], datasets=("chest_xray",)) if c.data.split]


def test_an_unknown_model_in_the_plan_is_named():
    with pytest.raises(UserError, match="transformer"):
        plan(SMOKE, methods=("knn", "transformer"))


def test_detectors_reach_their_floors_on_real_images(monkeypatch):
    """Far below what the laptop profile gives; no ranking is meant."""
    tiny = replace(PROFILES["laptop"], name="tiny", limit=100, min_steps=80)
    monkeypatch.setitem(PROFILES, "tiny", tiny)
    floors = {"padim": 0.80, "fastflow": 0.80, "ae_flow": 0.62}
    aurocs = {name: run(RunConfig.build(tiny, "elpv", name)).metrics["auroc"] for name in floors}
    assert {name: auroc for name, auroc in aurocs.items() if auroc < floors[name]} == {}


def test_peak_memory_counts_what_is_allocated_in_between():
    reset_peak_memory()
    before = peak_memory_mb()
    block = fresh_memory(400_000_000)
    del block
    assert 300 < peak_memory_mb() - before < 500
    reset_peak_memory()
    assert peak_memory_mb() < before + 30
