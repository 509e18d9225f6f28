"""The article as one HTML file: no script, no font and no picture from anywhere else."""

from __future__ import annotations

import base64
import html
import posixpath
import re
import textwrap
from io import BytesIO
from itertools import count
from pathlib import Path
from urllib.parse import unquote

import jinja2
import nbformat
from math_core import LatexError, LatexToMathML
from nbconvert.filters import strip_ansi
from nbconvert.filters.highlight import Highlight2HTML
from nbconvert.filters.markdown_mistune import (
    IPythonRenderer,
    MarkdownWithMath,
    import_plugin,
)
from nbformat import NotebookNode
from PIL import Image

from aeflow_utils.data.reading import reading
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths, whole

PLUGINS = (*MarkdownWithMath.DEFAULT_PLUGINS, "footnotes")
LEFT_OUT = {"parameters", "injected-parameters", "setup"}
TO_REFERENCE = re.compile(r'href="#References">\[(\d+)\]')
LOADS = re.compile(r"<(?:script|link|iframe|object)\b[^>]*|<[^>]+\ssrc=[\"'](?!data:)[^>]*", re.I)
LONG_CELL = re.compile(r"<(t[dh])([^>]*)>([^<]{25,})</t")
TWO_HEADS = re.compile(r"<thead>\s*<tr>(.*?)</tr>\s*<tr>(.*?)</tr>\s*</thead>", re.DOTALL)
MATH_IN_TABLE = re.compile(r"(?<![\\$])\$(?!\s)([^$<>\n]+?)(?<![\s\\])\$")

_to_mathml = LatexToMathML(fancy_error=False).convert_with_local_state


def render_html(notebook: Path, target: Path) -> Path:
    """Write an executed notebook as one self-contained page; returns `target`.

    What a cell shows stands before its code, which is folded and says where in the notebook it is;
    parameters are left out, equations become MathML, which browsers draw themselves,
    and pictures are inside the file. Links to files of the bundle hold in any folder of the
    checkout's top level.

    Raises:
        UserError: a cell ended in an error, an equation cannot be converted, a picture is missing
            or has no alt text, or the page would load something from elsewhere.
    """
    writer = _Writer(notebook.name)
    for number, cell in enumerate(nbformat.read(notebook, as_version=4).cells, start=1):
        try:
            writer.add(cell, number)
        except UserError as error:
            raise UserError(f"{notebook.name}, cell {number}: {error}") from None
    with whole(target) as partial:
        partial.write_text(writer.page(), encoding="utf-8")
    return target


def mathml(latex: str, display: bool) -> str:
    """An equation as MathML.

    Raises:
        UserError: it is not LaTeX that can be converted; the message holds the equation.
    """
    try:
        return _to_mathml(latex.strip(), displaystyle=display)
    except LatexError as error:
        raise UserError(f"the equation {latex.strip()} cannot be converted: {error}") from None


class _Writer:
    """Collects the pieces of a page, the code behind sentences and, from headings, the contents."""

    def __init__(self, notebook: str) -> None:
        self.notebook = notebook
        self.pieces: list[str] = []
        self.behind_sentences: list[str] = []
        self.renderer = _Renderer(escape=False)
        self.markdown = MarkdownWithMath(self.renderer, plugins=map(import_plugin, PLUGINS))
        self.highlight = Highlight2HTML()

    def page(self) -> str:
        self.pieces = [TO_REFERENCE.sub(r'href="#ref-\1">[\1]', p) for p in self.pieces]
        self.pieces = [_with_numbers(p) if 'id="References"' in p else p for p in self.pieces]
        body = "\n".join(self.pieces)
        if found := LOADS.search(body):
            raise UserError(f"the page would load something from elsewhere: {found[0]}")
        blocks = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
        environment = jinja2.Environment(loader=jinja2.PackageLoader(__package__), **blocks)
        return environment.get_template("article.html").render(
            title=_first(r"<h1[^>]*>(.*?)</h1>", body),
            description=textwrap.shorten(_first(r"<p>(.*?)</p>", body), 300, placeholder=" …"),
            pieces=self.pieces,
            behind_sentences=self.behind_sentences,
            opening=next((n for n, piece in enumerate(self.pieces) if "<h2" in piece), None),
            contents=[entry for entry in self.renderer.headings if entry[0] in (2, 3)],
        )

    def add(self, cell: NotebookNode, number: int) -> None:
        """A cell, as one piece: text, or what it showed, and its folded code if that is no text."""
        if cell.cell_type == "markdown":
            self.pieces.append(self._text(cell.source))
        elif cell.cell_type == "code":
            parts = [*map(self._output, cell.outputs)]
            code = self._code(cell, number)
            if all("text/markdown" in output.get("data", {}) for output in cell.outputs):
                self.behind_sentences += [code] if code else []
            elif code:
                parts.append(f"<details><summary>Code</summary>{code}</details>")
            if piece := "\n".join(filter(None, parts)):
                self.pieces.append(piece)

    def _text(self, source: str) -> str:
        # Footnotes are counted anew in each cell, so their ids need its number.
        rendered = self.markdown.render(source)
        return re.sub(r'((?:id="|href="#)fn(?:ref)?-)', rf"\g<1>{len(self.pieces)}-", rendered)

    def _code(self, cell: NotebookNode, number: int) -> str:
        if LEFT_OUT & set(cell.metadata.get("tags", ())) or not cell.source:
            return ""
        source = f'<a href="../notebooks/{self.notebook}">{self.notebook}</a>, '
        source += f"In [{cell.execution_count or number}]"
        return f"{self.highlight(cell.source)}<p>{source}</p>"

    def _output(self, output: NotebookNode) -> str:
        if output.output_type == "error":
            raise UserError(
                f"ended in {output.ename}: {strip_ansi(output.evalue)}; run the notebook again"
            )
        if output.output_type == "stream":
            return _plain(output.text) if output.name == "stdout" else ""
        data = output.data
        for kind in ("image/png", "image/jpeg"):
            if kind in data:
                alt = output.metadata.get(kind, {}).get("alt", "")
                return _picture(base64.b64decode(data[kind]), kind, alt)
        if "text/markdown" in data:
            return self._text(data["text/markdown"])
        if "text/html" in data:
            return _table(data["text/html"])
        if any(kind.startswith("application/") for kind in data):
            return ""  # progress bars
        return _plain(data.get("text/plain", ""))


class _Renderer(IPythonRenderer):
    """Markdown to HTML with MathML, anchors, boxes around tables, and pictures inside."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.headings: list[tuple[int, str, str]] = []

    def heading(self, text: str, level: int, **attrs: object) -> str:
        # Jupyter's own way to name a heading, so that links work in both.
        anchor = re.sub(r"\s+", "-", _words(text))
        used = {name for _, name, _ in self.headings}
        while anchor in used:
            anchor += "-"
        self.headings.append((level, anchor, text))
        name = html.escape(anchor)
        link = f'<a class="anchor" href="#{name}" aria-label="link to this section">#</a>'
        return f'<h{level} id="{name}">{text} {link}</h{level}>\n'

    def inline_math(self, body: str) -> str:
        return mathml(body, display=False)

    def block_math(self, body: str) -> str:
        return f'<span class="equation">{mathml(body, display=True)}</span>'

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")

    def table(self, text: str) -> str:
        return f'<div class="scroll"><table class="prose">{text}</table></div>\n'

    def link(self, text: str, url: str, title: str | None = None) -> str:
        if not re.match(r"[a-z]+:|#|/", url):
            url = posixpath.normpath(f"../notebooks/{url}")
        return super().link(text, url, title)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        path = paths().home / "notebooks" / unquote(url)
        kind = {".png": "image/png", ".jpg": "image/jpeg"}.get(path.suffix)
        if kind is None or not path.is_file():
            raise UserError(f"the picture {url} is not a PNG or JPEG file beside the notebooks")
        return _picture(path.read_bytes(), kind, _words(text), look="photo")


def _with_numbers(references: str) -> str:
    """The list of references, each item with an anchor of its own."""
    before, heading, rest = references.partition('id="References"')
    numbers = count(1)
    return before + heading + re.sub("<li>", lambda _: f'<li id="ref-{next(numbers)}">', rest)


def _words(markup: str) -> str:
    """The text of a piece of HTML, without tags and line breaks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


def _first(pattern: str, body: str) -> str:
    found = re.search(pattern, body, re.DOTALL)
    if not found:
        raise UserError("the article needs a heading and a paragraph: its title and description")
    return _words(re.sub(r'<a class="anchor".*?</a>', "", found[1]))


def _plain(text: str) -> str:
    text = strip_ansi(text).strip("\n")
    return f'<pre class="output">{html.escape(text)}</pre>' if text else ""


def _picture(content: bytes, kind: str, alt: str, look: str = "") -> str:
    if not alt.strip():
        raise UserError("a picture has no alt text: see aeflow_utils.show.alt_texts.described")
    with reading(f"the picture '{alt}'", "run the notebook again"):
        picture = Image.open(BytesIO(content))
        width, height = picture.size
        plot = picture.mode == "P"  # see `alt_texts.palette_png`
        look = look or ("plot" if plot else "photo")
        if kind == "image/png" and not plot:  # a third of the bytes, and no one sees a difference
            file, kind = BytesIO(), "image/jpeg"
            picture.convert("RGB").save(file, "JPEG", quality=85, subsampling=0, optimize=True)
            content = file.getvalue()
    address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return (
        f'<span class="figure"><img class="{look}" src="{address}" alt="{html.escape(alt)}" '
        f'width="{width}" height="{height}"></span>'
    )


def _table(markup: str) -> str:
    """A table of pandas in a box of its own; the page styles it, but a Styler's colours stay."""
    markup = re.sub(r"<style scoped>.*?</style>", "", markup, flags=re.DOTALL)
    markup = re.sub(r' (?:border="\d+"|style="text-align: right;")', "", markup)
    markup = TWO_HEADS.sub(_one_head, markup)
    markup = LONG_CELL.sub(r'<\1\2><div class="text">\3</div></t', markup)
    markup = MATH_IN_TABLE.sub(lambda m: mathml(html.unescape(m[1]), display=False), markup)
    return f'<div class="scroll">{markup}</div>'


def _one_head(heads: re.Match) -> str:
    """Names of columns and, below them, of the index in one line, where they leave each other room.

    That is how pandas writes them: each line is empty where the other is not.
    """
    names = [re.findall(r"<th[^>]*>(.*?)</th>", line, re.DOTALL) for line in heads.groups()]
    if len(names[0]) != len(names[1]) or any(a and b for a, b in zip(*names, strict=True)):
        return heads[0]
    pairs = zip(*names, strict=True)
    cells = "".join(f'<th class="of-rows">{b}</th>' if b else f"<th>{a}</th>" for a, b in pairs)
    return f"<thead><tr>{cells}</tr></thead>"
