"""What ``python -m aeflow_utils run``, ``plan``, ``status`` and ``prepare`` say and do.

Nothing here imports torch before there is something to compute: help comes at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aeflow_utils.config import RunConfig
from aeflow_utils.errors import UserError
from aeflow_utils.methods import get_method
from aeflow_utils.paths import expanded, paths, whole
from aeflow_utils.profiles import get_profile

if TYPE_CHECKING:
    import pandas as pd

ARRAY_LIMIT = 1000  # Slurm's usual MaxArraySize is 1001
Options = argparse.Namespace
Add = Callable[[str, object, str], argparse.ArgumentParser]

# What `run` does where it is told nothing.
_RUN = {
    "dataset": "elpv",
    "category": "",
    "split": "",
    "model": "ae_flow",
    "variant": "",
    "seed": 0,
}


def add_commands(add: Add) -> None:
    """The commands, by `add` of their name, function and line of help."""
    _add_run_options(add("run", run, "train and score one system, or a frozen plan's"))
    planning = add("plan", plan, "list the study's runs, or freeze them for a cluster")
    planning.add_argument("--grid", action="store_true", help="ablations and folds instead")
    for name, kind in {"datasets": str, "methods": str, "seeds": int}.items():
        planning.add_argument(f"--{name}", nargs="+", type=kind, default=[], help="these alone")
    planning.add_argument("--needs", action="store_true", help="say what it will take")
    planning.add_argument("--out", default="", help="file to freeze the plan in, for `run --plan`")
    planning.add_argument(
        "--tasks", type=int, default=ARRAY_LIMIT, help="most tasks that a job array takes"
    )
    telling = add("status", status, "what has become of a frozen plan")
    preparing = add("prepare", prepare, "decode and encode what a frozen plan's runs read")
    for parser in (telling, preparing):
        parser.add_argument("plan", help="file that `plan --out` wrote")
        parser.add_argument("--any-code", action="store_true", help="made by other code, too")
    todo = ("tasks", "features", "profile")
    telling.add_argument("--todo", choices=todo, help="of what is not done, for scripts")
    preparing.add_argument("--features", default="", help="these alone: 3, or 0-3,7")


def _add_run_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--plan", default="", help="a frozen plan; all of it, or of it")
    run.add_argument("--rows", default="", help="these rows: 3, or 0-3,7")
    run.add_argument("--task", type=int, help="the rows of this task")
    run.add_argument("--any-code", action="store_true", help="a plan made by other code, too")
    run.add_argument("--jobs", type=int, default=0, help="runs at a time; 0: as the profile says")
    texts = {"category": "product of a set that has several"}
    texts |= {"split": "named alternative to the study's split"}
    texts |= {"variant": "row of the study, e.g. resnet_like"}
    for name, default in _RUN.items():
        run.add_argument(f"--{name}", default=default, type=type(default), help=texts.get(name))


def run(options: Options) -> int:
    """Train and score one system, or a plan's rows."""
    if options.plan:
        return _run_plan(options)
    from aeflow_utils.study.experiments import run_all

    if options.rows or options.task is not None:
        raise UserError("--rows and --task are of a plan: name it with --plan")
    (result,) = run_all([_config_from_options(options)])
    print(f"{result.folder}\ntest AUROC {result.metrics['auroc']:.4f}")
    return 0


def _run_plan(options: Options) -> int:
    """Rows of a frozen plan; 1 where some could not be made, which `status` tells."""
    from aeflow_utils.study import manifest

    given = [name for name, default in _RUN.items() if getattr(options, name) != default]
    if given:
        raise UserError(f"--plan takes whole rows of a plan: leave out --{', --'.join(given)}")
    table = manifest.read_manifest(Path(options.plan), options.any_code)
    if options.task is not None:
        table = table[table["task"] == options.task]
    if options.rows:
        table = table[table["row"].isin(manifest.from_ranges(options.rows))]
    if table.empty:
        raise UserError(f"{options.plan} has no such row: `status {options.plan}` counts them")
    errors = manifest.work_off(list(table["config"]), options.jobs)
    for name, error in errors.items():
        print(f"failed: {name}: {error}", file=sys.stderr)
    print(f"{len(table) - len(errors)} of {len(table)} runs done")
    return int(bool(errors))


def _config_from_options(options: Options) -> RunConfig:
    variants = get_method(options.model).variants
    variant = options.variant or next(iter(variants))
    if variant not in variants:
        raise UserError(f"unknown variant '{variant}' of {options.model}: {', '.join(variants)}")
    profile, rest = get_profile(options.profile), variants[variant].options
    which = (options.seed, options.category, variant, options.split)
    return RunConfig.build(profile, options.dataset, options.model, *which, **rest)


def _planned(options: Options) -> list[RunConfig]:
    from aeflow_utils.data.catalog import SPECS, get_spec
    from aeflow_utils.study.experiments import plan
    from aeflow_utils.study.grid import grid_plan

    for name in options.datasets:
        get_spec(name)
    for name in options.methods:
        get_method(name)
    make, profile = grid_plan if options.grid else plan, get_profile(options.profile)
    configs = [
        config
        for config in make(profile, datasets=options.datasets or SPECS)
        if not options.methods or config.model.name in options.methods
        if not options.seeds or config.seed in options.seeds
    ]
    if not configs:
        raise UserError("there is no such run to plan: `data list` says which data sets are here")
    return configs


def plan(options: Options) -> None:
    """List the runs, or write them into ``--out``."""
    configs = _planned(options)
    if options.needs:
        _tell_needs(configs)
    elif options.out:
        _freeze(configs, expanded(options.out), options.tasks)
    else:
        from aeflow_utils.study.runs import run_folder

        for config in configs:
            done = run_folder(config).exists()
            print(f"{'done   ' if done else 'missing'} {config.run_name}")


def _tell_needs(configs: list[RunConfig]) -> None:
    """What runs will fetch, take and hold, before they start."""
    from aeflow_utils.data.encoders import download_of
    from aeflow_utils.study import costs

    encoders = dict.fromkeys(config.model.encoder for config in configs)
    fetched = [each for each in map(download_of, encoders) if each]
    seconds = costs.expected_seconds(configs, costs.finished_runs({configs[0].profile}))
    size = costs.CARD_GB[configs[0].train.bf16]
    lines = {
        "runs": f"{len(configs)}",
        "to fetch": ", ".join(fetched) or "nothing",
        "cache": f"{costs.cache_bytes(configs) / 1e9:.1f} GB: {paths().cache}",
        "memory": f"up to {size} GB of a card a run at the paper's size: one of 16 GB holds "
        f"{int(16 // size)} at a time (--jobs)",
        "time": f"about {seconds.sum() / 3600:,.1f} h by one worker of the recorded machine",
    }
    for name, told in lines.items():
        print(f"{name:9} {told}")


def _freeze(configs: list[RunConfig], file: Path, limit: int) -> None:
    from aeflow_utils.study import manifest

    table = manifest.freeze(configs, limit)
    with whole(file) as partial:
        table.to_csv(partial, index=False)
    hours, longest = table["seconds"].sum() / 3600, table["seconds"].max() / 3600
    print(f"{file}: {len(table)} runs in {table['task'].nunique()} tasks")
    print(f"about {hours:.1f} h by one worker of the recorded machine, the longest {longest:.1f} h")


def status(options: Options) -> None:
    """Count the rows by state, and say how to make the rest."""
    from aeflow_utils.study import manifest

    found = manifest.status(manifest.read_manifest(Path(options.plan), options.any_code))
    left = found[found["state"] != "done"]
    if options.todo == "profile":
        print(found["config"].iloc[0].profile)
    elif options.todo:
        print(manifest.as_ranges(list(left[{"tasks": "task"}.get(options.todo, options.todo)])))
    else:
        _tell(found, left, options.plan)


def _tell(found: pd.DataFrame, left: pd.DataFrame, plan: str) -> None:
    from aeflow_utils.study import manifest

    for row in left[left["state"] == "failed"].itertuples():
        print(f"row {row.row} failed: {row.run}: {row.error}")
    print(", ".join(f"{count} {state}" for state, count in manifest.counts(found).items()))
    again = left.loc[left["state"] != "running", "row"]
    if len(again):
        rows = manifest.as_ranges(list(again))
        print(f"the rest: python -m aeflow_utils run --plan {plan} --rows {rows}")


def prepare(options: Options) -> None:
    """Fill the cache for a plan's runs."""
    from aeflow_utils.study import experiments, manifest

    table = manifest.read_manifest(Path(options.plan), options.any_code)
    if options.features:
        table = table[table["features"].isin(manifest.from_ranges(options.features))]
    experiments.prepare(list(table["config"]))
