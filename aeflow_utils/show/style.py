"""One visual language: a colour a meaning, and one way to draw, save and show a figure."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML, display
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from aeflow_utils.data.layouts import UNLABELLED
from aeflow_utils.paths import paths, whole
from aeflow_utils.profiles import Profile
from aeflow_utils.show.alt_texts import alt_text, palette_png, show_alt_texts
from aeflow_utils.study.results import label_title

# Colour-blind readers tell these apart (Okabe and Ito's, and a purple). Each means one thing.
NORMAL, ABNORMAL = "#0072B2", "#D55E00"  # images
RIGHT, WRONG = "0.65", "#CC79A7"  # decisions
TRAIN, VALIDATION = "0.65", "#56B4E9"  # splits
AE_FLOW, RIVAL, UNTRAINED, TRIVIAL = "#7B3294", "#009E73", "#E69F00", "0.6"  # methods
AHEAD, BEHIND, SAME, OPEN = AE_FLOW, UNTRAINED, "0.3", "0.62"  # what a difference says
GUIDE = "0.7"  # lines to compare with: chance, a diagonal
LABEL_NAMES = {0: "normal", 1: "abnormal", UNLABELLED: "unlabelled"}
LABEL_COLORS = {0: NORMAL, 1: ABNORMAL, UNLABELLED: "0.6"}

if TYPE_CHECKING:
    from pandas.io.formats.style import Styler

subplots = partial(plt.subplots, layout="constrained")


def use_style() -> None:
    """The bundle's look, for plots and for tables; called once by each notebook."""
    pd.set_option("display.max_colwidth", None, "display.max_rows", 200)
    sns.set_theme(context="notebook", style="ticks", palette="colorblind")
    plt.rcParams.update({"figure.dpi": 80, "savefig.dpi": 120, "axes.titlesize": 12})
    plt.rcParams.update({"axes.spines.top": False, "axes.spines.right": False})
    show_alt_texts()


def panels(
    n: int,
    size: tuple[float, float],
    xlabel: str = "",
    ylabel: str = "",
    columns: int = 3,
    margin: float = 0,
    **options: object,
) -> tuple[Figure, list[Axes]]:
    """`n` panels in even lines of at most `columns`: what fits a page.

    Args:
        size: of a panel in inches, width and height.
        xlabel, ylabel: told once a column and once a line.
        margin: inches beside the first column, for names of rows.
    """
    n_lines = -(-n // columns)
    columns = -(-n // n_lines)
    whole = (margin + size[0] * columns, size[1] * n_lines)
    figure, axes = subplots(n_lines, columns, figsize=whole, squeeze=False, **options)
    for axis in axes.flat[n:]:
        axis.set_visible(False)
    for axis in axes.flat[n - columns : n]:  # the last of each column
        axis.set_xlabel(xlabel)
        axis.tick_params(labelbottom=True)  # where columns share an axis
    for axis in axes[:, 0]:
        axis.set_ylabel(ylabel)
    return figure, list(axes.flat[:n])


def in_percent(*scales: Axis) -> None:
    """Shares in [0, 1] on these scales (``axes.xaxis``, ``axes.yaxis``) are written in percent."""
    for scale in scales:
        scale.set_major_formatter(PercentFormatter(1, 0, symbol=None))


def titled(table: pd.DataFrame) -> pd.DataFrame:
    """The table with titles of data sets where their labels name rows or columns, or are a column.

    Labels as `DataConfig.label` gives them; every other name stays.
    """
    for column in {"data set", "dataset"} & set(table):
        table = table.assign(**{column: table[column].map(_title)})
    return table.rename(index=_title, columns=_title)


def folded(table: pd.DataFrame | Styler, title: str) -> HTML:
    """A long table that a reader of the notebook opens by its title."""
    return HTML(f"<details><summary>{title}</summary>{table.to_html()}</details>")


def _title(name: object) -> object:
    return label_title(name) if isinstance(name, str) else name


def save_figure(figure: Figure, name: str, profile: Profile) -> None:
    """Write ``<name>.png`` with its alt text to the profile's figure folder; close the figure."""
    file, told = BytesIO(), {"Description": alt_text(figure)}
    figure.savefig(file, bbox_inches="tight", facecolor="white", metadata=told)
    with whole(paths().images(profile.name) / f"{name}.png") as partial:
        partial.write_bytes(palette_png(file.getvalue()))
    plt.close(figure)  # or Jupyter shows it, once more


def show(figure: Figure, name: str, profile: Profile) -> None:
    """Display a figure with its alt text, and save and close it."""
    display(figure)
    save_figure(figure, name, profile)


def show_image(axis: plt.Axes, pixels: np.ndarray, **options: object) -> None:
    """An image (C, H, W) in its full range, or a map (H, W), without ticks."""
    if pixels.ndim == 3:
        top = 255 if pixels.dtype == np.uint8 else 1
        options |= {"cmap": "gray", "vmin": 0, "vmax": top}  # never stretch an image's contrast
        pixels = pixels[0] if pixels.shape[0] == 1 else pixels.transpose(1, 2, 0)
    axis.imshow(pixels, **options)
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_visible(False)
