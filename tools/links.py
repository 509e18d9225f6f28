"""``make links``: relative links of Markdown files and notebooks must lead somewhere.

Absolute ones are listed and not asked: a test must pass without a network. Needs nothing but
Python.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

HOME = Path(__file__).resolve().parent.parent
ENVIRONMENTS = {".venv", ".venv-peers", ".venv-oldest", ".venv-newest"}
SKIPPED = ENVIRONMENTS | {".git", ".ipynb_checkpoints", "cache", "data", "results"}
CODE = re.compile(r"^```.*?^```|`[^`\n]+`", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?:<([^>]+)>|([^)\s]+))|\b(?:src|href)=\"([^\"]+)\"")
ABSOLUTE = re.compile(r"[a-z]+:")


def documents(home: Path) -> list[Path]:
    """Markdown files and notebooks under `home` that people wrote, in order."""
    found = [*home.rglob("*.md"), *home.rglob("*.ipynb")]
    return sorted(f for f in found if not SKIPPED & set(f.relative_to(home).parts))


def links(document: Path) -> Iterator[str]:
    """The targets of a document's links and pictures, code aside."""
    text = document.read_text(encoding="utf-8")
    if document.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        texts = ["".join(c["source"]) for c in cells if c["cell_type"] == "markdown"]
        text = "\n\n".join(texts)
    for groups in LINK.findall(CODE.sub("", text)):
        yield "".join(groups)


def broken(home: Path) -> list[tuple[str, str]]:
    """(document, target) of each relative link that leads nowhere, both relative to `home`."""
    rows = []
    for document in documents(home):
        for target in links(document):
            path = unquote(target.partition("#")[0])
            if not ABSOLUTE.match(target) and not (document.parent / path).exists():
                rows.append((document.relative_to(home).as_posix(), target))
    return rows


def main() -> int:
    absolute = {link for file in documents(HOME) for link in links(file) if ABSOLUTE.match(link)}
    print("\n".join(sorted(absolute)))
    rows = broken(HOME)
    for document, target in rows:
        print(f"{document}: {target} leads nowhere", file=sys.stderr)
    return int(bool(rows))


if __name__ == "__main__":
    sys.exit(main())
