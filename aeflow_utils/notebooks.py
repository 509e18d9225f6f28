"""Run the notebooks in order and render the article; what `make reproduce` does."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import joblib
import nbformat
import pandas as pd
import papermill
from nbclient import NotebookClient

from aeflow_utils.article import render_html
from aeflow_utils.config import Profile, paths
from aeflow_utils.errors import UserError
from aeflow_utils.experiments import plan, run_all
from aeflow_utils.recording import TOLERANCE, compare

ARTICLE = "00_blogpost.ipynb"
READ_RESULTS_ALONE = (ARTICLE, "06_results_tables.ipynb")
AT_A_TIME = 2
# Kernels warn about their transport at every start; errors of cells reach the notebook anyway.
QUIET_KERNEL = ["--IPKernelApp.log_level=50"]


def notebook_files() -> list[Path]:
    """The notebooks in running order: the article reads what the others write, so it is last.

    Raises:
        UserError: there are none, because the home folder is not a checkout.
    """
    folder = paths().home / "notebooks"
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise UserError(f"no notebooks in {folder}: set AEFLOW_HOME to the checkout")
    return sorted(found, key=lambda path: path.name == ARTICLE)


def reproduce(profile: Profile) -> None:
    """Train everything on the data that are here, run the notebooks, render and compare."""
    stages = {}

    def done(stage: str, since: float) -> float:
        stages[stage] = time.perf_counter() - since
        return time.perf_counter()

    start = time.perf_counter()
    notebooks = notebook_files()
    run_all(plan(profile))
    clock = done("data, features and training", start)
    execute_all(notebooks, partial(execute_with_papermill, profile=profile))
    clock = done("notebooks", clock)
    article = paths().results(profile.name) / "notebooks" / ARTICLE
    print(f"article: {render_html(article, paths().home / 'results' / 'blogpost.html')}")
    done("article", clock)
    print_comparison(profile.name)
    print("\n".join(f"{seconds:8.1f} s  {stage}" for stage, seconds in stages.items()))


def execute_all(notebooks: list[Path], execute: Callable[[Path], object]) -> None:
    """Two notebooks at a time: their runs are there, so none waits for another but the article."""
    *parts, article = notebooks
    jobs = joblib.Parallel(n_jobs=AT_A_TIME, return_as="generator")(
        joblib.delayed(execute)(notebook) for notebook in parts
    )
    for notebook, _ in zip(parts, jobs, strict=True):
        print(notebook.name, flush=True)
    execute(article)
    print(article.name, flush=True)


def execute_with_papermill(notebook: Path, profile: Profile) -> Path:
    """Run one notebook into ``results/<profile>/notebooks``; it appears there when whole."""
    folder = paths().results(profile.name) / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    unfinished, final = folder / f".{notebook.name}", folder / notebook.name
    papermill.execute_notebook(
        str(notebook),
        str(unfinished),
        parameters={"profile": profile.name},
        kernel_name="python3",
        cwd=str(notebook.parent),
        progress_bar=False,
        extra_arguments=QUIET_KERNEL,
    )
    return unfinished.replace(final)


def execute_in_place(notebook: Path) -> None:
    """Run a notebook as it stands and keep its outputs: how the committed ones are made."""
    content = nbformat.read(notebook, as_version=4)
    NotebookClient(
        content,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=QUIET_KERNEL,
        resources={"metadata": {"path": str(notebook.parent)}},
    ).execute()
    content.metadata.pop("widgets", None)  # progress bars are no result
    nbformat.write(content, notebook)


def print_comparison(profile: str) -> pd.DataFrame:
    """Print recorded against re-run; returns the table."""
    table = compare(profile)
    if table.empty:
        print(f"nothing to compare: no recorded runs of profile {profile} on these data")
        return table
    shown = table.round({"recorded": 4, "re-run": 4, "difference": 4})
    print(f"\nrecorded against re-run (tolerance ±{TOLERANCE}):\n{shown.to_string(index=False)}")
    counts = table["verdict"].value_counts()
    print("\n" + ", ".join(f"{count} {verdict}" for verdict, count in counts.items()))
    return table
