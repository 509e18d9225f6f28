"""As `errors_shown`, errors that change the scores themselves: a trained system is needed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils import metrics
from aeflow_utils.article.errors_shown import Demonstration, percent
from aeflow_utils.data.features import ImageSet
from aeflow_utils.models.scores import ssim
from aeflow_utils.models.system import System
from aeflow_utils.profiles import Profile
from aeflow_utils.show.tables import save_table
from aeflow_utils.study.experiments import load_system, plan, run_all, splits_of
from aeflow_utils.study.recording import SYSTEM_ERRORS
from aeflow_utils.study.results import dataset_title


def demonstrate(profile: Profile) -> pd.DataFrame:
    """Both errors on the first `resnet_like` run of ELPV, trained on this machine or now.

    A row an error: data set, error, measured, right, wrong, sentence. Kept with the profile's
    tables, where the article finds it.
    """
    configs = plan(profile, ("ae_flow",), ("elpv",))
    config = next(config for config in configs if config.variant == "resnet_like")
    data = splits_of(config)
    system, test = load_system(run_all([config])[0], data), data.test
    every_tenth = test.select(np.arange(len(test)) % 10 == 0)
    shown = [batch_statistics(system, test), batch_data_range(system, every_tenth)]
    table = pd.DataFrame(shown, columns=Demonstration._fields)
    table.insert(0, "data set", dataset_title(config.data))
    save_table(table, SYSTEM_ERRORS, profile)
    return table


def batch_data_range(system: System, images: ImageSet, batch_size: int = 64) -> Demonstration:
    """SSIM whose data range is taken from the batch: a score depends on its batch mates.

    Every image is scored in a batch with others, in the order of the classes, and alone. `right`
    and `wrong` are the AUROC of -SSIM in batches, with the range fixed and with torchmetrics'
    range of the batch. Images are in [0, 1] here; on ImageNet-normalised ones the ranges, and so
    the changes, differ. The system reconstructs (AE-FLOW, the autoencoder), `images` are of both
    classes.
    """
    order = np.argsort(images.labels, kind="stable")
    labels, paths = images.labels[order], images.table["path"].to_numpy()[order]
    pairs = reconstructed(system, images, order, batch_size)
    fixed, fixed_alone = among_and_alone(ssim, pairs)
    among, alone = among_and_alone(ssim_of_batch_range, pairs)
    right, wrong = (metrics.auroc(labels, scores.double().numpy()) for scores in (fixed, among))
    moved = (among - alone).abs()
    most = int(moved.argmax())
    error, measured = "SSIM's data range taken from the batch", "test AUROC of the reconstruction"
    sentence = (
        f"With the data range of the batch, {paths[most]} has -SSIM {alone[most]:.4f} alone and "
        f"{among[most]:.4f} among others, a change of {moved[most]:.2g}, the largest of "
        f"{len(images)} images (median {moved.median():.2g}); with a fixed range no score "
        f"changes by more than {(fixed - fixed_alone).abs().max():.1g}. The AUROC of the "
        f"reconstruction alone is {percent(wrong)} instead of {percent(right)}."
    )
    return Demonstration(error, measured, right, wrong, sentence)


def reconstructed(
    system: System, images: ImageSet, order: np.ndarray, batch_size: int
) -> list[tuple[Tensor, Tensor]]:
    """Batches of images in this order with what the system makes of them, (B, C, H, W) each."""
    system.eval()
    device = next(system.parameters()).device.type
    batches = (batch.to(device) for batch in images.batches(batch_size, order))
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


def batch_statistics(system: System, images: ImageSet, batch_size: int = 64) -> Demonstration:
    """A system left in training mode while it is tested: BatchNorm uses the test batch.

    In the order of the folders, all normal images first, a batch holds one class, and dividing by
    its statistics removes or adds a difference between the classes; shuffled, it does not. The
    system is given back as it was. `images` are of both classes.
    """
    by_class = np.argsort(images.labels, kind="stable")
    shuffled = np.random.default_rng(0).permutation(len(images))
    right, in_order, mixed = (
        auroc_in_mode(system, images, order, batch_size, training)
        for order, training in ((by_class, False), (by_class, True), (shuffled, True))
    )
    n_layers = sum(isinstance(module, nn.BatchNorm2d) for module in system.modules())
    sentence = (
        f"With its {n_layers} BatchNorm layers left in training mode, the system has AUROC "
        f"{percent(in_order)} on test images in the order of their classes and "
        f"{percent(mixed)} on the same images shuffled; in evaluation mode it has "
        f"{percent(right)} in any order."
    )
    return Demonstration("tested in training mode", "test AUROC", right, in_order, sentence)


@torch.no_grad()
def auroc_in_mode(
    system: System, images: ImageSet, order: np.ndarray, batch_size: int, training: bool
) -> float:
    """AUROC of the images in this order, the system in training mode or not; it stays as it was."""
    before, was_training = {k: v.clone() for k, v in system.state_dict().items()}, system.training
    device = next(system.parameters()).device.type
    try:
        system.train(training)
        scores = [
            system.score(batch.to(device)).image_score.double().cpu().numpy()
            for batch in images.batches(batch_size, order)
        ]
    finally:
        system.load_state_dict(before)
        system.train(was_training)
    return metrics.auroc(images.labels[order], np.concatenate(scores))
