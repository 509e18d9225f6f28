"""PatchCore against brute force: patches, coreset, distances and the weight of an image score."""

from itertools import combinations

import numpy as np
import pytest
import torch

from aeflow_utils.data.features import Batch
from aeflow_utils.models import patchcore
from aeflow_utils.models.patchcore import PatchCore, greedy_coreset, project
from aeflow_utils.options import PatchCoreConfig
from aeflow_utils.study.training import seed_everything

SHAPES = {8: (6, 4, 4), 16: (5, 2, 2)}


@pytest.fixture
def images(make_image_set):
    return make_image_set(20, 32, SHAPES), make_image_set(5, 32, SHAPES, seed=1)


def fitted(train, **options):
    shapes = {stride: maps.shape[1:] for stride, maps in train.features.items()}
    system = PatchCore(PatchCoreConfig(**options), shapes, 32)
    system.fit_statistics(train)
    return system


def averaged(maps):
    """Mean over the 3 x 3 neighbours that exist, (N, C, h, w) float64."""
    height, width = maps.shape[-2:]
    result = np.empty(maps.shape)
    for row, column in np.ndindex(height, width):
        rows = slice(max(row - 1, 0), row + 2)
        columns = slice(max(column - 1, 0), column + 2)
        result[:, :, row, column] = maps[:, :, rows, columns].mean((2, 3))
    return result


def patches_of(images, stride=8):
    """(N h w, C) float64."""
    maps = averaged(images.features[stride][:].astype(np.float64))
    return maps.transpose(0, 2, 3, 1).reshape(-1, maps.shape[1])


def distances_between(a, b):
    return np.linalg.norm(a[:, None] - b[None], axis=2)


def score(system, images):
    return system.score(images.batch(np.arange(len(images))))


def test_the_map_is_the_distance_to_the_nearest_training_patch(images):
    train, test = images
    maps = score(fitted(train, strides=(8,), coreset_fraction=1.0), test).anomaly_map
    expected = distances_between(patches_of(test), patches_of(train)).min(1).reshape(5, 1, 4, 4)
    # Enlarged by 8, so the pixels beside the middle of a cell are its own value but for 1/16.
    corners = maps[:, :, [[0], [-1]], [0, -1]]
    np.testing.assert_allclose(corners, expected[:, :, [[0], [-1]], [0, -1]], rtol=1e-3)
    assert maps.shape == (5, 1, 32, 32)
    _, distances = fitted(train, strides=(8,), coreset_fraction=1.0)._score_image(
        torch.from_numpy(patches_of(test)[:16]).float()
    )
    np.testing.assert_allclose(distances, expected[0].ravel(), rtol=1e-3)


def test_a_patch_of_the_coreset_is_at_no_distance(images):
    """Where rounding is left, another runtime's is another, and maps disagree."""
    train, _ = images
    found = score(fitted(train, coreset_fraction=1.0), train)
    assert found.anomaly_map.max() == 0 and found.image_score.max() == 0


def test_the_image_score_is_equation_7(images):
    train, test = images
    system = fitted(train, strides=(8,), coreset_fraction=0.2, n_neighbors=4)
    coreset = system.coreset.double().numpy()
    found = score(system, test).image_score
    for image, patches in enumerate(patches_of(test).reshape(5, 16, 6)):
        distances = distances_between(patches, coreset)
        worst = distances.min(1).argmax()
        member = distances[worst].argmin()
        near = np.argsort(distances_between(coreset, coreset)[member])[:4]
        shares = np.exp(distances[worst][near])
        expected = (1 - np.exp(distances[worst, member]) / shares.sum()) * distances[worst, member]
        assert found[image].item() == pytest.approx(expected, rel=1e-4)


def test_the_finer_map_sets_the_grid_and_the_coarser_one_is_enlarged(images):
    train, _ = images
    system = fitted(train)
    batch = train.batch(np.arange(3))
    batch.features[16][:] = torch.arange(5.0)[:, None, None]
    patches = system._patches(batch)
    assert patches.shape == (3, 16, 11)
    torch.testing.assert_close(patches[..., 6:], torch.arange(5.0).expand(3, 16, 5))
    expected = averaged(batch.features[8].double().numpy()).reshape(3, 6, 16).transpose(0, 2, 1)
    np.testing.assert_allclose(patches[..., :6], expected, rtol=1e-4, atol=1e-5)


def test_a_strange_patch_scores_high_at_its_place(images):
    train, test = images
    system, batch = fitted(train), test.batch(np.arange(5))
    before = system.score(batch)
    strange = {stride: maps.clone() for stride, maps in batch.features.items()}
    strange[8][2, :, 3, 0] += 20
    after = system.score(Batch(batch.image, strange))
    assert after.image_score[2] > 2 * before.image_score.max()
    assert after.anomaly_map[2, 0].argmax() // 32 >= 20
    assert after.anomaly_map[2, 0].argmax() % 32 < 12
    others = [0, 1, 3, 4]
    torch.testing.assert_close(after.image_score[others], before.image_score[others])


def test_the_greedy_choice_is_the_farthest_each_time():
    points = torch.tensor([[0.0], [1.0], [4.0], [10.0], [10.5], [6.0]])
    assert greedy_coreset(points, 5).tolist() == [0, 4, 5, 2, 1]
    points = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    chosen = [0]
    for _ in range(14):
        gaps = torch.cdist(points, points[chosen]).min(dim=1).values
        chosen.append(int(gaps.argmax()))
    assert greedy_coreset(points, 15).tolist() == chosen


def test_the_greedy_radius_is_at_most_twice_the_best():
    for seed in range(5):
        points = torch.randn(11, 2, generator=torch.Generator().manual_seed(seed))
        gaps = torch.cdist(points, points)

        def radius(chosen, gaps=gaps):
            return gaps[:, list(chosen)].min(dim=1).values.max()

        best = min(radius(chosen) for chosen in combinations(range(11), 3))
        assert radius(greedy_coreset(points, 3).tolist()) <= 2 * best


def test_equal_points_are_never_chosen_twice():
    assert sorted(greedy_coreset(torch.ones(6, 3), 6).tolist()) == list(range(6))


def test_the_coreset_is_a_share_of_the_training_patches(images):
    train, _ = images  # 20 x 16 patches
    bank = patches_of(train).astype("f4")
    for fraction, expected in ((0.1, 32), (0.001, 9), (1.0, 320)):
        coreset = fitted(train, strides=(8,), coreset_fraction=fraction).coreset.numpy()
        assert len(coreset) == expected
        assert distances_between(coreset, bank).min(1).max() < 1e-5
        assert len(np.unique(coreset, axis=0)) == expected


def test_candidates_are_drawn_from_all_images_where_there_are_too_many(images, monkeypatch):
    train, _ = images
    monkeypatch.setattr(patchcore, "MAX_CANDIDATES", 60)
    system = fitted(train, strides=(8,), coreset_fraction=1.0)
    nearest = distances_between(system.coreset.numpy(), patches_of(train))
    assert nearest.min(1).max() < 1e-5
    rows = nearest.argmin(1)
    assert len(set(rows)) == 60
    assert len(set(rows // 16)) > 15  # of 20 images


def test_batches_do_not_change_which_candidates_are_drawn(make_image_set):
    train = make_image_set(70, 32, SHAPES)  # more than a batch
    system = fitted(train, strides=(8,), coreset_fraction=1.0)
    bank = patches_of(train)
    assert len(system.coreset) == len(bank)
    rows = distances_between(system.coreset[:50].numpy(), bank).argmin(1)
    assert len(set(rows)) == 50
    drawn = np.sort(np.random.default_rng(0).choice(70 * 16, 100, replace=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patchcore, "MAX_CANDIDATES", 100)
        np.testing.assert_allclose(system._draw(train, 70 * 16), bank[drawn], rtol=1e-3, atol=1e-5)


def test_the_coreset_does_not_depend_on_the_seed_of_the_run(images):
    coresets = []
    for seed in (0, 1):
        seed_everything(seed)
        coresets.append(fitted(images[0], coreset_fraction=0.1).coreset)
    assert torch.equal(*coresets)


def test_scores_do_not_depend_on_batch_mates(images):
    train, test = images
    system = fitted(train, coreset_fraction=0.1)
    together = score(system, test).image_score
    alone = [system.score(test.batch(np.array([row]))).image_score for row in range(5)]
    torch.testing.assert_close(torch.cat(alone), together)


def test_projection_keeps_distances_about_and_narrow_points_exactly():
    points = torch.randn(40, 2000, generator=torch.Generator().manual_seed(0))
    points[:, :1500] = 0  # what matters may stand in any column
    ratio = torch.pdist(project(points)) / torch.pdist(points)
    assert project(points).shape == (40, 256)
    assert 0.75 < ratio.min() < ratio.max() < 1.25
    assert torch.equal(project(points[:, :256]), points[:, :256])


def test_a_saved_coreset_is_loaded_whatever_its_size(small_elpv):
    shapes = {stride: maps.shape[1:] for stride, maps in small_elpv.train.features.items()}
    fitted, loaded = (PatchCore(PatchCoreConfig(), shapes, 64) for _ in range(2))
    fitted.fit_statistics(small_elpv.train)
    loaded.load_state_dict(fitted.state_dict())
    batch = small_elpv.test.batch(np.arange(4))
    assert torch.equal(loaded.score(batch).image_score, fitted.score(batch).image_score)
