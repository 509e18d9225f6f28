"""What came with the bundle: figures in print, and recorded runs beside this machine's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths
from aeflow_utils.profiles import EVIDENCE
from aeflow_utils.study.results import find, grouped, run_title
from aeflow_utils.study.runs import RunResult

SYSTEM_ERRORS = "system-demonstrations"  # table of what errors do to trained systems
RESULTS_THAT_COME = ("recorded", "published.csv", "peers.csv", "claims_in_print.csv")
# By how much a metric may move on another machine before it counts as different, by kind of method.
# From one processor to another, same seeds: likelihood models moved by up to 0.02; adversarial
# ones, whose training follows its own rounding, by up to 0.08, as far as another seed takes them.
TOLERANCES = {"trained": 0.03, "gan": 0.1, "untrained": 0.03, "trivial": 0.03}
COLUMNS = ["data set", "method", "seed", "metric", "recorded", "re-run", "difference", "verdict"]


def published() -> pd.DataFrame:
    """Figures on record, long format: source, table, dataset, method, metric, value, kind, ...

    AUROC and the metrics of `metrics.CLASSIFICATION` are test metrics in percent. Others are
    explained by their rows: ``n_`` counts images or members, ``log_`` is a figure of a log.
    `kind` is ``printed``, ``second-hand`` (quoted by somebody else), ``draft`` or ``log`` (files of
    the study's repository that its article does not show) or ``derived`` (computed from others).
    """
    return pd.read_csv(paths().home / "results" / "published.csv")


def compare(profile: str) -> pd.DataFrame:
    """Recorded against re-run, metric by metric: equal, within tolerance, or different.

    Only runs that exist on both sides; metrics lie in [0, 1]. Columns are `COLUMNS`.
    """
    recorded = {run.config.run_name: run for run in find(profile, "recorded")}
    both = [run for run in find(profile, "here") if run.config.run_name in recorded]
    rows = [row for run in both for row in _compared(recorded[run.config.run_name], run)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _metrics(run: RunResult) -> dict[str, float]:
    """AUROCs as stored; F1 in the regime that every data set allows."""
    f1 = run.metrics["at_threshold"].get("normal_quantile", {}).get("f1", np.nan)
    return {name: run.metrics[name] for name in ("auroc", "val_auroc")} | {"f1": f1}


def _compared(recorded: RunResult, mine: RunResult) -> list[tuple]:
    """A row a metric that either side has."""
    names = (mine.config.data.label, run_title(mine), mine.config.seed)
    before, after, rows = _metrics(recorded), _metrics(mine), []
    for metric in before:
        a, b = before[metric], after[metric]
        within = abs(b - a) <= TOLERANCES[mine.config.method.kind]
        verdict = "equal" if a == b else "within tolerance" if within else "different"
        if not np.isnan([a, b]).all():
            rows.append((*names, metric, a, b, b - a, verdict))
    return rows


def record(profile: str) -> list[Path]:
    """Copy this machine's runs, without checkpoints, to the recorded ones; their new folders.

    All recorded runs of the same data set and method go, so that no table averages over runs of
    different settings.
    """
    mine, target = find(profile, "here"), paths().recorded(profile)
    for old in find(profile, "recorded"):
        if grouped([old]).keys() & grouped(mine).keys():
            shutil.rmtree(old.folder)
    ignore = shutil.ignore_patterns("checkpoint.safetensors")
    return [shutil.copytree(run.folder, target / run.folder.name, ignore=ignore) for run in mine]


def record_demonstrations(profile: str) -> None:
    """Copy what was shown on trained systems to the recorded results."""
    demonstrations = paths().results(profile) / "tables" / f"{SYSTEM_ERRORS}.csv"
    shutil.copy(demonstrations, paths().recorded(profile).parent)


def recorded_table(name: str) -> pd.DataFrame:
    """A table that was recorded beside the evidence's runs: ``trials`` or ``curves``.

    Raises:
        UserError: it is not there.
    """
    path = paths().recorded(EVIDENCE).parent / f"{name}.csv"
    if not path.exists():
        raise UserError(f"{path} is missing: it comes with the bundle, take it from there")
    return pd.read_csv(path)


def record_table(name: str, table: pd.DataFrame) -> None:
    """Write a table that `recorded_table` reads."""
    path = paths().recorded(EVIDENCE).parent / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, float_format="%.7g")


def recorded_home(folder: Path) -> Path:
    """An empty home with nothing but what came with the bundle, as links.

    Notebooks that read results alone have the same outputs in it on every machine.
    """
    (folder / "results").mkdir(parents=True)
    for name in RESULTS_THAT_COME:
        (folder / "results" / name).symlink_to(paths().home / "results" / name)
    return folder
