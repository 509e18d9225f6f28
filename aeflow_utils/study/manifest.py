"""A frozen list of runs, one a row, that any number of processes work off in any order.

A row holds its whole configuration: no process plans anew, whatever data it finds. What has become
of it is seen in the run folders.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import Timeout

from aeflow_utils.config import RunConfig
from aeflow_utils.data.cache import key_hash
from aeflow_utils.data.reading import reading
from aeflow_utils.errors import TrainingError, UserError
from aeflow_utils.paths import code_version, locked
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.costs import expected_seconds, finished_runs
from aeflow_utils.study.experiments import prepare, run
from aeflow_utils.study.machine import in_parallel
from aeflow_utils.study.runs import check_results, failure_file, is_begun, lock_file, run_folder

COLUMNS = ["row", "task", "features", "run", "seconds", "code", "config", "plan"]
NUMBERS = {"row": int, "task": int, "features": int, "seconds": float}
STATES = ("done", "running", "failed", "stopped", "missing")


def freeze(configs: list[RunConfig], limit: int) -> pd.DataFrame:
    """The manifest of some runs, `COLUMNS`, a row each.

    ``task`` is the job that works off the row, one a row or, beyond `limit`, several of about equal
    cost; ``features`` says which rows read the same ones; ``seconds`` is what one worker is
    expected to take; ``plan`` is a hash of all rows.
    """
    seconds = expected_seconds(configs, finished_runs({config.profile for config in configs}))
    groups: dict[tuple, int] = {}
    for config in configs:
        groups.setdefault(_features_of(config), len(groups))
    table = pd.DataFrame(
        {
            "row": range(len(configs)),
            "task": _dealt(seconds, limit),
            "features": [groups[_features_of(config)] for config in configs],
            "run": [config.run_name for config in configs],
            "seconds": seconds.round(1),
            "code": code_version(),
            "config": [json.dumps(config.to_dict()) for config in configs],
        },
        columns=COLUMNS[:-1],
    )
    return table.assign(plan=_hash_of(table))


def _hash_of(table: pd.DataFrame) -> str:
    return key_hash({"rows": table[COLUMNS[:-1]].to_csv(index=False)})


def _features_of(config: RunConfig) -> tuple:
    return replace(config.data, fold=0), config.model.encoder, config.train.bf16


def _dealt(seconds: np.ndarray, limit: int) -> np.ndarray:
    """A task for each run: the longest first, each to the task with least to do."""
    if len(seconds) <= limit:
        return np.arange(len(seconds))
    tasks, load = np.zeros(len(seconds), int), np.zeros(limit)
    for row in np.argsort(-seconds, kind="stable"):
        tasks[row] = load.argmin()
        load[tasks[row]] += max(seconds[row], 1e-6)
    return tasks


def read_manifest(file: Path, any_code: bool = False) -> pd.DataFrame:
    """A manifest, with each row's `RunConfig` in the column ``config``.

    Raises:
        UserError: it is no manifest, was cut or edited, or was made by other code than this.
    """
    with reading(file, f"it is no plan, make one with  plan --out {file}"):
        table = pd.read_csv(file, keep_default_na=False, dtype=str)
        if list(table) != COLUMNS or set(table["plan"]) != {_hash_of(table)}:
            raise ValueError("its rows are not as they were written")
        table = table.astype(NUMBERS)
        configs = [RunConfig.from_dict(json.loads(text)) for text in table["config"]]
        if [config.run_name for config in configs] != list(table["run"]):
            raise ValueError("its rows and their configurations do not agree")
    others = set(table["code"]) - {code_version()}
    if others and not any_code:
        raise UserError(
            f"{file} was made by other code ({', '.join(sorted(others))}) than this "
            f"({code_version()}): make it anew, or say --any-code"
        )
    return table.assign(config=configs)


def state_of(config: RunConfig) -> str:
    """One of `STATES`: of a run that was ``stopped`` something is there to go on with."""
    if run_folder(config).exists():
        return "done"
    if _is_locked(lock_file(config)):
        return "running"
    if failure_file(config).exists():
        return "failed"
    return "stopped" if is_begun(config) else "missing"


def _is_locked(file: Path) -> bool:
    if not file.exists():
        return False
    try:
        with locked(file, blocking=False):
            return False
    except Timeout:
        return True
    except UserError:  # who cannot lock it makes no run there
        return False


def status(table: pd.DataFrame) -> pd.DataFrame:
    """The manifest with each row's ``state`` and, where it failed, the ``error``."""
    states = [state_of(config) for config in table["config"]]
    errors = [
        failure_file(config).read_text(encoding="utf-8").strip() if state == "failed" else ""
        for config, state in zip(table["config"], states, strict=True)
    ]
    return table.assign(state=states, error=errors)


def work_off(configs: list[RunConfig], jobs: int = 0) -> dict[str, str]:
    """Make each run that is not there, whatever becomes of the others.

    Several processes share a list: each takes what no other is making, and waits for that at the
    end.

    Args:
        jobs: runs at a time; 0 is what the profile says.

    Returns:
        {name of a run that could not be made: why}.
    """
    check_results(config for config in configs if not run_folder(config).exists())
    workers = min(jobs or PROFILES[configs[0].profile].workers or os.cpu_count(), len(configs))
    if workers > 1:
        prepare(configs)
        arguments = [(config,) for config in configs]
        list(in_parallel(_try, arguments, f"runs, {workers} at a time", workers))
    else:
        others = []
        for config in configs:
            if state_of(config) == "running":
                others.append(config)
            else:
                _try(config)
        for config in others:
            _try(config)
    failed = [config for config in configs if not run_folder(config).exists()]
    return {config.run_name: failure_file(config).read_text().strip() for config in failed}


def _try(config: RunConfig) -> None:
    with suppress(UserError, TrainingError):  # the run has written it down
        run(config)


def counts(found: pd.DataFrame) -> dict[str, int]:
    """How many rows of a `status` are in each of `STATES`."""
    counted = Counter(found["state"])
    return {state: counted[state] for state in STATES}


def as_ranges(numbers: list[int]) -> str:
    """Numbers as job arrays take them: ``0-3,7``; `from_ranges` inverts it."""
    parts: list[list[int]] = []
    for number in sorted(set(numbers)):
        if parts and number == parts[-1][-1] + 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def from_ranges(text: str) -> list[int]:
    """The numbers of ``0-3,7``.

    Raises:
        UserError: it is not of this form.
    """
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise UserError(f"'{text}' does not name rows: say 3, or 0-3,7")
    ends = [list(map(int, part.split("-"))) for part in text.split(",")]
    return [number for part in ends for number in range(part[0], part[-1] + 1)]
