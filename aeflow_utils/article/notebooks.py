"""Run the notebooks in order and render the article; what `make reproduce` does."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from functools import partial
from itertools import pairwise
from pathlib import Path

import nbclient
import nbformat
import papermill

from aeflow_utils.article.page import render_html
from aeflow_utils.config import DataConfig
from aeflow_utils.data.table import available, list_images
from aeflow_utils.errors import UserError
from aeflow_utils.paths import check_writable, code_version, paths, whole
from aeflow_utils.profiles import Profile
from aeflow_utils.show.tables import print_comparison
from aeflow_utils.study.recording import RESULTS_THAT_COME

ARTICLE, TRAINING = "00_blogpost.ipynb", "02_training.ipynb"
READ_RESULTS_ALONE = (ARTICLE, "06_results_tables.ipynb")
AT_A_TIME = 2
PATIENCE = 3600  # seconds for a cell that trains nothing: a kernel that lost a message is silent
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
LONGEST_FIRST = "02 05 06 00 03 04 01"  # a notebook that is not known comes before them
# Kernels warn about their transport at every start; errors of cells reach the notebook anyway.
KERNEL = {"kernel_name": "python3", "extra_arguments": ["--IPKernelApp.log_level=50"]}


def notebook_files() -> list[Path]:
    """The notebooks, in the order of their numbers.

    Raises:
        UserError: there are none, because the home folder is not a checkout.
    """
    folder = paths().home / "notebooks"
    notebooks = sorted(folder.glob("[0-9][0-9]*_*.ipynb"))
    if not notebooks:
        raise UserError(f"no notebooks in {folder}: set AEFLOW_HOME to the checkout")
    return notebooks


def reproduce(profile: Profile) -> None:
    """Train everything on the data that are here, run the notebooks, render and compare."""
    from aeflow_utils.study.experiments import plan, run_all  # torch, which reading needs not

    notebooks = notebook_files()
    times = {"start": time.perf_counter()}
    run_all(plan(profile))
    times["data, features and training"] = time.perf_counter()
    shared = shared_inputs(profile)
    execute = partial(execute_with_papermill, profile=profile, shared=shared, patience=PATIENCE)
    execute_all(notebooks, execute)
    times["notebooks"] = time.perf_counter()
    print(f"article: {_rendered(paths().results(profile.name) / 'notebooks' / ARTICLE)}")
    times["article"] = time.perf_counter()
    print_comparison(profile.name)
    for (_, since), (stage, until) in pairwise(times.items()):
        print(f"{until - since:8.1f} s  {stage}")


def execute_some(names: Sequence[str], profile: Profile, parameters: dict[str, str]) -> list[Path]:
    """Run notebooks, in the order of their names, and render the article if it is one of them.

    Args:
        names: each a number or a name without ending: ``06`` or ``06_results_tables``.
        parameters: of the notebooks' first cells.

    Returns:
        The executed copies, then the article's page.

    Raises:
        UserError: there is no such notebook, or it has no such parameter.
    """
    files = notebook_files()
    known = {key: file for file in files for key in (file.stem, file.stem.partition("_")[0])}
    some = [known[name] for name in names if name in known]
    if len(some) != len(names):
        raise UserError(f"{', '.join(names)}: choose of {', '.join(file.stem for file in files)}")
    for file in some:
        its = papermill.inspect_notebook(str(file))
        if unknown := parameters.keys() - its:
            raise UserError(f"{file.name} has no parameter {min(unknown)}, only {', '.join(its)}")
    shared = shared_inputs(profile)
    written = [execute_with_papermill(file, profile, shared, parameters) for file in some]
    return [*written, *(_rendered(copy) for copy in written if copy.name == ARTICLE)]


def _rendered(article: Path) -> Path:
    """The executed article as a page."""
    return render_html(article, paths().home / "results" / "blogpost.html")


def execute_all(notebooks: list[Path], execute: Callable[[Path], object]) -> None:
    """Two notebooks at a time: the training notebook and other long ones first.

    The article reads what the training notebook demonstrates on trained systems, and waits for it.
    A notebook that fails stops those that have not begun.
    """
    from aeflow_utils.study.machine import environment

    jobs: dict[str, Future] = {}

    def run(notebook: Path) -> str:
        if notebook.name == ARTICLE and TRAINING in jobs:
            jobs[TRAINING].result()
        execute(notebook)
        return notebook.name

    # Kernels that take all cores each get into each other's way.
    threads = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // AT_A_TIME))
    with environment(OMP_NUM_THREADS=threads), ThreadPoolExecutor(AT_A_TIME) as pool:
        for notebook in sorted(notebooks, key=lambda path: LONGEST_FIRST.find(path.name[:2])):
            jobs[notebook.name] = pool.submit(run, notebook)
        try:
            for job in as_completed(jobs.values()):
                print(job.result(), flush=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def shared_inputs(profile: Profile) -> str:
    """A hash of what all notebooks' outputs follow from: the code, runs, tables and images."""
    home = paths().home
    images = [list_images(DataConfig(*names)).fingerprint for names in available()]
    digest = hashlib.sha256(f"{profile} {sorted(images)} {code_version()}".encode())
    read = (home / "results" / name for name in RESULTS_THAT_COME if name.endswith(".csv"))
    for file in filter(Path.exists, read):
        digest.update(file.read_bytes())
    runs = *paths().runs(profile.name).glob("[!.]*"), *home.glob("results/recorded/*/runs/*")
    for run in sorted(runs):
        digest.update(f"{run} {run.stat().st_mtime_ns}".encode())
    return digest.hexdigest()


def execute_with_papermill(
    notebook: Path,
    profile: Profile,
    shared: str,
    parameters: dict[str, str] | None = None,
    patience: int | None = None,
) -> Path:
    """Run one notebook into ``results/<profile>/notebooks``; it appears there when whole.

    One that was run there from the same text, parameters and `shared_inputs` is left as it is.
    """
    parameters = {"profile": profile.name} | (parameters or {})
    folder = paths().results(profile.name) / "notebooks"
    unfinished, final = folder / f".{notebook.name}", folder / notebook.name
    given = f"{shared} {parameters}".encode()
    inputs = hashlib.sha256(given + notebook.read_bytes()).hexdigest()
    known = final.with_suffix(".inputs")
    if final.exists() and known.exists() and known.read_text() == inputs:
        return final
    check_writable(folder)
    papermill.execute_notebook(
        str(notebook),
        str(unfinished),
        parameters=parameters,
        cwd=str(notebook.parent),
        progress_bar=False,
        request_save_on_cell_execute=False,  # it appears when it is whole, so once is enough
        autosave_cell_every=0,
        execution_timeout=patience,
        **KERNEL,
    )
    known.unlink(missing_ok=True)  # never that of other outputs
    unfinished.replace(final)
    known.write_text(inputs)
    return final


def execute_in_place(notebook: Path) -> None:
    """Run a notebook as it stands and keep its outputs: how the committed ones are made."""
    content = nbformat.read(notebook, as_version=4)
    nbclient.execute(content, cwd=str(notebook.parent), record_timing=False, **KERNEL)
    drop_widgets(content)
    with whole(notebook) as partial:
        nbformat.write(content, partial)


def drop_widgets(content: nbformat.NotebookNode) -> None:
    """Take out what a page without a kernel cannot draw: progress bars and sliders."""
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        if "outputs" in cell:
            cell.outputs = [o for o in cell.outputs if WIDGET_VIEW not in o.get("data", {})]
