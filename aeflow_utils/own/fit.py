"""From a reader's own images to a `Model`: fit one detector, or several and choose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aeflow_utils import metrics
from aeflow_utils.config import FolderConfig, RunConfig
from aeflow_utils.data.features import ImageSet, Splits
from aeflow_utils.data.table import ImageList
from aeflow_utils.errors import UserError
from aeflow_utils.methods import METHODS, methods_of
from aeflow_utils.own.model import Calibration, Model, scores_of
from aeflow_utils.profiles import Profile
from aeflow_utils.study.experiments import run_all, splits_of
from aeflow_utils.study.results import run_title
from aeflow_utils.study.runs import RunResult
from aeflow_utils.study.systems import load_system

AUTO = "auto"
# In order of preference where labels do not tell: what trains nothing first, then what is cheap.
DETECTORS = ("padim", "patchcore", "knn", "fastflow", "ae_flow")
FINE_MAPS = {"padim": {"strides": (8, 16)}}  # the study's reads stride 16 alone
ENOUGH = 5  # labelled validation images of each kind that a choice takes
CONTRAST = 5  # a map's most: so many times as far from the median as the 95 % quantile of normals
NEAR = 0.1  # of the usual distance of a training image to the next


def plan_of(
    data: FolderConfig, profile: Profile, detector: str = AUTO, encoder: str = ""
) -> list[RunConfig]:
    """The runs of a detector, or of all that `AUTO` compares, and of what reads no features.

    Raises:
        UserError: there is no such detector.
    """
    if detector not in (AUTO, *DETECTORS):
        known = ", ".join((AUTO, *DETECTORS))
        raise UserError(f"unknown detector '{detector}': choose one of {known}")
    # Several share the cores, one a run; one alone has them all.
    threads = profile.threads if detector == AUTO else 0
    profile = replace(profile, encoder=encoder or profile.encoder, threads=threads)
    configs = []
    for name in (*DETECTORS, *methods_of("trivial")) if detector == AUTO else (detector,):
        variant, row = next(iter(METHODS[name].variants.items()))
        options, variant = (FINE_MAPS[name], "") if name in FINE_MAPS else (row.options, variant)
        config = RunConfig.build(profile, data.dataset, name, variant=variant, **options)
        configs.append(replace(config, data=data))
    return configs


def fit(
    listed: ImageList, profile: Profile, detector: str = AUTO, encoder: str = ""
) -> tuple[Model, list[RunResult]]:
    """The fitted model, and the runs that it was chosen among, its own first.

    Fitting looks at training images and normal validation images. `AUTO` takes the highest AUROC
    on validation where that has `ENOUGH` labelled images of both kinds, else the first of
    `DETECTORS`, as decided before any image was seen. Finished runs are found again; a killed one
    goes on.

    Raises:
        UserError: images that cannot be read, or no such detector.
        TrainingError: the loss of one stopped it.
    """
    results = run_all(plan_of(listed.data, profile, detector, encoder), [listed])
    able = [result for result in results if result.config.model.name in DETECTORS]
    best = max(able, key=lambda r: r.metrics["val_auroc"]) if labels_tell(able[0]) else able[0]
    results.sort(key=lambda result: result is not best)
    return _model(best, splits_of(best.config, listed=listed), results), results


def labels_tell(result: RunResult) -> bool:
    """Whether validation has enough labelled images of both kinds to choose by."""
    labels = result.labelled("val")["label"]
    return min((labels == label).sum() for label in (0, 1)) >= ENOUGH


def _model(result: RunResult, splits: Splits, results: list[RunResult]) -> Model:
    spec, shapes = splits.listed.spec, {s: m.shape[1:] for s, m in splits.train.features.items()}
    model = Model(
        config=result.config,
        grey=spec.grey,
        white=spec.white,
        shapes=shapes,
        calibration=Calibration(0.0, (), (0.0, 1.0)),
        compared=[_row(each) for each in results],
        trained_on=splits.listed.trained_on,
        system=load_system(result, splits),
    )
    return replace(model, calibration=_calibrated(model, splits.val))


def _row(result: RunResult) -> dict:
    return {
        "detector": run_title(result),
        "validation AUROC": result.metrics["val_auroc"],
        "test AUROC": result.metrics["auroc"],
        "fit, s": result.environment["fit_seconds"],
    }


def _calibrated(model: Model, val: ImageSet) -> Calibration:
    normal = val.select(val.labels == 0)
    found = list(scores_of(model, (normal.images[n] for n in range(len(normal)))))
    scores = np.array([score for score, _ in found])
    maps = np.stack([each for _, each in found])
    middle, low = np.quantile(maps, [0.5, 0.95]) if maps.size else (0.0, 0.0)
    high = max(middle + CONTRAST * (low - middle), low + 1e-6)
    return Calibration(
        threshold=metrics.normal_quantile_threshold(scores),
        normals=tuple(np.sort(scores).tolist()),
        map_range=(float(low), float(high)),
    )


def near_twins(splits: Splits) -> list[str]:
    """A note on validation and test images that nearly are a training image, if there are any.

    Nearly: at 16 x 16 grey pixels, `NEAR` of the median distance of a training image to the next.
    """
    from sklearn.neighbors import NearestNeighbors

    train, *others = (_tiny(part) for part in (splits.train, splits.val, splits.test))
    if len(train) < 3:
        return []
    nearest = NearestNeighbors(n_neighbors=2).fit(train)
    usual = np.median(nearest.kneighbors()[0][:, 0])
    found = []
    for part, tiny in zip((splits.val, splits.test), others, strict=True):
        distance, row = (each[:, 0] for each in nearest.kneighbors(tiny, 1))
        for n in np.flatnonzero((distance > 0) & (distance < NEAR * usual)):
            found.append(f"{part.table['path'][n]} and {splits.train.table['path'][row[n]]}")
    one = f"{len(found)} pairs, {found[0]} one of them" if found else ""
    return [f"nearly equal images in training and elsewhere: {one}"] if found else []


def _tiny(images: ImageSet) -> np.ndarray:
    """(N, 256): the mean over channels and over the blocks of a 16 x 16 grid."""
    rows = []
    for n in range(len(images)):
        grey = images.images[n].mean(axis=0)
        side = len(grey) // 16 * 16
        blocks = grey[:side, :side].reshape(16, side // 16, 16, side // 16)
        rows.append(blocks.mean(axis=(1, 3)).ravel())
    return np.stack(rows)
