"""A fitted detector in a folder: what it takes to score images without those it was fitted on."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from aeflow_utils.config import RunConfig
from aeflow_utils.data.cache import file_sha256, sealed, unsealed
from aeflow_utils.data.encoders import Encoder, weights_hash
from aeflow_utils.data.features import Batch, encode, frozen_encoder
from aeflow_utils.data.precision import bf16_here, default_device, use_bf16
from aeflow_utils.data.reading import reading
from aeflow_utils.errors import UserError
from aeflow_utils.models import build_system
from aeflow_utils.models.scores import Scores
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.paths import check_writable
from aeflow_utils.study.systems import read_weights, write_weights

WEIGHTS, ABOUT, CARD, ONNX = "weights.safetensors", "model.json", "README.md", "model.onnx"
NOTHING = "nothing"  # in the place of weights, where a detector has none
BATCH = 8  # images at a time, the last filled up: a score does not depend on who else is there


@dataclass(frozen=True)
class Calibration:
    """What tells a high score from a usual one.

    Args:
        threshold: flagged are scores at or above it: the 95 % quantile of `normals`.
        normals: scores of the normal validation images, rising.
        map_range: a map's values that are shown as nothing and as most.
    """

    threshold: float
    normals: tuple[float, ...]
    map_range: tuple[float, float]

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """(1 + normals with at least the score) / (1 + normals), conformal (Bates et al., 2021)."""
        n_below = np.searchsorted(np.array(self.normals), scores, side="left")
        return (1 + len(self.normals) - n_below) / (1 + len(self.normals))


@dataclass(frozen=True)
class Model:
    """A detector that was fitted.

    Args:
        config: of the run that fitted it.
        grey, white: how image files are read; see `data.depth`.
        shapes: {stride: (C, h, w)} of the maps that the detector reads.
        compared: the detectors that it was chosen among, a row each, for readers.
        trained_on: hash of the images that it was fitted on.
        session: of ONNX Runtime, which answers in the system's place where there is one.
    """

    config: RunConfig
    grey: bool
    white: float
    shapes: Shapes
    calibration: Calibration
    compared: list[dict]
    trained_on: str
    system: System

    session: object | None = None

    @cached_property
    def encoder(self) -> Encoder | None:
        """The frozen network, built when first asked for; None where pixels are all it reads."""
        if not self.shapes:
            return None
        bf16 = bf16_here(self.config.train.bf16)
        return frozen_encoder(self.config.model.encoder, tuple(self.shapes), bf16)

    def score(self, images: np.ndarray) -> Iterator[Scores]:
        """Scores of prepared images (N, 1 or 3, H, W) uint8, in batches of `BATCH`.

        The last batch is filled up by repeating its last image.
        """
        answer = self._by_torch if self.session is None else self._by_onnx
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            yield answer(np.pad(some, [(0, BATCH - len(some))] + [(0, 0)] * 3, "edge"))

    @torch.inference_mode()
    def _by_torch(self, images: np.ndarray) -> Scores:
        maps = encode(self.encoder, images, BATCH) if self.encoder else {}
        pixels = torch.from_numpy(images).float().div_(255).expand(-1, 3, -1, -1)
        features = {stride: torch.from_numpy(each).float() for stride, each in maps.items()}
        return self.system.score(Batch(pixels, features).to(default_device()))

    def _by_onnx(self, images: np.ndarray) -> Scores:
        pixels = np.broadcast_to(images, (BATCH, 3, *images.shape[2:])) / np.float32(255)
        score, *maps = map(torch.from_numpy, self.session.run(None, {"images": pixels}))
        return Scores(score, *maps)

    def save(self, folder: Path, card: str) -> Path:
        """Write the model and its card, whole or not at all; an older one in `folder` is replaced.

        Raises:
            UserError: as `check_target`.
        """
        check_target(folder)
        work, old = (folder.with_name(f".{folder.name}.{end}") for end in ("partial", "old"))
        for rest in (work, old):
            shutil.rmtree(rest, ignore_errors=True)
        work.mkdir(parents=True)
        state = self.system.state_dict() or {NOTHING: torch.zeros(1)}
        write_weights(state, work / WEIGHTS)
        about = self._about() | {"weights": file_sha256(work / WEIGHTS)}
        (work / ABOUT).write_text(sealed(about))
        (work / CARD).write_text(card, encoding="utf-8")
        if folder.exists():
            folder.rename(old)
        work.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
        return folder

    def _about(self) -> dict:
        packages = ("torch", "timm", "FrEIA", "numpy", "pillow")
        return {
            "config": self.config.to_dict(),
            "grey": self.grey,
            "white": self.white,
            "shapes": {str(stride): shape for stride, shape in self.shapes.items()},
            "calibration": asdict(self.calibration),
            "compared": self.compared,
            "trained_on": self.trained_on,
            "encoder": weights_hash(self.config.model.encoder) if self.shapes else "",
            "packages": {name: version(name) for name in packages},
        }


def check_target(folder: Path) -> None:
    """Before a model is fitted: see that it can be saved.

    Raises:
        UserError: `folder` is there and holds something else, or nobody may write beside it.
    """
    if folder.exists() and not (folder / ABOUT).exists() and list(folder.iterdir()):
        raise UserError(f"{folder} holds something else than a model: name another folder")
    check_writable(folder.parent)


def load_model(folder: Path, runtime: str = "torch") -> Model:
    """The model that was saved in a folder, to be computed by ``torch`` or by its ``onnx`` file.

    Raises:
        UserError: there is none, a file of it is damaged or was changed, or the encoder's weights
            here are others than those it was fitted with.
    """
    if not (folder / ABOUT).is_file():
        raise UserError(f"{folder} holds no model: make one with  fit IMAGES --out {folder}")
    with reading(folder / ABOUT, "it is damaged, fit the model again"):
        about = unsealed((folder / ABOUT).read_text())
        config = RunConfig.from_dict(about["config"])
        shapes = {int(stride): tuple(shape) for stride, shape in about["shapes"].items()}
        values = about["calibration"]
        lists = {name: tuple(values[name]) for name in ("normals", "map_range")}
        calibration = Calibration(values["threshold"], **lists)
        known = (about["grey"], about["white"], shapes, calibration, about["compared"])
        same_weights, trained_on = about["weights"], about["trained_on"]
    if not (folder / WEIGHTS).is_file() or file_sha256(folder / WEIGHTS) != same_weights:
        raise UserError(f"{folder / WEIGHTS} is damaged or of another model: fit the model again")
    if shapes and weights_hash(config.model.encoder) != about["encoder"]:
        raise UserError(
            f"{folder} was fitted on other weights of {config.model.encoder} than those here: "
            "fit it again, or restore the weights"
        )
    system = build_system(config.model, shapes, config.data.image_size)
    state = read_weights(folder / WEIGHTS)
    if NOTHING not in state:
        system.load_state_dict(state)
    use_bf16(system, bf16_here(config.train.bf16))
    session = _session(folder / ONNX) if runtime == "onnx" else None
    return Model(config, *known, trained_on, system.eval().to(default_device()), session)


def _session(file: Path) -> object:
    """ONNX Runtime's, of a file.

    Raises:
        UserError: it is not there, or damaged.
    """
    from onnxruntime import InferenceSession  # only who asks for it waits for it

    if not file.is_file():
        raise UserError(f"{file} is not there: make it with  export {file.parent}")
    try:
        return InferenceSession(str(file), providers=["CPUExecutionProvider"])
    except Exception as error:  # of kinds that the runtime does not name
        raise UserError(f"{file} is damaged ({error}): export it again") from None


def scores_of(model: Model, images: Iterable[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    """Score and map (H, W) of each prepared image (1 or 3, H, W); an empty map where none is made.

    Images are taken `BATCH` at a time, so memory stays the same however many there are.
    """
    batch: list[np.ndarray] = []
    for image in images:
        batch.append(image)
        if len(batch) == BATCH:
            yield from _taken(model, batch)
            batch = []
    if batch:
        yield from _taken(model, batch)


def _taken(model: Model, batch: list[np.ndarray]) -> Iterator[tuple[float, np.ndarray]]:
    (scores,) = model.score(np.stack(batch))
    maps = scores.anomaly_map
    shown = np.empty((BATCH, 0, 0)) if maps is None else maps[:, 0].float().cpu().numpy()
    for n in range(len(batch)):
        yield float(scores.image_score[n]), shown[n]
