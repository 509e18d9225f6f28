"""Names: of files, folders, labels, sets; none of them is more than a name, nor lost."""

import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
from fuzz.hostile import FILE_NAMES, TEXTS, folder_in, is_short, read_or_refused
from helpers import save_noise
from hypothesis import assume, given
from hypothesis import strategies as st
from nbformat import v4

from aeflow_utils.article.page import render_html
from aeflow_utils.config import FolderConfig
from aeflow_utils.data import own
from aeflow_utils.data.layouts import NO_DATA
from aeflow_utils.own import score
from aeflow_utils.own.page import Facts, write_page
from aeflow_utils.own.score import Scored, images_of, write_scores

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


class Page(HTMLParser):
    """Elements with their attributes, the text outside of scripts, and each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.texts, self.scripts, self.inside = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.inside = tag
        self.tags.append((tag, *sorted(name for name, _ in attributes)))
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        if self.inside == "script":
            self.scripts[-1] += text
        else:
            self.texts.append(text)


def lines(text):
    """As a browser takes it: HTML knows one kind of line end, and no NUL."""
    return re.sub(r"\r\n?", "\n", text).replace("\0", "")


def page_of(folder, name, rows):
    table = pd.DataFrame(
        {
            "path": [f"{name}.png" for _ in rows],
            "label": [0, 1, -1][: len(rows)],
            "kind": name,
            "image_score": sorted(rows, reverse=True),
            "p_value": 0.5,
            "thumb": "thumbs/0.jpg",
            "overlay": f"{name}.jpg".lstrip("/"),
            "map": "",
        }
    )
    facts = Facts(
        title=name,
        settings=name,
        threshold=rows[0],
        rule=name,
        normal_scores=rows,
        counts=[{"split": name, "normal": 1}],
        methods=[{name: name}],
        figures={name: f"figures/{name}.png"},
        notes=[name],
    )
    return write_page(folder, table, facts).read_text("utf-8", "surrogateescape")


@given(FILE_NAMES, st.lists(FLOATS, min_size=1, max_size=3))
def test_the_page_of_a_readers_images_shows_names_and_obeys_none(tmp_path, name, rows):
    shown, plain = (Page(page_of(tmp_path, each, rows)) for each in (name, "plain"))
    assert shown.tags == plain.tags
    assert len(shown.scripts) == len(plain.scripts)
    if not {"\r", "\0"} & set(name):
        assert name.strip() in "".join(shown.texts)
    (read,) = (json.loads(text) for text in shown.scripts if text.strip().startswith("{"))
    assert read["path"] == [f"{name}.png"] * len(rows)
    assert all(":" not in path and "<" not in path for path in read["overlay"])


@given(TEXTS)
def test_what_a_cell_prints_is_text_in_the_article(tmp_path, text):
    assume("\x1b" not in text)  # colours of a terminal are left out
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    pages = []
    for printed in (text, "plain"):
        cells = [v4.new_markdown_cell("# Title\n\nWords."), v4.new_code_cell("f()")]
        cells[1].outputs = [
            v4.new_output("stream", name="stdout", text=f"[{printed}]"),
            v4.new_output("execute_result", {"text/plain": f"[{printed}]"}),
        ]
        (tmp_path / "a.ipynb").write_text(json.dumps(v4.new_notebook(cells=cells)))
        page = render_html(tmp_path / "a.ipynb", tmp_path / "a.html").read_text("utf-8")
        pages.append(Page(page))
    assert pages[0].tags == pages[1].tags
    assert lines(f"[{text}]") in lines("".join(pages[0].texts))


@given(FILE_NAMES, FILE_NAMES)
def test_images_and_labels_in_a_folder(tmp_path, name, label):
    with folder_in(tmp_path) as root:
        for folder in ("train/good", f"test/{label}"):
            save_noise(root / folder / "x.png", np.random.default_rng(0), True)
            (root / folder / "x.png").rename(root / folder / f"{name}.png")
        with read_or_refused(root):
            spec = own.spec(FolderConfig(source=str(root), name="parts"))
            found = set(spec.scan(spec.root, "")["path"])
            hidden = name.startswith(".") or label.startswith(".")
            usual = {f"train/good/{name}.png", f"test/{label}/{name}.png"}
            assert found <= usual and (hidden or label.lower() in NO_DATA or found == usual)


@given(TEXTS, st.sampled_from(["", "~", "/", "**/", "./"]))
def test_a_source_of_any_name(tmp_path, monkeypatch, name, before):
    monkeypatch.chdir(tmp_path)
    source = before + name
    assume(is_short(source))  # else it is one line of the system's
    assume(source not in ("/", "//", "~", "~/", "-", "**/", "**"))
    assume(not source.startswith(("/", "~/")) and ".." not in Path(source).parts)
    with read_or_refused(source or "an empty name"):
        assert images_of([source])
    with read_or_refused(source, tmp_path):
        own.spec(FolderConfig(source=source, name="parts"))


@given(st.lists(FILE_NAMES, min_size=1, max_size=3, unique=True), st.sampled_from(("csv", "jsonl")))
def test_scores_keep_the_names_of_their_files(tmp_path, monkeypatch, names, form):
    with folder_in(tmp_path) as root:
        files = [str(root / name) for name in names]
        for file in files:
            open(file, "wb").close()  # noqa: PTH123
        rows = [Scored(file, 0.1, 0.5, True, f"{file}: why") for file in files]
        monkeypatch.setattr(score, "score_files", lambda *_: iter(rows))
        target = tmp_path / "scores.txt"
        with read_or_refused(root, repr(files[0])[:20]):
            found = images_of(files)
            write_scores(None, found, target, form)
            text = target.read_bytes().decode()
            if form == "jsonl":
                back = [json.loads(line) for line in text.splitlines()]
            else:
                back = list(csv.DictReader(io.StringIO(text, newline="")))
            assert [row["path"] for row in back] == files
            assert all(float(row["score"]) == 0.1 for row in back)
