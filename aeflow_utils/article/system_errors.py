"""Errors in evaluation code that change the scores themselves: a trained system is needed.

Like `demonstrations`: the right and the wrong number from the same system and images.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from aeflow_utils import metrics
from aeflow_utils.article.errors_shown import Demonstration, percent
from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.scores import ssim
from aeflow_utils.models.system import System


def batch_data_range(system: System, images: ImageSet, batch_size: int = 64) -> Demonstration:
    """SSIM whose data range is taken from the batch: a score depends on its batch mates.

    Every image is scored alone and in a batch with others, in the order of the classes. `right`
    and `wrong` are the AUROC of -SSIM in batches, with the range fixed and with torchmetrics'
    range of the batch. Images are in [0, 1] here; on ImageNet-normalised ones the ranges, and so
    the changes, differ.

    Args:
        system: one that reconstructs (AE-FLOW, the autoencoder).
        images: of both classes.
    """
    system.eval()
    device = next(system.parameters()).device.type
    order = np.argsort(images.labels, kind="stable")
    batches = [batch.to(device) for batch in images.batches(batch_size, order)]
    pairs = [(batch.image, system.reconstruct(batch)) for batch in batches]
    auroc, change = {}, {}
    for name, score in (("fixed", ssim), ("of the batch", ssim_of_batch_range)):
        among = torch.cat([-score(x, y) for x, y in pairs])
        alone = torch.cat([-score(a, b) for x, y in pairs for a, b in _one_by_one(x, y)])
        auroc[name] = metrics.auroc(images.labels[order], among.double().cpu().numpy())
        change[name] = among, alone, (among - alone).abs()
    among, alone, moved = change["of the batch"]
    image, fixed = int(moved.argmax()), float(change["fixed"][2].max())
    right, wrong = auroc.values()
    return Demonstration(
        "SSIM's data range taken from the batch",
        "test AUROC of the reconstruction",
        right,
        wrong,
        f"With the data range of the batch, {images.table['path'].iloc[order[image]]} has -SSIM "
        f"{float(alone[image]):.4f} alone and {float(among[image]):.4f} among others, a change of "
        f"{float(moved[image]):.2g}, the largest of {len(images)} images (median "
        f"{float(moved.median()):.2g}); with a fixed range no score changes by more than "
        f"{fixed:.1g}. The AUROC of the reconstruction alone is {percent(wrong)} instead of "
        f"{percent(right)}.",
        {
            "alone": float(alone[image]),
            "among others": float(among[image]),
            "largest change": float(moved[image]),
            "largest change, fixed range": fixed,
            "median change": float(moved.median()),
        },
    )


def _one_by_one(x: Tensor, y: Tensor) -> zip:
    return zip(x.split(1), y.split(1), strict=True)


def ssim_of_batch_range(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of each image as torchmetrics gives it without a data range, (N, C, H, W) -> (N,)."""
    return structural_similarity_index_measure(y, x, data_range=None, reduction="none").reshape(-1)


def batch_statistics(
    system: System, images: ImageSet, batch_size: int = 64, seed: int = 0
) -> Demonstration:
    """A system left in training mode while it is tested: BatchNorm uses the test batch.

    In the order of the folders, all normal images first, a batch holds one class, and dividing by
    its statistics removes or adds a difference between the classes; shuffled, it does not. The
    system is given back as it was.

    Args:
        images: of both classes.
        seed: of the shuffled order.
    """
    by_class = np.argsort(images.labels, kind="stable")
    shuffled = np.random.default_rng(seed).permutation(len(images))
    values = {
        name: metrics.auroc(images.labels[order], _scores(system, images, order, batch_size, mode))
        for name, order, mode in (
            ("eval mode", by_class, False),
            ("training mode, by class", by_class, True),
            ("training mode, shuffled", shuffled, True),
        )
    }
    n_layers = sum(isinstance(module, nn.BatchNorm2d) for module in system.modules())
    right, in_order, mixed = values.values()
    return Demonstration(
        "tested in training mode",
        "test AUROC",
        right,
        in_order,
        f"With its {n_layers} BatchNorm layers left in training mode, the system has AUROC "
        f"{percent(in_order)} on test images in the order of their classes and "
        f"{percent(mixed)} on the same images shuffled; in evaluation mode it has "
        f"{percent(right)} in any order.",
        values,
    )


@torch.no_grad()
def _scores(
    system: System, images: ImageSet, order: np.ndarray, batch_size: int, training: bool
) -> np.ndarray:
    """Image scores (N,) in the given order and mode; running statistics are put back."""
    before, was_training = {k: v.clone() for k, v in system.state_dict().items()}, system.training
    device = next(system.parameters()).device.type
    try:
        system.train(training)
        parts = [
            _image_score(system, batch.to(device)) for batch in images.batches(batch_size, order)
        ]
    finally:
        system.load_state_dict(before)
        system.train(was_training)
    return np.concatenate(parts)


def _image_score(system: System, batch: Batch) -> np.ndarray:
    return system.score(batch).image_score.double().cpu().numpy()
