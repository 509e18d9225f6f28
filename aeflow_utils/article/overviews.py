"""Schematic overviews for the article's background: families of detectors, and the baselines."""

from __future__ import annotations

import re
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aeflow_utils.article.diagrams import DIM, FRAME, INK, PAD, SMALL, arrow, box, canvas, write
from aeflow_utils.show.alt_texts import described

BOX, GAP = (1.35, 0.56), 0.34
# Heights at which a family's column has its boxes.
X, ENCODER, Z, FLOW, Z_NEW, DECODER, X_NEW = 6.45, 5.6, 4.75, 3.9, 3.05, 2.2, 1.35
LABELS = {
    X: ("image $x$", "data"),
    ENCODER: ("encoder $f$", "encoder"),
    Z: ("features $z$", "data"),
    FLOW: ("flow $h$", "flow"),
    Z_NEW: ("$z'$", "data"),
    DECODER: ("decoder $g$", "decoder"),
    X_NEW: ("$x'$", "data"),
}


# Title, heights of the boxes and of those that the score reads, score, note.
FAMILIES = (
    (
        "autoencoder",
        (X, ENCODER, Z, DECODER, X_NEW),
        (X, X_NEW),
        "score\n$\\Vert x - x' \\Vert^2$",
        "judges pixels; may learn\nto copy what is abnormal",
    ),
    (
        "normalizing flow",
        (X, ENCODER, Z, FLOW, Z_NEW),
        (Z_NEW,),
        "score\n$-\\log\\,p(z')$",
        "judges features; never\ncompares with the image",
    ),
    (
        "AE-FLOW",
        (X, ENCODER, Z, FLOW, Z_NEW, DECODER, X_NEW),
        (X, Z_NEW, X_NEW),
        "score\n$\\beta\\,S_\\mathrm{flow} + (1-\\beta)$\n$\\cdot\\, S_\\mathrm{recon}$",
        "judges both, in one sum",
    ),
)


def draw_families() -> Figure:
    """An autoencoder, a flow and AE-FLOW side by side, and what the score of each reads."""
    width, gap = 4.15, 0.25
    figure, axis = canvas(3 * width + 2 * gap, 7.7)
    for number, (title, heights, read, score, note) in enumerate(FAMILIES):
        left = number * (width + gap)
        box(axis, (left + width / 2, 3.85), (width, 7.6), **FRAME)
        write(axis, (left + width / 2, 7.25), title, weight="bold")
        _column(axis, left + 1.0, heights)
        _score(axis, left + 1.0, left + 2.98, score, read)
        write(axis, (left + width / 2, 0.5), note, 12.5, DIM)
    return described(
        figure,
        """Three block diagrams side by side; in each, a frozen encoder turns the image x into
        features z. An autoencoder decodes z to x' and scores the difference of x and x'. A
        normalizing flow turns z into z' and scores how unlikely z' is. AE-FLOW does both: a flow
        turns z into z', a decoder turns z' into x', and the score is a weighted sum of how
        unlikely z' is and how little x' resembles x.""",
    )


def _column(axis: Axes, x: float, heights: tuple[float, ...]) -> None:
    for height in heights:
        label, role = LABELS[height]
        box(axis, (x, height), BOX, label, role, SMALL)
    for upper, lower in pairwise(heights):
        arrow(axis, (x, upper - BOX[1] / 2 - PAD), (x, lower + BOX[1] / 2 + PAD))


def _score(axis: Axes, middle: float, right: float, score: str, read: tuple[float, ...]) -> None:
    """The score's box at x = `right`, with arrows from those that it reads at x = `middle`."""
    width, height = 1.95, 1.15
    box(axis, (right, Z_NEW), (width, height), score, "score", SMALL)
    edge = middle + BOX[0] / 2 + PAD
    for y in read:
        if y == Z_NEW:
            arrow(axis, (edge, y), (right - width / 2 - PAD, y))
        else:
            side = 1 if y > Z_NEW else -1
            arrow(axis, (edge, y), (right, y), (right, Z_NEW + side * (height / 2 + PAD)))


# What a part of a detector is: its colour. An encoder of its own is trained like a decoder.
ROLES = {"encoder": "encoder", "decoder": "decoder", "own encoder": "decoder"}
ROLES |= {"generator": "decoder", "flow": "flow", "Gaussians": "score", "memory": "score"}
# Name, an image's way, what is learnt, what is scored.
SKETCHES = (
    (
        "plain\nautoencoder",
        "$x$ > encoder > $z$ > decoder > $x'$",
        "to paint a normal image\nfrom its features",
        "$\\Vert x - x' \\Vert^2$",
    ),
    (
        "FastFlow",
        "$x$ > encoder > $z$ > flow > $z'$",
        "how features of normal images\nare distributed, on three scales",
        "how unlikely $z'$ is at\nits least likely place",
    ),
    (
        "GANomaly",
        "$x$ > own encoder > $z$ > decoder > $x'$ > own encoder > $z''$",
        "to repaint normal images: alike in pixels,\nto a discriminator, and when encoded",
        "$\\Vert z - z'' \\Vert^2$",
    ),
    (
        "f-AnoGAN",
        "$x$ > own encoder > $z$ > generator > $x'$",
        "to make normal images out of noise;\nthen to find the noise of an image",
        "$\\Vert x - x' \\Vert^2$, and the same\nin the critic's features",
    ),
    (
        "PaDiM",
        "$x$ > encoder > $z$ > Gaussians",
        "no training: mean and covariance\nof the features at each place",
        "largest Mahalanobis\ndistance of a place",
    ),
    (
        "kNN and\nPatchCore",
        "$x$ > encoder > $z$ > memory",
        "no training: keeps features of\nnormal images, or of their patches",
        "distance to the nearest\nremembered features",
    ),
)
MEANINGS = {"encoder": "frozen", "decoder": "trained", "flow": "trained flow", "score": "fitted"}


def draw_baselines() -> Figure:
    """Other detectors, a row each: how an image passes, what is learnt, what is scored."""
    pitch, columns = 0.98, (0.25, 1.95, 8.6, 12.45)
    height = pitch * len(SKETCHES) + 1.05
    figure, axis = canvas(15.0, height)
    for x, heading in zip(columns, ("", "an image's way", "learns", "score"), strict=True):
        write(axis, (x, height - 0.25), heading, SMALL, DIM, ha="left", va="baseline")
    for number, (name, way, learns, score) in enumerate(SKETCHES):
        y = height - 0.6 - pitch * (number + 0.5)
        axis.plot([0, 15], [y + pitch / 2] * 2, color=FRAME["edgecolor"], linewidth=1)
        write(axis, (columns[0], y), name, SMALL, weight="bold", ha="left")
        _way(axis, columns[1], y, way.split(" > "))
        write(axis, (columns[2], y), learns, 12.5, ha="left")
        write(axis, (columns[3], y), score, 12.5, ha="left")
    x = columns[1]
    for role, meaning in MEANINGS.items():
        box(axis, (x + 0.12, 0.15), (0.24, 0.24), role=role)
        write(axis, (x + 0.34, 0.15), meaning, 12, DIM, ha="left")
        x += 1.65
    rows = [
        f"{_plain(name)}: {_plain(learns)}; score: {_plain(score)}"
        for name, _, learns, score in SKETCHES
    ]
    return described(
        figure,
        f"Diagram of {len(SKETCHES)} other detectors, a row each, with what it learns and what its "
        f"score is. {'. '.join(rows)}.",
    )


def _way(axis: Axes, left: float, y: float, steps: list[str]) -> None:
    """Boxes and letters from left to right, joined by arrows."""
    for number, step in enumerate(steps):
        width = 1.05 if step in ROLES else 0.3
        if step in ROLES:
            label = step.removeprefix("own ")
            box(axis, (left + width / 2, y), (width, 0.52), label, ROLES[step], 12)
        else:
            write(axis, (left + width / 2, y), step, SMALL, INK)
        if number + 1 < len(steps):
            arrow(axis, (left + width + PAD / 2, y), (left + width + GAP - PAD / 2, y))
        left += width + GAP


def _plain(label: str) -> str:
    """A label in words: for a reader who hears it."""
    squared = r"\$\\Vert (.+?) - (.+?) \\Vert\^2\$"
    label = re.sub(squared, r"squared difference of \1 and \2", label)
    return " ".join(label.replace("$", "").split())
