"""Text between two marks of a page, such as ``<!-- card -->`` and ``<!-- /card -->``."""

import re
from pathlib import Path


def write_marked(page: Path, name: str, text: str) -> None:
    """Put `text` between the marks called `name`, in place of what is there."""
    between = re.compile(f"(<!-- {name} -->\n).*(\n<!-- /{name} -->)", re.DOTALL)
    page.write_text(between.sub(rf"\g<1>{text}\g<2>", page.read_text()))
