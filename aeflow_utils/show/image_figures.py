"""Plots of images, and of what trained systems make of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from aeflow_utils.data.features import ImageSet
from aeflow_utils.data.images import read_image, upright
from aeflow_utils.models.system import System
from aeflow_utils.show.alt_texts import described, listed
from aeflow_utils.show.style import LABEL_NAMES, show_image, subplots


def sample_sheet(images: ImageSet, title: str, n_columns: int = 8) -> Figure:
    """A row of normal and a row of abnormal images, evenly spaced through the set."""
    figure, axes = subplots(2, n_columns, figsize=(1.35 * n_columns, 3.5), squeeze=False)
    kinds = []
    for label, row in enumerate(axes):
        positions = np.flatnonzero(images.labels == label)
        chosen = positions[np.linspace(0, len(positions) - 1, n_columns).astype(int)]
        for axis, position in zip(row, chosen, strict=True):
            show_image(axis, images.images[position])
            axis.set_title(images.table["kind"][position], fontsize=9)
        row[0].set_ylabel(LABEL_NAMES[label], fontsize=12)
        kinds.append(listed(sorted(set(images.table["kind"].to_numpy()[chosen]))))
    figure.suptitle(title)
    rows = f"{n_columns} normal ones ({kinds[0]}) above {n_columns} abnormal ones ({kinds[1]})"
    return described(figure, f"{title}: {rows}.")


def preprocessing(path: Path, size: int, grey: bool, title: str) -> Figure:
    """One file as it is stored, as the study prepares it, and resized and cropped as in 2023."""
    with Image.open(path) as image:
        stored = np.asarray(upright(image, grey))
    stored = stored[None] if grey else stored.transpose(2, 0, 1)
    larger = size * 8 // 7  # 256 for 224
    resized, cropped = read_image(path, size, grey), read_image(path, size, grey, larger)
    steps = {
        f"stored, {stored.shape[2]} × {stored.shape[1]}": stored,
        f"resized to {size} × {size}\n(the default)": resized,
        f"shorter side to {larger},\ncentre {size} × {size} cropped": cropped,
    }
    figure, axes = subplots(1, len(steps), figsize=(7.5, 3.1))
    for axis, (name, pixels) in zip(axes, steps.items(), strict=True):
        show_image(axis, pixels)
        axis.set_title(name, fontsize=10)
    figure.suptitle(title, fontsize=12)
    ways = "; ".join(" ".join(name.split()) for name in steps)
    return described(figure, f"One image of {title} in {len(steps)} ways: {ways}.")


@torch.inference_mode()
def first_look(flow: System, gaussian: System, images: ImageSet, auroc: str) -> Figure:
    """What AE-FLOW makes of two normal and two abnormal images, beside a Gaussian's map.

    Each image with its score as a rank: how many of the normal test images score lower.

    Args:
        auroc: told above the maps' columns.
    """
    positions, normals = pick(images, 2), np.flatnonzero(images.labels == 0)
    batch, of_normals = images.batch(positions), images.batch(normals)
    ranks, maps = [], []
    for system in (flow, gaussian):
        scores, rest = system.score(batch), system.score(of_normals).image_score
        ranks.append([100 * float((rest < score).float().mean()) for score in scores.image_score])
        maps.append(scores.anomaly_map[:, 0].numpy())
    shown = [batch.image.numpy(), flow.reconstruct(batch).numpy(), *maps]
    headings = ("image", "AE-FLOW paints", "AE-FLOW doubts", "a Gaussian doubts")
    figure, axes = subplots(4, 4, figsize=(6.4, 6.6), squeeze=False)
    for column, pictures in enumerate(shown):
        limits = {}
        if column > 1:
            limits = {"cmap": "magma", "vmin": pictures.min(), "vmax": pictures.max()}
        for row, picture in enumerate(pictures):
            show_image(axes[row, column], picture, **limits)
        axes[0, column].set_title(headings[column], fontsize=11)
    for row, position in enumerate(positions):
        axes[row, 0].set_ylabel(LABEL_NAMES[images.labels[position]], fontsize=10)
        for column, rank in enumerate(ranks, start=2):
            axes[row, column].set_xlabel(f"above {rank[row]:.0f} % of normals", fontsize=9)
    _color_bars(figure, axes[:, 2:], "low", "high")
    figure.suptitle(auroc, fontsize=11)
    told = [
        f"{axes[row, 0].get_ylabel()}: {ranks[0][row]:.0f} and {ranks[1][row]:.0f} %"
        for row in range(4)
    ]
    text = f"Four images, what AE-FLOW paints of each, its map and a Gaussian's. {auroc}. Share of "
    return described(figure, f"{text}normal images that score lower, by both:", told)


def _color_bars(figure: Figure, axes: np.ndarray, low: str, high: str) -> None:
    """A bar under each column of maps: their ranges are their own, so its ends are words."""
    for column in axes.T:
        mappable = column[0].images[0]
        bar = figure.colorbar(
            mappable, ax=list(column), orientation="horizontal", fraction=0.03, pad=0.01
        )
        bar.set_ticks(mappable.get_clim(), labels=[low, high], fontsize=8)
        bar.outline.set_visible(False)


@torch.inference_mode()
def reconstruction_rows(system: System, images: ImageSet, title: str, n_each: int = 3) -> Figure:
    """Image, reconstruction, residual and likelihood map of some normal and abnormal images.

    All maps of a column share one range.
    """
    positions = pick(images, n_each)
    batch = images.batch(positions)
    scores, rebuilt = system.score(batch), system.reconstruct(batch)
    residual = (batch.image - rebuilt).abs().mean(dim=1)
    headings = ["image $x$", "reconstruction $x'$", "residual $|x-x'|$", "likelihood map"]
    figure, axes = subplots(len(positions), 4, figsize=(5.8, 0.5 + 1.45 * len(positions)))
    shared = {"vmin": float(scores.anomaly_map.min()), "vmax": float(scores.anomaly_map.max())}
    for row, position in enumerate(positions):
        show_image(axes[row, 0], batch.image[row].numpy())
        show_image(axes[row, 1], rebuilt[row].numpy())
        show_image(axes[row, 2], residual[row].numpy(), cmap="magma", vmin=0, vmax=0.5)
        show_image(axes[row, 3], scores.anomaly_map[row, 0].numpy(), cmap="magma", **shared)
        name = LABEL_NAMES[images.labels[position]]
        axes[row, 0].set_ylabel(f"{name}\nS = {float(scores.image_score[row]):.3f}", fontsize=9)
    for axis, heading in zip(axes[0], headings, strict=True):
        axis.set_title(heading, fontsize=9)
    _color_bars(figure, axes[:, 2:], "low", "high")
    figure.suptitle(title)
    rows = listed([axis.get_ylabel().replace("\n", ", ") for axis in axes[:, 0]])
    text = f"{title}: images with their reconstruction, residual and likelihood map, a row an image"
    return described(figure, f"{text}, from top to bottom: {rows}.")


@torch.inference_mode()
def map_columns(
    systems: dict[str, System], images: ImageSet, title: str, n_each: int = 4
) -> Figure:
    """The same images under each method's anomaly map; each row of maps in a range of its own.

    Args:
        systems: by the method's name, as it shall stand beside its row.
    """
    positions = pick(images, n_each)
    batch = images.batch(positions)
    n_rows, n_columns = 1 + len(systems), len(positions)
    figure, axes = subplots(
        n_rows, n_columns, figsize=(1.2 + 0.65 * n_columns, 0.4 + 0.69 * n_rows)
    )
    for column, position in enumerate(positions):
        show_image(axes[0, column], batch.image[column].numpy())
        axes[0, column].set_title(LABEL_NAMES[images.labels[position]], fontsize=8)
    for row, (name, system) in enumerate({"image": None, **systems}.items()):
        place = {"rotation": 0, "ha": "right", "va": "center"}
        axes[row, 0].set_ylabel(name, fontsize=8, **place)
        if system:
            maps = system.score(batch).anomaly_map[:, 0].numpy()
            low, high = np.quantile(maps, [0.01, 0.99])
            for axis, anomaly_map in zip(axes[row], maps, strict=True):
                show_image(axis, anomaly_map, cmap="magma", vmin=low, vmax=high)
            bar = figure.colorbar(axes[row, 0].images[0], ax=list(axes[row]), aspect=6, pad=0.01)
            bar.set_ticks([low, high], labels=["low", "high"], fontsize=6)
            bar.outline.set_visible(False)
    figure.suptitle(title, fontsize=11)
    text = f"{title}. {n_each} normal and {n_each} abnormal images in the first row; below them"
    return described(figure, f"{text} their anomaly maps by {listed(list(systems))}.")


def pick(images: ImageSet, n_each: int) -> np.ndarray:
    """Positions of normal, then abnormal images, evenly spaced through the set (no choosing)."""
    chosen = []
    for label in (0, 1):
        positions = np.flatnonzero(images.labels == label)
        chosen.append(positions[np.linspace(0, len(positions) - 1, n_each + 2).astype(int)[1:-1]])
    return np.concatenate(chosen)
