"""Each error on scores whose right and wrong numbers are known, and on a tiny real system."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils import metrics
from aeflow_utils.article import errors_shown as d
from aeflow_utils.article.system_errors import (
    among_and_alone,
    auroc_in_mode,
    batch_data_range,
    batch_statistics,
    reconstructed,
    ssim_of_batch_range,
)
from aeflow_utils.config import RunConfig
from aeflow_utils.errors import UserError
from aeflow_utils.models.scores import ssim
from aeflow_utils.options import AEFlowConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.systems import new_system
from aeflow_utils.study.training import score_images

FOUR = ((0, 0, 1, 1), (1, 3, 2, 4))  # AUROC 3/4
NORMAL_ONLY = ((0, 0, 0, 0), (1, 2, 3, 4))


@pytest.fixture
def system_of(small_elpv):
    """An untrained tiny AE-FLOW whose statistics are fitted, by its subnet."""

    def build(subnet):
        config = RunConfig.build(PROFILES["smoke"], "elpv", "ae_flow", subnet=subnet, n_blocks=2)
        assert isinstance(config.model, AEFlowConfig)
        system = new_system(config, small_elpv)
        system.fit_statistics(small_elpv.train)
        return system.eval()

    return build


def state_of(system):
    return {name: tensor.clone() for name, tensor in system.state_dict().items()}


# --- on scores


@pytest.fixture
def with_recon(write_run):
    """A run whose reconstruction scores on test are these."""

    def make(test, recon):
        run = write_run("autoencoder", test=test)
        scores = run.scores.copy()
        scores.loc[scores["split"] == "test", "recon_score"] = recon
        return replace(run, scores=scores)

    return make


def pairs(shown):
    """(right, wrong) of each number that is shown."""
    return [(each.right, each.wrong) for each in shown]


def test_a_flipped_sign_gives_one_minus_the_auroc(with_recon):
    shown = d.flipped_sign(with_recon(((0, 0, 1, 1), (9, 9, 9, 9)), [1, 3, 2, 4]))
    # F1 right: from 2 on, two hits and a false alarm. Wrong: only all four have both hits.
    assert pairs(shown) == [(0.75, 0.25), pytest.approx((4 / 5, 2 / 3))]


# Scores fall from left to right. The best F1 takes two images (precision and recall 1/2, F1 1/2);
# with one added to both, all seven are better (9/7 and 2, F1 4/9).
SHIFT_MOVES = (0, 1, 0, 0, 0, 0, 1), (7, 6, 5, 4, 3, 2, 1)
# All three have F1 4/5, the first alone 2/3; but then the normal one has none, there 2/3.
WEIGHTS_MOVE = (1, 0, 1), (3, 2, 1)


def test_one_added_to_precision_and_recall_moves_the_threshold(write_run):
    shown = d.shifted_f1(write_run(val=SHIFT_MOVES, test=FOUR))
    # From 6 down to 1; F1 on validation and on test, where no score reaches 6.
    assert pairs(shown) == [pytest.approx((1 / 2, 4 / 9)), pytest.approx((0, 2 / 3))]


def test_class_weights_move_the_threshold(write_run):
    shown = d.weighted_f1(write_run(val=WEIGHTS_MOVE, test=FOUR))
    assert pairs(shown) == [pytest.approx((4 / 5, 2 / 3)), pytest.approx((2 / 3, 1 / 2))]


def test_f1_of_shifted_rates_by_hand():
    tp, fp, fn, tn = np.array([[1, 2], [1, 5], [1, 0], [4, 0]])
    rates = [(1 / 2 + 1, 1 / 2 + 1), (2 / 7 + 1, 2)]
    expected = [2 / (1 / precision + 1 / recall) for precision, recall in rates]
    np.testing.assert_allclose(d.f1_of_shifted_rates(tp, fp, fn, tn), expected)


def test_no_criterion_beats_f1_max_on_its_own_images(write_run):
    rng = np.random.default_rng(0)
    for seed in range(20):
        labels = np.append(rng.integers(0, 2, 18), [0, 1])
        run = write_run(seed=seed, val=(labels, rng.normal(size=20).round(1)), test=FOUR)
        for demonstrate in (d.shifted_f1, d.weighted_f1):
            assert demonstrate(run)[0].wrong <= demonstrate(run)[0].right


def test_criteria_agree_on_perfect_scores(write_run):
    run = write_run()
    for demonstrate in (d.shifted_f1, d.weighted_f1):
        assert pairs(demonstrate(run)) == [(1, 1), (1, 1)]


def test_a_threshold_chosen_on_test_flatters(write_run):
    shown = d.threshold_on_test(write_run(val=((0, 0, 1, 1), (1, 2, 4, 5)), test=FOUR))
    # 4 from validation finds one of two and nothing else; 2 from test finds both and one more.
    assert pairs(shown) == [pytest.approx((2 / 3, 4 / 5))]


def test_counting_abnormal_images_twice_pulls_towards_chance(write_run):
    val = ((0, 0, 1, 1), (2.5, 2.5, 3, 4))  # 95 % quantile of the normals: 2.5
    shown = d.counted_twice(write_run(val=val, test=((0, 0, 0, 1, 1), (1, 2, 3, 4, 5))))
    auroc, f1 = pairs(shown)
    assert auroc == pytest.approx((1, (3 * 1 + 2 * 0.5) / 5))
    # At 2.5: two hits and a false alarm; each hit brings a false alarm more.
    assert f1 == pytest.approx((4 / 5, 4 / 7))


def test_the_loss_from_counting_twice_follows_from_the_counts(write_run):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], (30, 12))
    shown = d.counted_twice(write_run(test=(labels, rng.normal(size=42) + labels)))
    assert shown[0].wrong == pytest.approx((30 * shown[0].right + 12 * 0.5) / 42)


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_of_one_class_cannot_demonstrate_a_threshold(write_run, split):
    run = write_run(**{split: NORMAL_ONLY})
    with pytest.raises(UserError, match=f"{split} needs normal and abnormal"):
        d.threshold_on_test(run)


# --- on a system


def test_torchmetrics_takes_the_range_from_the_batch():
    rng = torch.Generator().manual_seed(0)
    x, y = (0.3 + 0.2 * torch.rand(2, 3, 16, 16, generator=rng) for _ in range(2))
    bright = torch.cat([x[:1], torch.ones_like(x[:1])])
    dark = torch.cat([y[:1], torch.zeros_like(y[:1])])
    alone = ssim_of_batch_range(x[:1], y[:1])
    assert ssim_of_batch_range(bright, dark)[0] != pytest.approx(alone.item(), abs=1e-3)
    assert torch.allclose(ssim(bright, dark)[0], ssim(x[:1], y[:1]))
    # The range is the larger of the two images' own, here about 0.2.
    span = max(float(x[0].max() - x[0].min()), float(y[0].max() - y[0].min()))
    fixed = structural_similarity_index_measure(y[:1], x[:1], data_range=span)
    assert alone.item() == pytest.approx(fixed.item(), abs=1e-6)


def test_the_range_of_the_batch_makes_a_score_depend_on_its_mates(system_of, small_elpv):
    system, test = system_of("conv_like"), small_elpv.test
    pairs = reconstructed(system, test, np.arange(len(test)), 64)
    change = {}
    for score in (ssim, ssim_of_batch_range):
        among, alone = among_and_alone(score, pairs)
        change[score] = float((among - alone).abs().max())
    assert change[ssim] < 1e-5 < 1e-3 < change[ssim_of_batch_range]
    alone = [reconstructed(system, test, np.array([k]), 1)[0] for k in range(4)]
    torch.testing.assert_close(*among_and_alone(ssim_of_batch_range, alone))
    shown = batch_data_range(system, test)
    scores = score_images(system, test)["recon_score"]
    assert shown[0].right == pytest.approx(metrics.auroc(test.labels, scores))
    assert shown[1].wrong == pytest.approx(change[ssim_of_batch_range])


def test_training_mode_changes_scores_with_the_order(system_of, small_elpv):
    system, test = system_of("resnet_like"), small_elpv.test
    shown = batch_statistics(system, test, batch_size=8)
    scores = score_images(system, test)["image_score"]
    (right, in_order), (again, shuffled) = pairs(shown)
    assert right == again == pytest.approx(metrics.auroc(test.labels, scores))
    assert len({round(value, 3) for value in (right, in_order, shuffled)}) == 3


def test_one_batch_of_all_images_does_not_depend_on_their_order(system_of, small_elpv):
    system, test = system_of("resnet_like"), small_elpv.test
    by_class, shuffled = (
        auroc_in_mode(system, test, order, 1000, training=True)
        for order in (np.argsort(test.labels), np.random.default_rng(0).permutation(len(test)))
    )
    assert by_class == pytest.approx(shuffled, abs=0.01)


def test_class_order_is_made_not_assumed(system_of, small_elpv):
    test = small_elpv.test
    order = np.random.default_rng(1).permutation(len(test))
    table = test.table.iloc[order].reset_index(drop=True)
    features = {stride: maps.select(order) for stride, maps in test.features.items()}
    mixed = replace(test, table=table, images=test.images.select(order), features=features)
    system = system_of("resnet_like")
    labels = []

    def remember(positions, device):
        labels.append(mixed.labels[positions])
        return type(mixed).batch(mixed, positions, device)

    object.__setattr__(mixed, "batch", remember)
    batch_statistics(system, mixed, batch_size=16)
    in_order = np.concatenate(labels).reshape(3, -1)
    assert (np.diff(in_order[:2], axis=1) >= 0).all()  # evaluation, and training by class
    assert (np.diff(in_order[2]) < 0).any()


def test_without_batchnorm_the_mode_changes_nothing(system_of, small_elpv):
    shown = batch_statistics(system_of("conv_like"), small_elpv.test, batch_size=8)
    assert all(right == pytest.approx(wrong) for right, wrong in pairs(shown))


@pytest.mark.parametrize("training", [True, False])
def test_the_system_is_given_back_as_it_was(system_of, small_elpv, training):
    system = system_of("resnet_like").train(training)
    before = state_of(system)
    batch_statistics(system, small_elpv.test, batch_size=8)
    assert system.training is training
    after = system.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any("running_mean" in name for name in before)


def test_the_threshold_table_has_a_row_a_criterion_and_leaves_out_what_it_must(write_run):
    labelled = write_run(val=((0, 0, 0, 1, 1), (1, 2, 3, 4, 5)), test=((0, 0, 1, 1), (1, 4, 4, 5)))
    normal_only = write_run(dataset="mvtec", category="bottle", val=((0, 0), (1, 2)))
    other = write_run("knn")
    table = d.threshold_table([labelled, normal_only, other])
    assert table.index.get_level_values("data set").unique().tolist() == ["elpv"]
    f1_max = table.loc[("elpv", "F1-max")]
    assert f1_max["sen"] == 100  # the threshold is 4, and so is the score of a normal test image
    assert f1_max["spe"] == 50
    assert len(table) == 3


# --- on pairs of runs


def test_an_untrained_encoder_is_set_beside_the_trained_one(write_run):
    right = write_run("fastflow", test=FOUR)
    wrong = write_run("fastflow", test=((0, 0, 1, 1), (4, 3, 2, 1)), variant="+encoder=untrained")
    shown = d.untrained_encoder(right, wrong)
    assert pairs(shown) == [(0.75, 0.0)]


def test_folds_that_share_weights_are_judged_by_their_means(write_run):
    run = write_run()

    def fold(val, test):
        return replace(run, metrics=run.metrics | {"val_auroc": val, "auroc": test})

    shown = d.shared_folds([fold(0.8, 0.7), fold(0.6, 0.7)], [fold(0.9, 0.7), fold(1.0, 0.8)])
    assert pairs(shown) == [pytest.approx((0.7, 0.95)), pytest.approx((0.7, 0.75))]
