"""The page for a reader's own images: cards, a threshold to move, filters; one file and thumbnails.

Everything a script can do is done in the reader's browser (``templates/page.js``); here are the
checks, the histograms and the data it reads.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import jinja2
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from aeflow_utils.paths import whole
from aeflow_utils.show.style import ABNORMAL, LABEL_NAMES, NORMAL, VALIDATION, WRONG

THUMBNAILS = ["thumb", "overlay", "map"]
COLUMNS = ["path", "label", "kind", "image_score", "p_value", *THUMBNAILS]
BINS, WITHOUT_SCRIPT = 60, 100


@dataclass(frozen=True)
class Facts:
    """What the page tells beside its images.

    Args:
        title: name of the set.
        settings: one line: detector, encoder, size.
        threshold: flagged are scores at or above it.
        rule: how the threshold was found, as "95 % quantile of 40 normal validation images".
        normal_scores: of the normal validation images.
        counts: rows of a table: split, normal, abnormal, unlabelled.
        methods: rows of the table of detectors; may be empty.
        figures: caption -> path of a PNG file, relative to the page's folder.
        notes: warnings, shown near the top.
    """

    title: str
    settings: str
    threshold: float
    rule: str
    normal_scores: list[float]
    counts: list[dict]
    methods: list[dict]
    figures: dict[str, str]
    notes: list[str]


def write_page(folder: Path, table: pd.DataFrame, facts: Facts) -> Path:
    """Write ``index.html`` into `folder`, whole or not at all; returns its path.

    Args:
        table: an image a row, the most anomalous first: `COLUMNS`, and where known `pixel_auroc`.
            Labels are 0 normal, 1 abnormal, -1 unlabelled; thumbnails are paths relative to
            `folder`, "" where there is none.

    Raises:
        ValueError: no row, a missing column, rows out of order, an unknown label, a score or
            threshold that is not finite, or a thumbnail or figure that is no relative path.
    """
    _check(table, facts)
    groups = _groups(table, facts)
    low, high = _axis(np.concatenate([*groups.values(), [facts.threshold]]))
    digits = int(np.clip(3 - math.floor(math.log10(high - low)), 0, 8))
    ticks = [tick for tick in MaxNLocator(4).tick_values(low, high) if low <= tick <= high]
    page = _template().render(
        facts=facts,
        digits=digits,
        low=low,
        high=high,
        ticks={_short(tick, digits): (tick - low) / (high - low) for tick in ticks},
        groups=[_histogram(name, scores, low, high) for name, scores in groups.items()],
        n_flagged=int((table["image_score"] >= facts.threshold).sum()),
        n=len(table),
        first=table.head(WITHOUT_SCRIPT).to_dict("records"),
        label_names=LABEL_NAMES,
        colours={"normal": NORMAL, "abnormal": ABNORMAL, "wrong": WRONG, "validation": VALIDATION},
        data=_json(table, facts, {"low": low, "high": high, "digits": digits}),
    )
    with whole(folder / "index.html") as partial:  # names need not be UTF-8: their bytes stay
        partial.write_text(page, encoding="utf-8", errors="surrogateescape")
    return folder / "index.html"


def _check(table: pd.DataFrame, facts: Facts) -> None:
    if missing := [name for name in COLUMNS if name not in table]:
        raise ValueError(f"the table lacks {', '.join(missing)}")
    if table.empty:
        raise ValueError("the table has no row")
    if not np.isfinite([*table["image_score"], *facts.normal_scores, facts.threshold]).all():
        raise ValueError("scores and threshold must be finite")
    if not table["image_score"].is_monotonic_decreasing:
        raise ValueError("the most anomalous image must come first")
    if unknown := set(table["label"]) - set(LABEL_NAMES):
        raise ValueError(f"unknown labels: {unknown}")
    addresses = [*table[THUMBNAILS].to_numpy().ravel(), *facts.figures.values()]
    if far := [name for name in addresses if PurePosixPath(name).is_absolute()]:
        raise ValueError(f"not relative to the page: {far[0]}")


def _groups(table: pd.DataFrame, facts: Facts) -> dict[str, np.ndarray]:
    """Scores a histogram shows: normal validation images, and test images by label."""
    groups = {"validation": np.asarray(facts.normal_scores, float)}
    for label, name in LABEL_NAMES.items():
        groups[name] = table.loc[table["label"] == label, "image_score"].to_numpy(float)
    return {name: scores for name, scores in groups.items() if len(scores)}


def _axis(scores: np.ndarray) -> tuple[float, float]:
    """Where scores are drawn and the threshold moves; a few that lie far off do not stretch it.

    `scores` ends with the threshold, which is always inside.
    """
    near_low, near_high = np.quantile(scores, [0.02, 0.98])
    reach = 1.5 * (near_high - near_low) or np.ptp(scores)
    low = min(max(scores.min(), near_low - reach), scores[-1])
    high = max(min(scores.max(), near_high + reach), scores[-1])
    margin = 0.03 * (high - low) or max(1e-3 * abs(high), 1e-6)
    return float(low - margin), float(high + margin)


def _histogram(name: str, scores: np.ndarray, low: float, high: float) -> dict:
    """Outline in a box of `BINS` x 1, each to its own height; what lies outside is at the ends."""
    counts, _ = np.histogram(np.clip(scores, low, high), BINS, (low, high))
    heights = 1 - counts / counts.max()
    steps = "".join(f"V{height:.3g}H{n}" for n, height in enumerate(heights, start=1))
    return {"name": name, "n": len(scores), "outline": f"M0 1{steps}V1Z"}


def _short(tick: float, digits: int) -> str:
    text = f"{tick:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json(table: pd.DataFrame, facts: Facts, axis: dict) -> str:
    """What the script reads, a list a column; no ``<`` that could end its element."""
    table = table.reindex(columns=[*COLUMNS, "pixel_auroc"])
    unknown = ["p_value", "pixel_auroc"]
    table[unknown] = table[unknown].astype(object).where(table[unknown].notna(), None)
    columns = {name: table[name].tolist() for name in table}
    columns |= {name: [_address(path) for path in columns[name]] for name in THUMBNAILS}
    known = {"threshold": float(facts.threshold), "normal": [*map(float, facts.normal_scores)]}
    return json.dumps(columns | known | axis, allow_nan=False).replace("<", r"\u003c")


def _address(path: str) -> str:
    """A relative path as a URL: any name a file can have, and never another scheme."""
    return quote(path, errors="surrogateescape")


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return "–" if math.isnan(value) else f"{value:.3g}"


def _template() -> jinja2.Template:
    blocks = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(loader=jinja2.PackageLoader(__package__), **blocks)
    environment.filters |= {"address": _address, "cell": _cell}
    return environment.get_template("page.html")
