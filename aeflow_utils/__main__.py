"""Command line: ``python -m aeflow_utils data|run|folder|plan|grid|report|record|reproduce``."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from aeflow_utils.article import notebooks
from aeflow_utils.config import PROFILES, FolderConfig, Profile, RunConfig, get_profile
from aeflow_utils.data import cache, check, downloads
from aeflow_utils.data.catalog import SPECS, get_spec
from aeflow_utils.data.table import list_images
from aeflow_utils.errors import UserError
from aeflow_utils.methods import get_method
from aeflow_utils.own import report as own_report
from aeflow_utils.paths import paths
from aeflow_utils.show import tables
from aeflow_utils.study import experiments, recording, results
from aeflow_utils.study import grid as ablations
from aeflow_utils.study.runs import run_folder
from aeflow_utils.study.training import TrainingError

PROBLEMS_SHOWN = 20


def main(arguments: list[str] | None = None) -> int:
    """Run one command; a user's error is one line on stderr and exit status 2."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except (UserError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped: finished runs are kept, run the same command to go on", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m aeflow_utils", description=__doc__)
    commands = parser.add_subparsers(required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--profile", default="", help=f"{', '.join(PROFILES)}; else AEFLOW_PROFILE")

    data = commands.add_parser("data", parents=[shared], help="which data sets are here")
    data.add_argument("action", choices=["list", "check", "fetch", "prepare", "cached", "clear"])
    data.add_argument("name", nargs="?", default="")
    data.set_defaults(command=_data)

    run = commands.add_parser("run", parents=[shared], help="train and score one system")
    run.add_argument("--index", type=int, help="line of `plan` to run, from 0: for a job array")
    run.add_argument("--grid", action="store_true", help="of `plan --grid`")
    run.add_argument("--dataset", default="elpv")
    run.add_argument("--category", default="", help="product of a set that has several")
    run.add_argument("--split", default="", help="named alternative to the study's split")
    run.add_argument("--model", default="ae_flow")
    run.add_argument("--variant", default="", help="row of the study, e.g. resnet_like")
    run.add_argument("--seed", type=int, default=0)
    run.set_defaults(command=_run)

    own = commands.add_parser("folder", parents=[shared], help="AE-FLOW on your own images")
    own.add_argument(
        "source", help="folder with train/ and test/, or normal and abnormal; or a CSV"
    )
    own.add_argument("--name", default="", help="for the report; else the folder's")
    own.add_argument("--normal", nargs="+", default=(), help="folders or labels that are normal")
    own.add_argument("--abnormal", nargs="+", default=(), help="those that are; else all others")
    own.set_defaults(command=_folder)

    plan = commands.add_parser("plan", parents=[shared], help="list the study's runs")
    plan.add_argument("--grid", action="store_true", help="ablations, folds and members instead")
    plan.set_defaults(command=_plan)

    for name, command, text in (
        ("grid", _grid, "the study, ablations, cross-validation, ensemble: every run"),
        ("record", _record, "make this machine's runs and notebooks the recorded ones"),
        ("reproduce", _reproduce, "everything: runs, notebooks, article, comparison"),
    ):
        commands.add_parser(name, parents=[shared], help=text).set_defaults(command=command)

    report = commands.add_parser("report", parents=[shared], help="tables from the runs")
    report.add_argument("--regime", default="val_f1", help=", ".join(results.REGIMES))
    report.add_argument("--verify", action="store_true", help="only compare; fail if different")
    report.set_defaults(command=_report)
    return parser


def _data(options: argparse.Namespace) -> None:
    if options.action == "check":
        return _data_check(options.name)
    if options.action == "fetch":
        return _data_fetch(options.name)
    if options.action == "prepare":
        return _data_prepare(options.name, get_profile(options.profile))
    if options.action in ("cached", "clear"):
        return _data_cached(options.name, clear=options.action == "clear")
    for name, spec in SPECS.items():
        counts = check.counts(name)
        state = check.describe(counts) if counts["found"].any() else f"absent: {spec.how_to_get}"
        print(f"{name:12} {state.replace(chr(10), '; ')}")


def _data_check(name: str) -> None:
    counts = check.counts(name)
    print(f"{counts.to_string(index=False)}\n\n{check.describe(counts)}")
    found = check.problems(name)
    print(f"\n{len(found)} images with a problem")
    if len(found):
        print(found.head(PROBLEMS_SHOWN).to_string(index=False))
    if len(found) > PROBLEMS_SHOWN:
        print(f"... and {len(found) - PROBLEMS_SHOWN} more")


def _data_fetch(name: str) -> None:
    spec = get_spec(name)
    if not spec.archives:
        raise UserError(f"{spec.title} cannot be fetched by a program: {spec.how_to_get}")
    target = paths().data / spec.folders[0]
    print(f"{spec.title}: {spec.citation}\nlicence: {spec.licence}\ninto: {target}", flush=True)
    for archive in spec.archives:
        downloads.unpack(downloads.fetch(archive, paths().data / "downloads"), target)
    print(check.counts(name).to_string(index=False))


def _data_prepare(name: str, profile: Profile) -> None:
    """Decode and encode the images that the study's runs read, so that they start at once.

    Stopped halfway, it goes on where it was.
    """
    start, spec = time.perf_counter(), get_spec(name)
    configs = experiments.plan(profile, datasets=(name,))
    if not configs:
        raise UserError(f"{name} is not here: {spec.how_to_get}")
    experiments.prepare(configs)
    seconds = time.perf_counter() - start
    print(f"{name} is prepared for profile {profile.name} in {seconds:.1f} s: {paths().cache}")


def _data_cached(name: str, clear: bool) -> None:
    """What the cache holds and how much room it takes; with `clear`, that is then gone."""
    folder = paths().cache
    arrays = (cache.remove_arrays if clear else cache.stored_arrays)(folder, name)
    for array in arrays:
        key = array.key
        of = "-".join(part for part in (key.get("dataset", "?"), key.get("category", "")) if part)
        what = key.get("what")
        if "encoder" in key:
            arithmetic = key.get("arithmetic", "not fused")
            what = f"{key['encoder']}, stride {key['stride']}, {arithmetic}"
        print(f"{array.n_bytes / 1e6:10,.1f} MB  {of:12} {key.get('size', '?')} px  {what}")
    total = sum(array.n_bytes for array in arrays) / 1e6
    if clear:
        print(f"{total:10,.1f} MB freed in {folder}; runs that need it will compute it again")
    else:
        print(f"{total:10,.1f} MB in {folder}; `data clear` removes it")


def _run(options: argparse.Namespace) -> None:
    profile = get_profile(options.profile)
    choose = _config_from_options if options.index is None else _config_from_plan
    result = experiments.run_all([choose(profile, options)])[0]
    print(f"{result.folder}\ntest AUROC {result.metrics['auroc']:.4f}")


def _config_from_plan(profile: Profile, options: argparse.Namespace) -> RunConfig:
    configs = _planned(profile, options)
    if not 0 <= options.index < len(configs):
        raise UserError(f"--index {options.index}: the plan has {len(configs)} runs, from 0")
    return configs[options.index]


def _config_from_options(profile: Profile, options: argparse.Namespace) -> RunConfig:
    variants = get_method(options.model).variants
    variant = options.variant or next(iter(variants))
    if variant not in variants:
        raise UserError(f"unknown variant '{variant}' of {options.model}: {', '.join(variants)}")
    return RunConfig.build(
        profile,
        options.dataset,
        options.model,
        options.seed,
        options.category,
        variant,
        options.split,
        **variants[variant].options,
    )


def _folder(options: argparse.Namespace) -> None:
    source = Path(options.source).expanduser().resolve()
    name = options.name or re.sub(r"[^\w.-]+", "-", source.stem).strip("-.") or "images"
    profile = get_profile(options.profile)
    data = FolderConfig(
        source=str(source),
        name=name,
        image_size=profile.image_size,
        limit=profile.limit,
        normal=tuple(options.normal),
        abnormal=tuple(options.abnormal),
        skip_unreadable=os.environ.get("AEFLOW_SKIP_UNREADABLE", "") == "1",
    )
    listed = list_images(data)
    print(listed.table.value_counts(["split", "kind"], sort=False).to_string())
    page = own_report.study_own_images(listed, profile)
    print(f"\nmost anomalous first: {page}")


def _planned(profile: Profile, options: argparse.Namespace) -> list[RunConfig]:
    return ablations.grid_plan(profile) if options.grid else experiments.plan(profile)


def _plan(options: argparse.Namespace) -> None:
    for config in _planned(get_profile(options.profile), options):
        done = run_folder(config).exists()
        print(f"{'done   ' if done else 'missing'} {config.run_name}")


def _grid(options: argparse.Namespace) -> None:
    """The study first, then what surrounds it; finished runs are kept, so it can be stopped."""
    profile, start = get_profile(options.profile), time.perf_counter()
    for title, configs in (
        ("study", experiments.plan(profile)),
        ("ablations, folds and members", ablations.grid_plan(profile)),
    ):
        done = experiments.run_all(configs)
        print(
            f"{title}: {len(done)} runs, {(time.perf_counter() - start) / 60:.1f} min", flush=True
        )


def _report(options: argparse.Namespace) -> int:
    profile = get_profile(options.profile).name
    if options.verify:
        table = notebooks.print_comparison(profile)
        return int(table.empty or (table["verdict"] == "different").any())
    table = results.summary(results.find(profile), options.regime)
    print(f"profile {profile}; threshold: {results.REGIMES[options.regime]}")
    print(tables.format_summary(table).to_string())
    return 0


def _record(options: argparse.Namespace) -> None:
    profile = get_profile(options.profile)
    print(f"{len(recording.record(profile.name))} runs recorded")
    # Committed notebooks must show no image that may not be redistributed.
    os.environ.pop("AEFLOW_DATA", None)
    os.environ["AEFLOW_PROFILE"] = profile.name
    os.environ["TQDM_DISABLE"] = "1"  # a frozen progress bar tells a reader nothing
    notebooks.execute_all(notebooks.notebook_files(), notebooks.execute_in_place)
    recording.record_demonstrations(profile.name)
    # Those that read results alone are checked strictly, so nothing of this machine may show.
    files = [paths().home / "notebooks" / name for name in notebooks.READ_RESULTS_ALONE]
    with TemporaryDirectory() as folder:
        os.environ["AEFLOW_HOME"] = str(recording.recorded_home(Path(folder)))
        for file in files:
            notebooks.execute_in_place(file)


def _reproduce(options: argparse.Namespace) -> None:
    notebooks.reproduce(get_profile(options.profile))


if __name__ == "__main__":
    sys.exit(main())
