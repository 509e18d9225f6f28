"""Every figure says what it shows, where Jupyter, a file's reader and the article find it."""

from io import BytesIO

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

from aeflow_utils.article.notebooks import execute_in_place, execute_with_papermill
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.show import comparison_figures, figures, image_figures, style
from aeflow_utils.show.alt_texts import alt_text, described, listed, palette_png
from aeflow_utils.show.ensemble_figures import SCALES, mu_sigma

CELL = """
from aeflow_utils.profiles import get_profile
from aeflow_utils.show import style
from aeflow_utils.show.alt_texts import described

style.use_style()
shown = described(style.subplots(figsize=(1, 1))[0], "left to Jupyter")
"""
SHOW = """
style.use_style()
figure = described(style.subplots(figsize=(1, 1))[0], "shown once")
style.show(figure, "shown", get_profile("smoke"))
silent, _ = style.subplots(figsize=(1, 1))
"""


def test_a_text_is_one_line_and_a_figure_without_one_has_none():
    assert alt_text(Figure()) == ""
    assert alt_text(described(Figure(), "one\n    two")) == "one two"


@pytest.mark.parametrize(
    ("names", "text"), [([], "nothing"), (["a"], "a"), (["a", "b", "c"], "a, b and c")]
)
def test_lists_in_words(names, text):
    assert listed(names) == text


@pytest.mark.parametrize("way", ["in place", "papermill"])
def test_shown_figures_carry_their_text_in_the_notebook(tmp_path, way):
    path = tmp_path / "figures.ipynb"
    cells = [new_code_cell(CELL, metadata={"tags": ["parameters"]}), new_code_cell(SHOW)]
    language = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python"}}
    nbformat.write(new_notebook(cells=cells, metadata=language), path)
    if way == "in place":
        execute_in_place(path)
    else:
        path = execute_with_papermill(path, get_profile("smoke"), shared="")
    outputs = [
        output
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    texts = [output.metadata.get("image/png", {}).get("alt") for output in outputs]
    assert (paths().images("smoke") / "shown.png").exists()
    assert texts == ["left to Jupyter", "shown once", None]


def test_saved_figures_carry_their_text_in_the_file():
    profile = get_profile("smoke")
    figure = described(plt.figure(figsize=(1, 1)), "σ by μ")
    style.save_figure(figure, "named", profile)
    plt.close(figure)
    assert Image.open(paths().images("smoke") / "named.png").text["Description"] == "σ by μ"


def test_texts_of_plots_hold_the_numbers_that_are_plotted(write_run):
    run = write_run(test=((0, 0, 1, 1), (1, 2, 30, 40)))
    columns = [name for mean, sigma, _ in SCALES for name in (mean, sigma)]
    table = pd.DataFrame({name: [0.1, 0.3, 0.5] for name in columns})
    table["correct"] = [True, True, False]
    folds = pd.DataFrame({"data set": "elpv", "way": "blocks", "fold": [1, 2]})
    folds["training loss"], folds["validation loss"] = [1.0, 1.1], [1.25, 1.5]
    made = {
        figures.score_distributions([run]): "normal 1.5, abnormal 35",
        figures.roc_curves([run]): "AE-FLOW 100.0",
        mu_sigma(
            {"elpv": table}
        ): "raw scores: rank correlation of μ and σ +1.00, error AUROC of σ 1.00",
        figures.fold_losses(folds): "ELPV solar cells, blocks: 1.25 to 1.5",
        figures.term_curves([run], {"total": "loss"}, "T"): "loss from 2 to 1",
    }
    for figure, part in made.items():
        assert part in alt_text(figure)
        plt.close(figure)


def test_texts_of_forests_count_what_is_told_from_0():
    rows = [("elpv", "a", 3.0, "for"), ("elpv", "b", -3.0, "against"), ("elpv", "c", 2, "open")]
    rows.append(("chest_xray", "c", 0.1, "same"))
    table = pd.DataFrame(rows, columns=["data set", "maps", "difference", "relation"])
    table = table.assign(low=table["difference"] - 1, high=table["difference"] + 1)
    figure = comparison_figures.forest(table, ["maps"], "points")
    assert "ELPV solar cells: 1 of 3 above 0, 1 below" in alt_text(figure)
    assert "Chest X-ray: 0 of 1 above 0, 0 below" in alt_text(figure)
    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["a", "b", "c"]
    drawn = [line.get_xydata().tolist() for line in right.lines if line.get_marker() == "o"]
    assert drawn == [[[0.1, -2]]]  # c stands on one line in both panels
    plt.close(figure)


def test_texts_of_curves_hold_their_ends():
    curves = pd.DataFrame(
        {
            "dataset": "elpv",
            "model": "ae_flow",
            "variant": "conv_like",
            "policy": ["overnight"] * 3 + ["as_published"] * 3,
            "steps": 60,
            "step": [20, 40, 60] * 2,
            "val_flow": [3.0, 2.0, 1.25, 3.5, 3.25, 3.0],
            "auroc_image_score": [0.7, np.nan, 0.8, 0.6, 0.9, 0.5],
        }
    )
    figure = comparison_figures.loss_and_auroc(curves, "ae_flow", "conv_like")
    text = alt_text(figure)
    assert "converged, 1 × the steps: loss 3.00 to 1.25, AUROC 70.0 to 80.0 %" in text
    assert "as published, 1 × the steps: loss 3.50 to 3.00, AUROC 60.0 to 50.0 %" in text
    losses, aurocs = figure.axes
    assert [len(line.get_xdata()) for line in losses.lines] == [3, 3]
    assert [len(line.get_xdata()) for line in aurocs.lines] == [3, 2]  # scored at two epochs
    plt.close(figure)


def test_texts_of_image_figures_say_what_is_in_the_rows(make_image_set):
    images = make_image_set(8)
    images.table.loc[4:, ["label", "kind"]] = [1, "crack"]
    figure = image_figures.sample_sheet(images, "Cells", n_columns=2)
    assert alt_text(figure) == "Cells: 2 normal ones (good) above 2 abnormal ones (crack)."
    plt.close(figure)


def test_a_plot_gets_a_palette_and_a_photograph_keeps_its_colours():
    plain = np.zeros((40, 40, 3), np.uint8)
    plain[10:20] = (200, 30, 30)
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    for pixels, mode in ((plain, "P"), (noise, "RGB")):
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        smaller = Image.open(BytesIO(palette_png(file.getvalue())))
        assert smaller.mode == mode
        assert np.array_equal(np.asarray(smaller.convert("RGB")), pixels)
