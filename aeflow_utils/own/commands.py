"""What ``python -m aeflow_utils fit``, ``score``, ``export``, ``report``, ``folder`` say and do.

Nothing here imports torch before there is something to compute: help comes at once.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from aeflow_utils.config import FolderConfig
from aeflow_utils.errors import UserError
from aeflow_utils.paths import expanded, paths, switch
from aeflow_utils.profiles import get_profile

if TYPE_CHECKING:
    from aeflow_utils.data.table import ImageList

Options = argparse.Namespace
Add = Callable[[str, object, str], argparse.ArgumentParser]


def add_commands(add: Add) -> None:
    """The commands, by `add` of their name, function and line of help."""
    fitting = add("fit", fit, "fit a detector to your own images")
    _add_source(fitting)
    _add_detector(fitting)
    fitting.add_argument("--out", required=True, help="folder for the model")
    scoring = add("score", score, "score images by a fitted model")
    scoring.add_argument("model", help="folder that `fit` wrote")
    scoring.add_argument("images", nargs="+", help="files, folders, patterns, a CSV; - reads paths")
    scoring.add_argument("--out", default="", help="file to write; else standard output")
    scoring.add_argument("--format", choices=("csv", "jsonl"), default="csv")
    scoring.add_argument("--maps", default="", help="folder for each image's map, as PNG")
    scoring.add_argument("--runtime", choices=("torch", "onnx"), default="torch")
    exporting = add("export", export, "write a fitted model as an ONNX file too")
    exporting.add_argument("model", help="folder that `fit` wrote")
    telling = add("report", report, "a page of a fitted model's scores, most anomalous first")
    telling.add_argument("model", help="folder that `fit` wrote")
    _add_source(telling)
    telling.add_argument("--out", required=True, help="folder for the page")
    whole = add("folder", folder, "fit, score and report in one, on your own images")
    _add_source(whole)
    _add_detector(whole)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", help="folder: train/ and test/, or normal and abnormal; or a CSV")
    parser.add_argument("--name", default="", help="for the report; else the folder's")
    told = "label that is {}, once for each"
    parser.add_argument("--normal", action="append", default=[], help=told.format("normal"))
    parser.add_argument("--abnormal", action="append", default=[], help=told.format("abnormal"))


def _add_detector(parser: argparse.ArgumentParser) -> None:
    known = "auto, padim, patchcore, knn, fastflow or ae_flow"
    parser.add_argument("--detector", default="auto", help=known)
    parser.add_argument("--encoder", default="", help="frozen network; else the profile's")
    parser.add_argument("--size", type=int, choices=(128, 256), help="pixels; else the profile's")


def fit(options: Options) -> None:
    """Fit a model into ``--out``."""
    from aeflow_utils.own import fit, report
    from aeflow_utils.own.model import check_target

    target = expanded(options.out)
    check_target(target)
    listed = _listed(_data(options))
    profile = get_profile(options.profile)
    model, results = fit.fit(listed, profile, options.detector, options.encoder)
    for note in fit.near_twins(fit.splits_of(model.config, listed=listed)):
        print(note)
    folder = report.save_model(model, listed, results, target)
    print(f"{report.run_name(model)}, in {folder}; the model card is {folder / 'README.md'}")


def score(options: Options) -> int:
    """Score images; 1 where some have no score."""
    from aeflow_utils.own.model import load_model
    from aeflow_utils.own.score import images_of, write_scores

    model = load_model(expanded(options.model), options.runtime)
    files = images_of(options.images)
    target, maps = (expanded(each) if each else None for each in (options.out, options.maps))
    n_errors = write_scores(model, files, target, options.format, maps)
    if n_errors:
        print(f"{n_errors} of {len(files)} images have no score: see error", file=sys.stderr)
    return int(n_errors > 0)


def export(options: Options) -> None:
    """Write the model's ONNX file into its folder."""
    from aeflow_utils.own.export import export

    target, found = export(expanded(options.model))
    told = ", ".join(f"{name} {value:.1e}" for name, value in found.items())
    print(f"{target}; largest relative difference to torch: {told}")


def report(options: Options) -> None:
    """Write the page of a model's scores into ``--out``."""
    from aeflow_utils.own.model import load_model
    from aeflow_utils.own.report import report

    model = load_model(expanded(options.model))
    page = report(model, _data(options), expanded(options.out))
    print(f"most anomalous first: {page}")


def folder(options: Options) -> None:
    """Fit, score and report in the results folder."""
    from aeflow_utils.own.report import fit_and_report

    profile, data = get_profile(options.profile), _data(options)
    listed = _listed(data)
    target = paths().own(profile.name) / data.name
    page = fit_and_report(listed, profile, target, options.detector, options.encoder)
    print(f"\nmost anomalous first: {page}\nthe model, for  score: {target / 'model'}")


def _data(options: Options) -> FolderConfig:
    """The images that a command is given."""
    if not options.source.strip():
        raise UserError("the name of the folder or CSV file is empty")
    profile = get_profile(options.profile)
    source = expanded(options.source).resolve()
    name = options.name or re.sub(r"[^\w.-]+", "-", source.stem).strip("-.") or "images"
    return FolderConfig(
        source=str(source),
        name=name,
        image_size=getattr(options, "size", None) or profile.image_size,
        limit=profile.limit,
        normal=tuple(options.normal),
        abnormal=tuple(options.abnormal),
        skip_unreadable=switch("AEFLOW_SKIP_UNREADABLE"),
    )


def _listed(data: FolderConfig) -> ImageList:
    """The images, whose numbers by split and kind are printed."""
    from aeflow_utils.data.table import list_images

    listed = list_images(data)
    print(listed.table.value_counts(["split", "kind"], sort=False).to_string(), flush=True)
    return listed
