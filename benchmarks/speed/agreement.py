"""How far bfloat16 moves maps and scores: what its speed costs."""

from __future__ import annotations

import numpy as np
import torch

from aeflow_utils.data.features import ImageSet, stream
from aeflow_utils.metrics import auroc
from aeflow_utils.precision import default_device, use_bf16
from benchmarks.speed.inputs import FASTFLOW_STRIDES, Inputs, fused_encoder, pixels_at
from benchmarks.speed.pipelines import Pipeline
from benchmarks.speed.timing import Row, row

SECTION = "bfloat16 against float32"


def of_maps(inputs: Inputs) -> list[Row]:
    """Root mean square change of the encoder's maps, as a share of their deviation.

    Of an encoder that does not survive bfloat16 too: this is why.
    """
    encoder = fused_encoder(inputs.encoder, FASTFLOW_STRIDES[inputs.encoder])
    encoder.survives_bf16 = True
    image = pixels_at(inputs, np.arange(min(4, len(inputs.images))))
    exact = encoder(image)
    use_bf16(encoder, True)
    rows = []
    for stride, rough in encoder(image).items():
        change = (rough - exact[stride]).square().mean().sqrt() / exact[stride].std()
        case = f"maps of stride {stride}"
        rows.append(row(SECTION, inputs.encoder, case, "change", "of deviation", [change.item()]))
    return rows


def of_scores(pipeline: Pipeline, val: ImageSet, batch_size: int, encoder: str) -> list[Row]:
    """Largest change of an image's score, as a share of the scores' deviation, and both AUROCs."""
    found = {}
    for bf16 in (False, True):
        use_bf16(pipeline.system, bf16)
        batches = stream(val.batches(batch_size), default_device())
        scores = torch.cat([pipeline.score(batch.image) for batch in batches])
        found[bf16] = scores.double().cpu().numpy()
    change = np.abs(found[True] - found[False]).max() / found[False].std()
    note = f"{len(val)} validation images of ELPV"
    rows = [row(SECTION, encoder, pipeline.name, "largest change", "of deviation", [change], note)]
    for bf16, kind in ((False, "float32"), (True, "bfloat16")):
        case, quantity = f"{pipeline.name}, scored in {kind}", "validation AUROC"
        value = [auroc(val.labels, found[bf16])]
        rows.append(row(SECTION, encoder, case, quantity, "", value, note))
    return rows
