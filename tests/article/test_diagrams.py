"""Every diagram says what it shows, and draws nothing outside its edges."""

import matplotlib.pyplot as plt
import pytest

from aeflow_utils.article import diagrams, overviews
from aeflow_utils.show.alt_texts import alt_text

DIAGRAMS = [
    getattr(module, name)
    for module in (diagrams, overviews)
    for name in dir(module)
    if name.startswith("draw_")
]


@pytest.mark.parametrize("draw", DIAGRAMS, ids=lambda draw: draw.__name__)
def test_every_diagram_has_a_text_and_nothing_outside_its_edges(draw):
    figure = draw()
    assert len(alt_text(figure)) > 100
    assert not {"$", "\\"} & set(alt_text(figure))
    figure.draw_without_rendering()
    for shown in figure.axes[0].texts:
        extent = shown.get_window_extent()
        assert figure.bbox.x0 <= extent.x0, shown.get_text()
        assert extent.x1 <= figure.bbox.x1, shown.get_text()
    plt.close(figure)
