"""What each choice does: one grid of changes to AE-FLOW, and cross-validation done two ways.

Changes to training are runs of their own, one option away from the default. Changes to the score
need none: see `rescoring`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import N_FOLDS, N_MEMBERS, UNTRAINED, Profile, RunConfig, TrainConfig
from aeflow_utils.data.table import available, list_images
from aeflow_utils.methods import AEFlowConfig
from aeflow_utils.study.results import by_dataset, find
from aeflow_utils.study.runs import RunResult

# One option away from the default each: (question, option, value).
GRID = (
    ("encoder", "tune_encoder", True),
    ("encoder", "encoder", "untrained"),
    ("subnet", "subnet", "resnet_like"),
    ("coupling blocks", "n_blocks", 4),
    ("features", "features", "raw"),
    ("features", "features", "zca"),
    ("stride", "strides", (32,)),
    ("stride", "strides", (16, 32)),
    ("loss weight", "alpha", 0.1),
    ("loss weight", "alpha", 0.9),
    ("loss unit", "likelihood_unit", "nats"),
    ("decoder", "last_activation", "linear"),
    ("preprocessing", "crop", True),
    ("optimizer", "optimizer", "adam"),
)
BASE = "conv_like"


def grid_plan(profile: Profile) -> list[RunConfig]:
    """Every run of the grid, of cross-validation, and of the ensemble beyond the study's seeds.

    On the data sets with labelled validation: only there can a choice be made, or a probability be
    calibrated, without looking at the test split. FastFlow on an untrained encoder is an error of
    the study, not a choice.
    """
    configs = []
    for dataset, category in available():
        base = RunConfig.build(profile, dataset, "ae_flow", category=category, variant=BASE)
        val = list_images(base.data).table.query("split == 'val'")
        if (val["label"] == 1).any():
            # `resnet_like` is a row of the study, and there under that name
            configs += [changed(base, o, v) for _, o, v in GRID if o != "subnet"]
            fastflow = RunConfig.build(profile, dataset, "fastflow", category=category)
            configs.append(changed(fastflow, "encoder", "untrained"))
            configs += fold_plan(base, carry_over=False) + fold_plan(base, carry_over=True)
            configs += [replace(base, seed=seed) for seed in range(profile.seeds, N_MEMBERS)]
    return configs


def changed(base: RunConfig, option: str, value: object) -> RunConfig:
    """`base` with one option changed, wherever it lives; its variant says which."""
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    config = replace(base, variant=f"{base.variant}+{option}={shown}")
    if option == "crop":  # the 2023 study's 256 and 224, in proportion
        size = base.data.image_size
        cropped = size * 7 // 8 // 16 * 16  # a multiple of the stride
        return replace(config, data=replace(base.data, image_size=cropped, resize=size))
    if option == "encoder":
        value = base.model.encoder + UNTRAINED
    for part in ("model", "train"):
        if option in {field.name for field in fields(getattr(base, part))}:
            return replace(config, **{part: replace(getattr(base, part), **{option: value})})
    raise ValueError(f"no such option: {option}")


def fold_plan(base: RunConfig, carry_over: bool) -> list[RunConfig]:
    """One run a fold: fresh, or each going on with the weights of the one before."""
    config = changed(base, "carry_over", True) if carry_over else base
    folds = range(1, N_FOLDS + 1)
    return [replace(config, data=replace(base.data, fold=fold)) for fold in folds]


def grid_profile(profile: Profile) -> str:
    """The profile whose grid is shown: `profile` where it has one, else the recorded laptop's."""
    return profile.name if find(profile.name, "side") else "laptop"


def ablation_table(profile: str) -> pd.DataFrame:
    """Each option's AUROC beside the default's, seed 0, in percent; a row a data set and value.

    The best value of a question by validation AUROC is marked: it is the one that could be chosen
    honestly. Test figures and their intervals stand beside it, and choose nothing.
    """
    base = base_by_dataset(profile)
    side = {(r.config.data.dataset, r.config.variant): r for r in find(profile, "side")}
    rest = {
        (r.config.data.dataset, r.config.variant): r for r in find(profile, methods=("ae_flow",))
    }
    rows = []
    for dataset, default in base.items():
        seen = set()
        for question, option, value in GRID:
            name = changed(default.config, option, value).variant
            run = rest.get((dataset, value)) if option == "subnet" else side.get((dataset, name))
            if run is None:
                continue
            if question not in seen:
                rows.append(_row(dataset, question, option, _default(option), default, True))
                seen.add(question)
            rows.append(_row(dataset, question, option, value, run, False))
    return mark_best(rows, ["data set", "question"])


def base_by_dataset(profile: str) -> dict[str, RunResult]:
    """The run of the default AE-FLOW that each data set's ablations start from."""
    runs = by_dataset(find(profile, "base", ("ae_flow",), BASE))
    return {label: run for label, (run,) in runs.items()}


def _default(option: str) -> object:
    if option in ("crop", "encoder"):
        return {"crop": False, "encoder": "ImageNet"}[option]
    defaults = {f.name: f.default for c in (AEFlowConfig, TrainConfig) for f in fields(c)}
    return defaults[option]


def _row(
    dataset: str, question: str, option: str, value: object, run: RunResult, default: bool
) -> dict:
    names = {
        "data set": dataset,
        "question": question,
        "option": option,
        "value": ", ".join(map(str, value)) if isinstance(value, tuple) else str(value),
        "default": default,
        "parameters": run.environment["trainable_parameters"],
    }
    return names | judged(run, lambda images: images["image_score"])


def mark_best(rows: list[dict], within: list[str]) -> pd.DataFrame:
    """The rows as a table, the best by validation of each group of `within` marked."""
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    best = table.groupby(within)["validation"].transform("max")
    return table.assign(best_on_validation=table["validation"] == best)


def judged(run: RunResult, score: Callable[[pd.DataFrame], np.ndarray]) -> dict:
    """AUROC of a score of stored rows on validation and test, with test's interval, in percent."""
    values = {}
    for split, title in (("val", "validation"), ("test", "test")):
        rows = run.labelled(split)
        scores = score(rows)
        values[title] = 100 * metrics.auroc(rows["label"], scores)
    values["low"], values["high"] = (100 * v for v in metrics.auroc_interval(rows["label"], scores))
    return values


def fold_table(profile: str) -> pd.DataFrame:
    """Cross-validation: losses, and AUROC in percent, of each fold, fresh and carried over."""
    rows = []
    for run in find(profile, "side"):
        config = run.config
        if config.data.fold:
            way = "weights carried over" if config.train.carry_over else "fresh model"
            last = run.history.iloc[-1]
            rows.append(
                {
                    "data set": config.data.dataset,
                    "way": way,
                    "fold": config.data.fold,
                    "validation loss": last["val_total"],
                    "training loss": last["train_total"],
                    "validation": 100 * run.metrics["val_auroc"],
                    "test": 100 * run.metrics["auroc"],
                }
            )
    return pd.DataFrame(rows)
