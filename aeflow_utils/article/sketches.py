"""Sketches of the data sets whose images cannot be part of this repository.

The article of 2023 showed samples of these sets under the names in `SKETCHES`. Under those names
this bundle always keeps a sketch, which holds nobody's images and looks the same with and without
the data: it is committed. Sheets of real samples have names of their own, ``samples-*.png``, and
only those of redistributable sets are committed.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Circle, Ellipse, Polygon, Rectangle

from aeflow_utils.data.catalog import get_spec
from aeflow_utils.errors import UserError
from aeflow_utils.show.alt_texts import described
from aeflow_utils.show.style import LABEL_NAMES, subplots

# Of a retina: where, how wide and how high. Of a lung: where and how large.
BULGES = ((0.25, 0.05, 0.05), (0.5, 0.13, 0.17), (0.8, 0.06, 0.06))
CLOUDS = ((0.3, 0.4, 0.17), (0.24, 0.3, 0.15), (0.36, 0.27, 0.15), (0.71, 0.55, 0.13))


def draw_sketch(name: str) -> Figure:
    """A normal and an abnormal image of a data set, drawn.

    Raises:
        UserError: there is no such data set, or no sketch of it.
    """
    spec = get_spec(name)
    if name not in SKETCHES:
        raise UserError(f"there is no sketch of {name}, only of {', '.join(SKETCHES)}")
    figure, axes = subplots(1, 2, figsize=(4.6, 2.5))
    for abnormal, axis in enumerate(axes):
        axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        axis.set_title(f"{LABEL_NAMES[abnormal]}, drawn", fontsize=15)
        axis.spines[:].set_visible(False)
        SKETCHES[name][1](axis, bool(abnormal))
    return described(figure, f"{spec.title}, two drawings: {spec.shows}.")


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


# Data set: the article's figure, without ending, and what draws into an axis' unit square.
SKETCHES = {
    "oct2017": ("oct", _retina),
    "chest_xray": ("chest x-ray", _chest),
    "isic2018": ("ISIC", _skin),
    "miic": ("MICC-example", _chip),  # as the article of 2023 spelled it
}
