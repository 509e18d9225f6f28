"""What came with the bundle: figures in print, and recorded runs beside this machine's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from aeflow_utils.data.reading import read_table
from aeflow_utils.errors import UserError
from aeflow_utils.paths import check_writable, paths, whole
from aeflow_utils.profiles import EVIDENCE
from aeflow_utils.study.results import find, grouped, run_title
from aeflow_utils.study.runs import CHECKPOINT, RunResult

SYSTEM_ERRORS = "system-demonstrations"  # table of what errors do to trained systems
RESULTS_THAT_COME = ("recorded", "published.csv", "peers.csv", "claims_in_print.csv")
# What a method without seeds may move from one processor to another.
SEEDLESS_MOVE = 0.001
EQUAL, AS_RERUN, BEYOND = "equal", "as a re-run", "beyond a seed"
COLUMNS = ["data set", "method", "seed", "metric", "recorded", "re-run", "difference"]
COLUMNS += ["a seed moves", "verdict"]


def published() -> pd.DataFrame:
    """Figures on record, long format: source, table, dataset, method, metric, value, kind, ...

    AUROC and the metrics of `metrics.CLASSIFICATION` are test metrics in percent. Others are
    explained by their rows: ``n_`` counts images or members, ``log_`` is a figure of a log.
    `kind` is ``printed``, ``second-hand`` (quoted by somebody else), ``draft`` or ``log`` (files of
    the study's repository that its article does not show) or ``derived`` (computed from others).
    """
    return read_table(paths().home / "results" / "published.csv")


def compare(profile: str) -> pd.DataFrame:
    """Recorded against re-run, metric by metric: `EQUAL`, `AS_RERUN` or `BEYOND`.

    A run that moved by no more than two seeds of its method differ, on this data set and in this
    metric, is as good as the recorded one: another seed would have moved as much.
    Only runs that exist on both sides; metrics lie in [0, 1]. Columns are `COLUMNS`.
    """
    recorded = {run.config.run_name: run for run in find(profile, "recorded")}
    both = [run for run in find(profile, "here") if run.config.run_name in recorded]
    of_all_seeds, rows = grouped(recorded.values()), []
    for key, runs in grouped(both).items():
        moves = seed_moves(of_all_seeds[key])
        for run in runs:
            names = (run.config.data.label, run_title(run), run.config.seed)
            rows += [(*names, *row) for row in _compared(recorded[run.config.run_name], run, moves)]
    return pd.DataFrame(rows, columns=COLUMNS)


def seed_moves(runs: list[RunResult]) -> dict[str, float]:
    """How much two seeds differ by in each metric, in 95 of 100 cases; of none, `SEEDLESS_MOVE`.

    A difference of two draws of a normal distribution whose deviation s is that of n runs:
    sqrt(2) s t, with Student's t of n - 1 degrees of freedom. (Their range is too small: of three
    runs one more lies outside it as often as not.) One seed does not say how far another would
    be: NaN.
    """
    if runs[0].config.method.deterministic:
        return dict.fromkeys(_metrics(runs[0]), SEEDLESS_MOVE)
    table = pd.DataFrame(map(_metrics, runs))
    return (np.sqrt(2) * t.ppf(0.975, len(runs) - 1) * table.std(ddof=1)).to_dict()


def _metrics(run: RunResult) -> dict[str, float]:
    """AUROCs as stored; F1 in the regime that every data set allows."""
    f1 = run.metrics["at_threshold"].get("normal_quantile", {}).get("f1", np.nan)
    return {name: run.metrics[name] for name in ("auroc", "val_auroc")} | {"f1": f1}


def _compared(
    recorded: RunResult, mine: RunResult, moves: dict[str, float]
) -> list[tuple[str, float, float, float, float, str]]:
    """Of each metric that either side has: both values, their difference, a seed's, the verdict."""
    before, after, rows = _metrics(recorded), _metrics(mine), []
    for metric, move in moves.items():
        a, b = before[metric], after[metric]
        verdict = EQUAL if a == b else AS_RERUN if abs(b - a) <= move else BEYOND
        if not np.isnan([a, b]).all():
            rows.append((metric, a, b, b - a, move, verdict))
    return rows


def record(profile: str) -> list[Path]:
    """Copy this machine's runs, without checkpoints, to the recorded ones; their new folders.

    All recorded runs of the same data set and method go, so that no table averages over runs of
    different settings.
    """
    mine, target = find(profile, "here"), paths().recorded(profile)
    check_writable(target)
    ignore, new = shutil.ignore_patterns(CHECKPOINT), {}
    for run in mine:
        partial = target / f".{run.folder.name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        new[shutil.copytree(run.folder, partial, ignore=ignore)] = target / run.folder.name
    for old in find(profile, "recorded"):  # only now, when all of the new are on the disk
        if grouped([old]).keys() & grouped(mine).keys():
            shutil.rmtree(old.folder)
    return [partial.rename(folder) for partial, folder in new.items()]


def record_demonstrations(profile: str) -> None:
    """Copy what was shown on trained systems to the recorded results."""
    demonstrations = paths().results(profile) / "tables" / f"{SYSTEM_ERRORS}.csv"
    with whole(paths().recorded(profile).parent / demonstrations.name) as partial:
        shutil.copy(demonstrations, partial)


def recorded_table(name: str) -> pd.DataFrame:
    """A table that was recorded beside the evidence's runs: ``trials`` or ``curves``.

    Raises:
        UserError: it is not there.
    """
    path = paths().recorded(EVIDENCE).parent / f"{name}.csv"
    if not path.exists():
        raise UserError(f"{path} is missing: it comes with the bundle, take it from there")
    return read_table(path)


def record_table(name: str, table: pd.DataFrame) -> None:
    """Write a table that `recorded_table` reads."""
    path = paths().recorded(EVIDENCE).parent / f"{name}.csv"
    with whole(path) as partial:
        table.to_csv(partial, index=False, float_format="%.7g")


def recorded_home(folder: Path) -> Path:
    """An empty home with nothing but what came with the bundle, as links.

    Notebooks that read results alone have the same outputs in it on every machine.
    """
    (folder / "results").mkdir(parents=True)
    for name in RESULTS_THAT_COME:
        (folder / "results" / name).symlink_to(paths().home / "results" / name)
    return folder
