"""Figures of the notebook that builds AE-FLOW from nothing: arrays in, figures out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator
from scipy.stats import kurtosis, norm

from aeflow_utils.metrics import auroc, aurocs
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import (
    ABNORMAL,
    AE_FLOW,
    GUIDE,
    LABEL_COLORS,
    LABEL_NAMES,
    NORMAL,
    TRIVIAL,
    panels,
    show_image,
    subplots,
)

MOONS = np.array([NORMAL, "#7FB7D8"])  # two blues, so that an eye can follow each moon
GAUSSIAN = {"linestyle": ":", "color": "0.2", "linewidth": 1}  # what z should look like
REACH = 5  # standard deviations to either side that a histogram shows
BETAS = np.linspace(0, 1, 101)


def warping(points: list[np.ndarray], moons: np.ndarray, lines: list[np.ndarray]) -> Figure:
    """Points and the lines of a grid: as they are, after each block of a flow, and at its end.

    Args:
        points: (N, 2) at each step.
        moons: (N,), 0 or 1: which moon a point is from.
        lines: (L, M, 2) at each step: L lines of M points.
    """
    names = ["the data", *(f"after block {k}" for k in range(1, len(points) - 1)), "the noise z'"]
    figure, axes = panels(len(points), (2.6, 2.6), sharex=True, sharey=True)
    for axis, name, here, grid in zip(axes, names, points, lines, strict=True):
        axis.add_collection(LineCollection(grid, colors=GUIDE, linewidths=0.4, zorder=0))
        axis.scatter(*here.T, s=2, c=MOONS[moons], linewidths=0)
        axis.set(title=name, xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
    for radius in (1, 2, 3):
        axes[-1].add_patch(Circle((0, 0), radius, fill=False, zorder=3, **GAUSSIAN))
    shares = [(np.linalg.norm(here, axis=1) < 2).mean() for here in points]
    text = "Two moons on a grid, bent block by block into a cloud. Points within 2 of the origin:"
    return described(figure, f"{text} {shares[0]:.0%} at first, {shares[-1]:.0%} at the end.")


def density_maps(
    side: np.ndarray, maps: dict[str, np.ndarray], strange: np.ndarray, samples: np.ndarray
) -> Figure:
    """Logarithms of densities over the plane with strange points on them; points from noise.

    Args:
        side: (M,), coordinates of rows and of columns.
        maps: {title: (M, M)}, in nats.
        strange, samples: (N, 2).
    """
    figure, axes = subplots(1, len(maps) + 1, figsize=(10.5, 3.5), sharey=True)
    ends = (side[0], side[-1])
    for axis, (title, logs) in zip(axes, maps.items(), strict=False):
        options = {"vmin": -8, "vmax": 0, "cmap": "Blues"}
        drawn = axis.imshow(logs, origin="lower", extent=(*ends, *ends), **options)
        axis.scatter(*strange.T, s=8, color=ABNORMAL, linewidths=0)
        axis.set_title(title)
    figure.colorbar(drawn, ax=axes[: len(maps)], label="nats", shrink=0.8, extend="both")
    axes[-1].scatter(*samples.T, s=3, color=AE_FLOW, linewidths=0)
    axes[-1].set(title="noise, sent back", xlim=ends, ylim=ends, aspect="equal")
    text = "The plane, shaded by two log-densities, with strange points on it; points from noise."
    return described(figure, f"{text} Panels:", [axis.get_title() for axis in axes])


def before_and_after(
    values: dict[str, np.ndarray], labels: np.ndarray, energies: dict[str, np.ndarray]
) -> Figure:
    """A row before and a row after a flow: all numbers, channels' correlations, energies.

    Args:
        values: {when: (M, C, h, w)} of normal images.
        labels: (N,) of test images.
        energies: {when: (N,)}, -log N per dimension.
    """
    figure, axes = subplots(2, 3, figsize=(10, 6), width_ratios=(1, 0.8, 1))
    told, view = [], np.quantile(np.concatenate(list(energies.values())), [0, 0.97])
    for row, (when, numbers) in zip(axes, values.items(), strict=True):
        _draw_values(row[0], numbers, "-", NORMAL, "normal images")
        row[0].set_ylabel(when, fontsize=13)
        row[0].set_title(f"kurtosis {kurtosis(numbers, axis=None, fisher=False):.1f}")
        correlations = np.abs(np.corrcoef(numbers.swapaxes(0, 1).reshape(numbers.shape[1], -1)))
        drawn = row[1].imshow(correlations, cmap="magma", vmin=0, vmax=0.8)
        others = correlations[~np.eye(len(correlations), dtype=bool)]
        row[1].set(title=f"channels: mean |r| {others.mean():.2f}", xticks=[], yticks=[])
        _draw_scores(row[2], labels, energies[when], view)
        row[2].set_title(f"energies: AUROC {100 * auroc(labels, energies[when]):.1f} %")
        told.append(f"{when}: {', '.join(axis.get_title() for axis in row)}")
    axes[1, 2].set_xlabel("nats per dimension")
    figure.colorbar(drawn, ax=axes[:, 1], label="|r|", shrink=0.6, aspect=30)
    axes[0, 0].text(1.8, 0.15, "dotted:\nN(0, 1)", fontsize=10)
    text = "All numbers of normal test images beside a Gaussian's bell (kurtosis 3), correlations r"
    return described(figure, f"{text} of their channels, and energies of all test images;", told)


def settings(
    histories: dict[str, np.ndarray],
    z: dict[str, np.ndarray],
    labels: np.ndarray,
    scores: dict[str, np.ndarray],
) -> Figure:
    """Two settings side by side: losses by step, the flows' numbers, and the second one's scores.

    Args:
        histories: {setting: (steps, 2)}, bits per dimension and MSE.
        z: {setting: numbers of normal images}.
        labels: (N,) of test images.
        scores: {setting: (N,)}.
    """
    figure, axes = panels(4, (4.6, 2.9), columns=2)
    looks = (("--", TRIVIAL), ("-", AE_FLOW))
    for (name, history), look in zip(histories.items(), looks, strict=True):
        for axis, losses in zip(axes, history.T, strict=False):
            axis.plot(np.arange(1, len(losses) + 1), losses, look[0], color=look[1], label=name)
            axis.set_xlabel("step")
        _draw_values(axes[2], z[name], *look, name)
        ranks = f"AUROC {100 * auroc(labels, scores[name]):.1f} %"
        axes[3].set_title(f"{name}: {ranks}")
    _draw_scores(axes[3], labels, scores[name])
    axes[3].set_xlabel("score")
    axes[0].set_title("loss of the flow, bits per dimension")
    axes[1].set_title("loss of the decoder, MSE")
    axes[2].set_title("all numbers of z', normal images")
    for axis in axes[1:3]:
        axis.legend(fontsize=9, frameon=False)
    ends = [f"{n}: {h[-1][0]:.2f} bits, MSE {h[-1][1]:.4f}" for n, h in histories.items()]
    text = (
        "Two settings: their losses by step, their flows' numbers, and the scores of the second one"
    )
    return described(figure, f"{text} ({ranks}). Losses of the last step:", ends)


def weights(labels: np.ndarray, parts: np.ndarray, betas: list[float]) -> Figure:
    """AUROC of beta S_flow + (1 - beta) S_recon at every beta, and the scores at some.

    Args:
        labels: (N,).
        parts: (2, N), S_flow and S_recon.
        betas: at which the scores are shown, a panel each.
    """
    curve = 100 * aurocs(labels, np.outer(BETAS, parts[0]) + np.outer(1 - BETAS, parts[1]))
    figure, axes = panels(1 + len(betas), (2.9, 2.9), columns=4)
    axes[0].plot(BETAS, curve, color=AE_FLOW)
    axes[0].set(title="AUROC at every β, %", xlabel="β")
    told = []
    for axis, beta in zip(axes[1:], betas, strict=True):
        scores = beta * parts[0] + (1 - beta) * parts[1]
        value = 100 * auroc(labels, scores)
        axes[0].plot(beta, value, "o", color=AE_FLOW)
        _draw_scores(axis, labels, scores)
        axis.set(title=f"β = {beta:.2f}: AUROC {value:.1f} %", xlabel="score")
        told.append(f"β = {beta:.2f}: {value:.1f} %")
    text = f"AUROC from {curve[0]:.1f} % at β = 0 to {curve[-1]:.1f} % at β = 1, and histograms of"
    return described(figure, f"{text} normal and abnormal scores. AUROC at", told)


def line_of_images(
    images: np.ndarray, labels: np.ndarray, scores: np.ndarray, threshold: float
) -> Figure:
    """Images by falling score, with a line where those that are called abnormal end.

    Args:
        images: (N, 1 or 3, H, W); labels, scores: (N,).
    """
    order = np.argsort(-scores)
    figure, axes = subplots(1, len(order), figsize=(1.05 * len(order), 1.6))
    for axis, row in zip(axes, order, strict=True):
        show_image(axis, images[row])
        axis.set_title(LABEL_NAMES[labels[row]], fontsize=10, color=LABEL_COLORS[labels[row]])
        axis.set_xlabel(f"{scores[row]:.3f}", fontsize=10)
        if scores[row] == threshold:
            axis.plot(
                [1.06, 1.06],
                [-0.25, 1.25],
                color="0.1",
                lw=2,
                transform=axis.transAxes,
                clip_on=False,
            )
    called = (scores >= threshold).sum()
    kinds = [LABEL_NAMES[labels[row]] for row in order]
    text = f"{len(order)} images by falling score, the first {called} of them called abnormal:"
    return described(figure, f"{text} {', '.join(kinds)}.")


def _draw_values(axis: Axes, values: np.ndarray, line: str, color: str, name: str) -> None:
    """A histogram of numbers that should be a standard Gaussian's, and the bell."""
    x = np.linspace(-REACH, REACH, 201)
    options = {"density": True, "histtype": "step", "linestyle": line, "color": color}
    axis.hist(np.ravel(values), x[::4], label=name, **options)
    known = axis.get_legend_handles_labels()[1]
    axis.plot(x, norm.pdf(x), label=None if "N(0, 1)" in known else "N(0, 1)", **GAUSSIAN)
    axis.set(xlabel="value", yticks=[], xlim=(-REACH, REACH))


def _draw_scores(
    axis: Axes, labels: np.ndarray, scores: np.ndarray, view: Sequence[float] = ()
) -> None:
    """Histograms of normal and abnormal images; a few huge scores lie beyond the view."""
    bins = np.linspace(*(view if len(view) else np.quantile(scores, [0, 0.97])), 41)
    for label in (0, 1):
        options = {"color": LABEL_COLORS[label], "label": LABEL_NAMES[label], "alpha": 0.5}
        axis.hist(scores[labels == label], bins, density=True, **options)
    axis.set_yticks([])
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.legend(fontsize=9, frameon=False)
