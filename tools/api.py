"""``make api``: write `docs/api.md`, the front door's names and what each file is for.

All of it is read from the sources; nothing is imported but the list of names.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import aeflow_utils

HOME = Path(__file__).resolve().parent.parent
PACKAGE = HOME / "aeflow_utils"
ROOMS = ("metrics", "data", "models", "study", "show", "article", "own")
SECTIONS = ("Args:", "Raises:")
Node = ast.FunctionDef | ast.ClassDef

HEAD = """# The front door

Written by `make api` from the docstrings: change them, not this page.

`from aeflow_utils import ...` offers these names. Everything else is imported from its file, listed
at the end.
"""


def read(file: Path) -> tuple[list[str], ast.Module]:
    text = file.read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text)


def header(lines: list[str], node: Node) -> str:
    """What a reader calls: a function's head, or a class with its fields."""
    last = node.body[0].lineno - 1
    head = [line for line in lines[node.lineno - 1 : last] if line.strip()]
    if isinstance(node, ast.ClassDef):
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        head += [line for part in fields for line in lines[part.lineno - 1 : part.end_lineno]]
    else:
        head[-1] = head[-1].removesuffix(":")
    return "\n".join(head)


def markdown(node: ast.AST) -> str:
    """A docstring whose arguments and errors are lists."""
    lines, listing = [], False
    for line in (ast.get_docstring(node) or "").splitlines():
        if line in SECTIONS:
            lines += [f"**{line}**", ""]
            listing = True
        elif listing and line.startswith(" " * 8):
            lines[-1] += " " + line.strip()
        elif listing and line.startswith(" " * 4):
            name, _, text = line.strip().partition(": ")
            lines.append(f"* `{name}`: {text}")
        else:
            lines.append(line)
            listing = listing and not line
    return "\n".join(lines)


def entry(lines: list[str], node: Node, level: int) -> str:
    code = f"```python\n{header(lines, node)}\n```"
    return f"{'#' * level} {node.name}\n\n{code}\n\n{markdown(node)}\n"


def public(module: ast.Module) -> Iterator[Node]:
    for node in module.body:
        if isinstance(node, Node) and not node.name.startswith("_"):
            yield node


def front_door() -> Iterator[str]:
    for name, home in aeflow_utils._HOMES.items():
        lines, module = read(PACKAGE / f"{home.replace('.', '/')}.py")
        (node,) = (node for node in public(module) if node.name == name)
        yield entry(lines, node, 2)
    for name in aeflow_utils._MODULES:
        lines, module = read(PACKAGE / "show" / f"{name}.py")
        yield f"## {name}\n\n{markdown(module)}\n"
        yield from (entry(lines, node, 3) for node in public(module))


def summary(file: Path) -> str:
    """The first paragraph of a file's docstring, on a line."""
    return " ".join((ast.get_docstring(read(file)[1]) or "").split("\n\n")[0].split())


def files() -> Iterator[str]:
    yield "## Every file\n"
    for folder in (PACKAGE, *(PACKAGE / room for room in ROOMS)):
        found = sorted(file for file in folder.glob("*.py") if file.name != "__init__.py")
        inner = folder.relative_to(HOME).as_posix()
        rows = [f"| [{f.name}](../{inner}/{f.name}) | {summary(f)} |" for f in found]
        yield f"### {inner}\n\n{summary(folder / '__init__.py')}\n"
        yield "\n".join(["| | |", "|---|---|", *rows]) + "\n"


def page() -> str:
    return "\n".join([HEAD, *front_door(), *files()])


if __name__ == "__main__":
    (HOME / "docs" / "api.md").write_text(page(), encoding="utf-8")
