"""The house: which room may import which, how large a file may grow, what readers wait for."""

import ast
import re
import subprocess
import sys

import pytest
from helpers import REPOSITORY

PACKAGE = REPOSITORY / "aeflow_utils"
ROOMS = ["metrics", "data", "models", "study", "show", "article", "own"]
FORBIDDEN = {("own", "article"), ("data", "metrics"), ("models", "metrics")}
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(file):
    """Dotted names of this package that a file imports, anywhere in it."""
    names = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return [name for name in names if name.startswith("aeflow_utils.")]


def room(parts):
    return parts[0] if parts[0] in ROOMS else ""


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_from_its_own_room_and_those_before_it(file):
    if file.name == "__main__.py":
        return
    here = room(file.relative_to(PACKAGE).parts)
    for name in imported(file):
        there = room(name.split(".")[1:])
        if there:  # else a file beside the rooms, which all may read
            assert here, f"{file.name} stands beside the rooms and imports {name}"
            assert ROOMS.index(there) <= ROOMS.index(here), f"{file.name} imports {name}"
            assert (here, there) not in FORBIDDEN, f"{file.name} imports {name}"


def test_files_and_functions_stay_small():
    assert len([file for file in FILES if file.parent == PACKAGE]) <= 8
    for file in FILES:
        assert len(file.read_text().splitlines()) <= 300, file.name
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 45, f"{file.name}: {node.name}"


def test_readers_of_results_import_no_torch():
    readers = (
        "study.grid",
        "show.tables",
        "show.figures",
        "show.ensemble_tables",
        "article.claims",
    )
    imports = ", ".join(f"aeflow_utils.{reader}" for reader in readers)
    code = f"import sys, {imports}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


# The command line, alt texts and what errors and logs say are for reading; all else is a number.
MAY_SPEAK = {"alt_texts.py", "errors.py", "__main__.py", "commands.py"}
TOLD = {"described", "UserError", "TrainingError", "warning", "print"}
SENTENCE = re.compile(r"[a-z0-9%)}]\.(?:\s|$)")


def told(node):
    """Whether a function or call has what readers are told by other ways than a result."""
    calls = [n.func for n in ast.walk(node) if isinstance(n, ast.Call)]
    return bool(TOLD & {getattr(f, "attr", getattr(f, "id", "")) for f in calls})


def texts_of(node):
    """Text in code, docstrings and what is told aside."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Raise):
            continue
        if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):  # a docstring
            continue
        if isinstance(child, ast.FunctionDef) and told(child):
            continue
        if isinstance(child, ast.JoinedStr):
            yield "".join(str(getattr(part, "value", "")) for part in child.values)
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield child.value
        else:
            yield from texts_of(child)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_module_measures_and_composes_no_sentences(file):
    texts = [] if file.name in MAY_SPEAK else texts_of(ast.parse(file.read_text()))
    assert not [text for text in texts if SENTENCE.search(text) and len(text.split()) > 3]


def unpickles(node):
    """Whether a part of code could run what a file says."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        names = {alias.name for alias in node.names} | {getattr(node, "module", "")}
        return bool({"pickle", "cPickle", "dill", "marshal", "shelve"} & names)
    if not isinstance(node, ast.Call):
        return False
    called, options = ast.unparse(node.func), {each.arg: each.value for each in node.keywords}
    if called == "torch.load":
        return not getattr(options.get("weights_only"), "value", False)
    careless = {"joblib.load", "pd.read_pickle", "yaml.load", "np.load", "eval", "exec"}
    return called in careless or "allow_pickle" in options


@pytest.mark.parametrize(
    ("code", "bad"),
    [
        ("torch.load(f)", True),
        ("torch.load(f, weights_only=False)", True),
        ("torch.load(f, weights_only=True)", False),
        ("from pickle import loads", True),
        ("pd.read_pickle(f)", True),
        ("model.eval()", False),
    ],
)
def test_what_could_unpickle_is_known(code, bad):
    assert any(map(unpickles, ast.walk(ast.parse(code)))) == bad


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_is_unpickled(file):
    assert not any(map(unpickles, ast.walk(ast.parse(file.read_text()))))
