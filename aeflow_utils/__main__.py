"""Command line: ``python -m aeflow_utils --help`` lists the commands.

A command imports what it needs when it runs: help and short answers wait for no torch.
"""

from __future__ import annotations

from aeflow_utils.errors import end_at_once, on_stop

if __name__ == "__main__":
    on_stop(end_at_once)  # what is imported next takes a moment, in which Ctrl-C may come

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from aeflow_utils.errors import STOPPED, STOPPED_STATUS, TrainingError, UserError, interrupt
from aeflow_utils.own import commands as own
from aeflow_utils.paths import check_writable, paths
from aeflow_utils.profiles import EVIDENCE, PROFILES, Profile, get_profile
from aeflow_utils.study import commands as runs

Options = argparse.Namespace


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's error is one line on stderr and exit status 2."""
    try:
        options = _parser().parse_args(arguments)
        return options.command(options) or 0
    except (UserError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:  # the install reads results, and this wants to run
        print(f"error: {error.name} is not installed: pip install '.[read,run]'", file=sys.stderr)
        return 2
    except OSError as error:  # a disk that is full, a folder that is read-only, a name too long
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return STOPPED_STATUS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aeflow_utils", description=__doc__)
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--profile", default="", help=f"{', '.join(PROFILES)}; else AEFLOW_PROFILE")

    def add(name: str, command: object, text: str) -> argparse.ArgumentParser:
        found = commands.add_parser(name, parents=[shared], help=text)
        found.set_defaults(command=command)
        return found

    data = add("data", _data, "which data sets are here")
    data.add_argument("action", choices=_DATA)
    data.add_argument("name", nargs="?", default="")
    runs.add_commands(add)
    own.add_commands(add)
    add("grid", _grid, "the study, ablations, cross-validation, ensemble: every run")
    overnight = add("overnight", _overnight, "the article's evidence: every run, resumable")
    overnight.add_argument("datasets", nargs="*", help="these alone, in the order of the study")
    add("trials", _trials, "choose the rates anew, by the loss on validation normals")
    add("curves", _curves, "loss and AUROC by step, for the record")
    record = add("record", _record, "make this machine's runs and notebooks the recorded ones")
    record.add_argument("--runs-alone", action="store_true", help="and no notebooks")
    notebooks = add("notebooks", _notebooks, "run notebooks, and the article into a page")
    notebooks.add_argument("names", nargs="+", help="such as 06, or 06_results_tables")
    notebooks.add_argument("--set", nargs="+", default=[], help="parameters, as name=value")
    add("article", _article, "the committed article as a page, docs/index.html")
    add("reproduce", _reproduce, "everything: runs, notebooks, article, comparison")
    tables = add("tables", _tables, "the study's table, from the runs that are here")
    tables.add_argument("--regime", default="val_f1", help="how the threshold is found")
    tables.add_argument("--verify", action="store_true", help="only compare; fail if different")
    return parser


def _data_prepare(profile: Profile, name: str) -> None:
    """Decode and encode what the study's runs read; stopped halfway, it goes on where it was."""
    from aeflow_utils.data.catalog import get_spec
    from aeflow_utils.study.experiments import plan, prepare

    start, spec = time.perf_counter(), get_spec(name)
    configs = plan(profile, datasets=(name,))
    if not configs:
        raise UserError(f"{name} is not here: {spec.how_to_get}")
    prepare(configs)
    took = f"in {time.perf_counter() - start:.1f} s: {paths().cache}"
    print(f"{name} is prepared for profile {profile.name} {took}")


_DATA = ("list", "check", "fetch", "prepare", "cached", "clear")


def _data(options: Options) -> None:
    from aeflow_utils.data import commands

    actions = {
        "list": commands.list_all,
        "check": commands.check_one,
        "fetch": commands.fetch,
        "prepare": partial(_data_prepare, get_profile(options.profile)),
        "cached": commands.cached,
        "clear": partial(commands.cached, clear=True),
    }
    actions[options.action](options.name)


def _grid(options: Options) -> None:
    """The study first, then what surrounds it; finished runs are kept, so it can be stopped."""
    from aeflow_utils.study.experiments import plan, run_all
    from aeflow_utils.study.grid import grid_plan

    profile, start = get_profile(options.profile), time.perf_counter()
    for title, make in (("study", plan), ("ablations, folds and members", grid_plan)):
        n_runs = len(run_all(make(profile)))
        print(f"{title}: {n_runs} runs, {(time.perf_counter() - start) / 60:.1f} min", flush=True)


def _overnight(options: Options) -> None:
    from aeflow_utils.data.catalog import SPECS, get_spec
    from aeflow_utils.study.overnight import run_overnight

    for name in options.datasets:
        get_spec(name)
    run_overnight(options.datasets or SPECS)


def _trials(options: Options) -> None:
    from aeflow_utils.study.recording import record_table
    from aeflow_utils.study.trials import run_trials

    table = run_trials()
    record_table("trials", table)
    print(table.to_string(index=False))


def _curves(options: Options) -> None:
    from aeflow_utils.study.curves import run_curves
    from aeflow_utils.study.recording import record_table

    record_table("curves", run_curves())


def _tables(options: Options) -> int:
    from aeflow_utils.show.tables import format_summary, print_comparison
    from aeflow_utils.study.recording import BEYOND
    from aeflow_utils.study.results import REGIMES, find, summary

    profile = get_profile(options.profile).name
    if options.verify:
        table = print_comparison(profile)
        return int(table.empty or (table["verdict"] == BEYOND).any())
    table = summary(find(profile), options.regime)
    print(f"profile {profile}; threshold: {REGIMES[options.regime]}")
    print(format_summary(table).to_string())
    return 0


def _record(options: Options) -> None:
    from aeflow_utils.article import notebooks, system_errors
    from aeflow_utils.study import machine, recording

    profile = get_profile(options.profile)
    if not options.runs_alone:
        for name in ("notebooks", "docs"):
            check_writable(paths().home / name)
    print(f"{len(recording.record(profile.name))} runs recorded")
    if profile.name == EVIDENCE:  # needs trained weights, which are not recorded
        system_errors.demonstrate(profile)
        recording.record_demonstrations(profile.name)
    if options.runs_alone:
        return
    # Committed notebooks must show no image that may not be redistributed.
    os.environ.pop("AEFLOW_DATA", None)
    os.environ["AEFLOW_PROFILE"] = profile.name
    os.environ["TQDM_DISABLE"] = "1"  # a frozen progress bar tells a reader nothing
    notebooks.execute_all(notebooks.notebook_files(), notebooks.execute_in_place)
    # Those that read results alone are checked strictly, so nothing of this machine may show.
    files = [paths().home / "notebooks" / name for name in notebooks.READ_RESULTS_ALONE]
    with TemporaryDirectory() as folder:
        home = str(recording.recorded_home(Path(folder)))
        with machine.environment(AEFLOW_HOME=home):
            for file in files:
                notebooks.execute_in_place(file)
    _article(options)


def _notebooks(options: Options) -> None:
    from aeflow_utils.article.notebooks import execute_some

    parameters = dict(each.split("=", 1) for each in options.set if "=" in each)
    if len(parameters) < len(options.set):
        raise UserError(f"--set {' '.join(options.set)}: say name=value")
    for written in execute_some(options.names, get_profile(options.profile), parameters):
        print(written)


def _article(options: Options) -> None:
    from aeflow_utils.article.notebooks import ARTICLE
    from aeflow_utils.article.page import render_html

    home = paths().home
    print(render_html(home / "notebooks" / ARTICLE, home / "docs" / "index.html"))


def _reproduce(options: Options) -> None:
    from aeflow_utils.article.notebooks import reproduce

    reproduce(get_profile(options.profile))


def command_line() -> int:
    """`main`, in a process of its own: SIGTERM stops it as Ctrl-C does."""
    on_stop(interrupt)
    return main()


if __name__ == "__main__":
    sys.exit(command_line())
