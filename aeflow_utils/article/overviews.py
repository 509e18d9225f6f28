"""Schematic overview of the baselines, for the article's background."""

from __future__ import annotations

import re
from importlib.resources import files

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aeflow_utils.article.diagrams import DIM, FRAME, PAD, SMALL, arrow, box, canvas, write
from aeflow_utils.show.alt_texts import described

GAP = 0.34
# What a part of a detector is: its colour. An encoder of its own is trained like a decoder.
ROLES = {"encoder": "encoder", "decoder": "decoder", "own encoder": "decoder"}
ROLES |= {"generator": "decoder", "flow": "flow", "Gaussians": "score", "memory": "score"}
MEANINGS = {"encoder": "frozen", "decoder": "trained", "flow": "trained flow", "score": "fitted"}


def _table(name: str) -> list[list[str]]:
    """Rows of a table of labels; `` / `` breaks a line, `` > `` parts an image's way."""
    table = pd.read_csv(files(__package__) / "templates" / name)
    return table.replace(" / ", "\n", regex=True).to_numpy().tolist()


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
