"""Relative links of documents and notebooks lead somewhere."""

import json

from helpers import REPOSITORY

from tools.links import broken, documents, links


def test_no_relative_link_of_the_bundle_is_broken():
    names = {file.relative_to(REPOSITORY).as_posix() for file in documents(REPOSITORY)}
    assert {"README.md", "docs/api.md", "notebooks/00_blogpost.ipynb"} <= names
    assert broken(REPOSITORY) == []


def test_a_broken_link_is_found_wherever_it_stands(tmp_path):
    (tmp_path / "a b.png").touch()
    (tmp_path / "page.md").write_text(
        "[ok](page.md#part) ![ok](a%20b.png) ![ok](<a b.png>) [ok](#here) [ok](https://example.org)\n"
        '[![both](lost.png)](gone.md) `[code](no.md)` <img src="away.png">\n'
        "```\n[code](no.md)\n```\n"
    )
    (tmp_path / "deep").mkdir()
    cells = [
        {"cell_type": "markdown", "source": ["[ok](../page.md)\n", "[up](page.md)"]},
        {"cell_type": "code", "source": ["x[0](missing)"]},
    ]
    (tmp_path / "deep" / "book.ipynb").write_text(json.dumps({"cells": cells}))
    assert broken(tmp_path) == [
        ("deep/book.ipynb", "page.md"),
        ("page.md", "lost.png"),
        ("page.md", "gone.md"),
        ("page.md", "away.png"),
    ]
    assert "https://example.org" in links(tmp_path / "page.md")
