"""What each choice does: one grid of changes to AE-FLOW, and cross-validation done two ways.

Changes to training are runs of their own, one option away from the default. Changes to the score
are computed from what every run stores: nothing is trained.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pandas as pd

from aeflow_utils import metrics
from aeflow_utils.config import N_FOLDS, UNTRAINED, RunConfig, TrainConfig, training_of
from aeflow_utils.data.catalog import SPECS
from aeflow_utils.data.table import available, list_images
from aeflow_utils.options import CHOICES, AEFlowConfig
from aeflow_utils.profiles import EVIDENCE, PROFILES, Profile
from aeflow_utils.study.results import find
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
MAPS = tuple(value for _, option, value in GRID if option == "strides")  # beside stride 16
# What the paper does not say. The untrained encoder is an error of the 2023 study's code.
LEFT_OPEN = tuple(
    (option, value)
    for question, option, value in GRID
    if question in ("encoder", "features", "loss unit", "decoder", "preprocessing", "optimizer")
    and value != "untrained"
)
CARRY_OVER = ("carry_over", True)  # of cross-validation: the other way to train the folds
BASE = "conv_like"
DEFAULTS = asdict(TrainConfig()) | asdict(AEFlowConfig()) | {"crop": False, "encoder": "ImageNet"}


def grid_plan(profile: Profile, datasets: Collection[str] = SPECS) -> list[RunConfig]:
    """Every run of the grid and of cross-validation.

    On the data sets with labelled validation: only there can a choice be made, or a probability be
    calibrated, without looking at the test split. FastFlow on an untrained encoder is an error of
    the 2023 study, not a choice.
    """
    configs = []
    for dataset, category, split in available(datasets):
        names = {"category": category, "split": split}
        base = RunConfig.build(profile, dataset, "ae_flow", variant=BASE, **names)
        val = list_images(base.data).table.query("split == 'val'")
        if (val["label"] == 1).any():
            # the other subnet is a row of the study already
            configs += [changed(base, o, v) for _, o, v in GRID if o not in ("subnet", "strides")]
            configs += [
                replace(changed(base, "strides", strides), seed=seed)
                for strides in MAPS
                for seed in range(profile.seeds)  # what the flow adds is asked of all of them
            ]
            fastflow = RunConfig.build(profile, dataset, "fastflow", **names)
            configs.append(changed(fastflow, "encoder", "untrained"))
            configs += fold_plan(base, carry_over=False) + fold_plan(base, carry_over=True)
    return configs


def variant_of(option: str, value: object, base: str = BASE) -> str:
    """The variant under which the runs of one choice are kept: ``conv_like+n_blocks=4``.

    The other subnet is a row of the study, and has that row's name.

    Args:
        option, value: of `GRID`, or `CARRY_OVER`.
        base: variant of the runs that the choice is made in.

    Raises:
        ValueError: there is no such choice.
    """
    if (option, value) not in {CARRY_OVER, *(row[1:] for row in GRID)}:
        raise ValueError(f"the grid has no {option}={value}")
    if option == "subnet":
        return str(value)
    shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return f"{base}+{option}={shown}"


def changed(base: RunConfig, option: str, value: object) -> RunConfig:
    """`base` with one choice made, wherever the option lives; its variant says which.

    Raises:
        ValueError: as `variant_of`.
    """
    config = replace(base, variant=variant_of(option, value, base.variant))
    if option == "crop":  # the 2023 study's 256 and 224, in proportion
        size = base.data.image_size
        cropped = size * 7 // 8 // 16 * 16  # a multiple of the stride
        return replace(config, data=replace(base.data, image_size=cropped, resize=size))
    if option == "strides":
        method, profile = base.method, PROFILES[base.profile]
        train = training_of(profile, method, base.variant, base.data.dataset, value)
        config = replace(config, train=train)
    if option == "encoder":
        value = base.model.encoder + UNTRAINED
    part = "train" if hasattr(base.train, option) else "model"
    return replace(config, **{part: replace(getattr(base, part), **{option: value})})


def fold_plan(base: RunConfig, carry_over: bool) -> list[RunConfig]:
    """One run a fold: fresh, or each going on with the weights of the one before."""
    config = changed(base, *CARRY_OVER) if carry_over else base
    folds = range(1, N_FOLDS + 1)
    return [replace(config, data=replace(base.data, fold=fold)) for fold in folds]


def grid_profile(profile: Profile) -> str:
    """The profile whose grid is shown: `profile`'s evidence where it has one, else `EVIDENCE`."""
    return profile.evidence if find(profile.evidence, "side") else EVIDENCE


def runs_by_choice(profile: str) -> dict[str, dict[str, RunResult]]:
    """Seed 0 of AE-FLOW by label of the data set and by variant: the default, `BASE`, and changes.

    Of the study's own splits, where validation is labelled.
    """
    runs = [*find(profile, "study", ("ae_flow",)), *find(profile, "side", ("ae_flow",))]
    choices: dict[str, dict[str, RunResult]] = {}
    for run in runs:
        data, labelled = run.config.data, np.isfinite(run.metrics["val_auroc"])
        if labelled and run.config.seed == 0 and not (run.config.beside or data.fold):
            choices.setdefault(data.label, {})[run.config.variant] = run
    return {dataset: runs for dataset, runs in choices.items() if BASE in runs}


def ablation_table(profile: str) -> pd.DataFrame:
    """AUROC of each choice beside the default's, seed 0 of each, in percent; a row a choice.

    The best value of a question by validation AUROC is marked: it is the one that could be chosen
    honestly. Test figures and their intervals stand beside it, and choose nothing.
    """
    rows = []
    for dataset, runs in runs_by_choice(profile).items():
        questions = set()
        for question, option, value in GRID:
            run = runs.get(variant_of(option, value))
            if run is None:
                continue
            names = {"data set": dataset, "question": question, "option": option}
            if question not in questions:
                rows.append(names | _choice_row(DEFAULTS[option], runs[BASE], is_default=True))
                questions.add(question)
            rows.append(names | _choice_row(value, run, is_default=False))
    return mark_best(rows, ["data set", "question"])


def _choice_row(value: object, run: RunResult, is_default: bool) -> dict:
    shown = ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    size = run.environment["trainable_parameters"]
    names = {"value": shown, "default": is_default, "parameters": size}
    return names | validation_and_test(run)


def mark_best(rows: list[dict], within: list[str]) -> pd.DataFrame:
    """The rows as a table, the best by validation of each group of `within` marked."""
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    best = table.groupby(within)["validation"].transform("max")
    return table.assign(best_on_validation=table["validation"] == best)


def validation_and_test(run: RunResult, **options: object) -> dict[str, float]:
    """AUROC on validation and test, with test's interval, in percent.

    Args:
        options: of the score, in the place of those that the run had.
    """
    config, values = replace(run.config.model, **options), {}
    for split, title in (("val", "validation"), ("test", "test")):
        rows = run.labelled(split)
        scores = rescore(rows, config) if options else rows["image_score"]
        groups = rows.get("group")
        estimate = metrics.mean_of(metrics.auroc_sample(rows["label"], scores, groups))
        values[title] = 100 * estimate.value
    low, high = estimate.within(0, 1)
    return values | {"low": 100 * low, "high": 100 * high}


def fold_table(profile: str) -> pd.DataFrame:
    """Cross-validation: losses, and AUROC in percent, of each fold, fresh and carried over."""
    rows = []
    for run in (run for run in find(profile, "side") if run.config.data.fold):
        way = "weights carried over" if run.config.train.carry_over else "fresh model"
        last, aurocs = run.history.iloc[-1], run.metrics
        row = {"data set": run.config.data.whole_label, "way": way, "fold": run.config.data.fold}
        row |= {"validation loss": last["val_total"], "training loss": last["train_total"]}
        rows.append(row | {"validation": 100 * aurocs["val_auroc"], "test": 100 * aurocs["auroc"]})
    return pd.DataFrame(rows)


def rescore(scores: pd.DataFrame, config: AEFlowConfig) -> np.ndarray:
    """The image scores (N,) that AE-FLOW would have given with the score options of `config`.

    As `ae_flow.mix` computes them, without torch, which tables should not wait for.

    Args:
        scores: stored scores with their parts, as `training.score_images` writes them.
    """
    energy = scores[f"energy_{config.pooling}"]
    readings = {"exp": -np.exp(-energy), "nll": energy, "full": energy - scores["log_jac_det"]}
    recon = -scores["ssim"] if config.recon_score == "ssim" else scores["mse"]
    mixed = config.beta * readings[config.flow_score] + (1 - config.beta) * recon
    return mixed.to_numpy()


def score_table(profile: str) -> pd.DataFrame:
    """Form and pooling of the flow score, and features: AUROC in percent, seed 0, beta = 0.9.

    As in `ablation_table`, validation marks the best; test figures choose nothing.
    """
    rows, scalings = [], [variant_of(*row[1:]) for row in GRID if row[0] == "features"]
    for dataset, runs in runs_by_choice(profile).items():
        for run in (runs[variant] for variant in (BASE, *scalings) if variant in runs):
            for form, pooling in product(CHOICES["flow_score"], CHOICES["pooling"]):
                names = {"data set": dataset, "features": run.config.model.features}
                names |= {"form": form, "pooling": pooling}
                rows.append(names | validation_and_test(run, flow_score=form, pooling=pooling))
    return mark_best(rows, ["data set"])
