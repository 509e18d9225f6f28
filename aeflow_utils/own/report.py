"""One command for a reader's own images: train, score, and a page with the most anomalous first."""

from __future__ import annotations

import base64
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jinja2 import Environment, PackageLoader
from matplotlib.figure import Figure
from PIL import Image

from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.data.features import Splits
from aeflow_utils.data.images import upright
from aeflow_utils.data.table import SPLITS, ImageList
from aeflow_utils.methods import METHODS, methods_of
from aeflow_utils.models.system import System
from aeflow_utils.paths import paths
from aeflow_utils.profiles import Profile
from aeflow_utils.show import figures
from aeflow_utils.show.style import LABEL_NAMES
from aeflow_utils.show.tables import format_summary
from aeflow_utils.study.experiments import run_all, splits_of
from aeflow_utils.study.results import run_title, summary
from aeflow_utils.study.runs import RunResult
from aeflow_utils.study.systems import load_system
from aeflow_utils.study.training import score_maps

SHOWN, MISSED_SHOWN, THUMBNAIL = 60, 12, 224


def own_plan(data: FolderConfig, profile: Profile) -> list[RunConfig]:
    """AE-FLOW, and what trains nothing: seconds that tell whether its training was worth it."""
    configs = []
    for name in ("ae_flow", *methods_of("untrained", "trivial")):
        variant, row = next(iter(METHODS[name].variants.items()))
        config = RunConfig.build(profile, data.dataset, name, variant=variant, **row.options)
        configs.append(replace(config, data=data))
    return configs


def study_own_images(listed: ImageList, profile: Profile) -> Path:
    """Train and score; write scores, table, figures and the page, whose path is returned.

    Everything goes to ``results/<profile>/own/<name>/``; trained runs are found again.

    Raises:
        UserError: images that cannot be read.
    """
    results = run_all(own_plan(listed.data, profile), [listed])
    main = results[0]
    splits = splits_of(main.config, listed=listed)
    folder = paths().own(profile.name) / listed.data.name
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    ranked = rank(main)
    ranked.to_csv(folder / "scores.csv", index=False)
    table = summary(results, "normal_quantile") if _has_both_labels(main) else None
    if table is not None:
        table.to_csv(folder / "methods.csv", index=False)
    pictures = {name: _save(figure, folder, name) for name, figure in _figures(main).items()}
    page = _page(main, results, splits, ranked, table, pictures)
    partial = folder / ".index.html"
    partial.write_text(page, encoding="utf-8")
    return partial.replace(folder / "index.html")


def rank(result: RunResult) -> pd.DataFrame:
    """Test images, most anomalous first: rank, path, label, kind, scores, flagged.

    Flagged are those at or above the 95 % quantile of the validation normals.
    """
    test = result.split("test").sort_values("image_score", ascending=False, ignore_index=True)
    flagged = test["image_score"] >= result.metrics["thresholds"]["normal_quantile"]
    test.insert(0, "rank", np.arange(1, len(test) + 1))
    return test.drop(columns="split").assign(flagged=flagged)


def _has_both_labels(result: RunResult) -> bool:
    return set(result.labelled("test")["label"]) == {0, 1}


def _figures(result: RunResult) -> dict[str, Figure]:
    made = {"scores": figures.score_distributions([result])}
    made["losses"] = figures.loss_curves([result])
    if _has_both_labels(result):
        made["roc"] = figures.roc_curves([result])
    return made


def _save(figure: Figure, folder: Path, name: str) -> str:
    """Write a figure, and give it as the address of an image inside the page."""
    path = folder / "figures" / f"{name}.png"
    figure.savefig(path, bbox_inches="tight", facecolor="white")
    plt.close(figure)
    return _address(path.read_bytes(), "png")


def _address(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _page(
    main: RunResult,
    results: list[RunResult],
    splits: Splits,
    ranked: pd.DataFrame,
    table: pd.DataFrame | None,
    pictures: dict[str, str],
) -> str:
    config, root, system = main.config, splits.listed.root, load_system(main, splits)
    low, high = _map_range(system, splits)
    missed = ranked[(ranked["label"] == 1) & ~ranked["flagged"]].tail(MISSED_SHOWN)[::-1]
    test_paths = pd.Index(splits.test.table["path"])

    def cards(rows: pd.DataFrame) -> list[dict]:
        if rows.empty:
            return []
        batch = splits.test.batch(test_paths.get_indexer(rows["path"]))
        with torch.inference_mode():
            maps = system.score(batch).anomaly_map[:, 0].cpu().numpy()
        return [
            row._asdict() | _thumbnails(root / row.path, (anomaly_map - low) / (high - low))
            for row, anomaly_map in zip(rows.itertuples(index=False), maps, strict=True)
        ]

    pages = Environment(loader=PackageLoader("aeflow_utils.own"), autoescape=True, trim_blocks=True)
    return pages.get_template("own_images.html").render(
        config=config,
        root=root,
        counts=_counts(splits),
        skipped=splits.skipped,
        threshold=main.metrics["thresholds"]["normal_quantile"],
        n_val=int((splits.val.labels == 0).sum()),
        n_test=len(ranked),
        n_flagged=int(ranked["flagged"].sum()),
        methods=_method_rows(results, table),
        pictures=pictures,
        cards=cards(ranked.head(SHOWN)),
        missed=cards(missed),
        settings=f"profile {config.profile}, encoder {config.model.encoder}, "
        f"{config.data.image_size} px, {config.train.epochs} epochs, seed {config.seed}",
    )


def _map_range(system: System, splits: Splits) -> tuple[float, float]:
    """From what normal validation images rarely reach to the least likely test places."""
    normal = score_maps(system, splits.val.select(splits.val.labels == 0))
    low, high = np.quantile(normal, 0.95), np.quantile(score_maps(system, splits.test), 0.995)
    return float(low), float(max(high, low + 1e-6))


def _thumbnails(path: Path, strength: np.ndarray) -> dict[str, str]:
    """The image as it is stored, and with its map laid over it; `strength` (H, W) in [0, 1]."""
    with Image.open(path) as image:
        image = upright(image, grey=False)
        image.thumbnail((THUMBNAIL, THUMBNAIL))
    strength = np.clip(strength, 0, 1)
    colours = (mpl.colormaps["plasma"](0.3 + 0.7 * strength)[..., :3] * 255).astype(np.uint8)
    opacity = Image.fromarray((255 * 0.75 * strength**0.5).astype(np.uint8)).resize(image.size)
    overlay = Image.composite(Image.fromarray(colours).resize(image.size), image, opacity)
    return {"image": _jpeg(image), "overlay": _jpeg(overlay)}


def _jpeg(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return _address(buffer.getvalue(), "jpeg")


def _counts(splits: Splits) -> list[dict]:
    rows = []
    for name in SPLITS:
        labels = getattr(splits, name).labels
        counts = {title: int((labels == value).sum()) for value, title in LABEL_NAMES.items()}
        rows.append({"split": name} | counts)
    return rows


def _method_rows(results: list[RunResult], table: pd.DataFrame | None) -> list[dict]:
    """The table of methods in words; without labels, the methods alone."""
    if table is None:
        return [{"method": run_title(result)} for result in results]
    shown = format_summary(table).reset_index().drop(columns=["data set", "seeds", "source"])
    return shown.to_dict("records")
