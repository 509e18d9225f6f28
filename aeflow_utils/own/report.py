"""A fitted model and what it says of images, for a person: model card, tables and a page."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from PIL import Image
from tqdm.auto import tqdm

from aeflow_utils import metrics
from aeflow_utils.config import FolderConfig
from aeflow_utils.data import own
from aeflow_utils.data.cache import unsealed
from aeflow_utils.data.images import decoding, read_mask, upright
from aeflow_utils.data.reading import reading
from aeflow_utils.data.table import ImageList, masks_of
from aeflow_utils.errors import UserError
from aeflow_utils.own.fit import AUTO, fit, labels_tell, near_twins
from aeflow_utils.own.model import ABOUT, Model, check_target
from aeflow_utils.own.page import Facts, write_page
from aeflow_utils.own.score import answers, picture, strength
from aeflow_utils.paths import check_writable, whole
from aeflow_utils.profiles import Profile
from aeflow_utils.show import figures
from aeflow_utils.show.style import LABEL_NAMES
from aeflow_utils.show.tables import format_summary
from aeflow_utils.study.experiments import splits_of
from aeflow_utils.study.results import run_title, summary
from aeflow_utils.study.runs import RunResult

THUMBNAIL, OPACITY = 224, 0.75


def fit_and_report(
    listed: ImageList, profile: Profile, folder: Path, detector: str = AUTO, encoder: str = ""
) -> Path:
    """Fit, score the test images and write all of it into `folder`; returns the page's path.

    Raises:
        UserError: images that cannot be read, or `folder` is of other images.
    """
    _refuse_another_source(folder / "model" / ABOUT, listed.data.source)
    check_target(folder / "model")
    model, results = fit(listed, profile, detector, encoder)
    save_model(model, listed, results, folder / "model")
    judged = {0, 1} <= set(results[0].labelled("test")["label"])
    table = summary(results, "normal_quantile") if judged else None
    if table is not None:
        with whole(folder / "methods.csv") as partial:
            table.to_csv(partial, index=False)
    test = listed.table[listed.table["split"] == "test"].reset_index(drop=True)
    masks = dict(zip(listed.table["path"], listed.masks, strict=True))
    pictures = {"losses in training": figures.loss_curves, "ROC curves": figures.roc_curves}
    shown = {
        title: _save(draw(results[:1]), folder, title)
        for title, draw in pictures.items()
        if judged or draw is not figures.roc_curves
        if len(results[0].history) or draw is not figures.loss_curves
    }
    return write_report(
        model,
        test.assign(mask=test["path"].map(masks)),
        listed.root,
        folder,
        title=listed.data.name,
        counts=_counts(listed.table),
        methods=_methods(results, table),
        figures=shown,
        notes=[*listed.notes, *near_twins(splits_of(model.config, listed=listed))],
    )


def _refuse_another_source(about: Path, source: str) -> None:
    """Two sources of one name would write over each other."""
    if not about.exists():
        return
    with reading(about, "delete it, or give a name, --name NAME"):
        known = unsealed(about.read_text())["config"]["data"]["source"]
    if known != source:
        raise UserError(f"{about.parent.parent} is of {known}: give a name, --name NAME")


def report(model: Model, data: FolderConfig, folder: Path) -> Path:
    """The page of a model's scores of some images, which need not be those that it was fitted on.

    Of images in ``train/``, ``val/`` and ``test/`` those of test are shown, else all.
    """
    spec = own.spec(data)
    table = spec.scan(spec.root, "")
    if (table["split"] == "test").any():
        table = table[table["split"] == "test"].reset_index(drop=True)
    methods = [{"detector": row["detector"]} for row in model.compared[:1]]
    return write_report(
        model,
        table.assign(mask=masks_of(spec, table)),
        spec.root,
        folder,
        title=data.name,
        counts=_counts(table),
        methods=methods,
        figures={},
        notes=list(spec.notes),
    )


def write_report(
    model: Model, table: pd.DataFrame, root: Path, folder: Path, **facts: object
) -> Path:
    """Score the images of a table, with columns path, label, kind and mask; CSV, pictures, page."""
    check_writable(folder)
    shutil.rmtree(folder / "thumbs", ignore_errors=True)  # of other images
    (folder / "thumbs").mkdir(parents=True)
    rows, errors = [], []
    for row in _scored(model, table, root, folder / "thumbs"):
        (errors if "error" in row else rows).append(row)
    if not rows:
        raise UserError(f"none of the images of {root} can be read: {errors[0]['error']}")
    ranked = pd.DataFrame(rows).sort_values("image_score", ascending=False, ignore_index=True)
    p_values = model.calibration.p_values(ranked["image_score"].to_numpy())
    ranked = ranked.assign(
        p_value=p_values, flagged=ranked["image_score"] >= model.calibration.threshold
    )
    facts["notes"] = [*facts["notes"], *(row["error"] for row in errors)]
    columns = ["path", "label", "kind", "image_score", "p_value", "flagged", "pixel_auroc"]
    ranked.index += 1
    with whole(folder / "scores.csv") as partial:
        ranked[columns].rename_axis("rank").to_csv(partial)
    config = model.config
    settings = f"{run_name(model)}, {config.model.encoder}, {config.data.image_size} px"
    told = Facts(
        settings=settings,
        threshold=model.calibration.threshold,
        rule=f"95 % quantile of {len(model.calibration.normals)} normal validation images",
        normal_scores=list(model.calibration.normals),
        **facts,
    )
    return write_page(folder, ranked, told)


def run_name(model: Model) -> str:
    """The detector's name for readers."""
    return model.compared[0]["detector"]


def _scored(model: Model, table: pd.DataFrame, root: Path, thumbs: Path) -> Iterator[dict]:
    """A row an image, with its score and pictures, or with the error why there are none."""
    files = [str(root / path) for path in table["path"]]
    found = tqdm(answers(model, files), "report", len(files), mininterval=1)
    for row, (file, answer) in zip(table.itertuples(), found, strict=True):
        if isinstance(answer, UserError):
            yield {"error": str(answer)}
            continue
        score, anomaly_map = answer
        of_image = {"path": row.path, "label": row.label, "kind": row.kind, "image_score": score}
        of_image["pixel_auroc"] = _pixel_auroc(row.mask, anomaly_map, model.config.data)
        yield of_image | _thumbnails(model, Path(file), anomaly_map, thumbs, row.Index)


def _pixel_auroc(mask: Path | None, anomaly_map: np.ndarray, data: FolderConfig) -> float:
    """How well a map ranks the pixels of its image; NaN where there is no mask, or no map."""
    if not isinstance(mask, Path) or not anomaly_map.size:
        return math.nan
    truth = read_mask(mask, data.image_size, data.resize)
    return metrics.auroc(truth.ravel().astype(int), anomaly_map.ravel())


def _thumbnails(
    model: Model, file: Path, anomaly_map: np.ndarray, thumbs: Path, number: int
) -> dict[str, str]:
    """Image, map and the one over the other as small files; their paths beside the page."""
    with decoding(file), Image.open(file) as stored:
        image = upright(stored, False, model.white)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    pictures = {"thumb": image}
    if anomaly_map.size:
        most = strength(model, anomaly_map)
        opacity = Image.fromarray((255 * OPACITY * most**0.5).astype(np.uint8))
        pictures["map"] = picture(model, anomaly_map).resize(image.size)
        pictures["overlay"] = Image.composite(pictures["map"], image, opacity.resize(image.size))
    for name, drawn in pictures.items():
        drawn.save(thumbs / f"{number:06}-{name}.jpg", quality=80)
    return {
        name: f"thumbs/{number:06}-{name}.jpg" if name in pictures else ""
        for name in ("thumb", "map", "overlay")
    }


def _save(figure: Figure, folder: Path, title: str) -> str:
    path = folder / "figures" / f"{title.split()[0]}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return str(path.relative_to(folder))


def _counts(table: pd.DataFrame) -> list[dict]:
    rows = []
    for split, part in table.groupby("split", sort=False):
        counts = {
            title: int((part["label"] == value).sum()) for value, title in LABEL_NAMES.items()
        }
        rows.append({"split": split} | counts)
    return rows


def _methods(results: list[RunResult], table: pd.DataFrame | None) -> list[dict]:
    """The table of methods in words; without labels, the methods alone."""
    if table is None:
        return [{"method": run_title(result)} for result in results]
    shown = format_summary(table).reset_index().drop(columns=["data set", "seeds", "source"])
    return shown.to_dict("records")


def save_model(model: Model, listed: ImageList, results: list[RunResult], folder: Path) -> Path:
    """Write the model with its card; returns its folder."""
    config, calibration = model.config, model.calibration
    counts = ", ".join(
        f"{row['split']} {row['normal']} normal and {row['abnormal']} abnormal"
        for row in _counts(listed.table)
    )
    told = {True: "by its AUROC on validation", False: "by a rule decided beforehand"}
    compared = [
        {name: _in_words(name, value) for name, value in row.items()} for row in model.compared
    ]
    pages = Environment(loader=PackageLoader("aeflow_utils.own"), trim_blocks=True)
    card = pages.get_template("card.md").render(
        detector=run_name(model),
        name=config.data.name,
        reads=config.model.reads,
        encoder=config.model.encoder,
        size=config.data.image_size,
        grey=model.grey,
        deep=model.white != listed.spec.white,
        white=f"{model.white:g}",
        counts=counts,
        trained_on=model.trained_on,
        threshold=calibration.threshold,
        n_normals=len(calibration.normals),
        chosen=told[labels_tell(results[0])] if len(results) > 1 else "",
        compared=compared,
    )
    return model.save(folder, card)


def _in_words(name: str, value: str | float) -> str:
    """An AUROC in percent, seconds, names; empty where there is none."""
    if isinstance(value, str) or math.isnan(value):
        return value if isinstance(value, str) else ""
    return f"{100 * value:.1f} %" if name.endswith("AUROC") else f"{value:.0f}"
