"""A fitted detector as one ONNX file: image in, score and map out, for runtimes without torch."""

from __future__ import annotations

import json
import logging
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from aeflow_utils.data.features import Batch
from aeflow_utils.data.images import read_image
from aeflow_utils.errors import UserError
from aeflow_utils.own.model import BATCH, ONNX, Model, load_model
from aeflow_utils.paths import check_writable

AGREES = 1e-4  # largest difference, of the scores' own size, and of the maps'
CANNOT = {"knn": "its neighbours are searched by scikit-learn, which is no part of a graph"}
N_CHECKED = 4 * BATCH
QUIET = ("torch.onnx", "onnxscript", "onnx_ir")


class Graph(nn.Module):
    """Images (`BATCH`, 3, H, W) in [0, 1] to scores and, where the detector makes any, maps."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.encoder, self.system = model.encoder, model.system

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        maps = {} if self.encoder is None else self.encoder.maps(images)
        features = {stride: each.half().float() for stride, each in maps.items()}  # as stored
        scores = self.system.score(Batch(images, features))
        shown = scores.anomaly_map
        return (scores.image_score,) if shown is None else (scores.image_score, shown)


def export(folder: Path) -> tuple[Path, dict[str, float]]:
    """Write a model's ``model.onnx``; returns its path and how far its answers are from torch's.

    The difference, on solar cells that come with the installation, is told of scores and maps
    relative to the largest magnitude of each.

    Raises:
        UserError: the detector has no graph, or the file's answers differ by more than `AGREES`.
    """
    model = load_model(folder)
    check_writable(folder)
    name = model.config.model.name
    if name in CANNOT:
        raise UserError(f"{name} cannot be exported: {CANNOT[name]}")
    for logger in QUIET:
        logging.getLogger(logger).setLevel(logging.ERROR)
    side = model.config.data.image_size
    graph, example = Graph(model).eval().cpu(), torch.rand(BATCH, 3, side, side)
    with torch.no_grad():
        graph(example)  # constants that are kept from a first call must be real ones
    names = {"input_names": ["images"], "dynamo": True, "verbose": False}
    program = torch.onnx.export(graph, (example,), **names)
    target, partial = folder / ONNX, folder / f".{ONNX}.partial"
    program.save(str(partial))
    partial.replace(target)
    found = difference(model, load_model(folder, "onnx"))
    if max(found.values()) > AGREES:
        target.unlink()
        raise UserError(f"the graph of {name} does not agree with the model: {json.dumps(found)}")
    return target, found


def difference(model: Model, other: Model) -> dict[str, float]:
    """Largest difference of scores and of maps, over the largest magnitude of the first's.

    On solar cells, which to the model may be nothing but strange; normal images count too.
    """
    data = Path(str(files("elpv_dataset"))) / "data/images"
    some = sorted(data.glob("*.png"))[:: 2624 // N_CHECKED][:N_CHECKED]
    size = model.config.data.image_size
    images = np.stack([read_image(file, size, model.grey) for file in some])
    pairs = list(zip(model.score(images), other.score(images), strict=True))
    usual = {"image_score": model.calibration.normals, "anomaly_map": model.calibration.map_range}
    told = {}
    for name, values in usual.items():
        if getattr(pairs[0][0], name) is not None:
            ours, theirs = (
                torch.cat([getattr(pair[k], name).float().cpu() for pair in pairs]) for k in (0, 1)
            )
            size = max(float(ours.abs().max()), *map(abs, values))
            told[name] = float((ours - theirs).abs().max()) / size
    return told
