"""As `errors_shown`, errors that change the scores themselves: a trained system is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils import metrics
from aeflow_utils.article.errors_shown import Demonstration
from aeflow_utils.data.features import ImageSet
from aeflow_utils.models.scores import ssim
from aeflow_utils.models.system import System
from aeflow_utils.profiles import Profile
from aeflow_utils.show.tables import save_table
from aeflow_utils.study.experiments import plan, run_all, splits_of
from aeflow_utils.study.recording import SYSTEM_ERRORS
from aeflow_utils.study.results import dataset_title
from aeflow_utils.study.systems import load_system


def demonstrate(profile: Profile) -> pd.DataFrame:
    """Both errors on the first `resnet_like` run of ELPV, trained on this machine or now.

    A row a number: data set, error, measured, right, wrong. Kept with the profile's tables, where
    the article finds it.
    """
    configs = plan(profile, ("ae_flow",), ("elpv",))
    config = next(config for config in configs if config.variant == "resnet_like")
    data = splits_of(config)
    system, test = load_system(run_all([config])[0], data), data.test
    every_tenth = test.select(np.arange(len(test)) % 10 == 0)
    shown = [*batch_statistics(system, test), *batch_data_range(system, every_tenth)]
    table = pd.DataFrame(shown, columns=Demonstration._fields)
    table.insert(0, "data set", dataset_title(config.data))
    save_table(table, SYSTEM_ERRORS, profile)
    return table


def batch_data_range(system: System, images: ImageSet, batch_size: int = 64) -> list[Demonstration]:
    """SSIM whose data range is taken from the batch: a score depends on its batch mates.

    Every image is scored in a batch with others, in the order of the classes, and alone. Shown are
    the AUROC of -SSIM in batches and the largest change of an image's SSIM by its company, with
    the range fixed and with torchmetrics' range of the batch. Images are in [0, 1] here; on
    ImageNet-normalised ones the ranges, and so the changes, differ. The system reconstructs
    (AE-FLOW, the autoencoder), `images` are of both classes.
    """
    order = np.argsort(images.labels, kind="stable")
    pairs = reconstructed(system, images, order, batch_size)
    both = [among_and_alone(similarity, pairs) for similarity in (ssim, ssim_of_batch_range)]
    aurocs = (metrics.auroc(images.labels[order], x.double().numpy()) for x, _ in both)
    changes = (float((among - alone).abs().max()) for among, alone in both)
    error = "SSIM's data range taken from the batch"
    return [
        Demonstration(error, "test AUROC of the reconstruction", *aurocs),
        Demonstration(error, "largest change of an image's SSIM by its company", *changes),
    ]


def reconstructed(
    system: System, images: ImageSet, order: np.ndarray, batch_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Batches of images in this order with what the system makes of them, (B, C, H, W) each."""
    system.eval()
    batches = images.batches(batch_size, order, system.device)
    return [(batch.image, system.reconstruct(batch)) for batch in batches]


def among_and_alone(
    similarity: Callable[[Tensor, Tensor], Tensor], pairs: list[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    """Minus the similarity of each image to its reconstruction, (N,): in its batch, and alone."""
    single = [one for x, y in pairs for one in zip(x.split(1), y.split(1), strict=True)]
    among, alone = (torch.cat([-similarity(*p) for p in each]).cpu() for each in (pairs, single))
    return among, alone


def ssim_of_batch_range(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each image as torchmetrics gives it without a data range, (N, C, H, W) -> (N,)."""
    return structural_similarity_index_measure(y, x, data_range=None, reduction="none").reshape(-1)


def batch_statistics(system: System, images: ImageSet, batch_size: int = 64) -> list[Demonstration]:
    """A system left in training mode while it is tested: BatchNorm uses the test batch.

    In the order of the folders, all normal images first, a batch holds one class, and dividing by
    its statistics removes or adds a difference between the classes; shuffled, it does not. The
    system is given back as it was. `images` are of both classes.
    """
    by_class = np.argsort(images.labels, kind="stable")
    shuffled = np.random.default_rng(0).permutation(len(images))
    right, *wrong = (
        auroc_in_mode(system, images, order, batch_size, training)
        for order, training in ((by_class, False), (by_class, True), (shuffled, True))
    )
    return [
        Demonstration("tested in training mode", f"test AUROC, {order}", right, auroc)
        for order, auroc in zip(("images in order of class", "images shuffled"), wrong, strict=True)
    ]


@torch.no_grad()
def auroc_in_mode(
    system: System, images: ImageSet, order: np.ndarray, batch_size: int, training: bool
) -> float:
    """AUROC of the images in this order, the system in training mode or not; it stays as it was."""
    before, was_training = {k: v.clone() for k, v in system.state_dict().items()}, system.training
    try:
        system.train(training)
        scores = [
            system.score(batch).image_score.double().cpu().numpy()
            for batch in images.batches(batch_size, order, system.device)
        ]
    finally:
        system.load_state_dict(before)
        system.train(was_training)
    return metrics.auroc(images.labels[order], np.concatenate(scores))
