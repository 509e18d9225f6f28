"""Figures say in words what they show: in a notebook's outputs, in saved files, in the article."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from io import BytesIO

from IPython import get_ipython
from IPython.core.pylabtools import print_figure
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageStat
from PIL.PngImagePlugin import PngInfo

INVISIBLE = 0.3  # of 255, on average over pixels: plots stay below it, photographs do not


def described(figure: Figure, text: str, parts: Sequence[str] = ()) -> Figure:
    """Give a figure its alt text: one paragraph for somebody who cannot see it.

    `parts` are joined to a last sentence. The whole is the figure's label, which is drawn nowhere.
    """
    ending = f" {'; '.join(parts)}." if parts else ""
    figure.set_label(" ".join((text + ending).split()))
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
    """The same picture in fewer bytes: 256 colours where nobody sees the difference, no alpha."""
    source = Image.open(BytesIO(png))
    picture = source.convert("RGB")
    few = picture.quantize(256, dither=Image.Dither.NONE)
    change = ImageStat.Stat(ImageChops.difference(picture, few.convert("RGB"))).mean
    file, smaller = BytesIO(), picture if max(change) > INVISIBLE else few
    texts = PngInfo()
    for name, text in source.info.items():
        if isinstance(text, str):
            texts.add_itxt(name, text)
    smaller.save(file, "PNG", optimize=True, pnginfo=texts)
    return file.getvalue()


def listed(names: list[str]) -> str:
    """``a, b and c``; ``nothing`` for an empty list."""
    *first, last = names or ["nothing"]
    return f"{', '.join(first)} and {last}" if first else last
