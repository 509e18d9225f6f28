"""The training loop: seeds, statistics, epochs, history, and a checkpoint after each epoch."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import Batch, ImageSet, stream
from aeflow_utils.errors import TrainingError
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import Optimizers, System
from aeflow_utils.precision import bf16_here, default_device, use_bf16

SCORING_BATCH = 64
SCORE_NAMES = ("image_score", "flow_score", "recon_score")


def seed_everything(seed: int) -> None:
    """Python, numpy (FrEIA's permutations) and torch (weights); call before building a system."""
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the generator that FrEIA reads)
    torch.manual_seed(seed)


def fit(
    system: System,
    train: ImageSet,
    val: ImageSet,
    config: TrainConfig,
    seed: int,
    resume_file: Path | None = None,
    label: str = "training",
) -> pd.DataFrame:
    """Statistics first, then gradient steps where the system has trainable parameters.

    The last epoch is kept: nothing is selected by a score.

    Args:
        resume_file: written after each epoch, read if it is there.

    Returns:
        One row an epoch: epoch, and each loss term on training and validation normals; NaN for a
        term that no step of the epoch had.
    """
    use_bf16(system, bf16_here(config.bf16))
    system.fit_statistics(train)
    if not any(parameter.requires_grad for parameter in system.parameters()):
        return pd.DataFrame(columns=["epoch"])
    system.to(default_device())
    optimizers = system.optimizers(config)
    history = _resume(system, optimizers, resume_file)
    val_normal = val.select(val.labels == 0)
    steps_an_epoch = -(-len(train) // config.batch_size)
    n_epochs = max(config.epochs, -(-config.min_steps // steps_an_epoch))
    for epoch in tqdm(range(len(history), n_epochs), label, mininterval=1):
        order = _draw_order(len(train), config.batch_size, seed, epoch)
        batches = train.batches(config.batch_size, order)
        losses = _train_epoch(system, optimizers, batches, progress=epoch / n_epochs)
        losses |= _val_losses(system, val_normal, config.batch_size)
        if not np.isfinite([losses["train_total"], losses["val_total"]]).all():
            raise TrainingError(
                f"{label}: the loss is {losses['train_total']} in epoch {epoch + 1}. Try a lower "
                "learning rate, or channel-standardised features"
            )
        history.append({"epoch": epoch + 1} | losses)
        _save_progress(system, optimizers, history, resume_file)
    return pd.DataFrame(history)


def _draw_order(n_images: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The epoch's order and torch's random numbers, by seed and epoch alone: runs can resume."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n_images)
    torch.manual_seed(int(rng.integers(2**31)))  # for systems that draw noise in a step
    # BatchNorm cannot take a last batch of one image.
    return order[:-1] if n_images > 1 and n_images % batch_size == 1 else order


def _train_epoch(
    system: System, optimizers: Optimizers, batches: Iterator[Batch], progress: float
) -> dict[str, float]:
    """One pass over the batches: each loss term's mean over the steps that had it."""
    system.train()
    terms: dict[str, list[Tensor]] = {}
    for batch in stream(batches, _device_of(system)):
        for name, value in system.train_step(batch, optimizers, progress).items():
            terms.setdefault(name, []).append(value.detach())
    return {f"train_{name}": float(sum(v)) / len(v) for name, v in terms.items()}


@torch.no_grad()
def _val_losses(system: System, images: ImageSet, batch_size: int) -> dict[str, float]:
    """Each loss term's mean over the images, in eval mode."""
    system.eval()
    sums: dict[str, float] = {}
    for batch in stream(images.batches(batch_size), _device_of(system)):
        for name, value in system.loss(batch).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch.image)
    return {f"val_{name}": value / len(images) for name, value in sums.items()}


def _resume(system: System, optimizers: Optimizers, resume_file: Path | None) -> list[dict]:
    """Put back the state of the last whole epoch; the history so far."""
    if resume_file is None or not resume_file.exists():
        return []
    saved = torch.load(resume_file, map_location=default_device(), weights_only=True)
    system.load_state_dict(saved["system"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return saved["history"]


def _save_progress(
    system: System, optimizers: Optimizers, history: list[dict], resume_file: Path | None
) -> None:
    if resume_file is None:
        return
    partial = resume_file.with_suffix(".partial")
    states = [optimizer.state_dict() for optimizer in optimizers]
    torch.save({"system": system.state_dict(), "optimizers": states, "history": history}, partial)
    partial.replace(resume_file)


def _device_of(system: System) -> str:
    return next(system.parameters(), torch.empty(0)).device.type


@torch.inference_mode()
def score_maps(system: System, images: ImageSet) -> np.ndarray | None:
    """Anomaly maps of all images, (N, H, W) float32; None for a system without maps."""
    maps = [scores.anomaly_map for scores in _scores(system, images)]
    return None if maps[0] is None else torch.cat(maps)[:, 0].float().cpu().numpy()


@torch.inference_mode()
def score_images(system: System, images: ImageSet) -> pd.DataFrame:
    """One row an image: path, label, kind, split, image_score, flow_score, recon_score, parts.

    The system is in eval mode, so no score depends on the other images of its batch.
    """
    batches = []
    for scores in _scores(system, images):
        of_batch = {name: getattr(scores, name) for name in SCORE_NAMES} | scores.parts
        columns = {name: values.double().cpu().numpy() for name, values in of_batch.items()}
        batches.append(pd.DataFrame(columns))
    table = images.table[["path", "label", "kind", "split"]]
    return table.join(pd.concat(batches, ignore_index=True))


def _scores(system: System, images: ImageSet) -> Iterator[Scores]:
    system.eval()
    for batch in stream(images.batches(SCORING_BATCH), _device_of(system)):
        yield system.score(batch)
