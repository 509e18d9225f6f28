"""The training loop: seeds, statistics, epochs, history, and a checkpoint after each epoch."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from aeflow_utils.config import TrainConfig
from aeflow_utils.data.features import ImageSet, stream
from aeflow_utils.models.system import Optimizers, System
from aeflow_utils.precision import bf16_here, default_device, use_bf16

SCORING_BATCH = 64
SCORE_NAMES = ("image_score", "flow_score", "recon_score")


class TrainingError(RuntimeError):
    """Training cannot go on: the message says at which epoch and what to try."""


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

    The last epoch is kept: nothing is selected by a score. Each epoch's order, and torch's random
    numbers in it, depend only on the seed and the epoch, so a run that was killed goes on as if it
    had not been.

    Args:
        val: its normal images give the validation loss of the history.
        resume_file: written after each epoch, read if it is there.

    Returns:
        One row an epoch: epoch, and each loss term on training and validation normals; NaN for a
        term that no step of the epoch had.
    """
    use_bf16(system, bf16_here(config.bf16))
    system.fit_statistics(train)
    if not any(parameter.requires_grad for parameter in system.parameters()):
        return pd.DataFrame(columns=["epoch"])
    device = default_device()
    system.to(device)
    optimizers = system.optimizers(config)
    history = _resume(system, optimizers, resume_file)
    val_normal = val.select(val.labels == 0)
    steps_an_epoch = -(-len(train) // config.batch_size)
    n_epochs = max(config.epochs, -(-config.min_steps // steps_an_epoch))
    for epoch in tqdm(range(len(history), n_epochs), label, mininterval=1):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(train))
        torch.manual_seed(int(rng.integers(2**31)))  # for systems that draw noise in a step
        progress = epoch / n_epochs
        losses = _train_epoch(system, optimizers, train, order, config.batch_size, device, progress)
        val_losses = _validation_losses(system, val_normal, config.batch_size, device)
        row = {"epoch": epoch + 1} | {f"train_{name}": value for name, value in losses.items()}
        if not np.isfinite([losses["total"], val_losses["total"]]).all():
            raise TrainingError(
                f"{label}: the loss is {losses['total']} in epoch {epoch + 1}. Try a lower "
                "learning rate, or channel-standardised features"
            )
        history.append(row | {f"val_{name}": value for name, value in val_losses.items()})
        _save_progress(system, optimizers, history, resume_file)
    return pd.DataFrame(history)


def _train_epoch(
    system, optimizers, train, order, batch_size, device, progress
) -> dict[str, float]:
    system.train()
    sums, counts = {}, {}
    if len(order) % batch_size == 1 and len(order) > 1:
        order = order[:-1]  # BatchNorm cannot take a batch of one
    for batch in stream(train.batches(batch_size, order), device):
        losses = system.train_step(batch, optimizers, progress)
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + value.detach()
            counts[name] = counts.get(name, 0) + 1  # not every step has every term
    return {name: float(value) / counts[name] for name, value in sums.items()}


@torch.no_grad()
def _validation_losses(system, val, batch_size, device) -> dict[str, float]:
    system.eval()
    sums = {}
    for batch in stream(val.batches(batch_size), device):
        n_images = len(batch.image)
        for name, value in system.loss(batch).items():
            sums[name] = sums.get(name, 0.0) + float(value) * n_images
    return {name: value / len(val) for name, value in sums.items()}


def _resume(system: System, optimizers: Optimizers, resume_file: Path | None) -> list[dict]:
    """Put back the state of the last whole epoch; the history so far."""
    if resume_file is None or not resume_file.exists():
        return []
    saved = torch.load(resume_file, map_location=default_device(), weights_only=True)
    system.load_state_dict(saved["system"])
    for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
        optimizer.load_state_dict(state)
    return saved["history"]


def _save_progress(system, optimizers, history: list[dict], resume_file: Path | None) -> None:
    if resume_file is None:
        return
    partial = resume_file.with_suffix(".partial")
    states = [optimizer.state_dict() for optimizer in optimizers]
    state = {"system": system.state_dict(), "optimizers": states, "history": history}
    torch.save(state, partial)
    partial.replace(resume_file)


def _device_of(system: System) -> str:
    return next(system.parameters(), torch.empty(0)).device.type


@torch.inference_mode()
def score_maps(system: System, images: ImageSet) -> np.ndarray | None:
    """Anomaly maps of all images, (N, H, W) float32; None for a system without maps."""
    system.eval()
    device = _device_of(system)
    batches = stream(images.batches(SCORING_BATCH), device)
    maps = [system.score(batch).anomaly_map for batch in batches]
    return None if maps[0] is None else torch.cat(maps)[:, 0].float().cpu().numpy()


@torch.inference_mode()
def score_images(system: System, images: ImageSet) -> pd.DataFrame:
    """One row an image: path, label, kind, split, image_score, flow_score, recon_score, parts.

    The system is in eval mode, so no score depends on the other images of its batch.
    """
    system.eval()
    device = _device_of(system)
    columns: dict[str, list[np.ndarray]] = {}
    for batch in stream(images.batches(SCORING_BATCH), device):
        scores = system.score(batch)
        of_batch = {name: getattr(scores, name) for name in SCORE_NAMES} | scores.parts
        for name, values in of_batch.items():
            columns.setdefault(name, []).append(values.double().cpu().numpy())
    columns = {name: np.concatenate(values) for name, values in columns.items()}
    return images.table[["path", "label", "kind", "split"]].assign(**columns)
