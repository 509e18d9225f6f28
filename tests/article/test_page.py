"""The article's page: what it shows, what it leaves out, and what it refuses to write."""

import base64
import html
import re
from io import BytesIO

import nbformat
import numpy as np
import pandas as pd
import pytest
from helpers import CHROMIUM, REPOSITORY, framed
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from aeflow_utils.article.notebooks import ARTICLE
from aeflow_utils.article.page import mathml, render_html
from aeflow_utils.errors import UserError
from aeflow_utils.show.alt_texts import palette_png

CODE = re.compile(r"<(pre|code|style|math)\b.*?</\1>", re.DOTALL)


def png():
    file = BytesIO()
    Image.new("L", (30, 20)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def shown(data, **metadata):
    return new_output("display_data", data, metadata=metadata)


def render(tmp_path, *cells):
    source = tmp_path / "article.ipynb"
    nbformat.write(new_notebook(cells=[new_markdown_cell("# Title\n\nLead."), *cells]), source)
    return render_html(source, tmp_path / "article.html").read_text()


def code(source, *outputs, tags=()):
    return new_code_cell(source, outputs=list(outputs), metadata={"tags": list(tags)})


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The committed article as a reader gets it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AEFLOW_HOME", str(REPOSITORY))
        target = tmp_path_factory.mktemp("page") / "blogpost.html"
        return render_html(REPOSITORY / "notebooks" / ARTICLE, target)


def test_the_article_loads_nothing_from_elsewhere(page):
    text = page.read_text()
    assert not re.search(r"<(script|link|iframe|object)\b|@import|url\(", text)
    sources = re.findall(r"\s(?:src|srcset|poster)=\"([^\"]*)", text)
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


def test_the_committed_page_is_that_of_the_committed_article(page):
    committed = REPOSITORY / "docs" / "index.html"
    assert committed.read_text() == page.read_text(), "write it anew: make article"


def test_the_article_is_small(page):
    assert page.stat().st_size < 1_000_000


def test_the_article_shows_equations_and_no_latex(page):
    text = page.read_text()
    assert text.count("<math") >= 3
    prose = CODE.sub("", text)
    assert not re.search(r"\$[^$\n]+\$", prose)
    assert not re.search(r"\\(?:frac|text|math|begin|left|sum|log|beta|alpha|hat)", prose)


def test_every_picture_of_the_article_says_what_it_shows(page):
    images = re.findall(r"<img [^>]*>", page.read_text())
    assert images
    for image in images:
        alt = html.unescape(re.search(r' alt="([^"]*)"', image)[1])
        assert len(alt) > 30
        assert "description" not in alt.lower()


def test_the_contents_lead_to_headings(page):
    text = page.read_text()
    anchors = re.findall(r' id="([^"]*)"', text)
    assert len(anchors) == len(set(anchors))
    contents = re.search(r"<nav.*?</nav>", text, re.DOTALL)[0]
    assert len(re.findall("<li", contents)) >= 5
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(anchors)


def test_links_to_files_of_the_bundle_lead_somewhere(page):
    links = re.findall(r'href="([^"#:]+)"', page.read_text())
    assert "../notebooks/06_results_tables.ipynb" in links
    for link in links:
        assert (REPOSITORY / "results" / link).resolve().exists(), link


def test_title_and_description_come_from_the_first_heading_and_paragraph(tmp_path):
    text = render(tmp_path)
    assert "<title>Title</title>" in text
    assert '<meta name="description" content="Lead.">' in text


def test_code_is_folded_and_parameters_are_left_out(tmp_path):
    text = render(
        tmp_path,
        code("a = 1", tags=["parameters"]),
        code("b = 2", tags=["injected-parameters"]),
        code("import numpy", shown({"text/markdown": "*where from*"})),
        code("answer()", new_output("stream", name="stdout", text="forty-two <b>")),
    )
    assert text.count("<details>") == 1
    folded = re.search(r"<details>.*?</details>", text, re.DOTALL)[0]
    assert "answer" in folded
    assert '<a href="../notebooks/article.ipynb">article.ipynb</a>, In [5]' in folded
    assert text.index("forty-two") < text.index("<details>")
    assert '<pre class="output">forty-two &lt;b&gt;</pre>' in text
    assert "<em>where from</em>" in text
    behind = text.index('<details class="behind">')
    assert behind < text.index("numpy")  # what all code starts from
    assert "a = 1" not in text and "b = 2" not in text


def test_a_citation_leads_to_its_own_entry(tmp_path):
    text = render(
        tmp_path,
        new_markdown_cell("As was shown [[2]](#References)."),
        new_markdown_cell("* not this\n\n## References\n\n1. First.\n2. Second.\n"),
    )
    assert '<a href="#ref-2">[2]</a>' in text
    assert re.search(r'<li id="ref-2">(<p>)?Second', text) and text.count('id="ref-') == 2


def test_the_code_behind_sentences_stands_at_the_end(tmp_path):
    said = shown({"text/markdown": "It is **seven**."})
    text = render(tmp_path, code("say(7)", said), new_markdown_cell("The last word."))
    assert "<details>" not in text
    behind = text.index('<details class="behind">')
    assert text.index("The last word.") < behind < text.index("In [2]</p>")


def test_names_of_rows_and_columns_share_a_line_where_they_can(tmp_path):
    def heads(table):
        page = render(tmp_path, code("table()", shown({"text/html": table.to_html()})))
        return page.count("<tr", page.index("<thead>"), page.index("</thead>"))

    table = pd.DataFrame({"a": [1], "b": [2]}, index=pd.Index(["x"], name="row"))
    assert heads(table) == 1
    assert heads(table.rename_axis(columns="kind")) == 2


def test_warnings_and_progress_bars_are_left_out(tmp_path):
    bar = shown({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "  7%|▋   |"})
    warning = new_output("stream", name="stderr", text="Warning: noise")
    text = render(tmp_path, code("work()", warning, bar))
    assert "noise" not in text
    assert "7%|" not in text


def test_a_failed_cell_is_refused_by_name(tmp_path):
    failed = new_output("error", ename="ValueError", evalue="no data", traceback=[])
    with pytest.raises(UserError, match=r"article.ipynb, cell 2: ended in ValueError: no data"):
        render(tmp_path, code("work()", failed))
    assert not (tmp_path / "article.html").exists()


@pytest.mark.parametrize("metadata", [{}, {"image/png": {"alt": " "}}])
def test_a_picture_without_alt_text_is_refused(tmp_path, metadata):
    with pytest.raises(UserError, match="cell 2: a picture has no alt text"):
        render(tmp_path, code("plot()", shown({"image/png": png()}, **metadata)))


def test_the_alt_text_of_an_output_is_escaped(tmp_path):
    output = shown({"image/png": png()}, **{"image/png": {"alt": 'x < "3"'}})
    text = render(tmp_path, code("plot()", output))
    assert 'alt="x &lt; &quot;3&quot;" width="30" height="20"' in text


def test_plots_are_told_from_photographs(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    file = BytesIO()
    noise.save(file, "PNG")
    photo = base64.b64encode(file.getvalue()).decode()
    few = base64.b64encode(palette_png(base64.b64decode(png()))).decode()
    for content, look in ((few, "plot"), (photo, "photo")):
        output = shown({"image/png": content}, **{"image/png": {"alt": "x"}})
        assert f'<img class="{look}"' in render(tmp_path, code("plot()", output))


def test_pictures_in_prose_are_put_inside(tmp_path, home):
    for name in ("images", "notebooks"):
        (home / name).mkdir()
    Image.new("L", (8, 8)).save(home / "images/a b.png")
    text = render(tmp_path, new_markdown_cell("![A drawing](../images/a%20b.png)"))
    assert 'alt="A drawing" width="8"' in text
    for broken in ("![none](../images/none.png)", "![far](https://example.org/a.png)"):
        with pytest.raises(UserError, match="is not a PNG or JPEG file beside the notebooks"):
            render(tmp_path, new_markdown_cell(broken))


def test_markup_that_would_load_something_is_refused(tmp_path):
    with pytest.raises(UserError, match="load something from elsewhere"):
        render(tmp_path, new_markdown_cell('<script src="https://example.org/x.js"></script>'))


@pytest.mark.parametrize(
    "latex",
    [
        r"\begin{aligned} z &= f(x) \\ x' &= g(h(z)) \end{aligned}",
        r"\log \mathcal{N}(z'; 0, I) + \log\left|\det\frac{\partial h}{\partial z}\right|",
        r"\mathbb{E}_{x \sim p}\bigl[\lVert x - \hat{x} \rVert_2^2\bigr]",
        r"\sum_{i=1}^{N} \tfrac{1}{N}\,\text{SSIM}(x_i, x_i') \le 1 \quad\text{if } \sigma > 0",
        r"\operatorname*{arg\,max}_\theta F_1 \in \mathbb{R}^{C \times H \times W}",
        r"\begin{cases} 1 & s > t \\ 0 & \text{else} \end{cases}",
        r"\sigma(x) = \sqrt{\frac{1}{M}\sum_m (s_m(x) - \mu(x))^2} \approx \boldsymbol{\mu}",
    ],
)
def test_equations_become_mathml(tmp_path, latex):
    text = render(tmp_path, new_markdown_cell(f"Here:\n\n$$\n{latex}\n$$\n\nand ${latex}$."))
    assert len(re.findall(r'<math display="block">', text)) == 1
    assert len(re.findall(r"<math>", text)) == 1
    assert "$" not in CODE.sub("", text)


@pytest.mark.parametrize("latex", [r"\unknown{x}", r"\frac{1}{2", "a_", "a & b"])
def test_an_equation_that_cannot_be_converted_is_named(latex):
    with pytest.raises(UserError, match=re.escape(f"the equation {latex} cannot be converted")):
        mathml(latex, display=False)


def test_an_environment_is_an_equation_of_its_own(tmp_path):
    text = render(tmp_path, new_markdown_cell("\\begin{align*} a &= b \\\\ c &= d \\end{align*}"))
    assert text.count("<mtr>") == 2


def test_tables_get_a_box_of_their_own_and_their_equations(tmp_path):
    table = '<style scoped>td{}</style><table border="1"><tr><th>$\\sigma$</th></tr></table>'
    text = render(
        tmp_path,
        new_markdown_cell("| $x$ | b |\n|---|---|\n| 1 | 2 |"),
        code("table()", new_output("execute_result", {"text/html": table})),
    )
    assert text.count('<div class="scroll">') == 2
    assert "<mi>σ</mi>" in text
    assert "<style scoped>" not in text


def test_long_cells_of_a_table_may_wrap_and_numbers_may_not(tmp_path):
    table = '<table><tr><td class="a">a sentence that is long enough</td><td>12.5</td></tr></table>'
    text = render(tmp_path, code("table()", new_output("execute_result", {"text/html": table})))
    assert '<td class="a"><div class="text">a sentence that is long enough</div></td>' in text
    assert "<td>12.5</td>" in text


def test_headings_of_one_name_get_two_anchors_and_footnotes_stay_apart(tmp_path):
    cell = "## Results\n\nA note.[^1]\n\n[^1]: Said below."
    text = render(tmp_path, new_markdown_cell(cell), new_markdown_cell(cell))
    anchors = re.findall(r' id="([^"]*)"', text)
    assert {"Results", "Results-"} < set(anchors)
    assert len(anchors) == len(set(anchors))
    assert set(re.findall(r'href="#([^"]*)"', text)) <= set(anchors)


REPORT = """<script>addEventListener("load", () => parent.postMessage([innerWidth,
document.documentElement.scrollWidth, [...document.images].filter(i => !i.naturalWidth).length,
matchMedia("(prefers-color-scheme: dark)").matches].join(), "*"))</script></body>"""


@pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")
@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_screen_and_no_picture_is_missing(page, tmp_path, width, dark):
    (tmp_path / "page.html").write_text(page.read_text().replace("</body>", REPORT))
    seen = framed(tmp_path, "page.html", '"<" + e.data + ">"', width, dark)
    assert seen == f"<{width},{width},0,{str(dark).lower()}>"


def test_the_first_picture_stands_before_the_contents_and_they_before_the_first_section(page):
    text = page.read_text()
    assert text.index("<img") < text.index("<nav") < text.index("<h2")
