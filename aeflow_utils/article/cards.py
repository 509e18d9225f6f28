"""Drawn cards of the data sets whose images cannot be part of this repository.

The article of 2023 showed samples of these sets under the names in `CARDS`. Under those names this
bundle always keeps a card, which holds nobody's images and looks the same with and without the
data: it is committed. Sheets of real samples have names of their own, ``samples-*.png``, and only
those of redistributable sets are committed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, FancyBboxPatch, Polygon, Rectangle

from aeflow_utils.article.diagrams import DIM, FRAME, canvas, write
from aeflow_utils.data.catalog import Counts, get_spec
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import LABEL_NAMES

WIDTH, HEIGHT, TILE = 11.6, 5.1, 2.05
BULGES = (
    (0.25, 0.05, 0.05),
    (0.5, 0.13, 0.17),
    (0.8, 0.06, 0.06),
)  # of a retina: at, width, height
CLOUDS = ((0.3, 0.4, 0.17), (0.24, 0.3, 0.15), (0.36, 0.27, 0.15), (0.71, 0.55, 0.13))  # of a lung


class Card(NamedTuple):
    """What a card says about a data set beyond its specification.

    `file` names the article's figure, without ``.png``; `draw` draws a schematic image, normal or
    abnormal, into the unit square of an axis.
    """

    file: str
    said: str
    draw: Callable[[Axes, bool], None]


def draw_card(name: str) -> Figure:
    """The card of a data set: what it shows, official counts, terms, and how to get it.

    Raises:
        UserError: no data set has this name.
    """
    spec, card = get_spec(name), CARDS[name]
    counts = spec.counts[""]
    figure, axis = canvas(WIDTH, HEIGHT)
    corners = "round,pad=0,rounding_size=0.12"
    axis.add_patch(FancyBboxPatch((0, 0), WIDTH, HEIGHT, boxstyle=corners, **FRAME))
    for abnormal, y in ((False, 2.75), (True, 0.45)):
        tile = axis.inset_axes((0.4, y, TILE, TILE - 0.1), transform=axis.transData)
        tile.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        tile.spines[:].set_visible(False)
        card.draw(tile, abnormal)
        write(axis, (0.4 + TILE / 2, y - 0.15), f"{LABEL_NAMES[abnormal]}, drawn", 10.5, DIM)
    left, right = 2.95, WIDTH - 0.4
    write(axis, (left, 4.55), spec.title, 21, weight="bold", ha="left")
    write(axis, (left, 4.13), _wrapped(card.said, 88), 12.5, ha="left", va="top")
    _counts(axis, left, 2.95, counts)
    terms = f"Licence: {spec.licence}. Source: {spec.citation}."
    get = f"To get it: {spec.how_to_get}. Notebook 1 then draws samples-{name}.png."
    axis.plot([left, right], [1.44, 1.44], color=FRAME["edgecolor"], linewidth=1)
    lines = _wrapped(terms, 100), "Its images are not part of this repository.", _wrapped(get, 100)
    write(axis, (left, 1.3), "\n".join(lines), 11.5, DIM, ha="left", va="top")
    official = (f"{n:,} {LABEL_NAMES[label]} in {split}" for (split, label), n in counts.items())
    return described(
        figure,
        f"Card of the data set {spec.title}, with two schematic drawings instead of its images. "
        f"{card.said} Official counts: {', '.join(official)}. {terms} {get}",
    )


def _wrapped(text: str, width: int) -> str:
    return textwrap.fill(text, width, break_on_hyphens=False)


def _counts(axis: Axes, left: float, top: float, counts: Counts) -> None:
    """Official counts, a row a label and a column a split."""
    write(axis, (left, top), "official counts", 12, DIM, ha="left")
    heights = {label: top - 0.42 * (label + 1) for label in (0, 1)}
    for label, y in heights.items():
        write(axis, (left, y), LABEL_NAMES[label], 14, ha="left", va="baseline")
    for column, split in enumerate(dict.fromkeys(split for split, _ in counts)):
        x = left + 2.6 + 1.4 * column
        write(axis, (x, top), split, 12, DIM, ha="right")
        for label, y in heights.items():
            shown = f"{counts[split, label]:,}" if counts.get((split, label)) else "–"
            write(axis, (x, y), shown, 14, ha="right", va="baseline")


def _retina(axis: Axes, abnormal: bool) -> None:
    axis.set_facecolor("#11181f")
    x = np.linspace(0, 1, 200)
    pit = np.exp(-(((x - 0.5) / 0.11) ** 2))
    bulge = abnormal * sum(h * np.exp(-(((x - c) / w) ** 2)) for c, w, h in BULGES)
    tops = [0.74 - 0.16 * pit, 0.66 - 0.1 * pit, 0.57 - 0.05 * pit, 0.48, 0.38, 0.32]
    shades = ["#9fb0bd", "#5d7080", "#8295a3", "#46586a", "#dfe7ec", "#2c3a47"]
    shares = (0.5, 0.6, 0.7, 0.8, 1, 0)
    tops = [top + share * bulge for top, share in zip(tops, shares, strict=True)]
    for upper, lower, shade in zip(tops, [*tops[1:], 0 * x + 0.12], shades, strict=True):
        axis.fill_between(x, upper, lower, color=shade, linewidth=0)
    if abnormal:
        for at, size in (((0.3, 0.63), (0.1, 0.05)), ((0.42, 0.58), (0.07, 0.04))):
            axis.add_patch(Ellipse(at, *size, color="#11181f"))


def _chest(axis: Axes, abnormal: bool) -> None:
    axis.set_facecolor("#10151a")
    axis.add_patch(Ellipse((0.5, 0.42), 0.94, 1.02, color="#59646e"))
    axis.add_patch(Rectangle((0.46, 0), 0.08, 1, color="#aeb9c1"))
    for x, tilt, lower, upper in ((0.3, -7, 20, 165), (0.7, 7, 15, 160)):
        axis.add_patch(Ellipse((x, 0.48), 0.29, 0.68, angle=tilt, color="#1a2229"))
        for y in np.linspace(0.16, 0.7, 6):
            arc = Arc((x, y), 0.42, 0.2, theta1=lower, theta2=upper, color="#7d8a95", linewidth=2.2)
            axis.add_patch(arc)
    axis.add_patch(Ellipse((0.57, 0.28), 0.3, 0.3, angle=25, color="#99a5ae"))
    if abnormal:
        for x, y, size in CLOUDS:
            for share in np.linspace(0.1, 1, 12):
                axis.add_patch(Circle((x, y), size * share, color="#e6ecef", alpha=0.07, lw=0))


def _skin(axis: Axes, abnormal: bool) -> None:
    axis.set_facecolor("#e9c4ac")
    angle = np.linspace(0, 2 * np.pi, 240)
    edge = 1 + 0.03 * np.sin(3 * angle)
    if abnormal:
        edge = 1 + 0.17 * np.sin(2 * angle + 0.6)
        edge += 0.1 * np.sin(5 * angle) + 0.05 * np.cos(9 * angle)
    for size, shade in ((0.3, "#b07a56"), (0.265, "#8d5a3b"), (0.16, "#71432b")):
        x, y = 0.5 + size * edge * np.cos(angle), 0.5 + 0.85 * size * edge * np.sin(angle)
        axis.add_patch(Polygon(np.stack([x, y], 1), color=shade))
    if abnormal:
        for at, size, shade in (
            ((0.6, 0.58), (0.2, 0.13), "#2d1d1a"),
            ((0.42, 0.4), (0.16, 0.12), "#3e2723"),
            ((0.4, 0.58), (0.12, 0.09), "#8b8794"),
        ):
            axis.add_patch(Ellipse(at, *size, angle=25, color=shade))
    for x, y, turn in ((0.02, 0.85, 0.1), (0.8, 0.02, -0.06), (0.72, 0.9, -0.12)):
        axis.plot([x, x + 0.1, x + 0.16], [y, y + 0.05 + turn, y + turn], color="#6f5544", lw=0.9)


def _chip(axis: Axes, abnormal: bool) -> None:
    axis.set_facecolor("#39424b")
    metal = {"color": "#aab4bd", "linewidth": 0}
    for x in np.linspace(0.06, 0.86, 6):
        axis.add_patch(Rectangle((x, 0), 0.075, 1, **metal))
    for x, y in ((0.06, 0.75), (0.38, 0.28), (0.54, 0.62), (0.86, 0.4)):
        axis.add_patch(Circle((x + 0.0375, y), 0.026, color="#f3f6f8", zorder=3))
    for x, y in ((0.22, 0.5), (0.7, 0.82)):
        axis.add_patch(Rectangle((x, y), 0.075, 0.07, color="#39424b"))
    if abnormal:
        angle = np.linspace(0, 2 * np.pi, 60)
        reach = 0.085 * (1 + 0.25 * np.sin(3 * angle) + 0.12 * np.cos(7 * angle))
        x, y = 0.575 + 1.35 * reach * np.cos(angle), 0.36 + reach * np.sin(angle)
        axis.add_patch(Polygon(np.stack([x + 0.045, y], 1), color="#d3dae0", zorder=2))


CARDS = {
    "oct2017": Card(
        "oct",
        "Cross-sections of the retina by optical coherence tomography. Normal: healthy retina. "
        "Abnormal: choroidal neovascularisation (CNV), diabetic macular oedema (DME), drusen.",
        _retina,
    ),
    "chest_xray": Card(
        "chest x-ray",
        "Chest radiographs of children, taken from the front. Normal: clear lungs. "
        "Abnormal: pneumonia, by bacteria or by a virus.",
        _chest,
    ),
    "isic2018": Card(
        "ISIC",
        "Dermatoscopic photographs of pigmented skin lesions in seven diagnoses. Normal: "
        "melanocytic naevi. Abnormal: the six other diagnoses, melanoma among them.",
        _skin,
    ),
    "miic": Card(
        "MICC-example",  # as the article of 2023 spelled it
        "Microscope images of integrated circuits. Normal: intact circuits. Abnormal: circuits "
        "with a defect.",
        _chip,
    ),
}
