"""Hygiene of the committed notebooks, and their order; `make notebooks-smoke` runs them."""

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from helpers import REPOSITORY
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from aeflow_utils.article import notebooks
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import PROFILES

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
PRIVATE_PATH = re.compile(
    r"(?<![\w.:/~-])/(?:home|root|tmp|work|Users|private|mnt|var/folders)/|[A-Z]:\\Users\\"
)
FROM_SCRATCH = REPOSITORY / "notebooks" / "02a_ae_flow_from_scratch.ipynb"
MODEL_FROM_SCRATCH = (
    *("CouplingBlock", "conv_like", "Flow", "energy", "bits_per_dim"),
    *("make_decoder", "AEFlow", "loss_terms", "ssim", "score_parts"),
)
VARIABLE = "OMP_NUM_THREADS"
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def parsed(cell):
    """The cell's syntax tree, without lines that only IPython understands."""
    lines = cell.source.splitlines()
    return ast.parse("\n".join(line for line in lines if not line.lstrip().startswith(("%", "!"))))


def output_texts(path):
    """(kind, text) of everything that is shown; pictures are left out."""
    for cell in code_cells(path):
        for output in cell.outputs:
            if output.output_type == "stream":
                yield output.name, output.text
            elif output.output_type == "error":
                yield "error", "\n".join(output.traceback)
            else:
                for kind, content in output.data.items():
                    if not kind.startswith("image/"):
                        yield kind, str(content)


def test_the_notebooks_are_run_in_the_order_of_their_numbers(monkeypatch):
    monkeypatch.setenv("AEFLOW_HOME", str(REPOSITORY))
    assert notebooks.notebook_files() == NOTEBOOKS
    names = [path.name.partition("_")[0] for path in NOTEBOOKS]
    assert names == ["00", "01", "02", "02a", "03", "04", "05", "06"]


@every_notebook
def test_notebook_is_valid(path):
    nbformat.validate(nbformat.read(path, as_version=4))


@every_notebook
def test_one_cell_is_tagged_parameters_and_holds_only_literals(path):
    tagged = [c for c in code_cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1
    statements = parsed(tagged[0]).body
    assert statements
    for statement in statements:
        assert isinstance(statement, ast.Assign)
        ast.literal_eval(statement.value)


def definitions(cell):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [node for node in ast.walk(parsed(cell)) if isinstance(node, kinds)]


@every_notebook
def test_no_cell_defines_a_function_or_a_class_but_from_scratch(path):
    assert any(map(definitions, code_cells(path))) == (path == FROM_SCRATCH)


@every_notebook
def test_no_code_cell_is_longer_than_20_lines_but_the_coupling_block(path):
    for cell in code_cells(path):
        block = any(node.name == "CouplingBlock" for node in definitions(cell))
        assert len(cell.source.splitlines()) <= (40 if block else 20)


def test_the_model_from_scratch_is_about_eighty_lines():
    """Blank lines left out: what the notebook's first sentence says."""
    lines = {
        node.name: [line for line in ast.get_source_segment(cell.source, node).split("\n") if line]
        for cell in code_cells(FROM_SCRATCH)
        for node in definitions(cell)
    }
    assert 75 <= sum(len(lines[name]) for name in MODEL_FROM_SCRATCH) <= 90


@pytest.mark.parametrize("name", notebooks.READ_RESULTS_ALONE)
def test_what_reads_results_alone_does_not_wait_for_torch(name):
    cells = code_cells(REPOSITORY / "notebooks" / name)
    nodes = [node for cell in cells for node in ast.walk(parsed(cell))]
    imports = [ast.unparse(n) for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    assert any("aeflow_utils" in line for line in imports)
    code = "\n".join(["import sys", *imports, "sys.exit('torch' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


@every_notebook
def test_notebook_is_smaller_than_a_megabyte(path):
    assert path.stat().st_size < 1_000_000


@every_notebook
def test_outputs_hold_no_vector_graphics(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert not {"image/svg+xml", "application/pdf"} & set(output.get("data", {}))


@every_notebook
def test_outputs_hold_no_error_and_no_path_of_the_machine_that_made_them(path):
    for kind, text in output_texts(path):
        assert kind != "error"
        assert not PRIVATE_PATH.search(text), PRIVATE_PATH.search(text)
        assert str(REPOSITORY) not in text


@every_notebook
def test_outputs_hold_no_widget(path):
    assert "widgets" not in nbformat.read(path, as_version=4).metadata
    assert notebooks.WIDGET_VIEW not in {kind for kind, _ in output_texts(path)}


def test_widgets_leave_a_notebook_and_all_else_stays():
    data = {"text/plain": "interactive(...)", notebooks.WIDGET_VIEW: {"model_id": "a"}}
    outputs = [new_output("display_data", data), new_output("stream", text="kept")]
    content = new_notebook(cells=[new_markdown_cell("x"), new_code_cell("y", outputs=outputs)])
    content.metadata["widgets"] = {"state": {}}
    notebooks.drop_widgets(content)
    assert [output.output_type for output in content.cells[1].outputs] == ["stream"]
    assert not content.metadata


def test_the_article_waits_for_the_training_notebook(tmp_path):
    finished = []

    def execute(notebook):
        time.sleep(0.2 if notebook.name == notebooks.TRAINING else 0)
        finished.append(notebook.name)

    names = ("00_blogpost.ipynb", "02_training.ipynb", "06_results_tables.ipynb")
    notebooks.execute_all([tmp_path / name for name in names], execute)
    assert sorted(finished) == list(names)
    assert finished.index(notebooks.TRAINING) < finished.index(notebooks.ARTICLE)


@pytest.mark.parametrize(("given", "seen"), [("", "2"), ("3", "3")])
def test_kernels_share_the_cores_unless_told_otherwise(tmp_path, monkeypatch, given, seen):
    monkeypatch.setattr(os, "cpu_count", lambda: 2 * notebooks.AT_A_TIME)
    monkeypatch.setenv(VARIABLE, given)
    found = []
    notebooks.execute_all([tmp_path / "01_x.ipynb"], lambda _: found.append(os.environ[VARIABLE]))
    assert found == [seen]
    assert os.environ[VARIABLE] == given


def test_a_notebook_that_fails_stops_those_that_have_not_begun(tmp_path):
    begun = []

    def execute(notebook):
        begun.append(notebook.name)
        if notebook.name == notebooks.TRAINING:
            raise ValueError("cell 3")
        time.sleep(0.2)

    paths = [tmp_path / f"{number}_x.ipynb" for number in ("03", "04", "05", "06")]
    paths += [tmp_path / notebooks.TRAINING, tmp_path / notebooks.ARTICLE]
    with pytest.raises(ValueError, match="cell 3"):
        notebooks.execute_all(paths, execute)
    assert "04_x.ipynb" not in begun and notebooks.ARTICLE not in begun


def test_a_notebook_is_run_again_only_if_something_that_it_reads_has_changed(
    home, write_run, monkeypatch, tmp_path
):
    runs, profile = [], PROFILES["smoke"]

    def execute(source, target, **options):
        runs.append(source)
        shutil.copy(source, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    notebook = tmp_path / "00_new.ipynb"
    notebook.write_text("{}")

    def runs_after(change):
        change()
        notebooks.execute_with_papermill(notebook, profile, notebooks.shared_inputs(profile))
        return len(runs)

    assert runs_after(lambda: None) == 1
    assert runs_after(lambda: None) == 1
    assert runs_after(lambda: notebook.write_text("{ }")) == 2
    assert runs_after(lambda: write_run("fastflow")) == 3
    published = home / "results" / "published.csv"
    assert runs_after(lambda: published.write_text(f"{published.read_text()}\n")) == 4
    output = paths().results("smoke") / "notebooks" / notebook.name
    assert runs_after(output.unlink) == 5
    assert runs_after(lambda: None) == 5


def test_notebooks_are_run_by_number_or_name_and_unknown_parameters_refused(monkeypatch, home):
    ran = []
    (home / "notebooks").symlink_to(REPOSITORY / "notebooks")

    def execute(source, target, parameters, **options):
        ran.append((Path(source).name, parameters))
        shutil.copy(source, target)

    monkeypatch.setattr(notebooks.papermill, "execute_notebook", execute)
    smoke = PROFILES["smoke"]
    written = notebooks.execute_some(["06", "02_training"], smoke, {"profile": "laptop"})
    assert [name for name, _ in ran] == ["06_results_tables.ipynb", "02_training.ipynb"]
    assert ran[0][1] == {"profile": "laptop"}
    assert [path.parent for path in written] == [paths().results("smoke") / "notebooks"] * 2
    with pytest.raises(UserError, match="no parameter steps"):
        notebooks.execute_some(["06"], smoke, {"steps": "3"})
    with pytest.raises(UserError, match="06_results_tables"):
        notebooks.execute_some(["07"], smoke, {})
    assert len(ran) == 2


# Levels, names and identifiers; every other decimal is a result, and a cell prints it.
DECIMALS_IN_PROSE = {"0.5", "0.8", "0.9", "2404.04518"}


@every_notebook
def test_no_result_is_typed_in_prose(path):
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown" and "## References" not in cell.source:
            prose = re.sub(
                r"\$\$.*?\$\$|\$[^$]+\$|\]\([^)]*\)|`[^`]*`", "", cell.source, flags=re.DOTALL
            )
            assert set(re.findall(r"\d+\.\d+", prose)) <= DECIMALS_IN_PROSE, path.name
