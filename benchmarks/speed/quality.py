"""What speed is worth: time to a fixed validation AUROC on ELPV, and what bfloat16 costs.

How many steps a pipeline needs does not depend on how busy the machine is, so each is trained
once; the seconds are steps times the seconds a step measured beside. Who reads a cache pays for
filling it: one pass of the encoder over the training images.
"""

from functools import partial

import numpy as np
import torch

from aeflow_utils.data.features import ImageSet
from aeflow_utils.data.precision import default_device, use_bf16
from aeflow_utils.metrics import auroc
from benchmarks.speed.comparison import ENCODE, SCORE, STEP
from benchmarks.speed.measuring import Row
from benchmarks.speed.pipelines import NAMES, Inputs, Pipeline, build

TARGET, CHECK_EVERY = 0.80, 10
TIME, AGREEMENT = f"time to validation AUROC {TARGET}", "bfloat16 against float32"


def time_to_auroc(measured: list[Row], train: Inputs, val: ImageSet, max_steps: int) -> list[Row]:
    """Seconds of each pipeline until its validation AUROC is `TARGET`; bfloat16's agreement."""
    seconds = {(row.section, row.case): row.values for row in measured}
    filling, rows = len(train.images) / np.median(seconds[SCORE, ENCODE]), []
    for name in NAMES:
        pipeline = build(name, train)
        if pipeline.optimizers:
            n_steps = steps_to_target(pipeline, train, val, max_steps)
            values = (n_steps or np.nan) * train.batch_size * seconds[STEP, name]
            note = f"{n_steps} steps" if n_steps else "not reached"
            if pipeline.encode:
                values = values + filling
                note += f", {filling:.1f} s of them to fill the cache"
        else:
            values = [pipeline.fit()]
            note = f"one fit, AUROC {auroc(val.labels, _scores(pipeline, val)):.3f}"
        rows.append(Row(TIME, train.encoder, name, "time", "s", values, note))
        if name.endswith("bf16"):
            rows += _agreement_of_scores(name, pipeline, val)
    return rows


def steps_to_target(pipeline: Pipeline, train: Inputs, val: ImageSet, most: int) -> int | None:
    """First step looked at where validation AUROC is `TARGET`; None: not in `most` steps."""
    n_images, size = len(train.images), train.batch_size
    generators = (np.random.default_rng([0, epoch]) for epoch in range(1 + most * size // n_images))
    order = np.concatenate([generator.permutation(n_images) for generator in generators])
    for step in range(1, most + 1):
        pipeline.step(order[(step - 1) * size : step * size])
        if step % CHECK_EVERY == 0 and auroc(val.labels, _scores(pipeline, val)) >= TARGET:
            return step
    return None


def _scores(pipeline: Pipeline, images: ImageSet) -> np.ndarray:
    """From pixels, (N,)."""
    batches = images.batches(16, device=default_device())
    return torch.cat([pipeline.score(batch.image) for batch in batches]).double().cpu().numpy()


def _agreement_of_scores(name: str, pipeline: Pipeline, val: ImageSet) -> list[Row]:
    """Largest change of an image's score, as a share of the scores' deviation, and both AUROCs."""
    note, found = f"{len(val)} validation images of ELPV", {}
    row = partial(Row, AGREEMENT, pipeline.inputs.encoder, note=note)
    for kind in ("float32", "bfloat16"):
        use_bf16(pipeline.system, kind == "bfloat16")
        found[kind] = _scores(pipeline, val)
    exact, rough = found.values()
    change = np.abs(rough - exact).max() / exact.std()
    return [row(name, "largest change", "of deviation", [change])] + [
        row(f"{name}, scored in {kind}", "validation AUROC", "", [auroc(val.labels, scores)])
        for kind, scores in found.items()
    ]


def agreement_of_maps(inputs: Inputs) -> list[Row]:
    """Root mean square change of the encoder's maps, as a share of their deviation.

    Of an encoder that does not survive bfloat16 too: this is why.
    """
    encoder = build("FastFlow fp32", inputs).encode
    encoder.survives_bf16 = True
    image, rows = inputs.pixels(inputs.first[:4]), []
    exact = encoder(image)
    use_bf16(encoder, True)
    for stride, rough in encoder(image).items():
        change = (rough - exact[stride]).square().mean().sqrt() / exact[stride].std()
        case, values = f"maps of stride {stride}", [change.item()]
        rows.append(Row(AGREEMENT, inputs.encoder, case, "change", "of deviation", values))
    return rows
