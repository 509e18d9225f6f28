"""Cards of the sets whose images are not part of the repository."""

import subprocess

import matplotlib.pyplot as plt
import pytest
from helpers import REPOSITORY

from aeflow_utils.article.cards import CARDS, draw_card
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import get_profile
from aeflow_utils.show.alt_texts import alt_text
from aeflow_utils.show.style import save_figure

IMAGES = REPOSITORY / "images"


def shown_on(figure):
    axis = figure.axes[0]
    return " ".join(" ".join(text.get_text() for text in axis.texts).split())


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_the_figures_of_the_2023_article_have_cards():
    assert {card.file for card in CARDS.values()} == {"oct", "chest x-ray", "ISIC", "MICC-example"}


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_how_many_images_on_what_terms_and_where_to_get_them(name):
    spec, figure = SPECS[name], draw_card(name)
    for count in spec.counts[""].values():
        assert f"{count:,}" in shown_on(figure)
        assert f"{count:,}" in alt_text(figure)
    for said in (spec.title, spec.licence, spec.citation, spec.how_to_get, "not part of this"):
        assert said in shown_on(figure)


@pytest.mark.parametrize("name", CARDS)
def test_nothing_on_a_card_lies_outside_it(name):
    figure = draw_card(name)
    figure.draw_without_rendering()
    frame = figure.axes[0].patches[0].get_window_extent()
    for text in figure.axes[0].texts:
        extent = text.get_window_extent()
        assert frame.x0 < extent.x0, text.get_text()
        assert extent.x1 < frame.x1, text.get_text()
        assert frame.y0 < extent.y0, text.get_text()
        assert extent.y1 < frame.y1, text.get_text()


def test_a_card_is_the_same_file_with_and_without_the_data(chest_tree):
    profile, files = get_profile("smoke"), []
    for _ in range(2):
        save_figure(draw_card("chest_xray"), "card", profile)
        files.append((paths().images("smoke") / "card.png").read_bytes())
        (chest_tree).rename(chest_tree.with_name(f"gone{len(files)}"))
        chest_tree.mkdir()
    assert files[0] == files[1]


def test_an_unknown_set_has_no_card():
    with pytest.raises(UserError, match="unknown data set 'cats'"):
        draw_card("cats")


def test_cards_are_committed_and_sheets_of_these_sets_are_not():
    names = [f"{card.file}.png" for card in CARDS.values()]
    for name in names:
        assert (IMAGES / name).is_file()
    sheets = [f"samples-{name}.png" for name in CARDS]
    ignored = subprocess.run(
        ["git", "check-ignore", *names, *sheets], cwd=IMAGES, capture_output=True, text=True
    )
    if ignored.returncode == 128:
        pytest.skip("not a git checkout")
    assert set(ignored.stdout.split()) == set(sheets)
