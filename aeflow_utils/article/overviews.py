"""Schematic overviews for the article's background: families of detectors, and the baselines."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aeflow_utils.article.diagrams import DIM, FRAME, PAD, SMALL, arrow, box, canvas, write
from aeflow_utils.show.alt_texts import described

BOX, GAP = (1.35, 0.56), 0.34
# What an image becomes in a family's column: height of the box, its label, its role.
STATIONS = {
    "x": (6.45, "image $x$", "data"),
    "encoder": (5.6, "encoder $f$", "encoder"),
    "z": (4.75, "features $z$", "data"),
    "flow": (3.9, "flow $h$", "flow"),
    "z'": (3.05, "$z'$", "data"),
    "decoder": (2.2, "decoder $g$", "decoder"),
    "x'": (1.35, "$x'$", "data"),
}
# What a part of a detector is: its colour. An encoder of its own is trained like a decoder.
ROLES = {"encoder": "encoder", "decoder": "decoder", "own encoder": "decoder"}
ROLES |= {"generator": "decoder", "flow": "flow", "Gaussians": "score", "memory": "score"}
MEANINGS = {"encoder": "frozen", "decoder": "trained", "flow": "trained flow", "score": "fitted"}


def _table(name: str) -> list[list[str]]:
    """Rows of a table of labels; `` / `` breaks a line, `` > `` parts an image's way."""
    table = pd.read_csv(files(__package__) / "templates" / name)
    return table.replace(" / ", "\n", regex=True).to_numpy().tolist()


def draw_families() -> Figure:
    """An autoencoder, a flow and AE-FLOW side by side, and what the score of each reads."""
    width, gap = 4.15, 0.25
    figure, axis = canvas(3 * width + 2 * gap, 7.7)
    for number, (title, way, read, score, note) in enumerate(_table("families.csv")):
        left = number * (width + gap)
        box(axis, (left + width / 2, 3.85), (width, 7.6), **FRAME)
        write(axis, (left + width / 2, 7.25), title, weight="bold")
        _column(axis, left + 1.0, way.split(" > "))
        _score(axis, left + 1.0, left + 2.98, score, read.split(" > "))
        write(axis, (left + width / 2, 0.5), note, 12.5, DIM)
    return described(
        figure,
        """Three block diagrams side by side; in each, a frozen encoder turns the image x into
        features z. An autoencoder decodes z to x' and scores the difference of x and x'. A
        normalizing flow turns z into z' and scores how unlikely z' is. AE-FLOW does both: a flow
        turns z into z', a decoder turns z' into x', and the score is a weighted sum of how
        unlikely z' is and how little x' resembles x.""",
    )


def _column(axis: Axes, x: float, way: list[str]) -> None:
    for station in way:
        height, label, role = STATIONS[station]
        box(axis, (x, height), BOX, label, role, SMALL)
    for upper, lower in pairwise(STATIONS[station][0] for station in way):
        arrow(axis, (x, upper - BOX[1] / 2 - PAD), (x, lower + BOX[1] / 2 + PAD))


def _score(axis: Axes, middle: float, right: float, score: str, read: list[str]) -> None:
    """The score's box at x = `right`, with arrows from those that it reads at x = `middle`."""
    width, height, level = 1.95, 1.15, STATIONS["z'"][0]
    box(axis, (right, level), (width, height), score, "score", SMALL)
    edge = middle + BOX[0] / 2 + PAD
    for y in (STATIONS[station][0] for station in read):
        if y == level:
            arrow(axis, (edge, y), (right - width / 2 - PAD, y))
        else:
            side = 1 if y > level else -1
            arrow(axis, (edge, y), (right, y), (right, level + side * (height / 2 + PAD)))


def draw_baselines() -> Figure:
    """Other detectors, a row each: how an image passes, what is learnt, what is scored."""
    sketches, pitch, columns = _table("baselines.csv"), 0.98, (0.25, 1.95, 8.6, 12.45)
    height = pitch * len(sketches) + 1.05
    figure, axis = canvas(15.0, height)
    for x, heading in zip(columns, ("", "an image's way", "learns", "score"), strict=True):
        write(axis, (x, height - 0.25), heading, SMALL, DIM, ha="left", va="baseline")
    for number, (name, way, learns, score) in enumerate(sketches):
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
        for name, _, learns, score in sketches
    ]
    return described(
        figure,
        f"Diagram of {len(sketches)} other detectors, a row each, with what it learns and what its "
        f"score is. {'. '.join(rows)}.",
    )


def _way(axis: Axes, left: float, y: float, steps: list[str]) -> None:
    """Boxes and letters from left to right, joined by arrows."""
    for number, step in enumerate(steps):
        width = 1.05 if step in ROLES else 0.3
        middle = (left + width / 2, y)
        if number:
            arrow(axis, (left - GAP + PAD / 2, y), (left - PAD / 2, y))
        if step in ROLES:
            box(axis, middle, (width, 0.52), step.removeprefix("own "), ROLES[step], 12)
        else:
            write(axis, middle, step, SMALL)
        left += width + GAP


def _plain(label: str) -> str:
    """A label in words: for a reader who hears it."""
    squared = r"\$\\Vert (.+?) - (.+?) \\Vert\^2\$"
    label = re.sub(squared, r"squared difference of \1 and \2", label)
    return " ".join(label.replace("$", "").split())
