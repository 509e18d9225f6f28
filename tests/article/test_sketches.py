"""Sketches of the sets whose images are not part of the repository."""

import subprocess

import matplotlib.pyplot as plt
import pytest
from helpers import REPOSITORY

from aeflow_utils.article.sketches import SKETCHES, draw_sketch
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.style import save_figure

IMAGES = REPOSITORY / "images"


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_figures_of_the_2023_article_have_sketches():
    assert {file for file, _ in SKETCHES.values()} == {"oct", "chest x-ray", "ISIC", "MICC-example"}


@pytest.mark.parametrize("name", SKETCHES)
def test_a_sketch_has_two_different_drawings_and_says_what_they_show(name):
    figure = draw_sketch(name)
    assert SPECS[name].shows in alt_text(figure)
    figure.draw_without_rendering()
    normal, abnormal = (len(axis.patches) + len(axis.collections) for axis in figure.axes)
    assert normal < abnormal


def test_a_sketch_is_the_same_file_with_and_without_the_data(chest_tree):
    profile, files = get_profile("smoke"), []
    for _ in range(2):
        save_figure(draw_sketch("chest_xray"), "sketch", profile)
        files.append((paths().images("smoke") / "sketch.png").read_bytes())
        (chest_tree).rename(chest_tree.with_name(f"gone{len(files)}"))
        chest_tree.mkdir()
    assert files[0] == files[1]


@pytest.mark.parametrize("name", ["cats", "elpv"])
def test_a_set_without_a_sketch_is_named(name):
    with pytest.raises(UserError, match=name):
        draw_sketch(name)


def test_sketches_are_committed_and_sheets_of_these_sets_are_not():
    names = [f"{file}.png" for file, _ in SKETCHES.values()]
    for name in names:
        assert (IMAGES / name).is_file()
    sheets = [f"samples-{name}.png" for name in SKETCHES]
    ignored = subprocess.run(
        ["git", "check-ignore", *names, *sheets], cwd=IMAGES, capture_output=True, text=True
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert set(ignored.stdout.split()) == set(sheets)
