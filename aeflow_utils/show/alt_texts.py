"""Figures say in words what they show: in a notebook's outputs, in saved files, in the article."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
import pandas as pd
from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageStat

from aeflow_utils.methods import method_title
from aeflow_utils.study.results import grouped, run_title
from aeflow_utils.study.runs import RunResult

INVISIBLE = 0.3  # of 255, on average over pixels: plots stay below it, photographs do not


def described(figure: Figure, text: str) -> Figure:
    """Give a figure its alt text: one paragraph for somebody who cannot see it.

    It is kept as the figure's label, which matplotlib draws nowhere.
    """
    figure.set_label(" ".join(text.split()))
    return figure


def alt_text(figure: Figure) -> str:
    """What `described` was told; empty where nobody said anything."""
    return str(figure.get_label())


def show_alt_texts() -> None:
    """From now on a figure shown in this notebook carries its text in the output's metadata.

    That is where nbconvert looks for it, at ``metadata["image/png"]["alt"]``. Nothing to do
    outside IPython.
    """
    shell = get_ipython()
    if shell is None:
        return
    plt.switch_backend(plt.get_backend())  # now: it registers a formatter when it is loaded
    shell.display_formatter.formatters["image/png"].for_type(Figure, _png_and_metadata)


def _png_and_metadata(figure: Figure) -> object:
    png, text = print_figure(figure), alt_text(figure)
    if not png:
        return png
    encoded = b64encode(palette_png(png)).decode()
    return (encoded, {"alt": text}) if text else encoded


def palette_png(png: bytes) -> bytes:
    """The same picture with 256 colours, where nobody sees the difference: a third of the size."""
    picture = Image.open(BytesIO(png)).convert("RGB")
    few = picture.quantize(256, dither=Image.Dither.NONE)
    change = ImageStat.Stat(ImageChops.difference(picture, few.convert("RGB"))).mean
    if max(change) > INVISIBLE:
        return png
    file = BytesIO()
    few.save(file, "PNG", optimize=True)
    return file.getvalue()


def listed(names: list[str]) -> str:
    """``a, b and c``; ``nothing`` for an empty list."""
    *first, last = names or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last


def curves_text(results: list[RunResult], terms: dict[str, str]) -> str:
    """Where each method's training terms begin and end, on each set (first seed of each)."""
    ends = []
    for (dataset, *_), runs in grouped(results).items():
        for term, label in terms.items():
            line = runs[0].history.get(f"train_{term}", pd.Series(dtype=float)).dropna()
            if len(line):
                change = f"{label} from {line.iloc[0]:.3g} to {line.iloc[-1]:.3g}"
                ends.append(f"{run_title(runs[0])} on {dataset}: {change}")
    return f"Training loss by epoch, first and last epoch. {'; '.join(ends)}."


def folds_text(folds: pd.DataFrame) -> str:
    """The range of the validation loss over the folds, by data set and way of cutting them."""
    ranges = [
        f"{dataset}, {way}: {losses.min():.3g} to {losses.max():.3g}"
        for (dataset, way), losses in folds.groupby(["data set", "way"])["validation loss"]
    ]
    return (
        "Training and validation loss at the end of each fold. "
        f"Range of the validation loss: {'; '.join(ranges)}."
    )


def histograms_text(results: list[RunResult]) -> str:
    """The median score of normal and abnormal test images, by run."""
    medians = []
    for result in results:
        test = result.split("test")
        scores = [test.loc[test["label"] == label, "image_score"] for label in (0, 1)]
        shown = [f"{part.median():.3g}" if len(part) else "none" for part in scores]
        name = f"{result.config.data.label}, {run_title(result)}"
        medians.append(f"{name}: normal {shown[0]}, abnormal {shown[1]}")
    return (
        "Histograms of the test scores of normal and abnormal images with their thresholds. "
        f"Median scores. {'; '.join(medians)}."
    )


def roc_text(results: list[RunResult]) -> str:
    """The AUROC of each method, by data set."""
    sets: dict[str, list[str]] = {}
    for (dataset, *_), runs in grouped(results).items():
        mean = 100 * np.mean([run.metrics["auroc"] for run in runs])
        sets.setdefault(dataset, []).append(f"{run_title(runs[0])} {mean:.1f}")
    parts = [f"{dataset}: {', '.join(values)}" for dataset, values in sets.items()]
    return f"ROC curves, a panel a data set. AUROC in percent. {'; '.join(parts)}."


def dots_text(table: pd.DataFrame) -> str:
    """The best and the worst method of each data set, and how far validation is from test."""
    parts = []
    for dataset, rows in table.groupby("dataset", sort=False):
        best, worst = (rows.loc[row] for row in (rows["auroc"].idxmax(), rows["auroc"].idxmin()))
        ends = " down to ".join(
            f"{100 * row['auroc']:.1f} ({method_title(row['model'], row['variant'])})"
            for row in (best, worst)
        )
        gap = 100 * (rows["val_auroc"] - rows["auroc"]).median()
        note = f", validation higher by {gap:.1f} in the median" if np.isfinite(gap) else ""
        parts.append(f"{dataset}: {len(rows)} methods from {ends}{note}")
    return (
        "Dot plot of the AUROC by method, a panel a data set: test with its 95 % interval, "
        f"validation as a ring. In percent, on test: {'; '.join(parts)}."
    )
