"""The training loop: seeds, statistics, epochs, history, and a checkpoint after each epoch."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aeflow_utils.config import WARM_UP, TrainConfig
from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.data.precision import bf16_here, default_device, use_bf16
from aeflow_utils.data.reading import reading
from aeflow_utils.errors import TrainingError
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import Optimizers, System
from aeflow_utils.paths import whole

SCORING_BATCH = 64
FLOOR = 0.02  # of a cosine schedule: lowest share of the peak
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
    watch: Callable[[int], dict[str, float]] | None = None,
) -> pd.DataFrame:
    """Statistics first, then gradient steps where the system has trainable parameters.

    The last epoch is kept, or that of the lowest loss on validation normals, as `config` says:
    nothing is selected by a score.

    Args:
        resume_file: written after each epoch, read if it is there.
        watch: called after each epoch with its number; its figures stand in the history's row,
            and decide nothing.

    Returns:
        One row an epoch: epoch, and each loss term on training and validation normals; NaN for a
        term that no step of the epoch had.
    """
    use_bf16(system, bf16_here(config.bf16))
    system.fit_statistics(train)
    system.to(default_device())
    if not any(parameter.requires_grad for parameter in system.parameters()):
        return pd.DataFrame(columns=["epoch"])
    optimizers = system.optimizers(config)
    history, lowest = _resume(system, optimizers, resume_file)
    train, val_normal = _near(train), _near(val.select(val.labels == 0))
    for epoch in tqdm(range(len(history), epochs_of(config, len(train))), label, mininterval=1):
        losses = _train_epoch(system, optimizers, *_batches_of(train, config, seed, epoch), config)
        losses |= _val_losses(system, val_normal, config.batch_size)
        history.append({"epoch": epoch + 1} | losses | (watch(epoch + 1) if watch else {}))
        if not np.isfinite([losses["train_total"], losses["val_total"]]).all():
            if lowest:  # the weights of an epoch before it
                break
            raise _no_finite_loss(label, history[-1])
        if config.keep == "lowest" and _is_lowest(history, system.judged_by):
            lowest = copy.deepcopy(system.state_dict())
        _save_progress(system, optimizers, history, lowest, resume_file)
    system.load_state_dict(lowest or system.state_dict())
    return pd.DataFrame(history)


def _near(images: ImageSet) -> ImageSet:
    """The set on the device, if there is room for it."""
    return images.held(default_device(), room_for_images(default_device()))


def room_for_images(device: str) -> int:
    """Bytes of a card that a run may fill with its images: a quarter of what is free of it."""
    return torch.cuda.mem_get_info()[0] // 4 if device == "cuda" else 0


def _no_finite_loss(label: str, row: dict) -> TrainingError:
    return TrainingError(
        f"{label}: the loss is {row['train_total']} in epoch {row['epoch']}. Try a lower "
        "learning rate, or channel-standardised features"
    )


def epochs_of(config: TrainConfig, n_images: int) -> int:
    """Epochs on so many training images: `epochs`, or as many as `min_steps` steps take."""
    steps_an_epoch = math.ceil(n_images / config.batch_size)
    return max(config.epochs, math.ceil(config.min_steps / steps_an_epoch))


def kept_epoch(losses: Sequence[float], keep: str) -> int:
    """The epoch, from 1, whose weights are kept: the ``last``, or the first of ``lowest`` loss.

    Args:
        losses: on validation normals, by epoch; one that is not finite is never the lowest.
    """
    finite = np.where(np.isfinite(losses), losses, np.inf)
    return 1 + int(np.argmin(finite)) if keep == "lowest" else len(losses)


def _is_lowest(history: list[dict], term: str) -> bool:
    """Whether the last epoch's loss on validation normals is below all before it."""
    return kept_epoch([row[f"val_{term}"] for row in history], "lowest") == len(history)


def rate_factor(config: TrainConfig, progress: float) -> float:
    """What multiplies the rate `lr` when the share `progress` of all steps is over, in [0, 1).

    1 where the rate is constant. Of a ``cosine`` schedule it rises linearly to 1 over the first
    tenth of the steps, then falls along half a cosine; it starts and ends at a fiftieth (warm-up:
    Goyal et al., arXiv:1706.02677; cosine: Loshchilov & Hutter, arXiv:1608.03983).
    """
    if config.schedule == "constant":
        return 1.0
    share = progress / WARM_UP
    if progress >= WARM_UP:
        share = (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP))) / 2
    return FLOOR + (1 - FLOOR) * share


def _set_rates(optimizers: Optimizers, factor: float) -> None:
    for group in (group for optimizer in optimizers for group in optimizer.param_groups):
        group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor


def _draw_order(n_images: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The epoch's order and torch's random numbers, by seed and epoch alone: runs can resume."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(n_images)
    torch.manual_seed(int(rng.integers(2**31)))  # for systems that draw noise in a step
    # BatchNorm cannot take a last batch of one image.
    return order[:-1] if n_images > 1 and n_images % batch_size == 1 else order


def _batches_of(
    train: ImageSet, config: TrainConfig, seed: int, epoch: int
) -> tuple[Iterator[Batch], np.ndarray]:
    """An epoch's batches, and before each the share of all steps that are over."""
    order = _draw_order(len(train), config.batch_size, seed, epoch)
    n_steps, n_epochs = math.ceil(len(order) / config.batch_size), epochs_of(config, len(train))
    progress = np.linspace(epoch, epoch + 1, n_steps, endpoint=False) / n_epochs
    return train.batches(config.batch_size, order, default_device()), progress


def _train_epoch(
    system: System,
    optimizers: Optimizers,
    batches: Iterator[Batch],
    progress: np.ndarray,
    config: TrainConfig,
) -> dict[str, float]:
    """One pass over the batches: each loss term's mean over the steps that had it."""
    system.train()
    terms: dict[str, list[Tensor]] = {}
    for batch, share in zip(batches, progress, strict=True):
        # In each phase of a system the rate rises and falls anew.
        _set_rates(optimizers, rate_factor(config, share * system.phases % 1))
        for name, value in system.train_step(batch, optimizers, share).items():
            terms.setdefault(name, []).append(value.detach())
    return {f"train_{name}": float(sum(v)) / len(v) for name, v in terms.items()}


@torch.no_grad()
def _val_losses(system: System, images: ImageSet, batch_size: int) -> dict[str, float]:
    """Each loss term's mean over the images, in eval mode."""
    system.eval()
    sums: dict[str, float] = {}
    for batch in images.batches(batch_size, device=system.device):
        for name, value in system.loss(batch).items():
            sums[name] = sums.get(name, 0.0) + float(value) * len(batch.image)
    return {f"val_{name}": value / len(images) for name, value in sums.items()}


def _resume(
    system: System, optimizers: Optimizers, resume_file: Path | None
) -> tuple[list[dict], dict | None]:
    """Put back the state of the last whole epoch; the history and the lowest epoch's state."""
    if resume_file is None or not resume_file.exists():
        return [], None
    with reading(resume_file, "it is damaged, delete it and run again"):
        with ZipFile(resume_file) as archive:  # torch compares no checksums
            if archive.testzip():
                raise ValueError("a checksum differs")
        saved = torch.load(resume_file, map_location=default_device(), weights_only=True)
        system.load_state_dict(saved["system"])
        for optimizer, state in zip(optimizers, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        return saved["history"], saved["lowest"]


def _save_progress(
    system: System,
    optimizers: Optimizers,
    history: list[dict],
    lowest: dict | None,
    resume_file: Path | None,
) -> None:
    if resume_file is None:
        return
    states = [optimizer.state_dict() for optimizer in optimizers]
    saved = {"system": system.state_dict(), "optimizers": states, "history": history}
    file = BytesIO()  # of a full disk torch would raise another kind than OSError
    torch.save(saved | {"lowest": lowest}, file)
    with whole(resume_file) as partial:
        partial.write_bytes(file.getvalue())


@torch.inference_mode()
def score_maps(system: System, images: ImageSet) -> np.ndarray | None:
    """Anomaly maps of all images, (N, H, W) float32; None for a system without maps."""
    maps = [scores.anomaly_map for scores in _scores(system, images)]
    return None if maps[0] is None else torch.cat(maps)[:, 0].float().cpu().numpy()


@torch.inference_mode()
def residual_maps(system: System, images: ImageSet) -> np.ndarray | None:
    """|x - x'| of all images, mean over channels, (N, H, W); None where nothing is remade."""
    if next(iter(_scores(system, images))).reconstruction is None:
        return None
    batches = images.batches(SCORING_BATCH, device=system.device)
    maps = [(batch.image - system.reconstruct(batch)).abs().mean(dim=1) for batch in batches]
    return torch.cat(maps).float().cpu().numpy()


@torch.inference_mode()
def score_images(system: System, images: ImageSet) -> pd.DataFrame:
    """One row an image: path, label, kind, split, group, the three scores, and their parts.

    Images of one patient, lesion or block have one number in ``group``. The system is in eval
    mode, so no score depends on the other images of its batch.

    Raises:
        TrainingError: a score is not finite; names the image.
    """
    batches = []
    for scores in _scores(system, images):
        of_batch = {name: getattr(scores, name) for name in SCORE_NAMES} | scores.parts
        columns = {name: values.double().cpu().numpy() for name, values in of_batch.items()}
        batches.append(pd.DataFrame(columns))
    table = images.table[["path", "label", "kind", "split"]]
    table = table.assign(group=pd.factorize(images.table["group"])[0])
    table = table.join(pd.concat(batches, ignore_index=True))
    lost = table.loc[~np.isfinite(table["image_score"]), "path"]
    if len(lost):
        raise TrainingError(f"{len(lost)} scores are not finite, the first that of {lost.iloc[0]}")
    return table


def _scores(system: System, images: ImageSet) -> Iterator[Scores]:
    system.eval()
    for batch in images.batches(SCORING_BATCH, device=system.device):
        yield system.score(batch)
