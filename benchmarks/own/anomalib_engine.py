"""anomalib as its documentation shows it: its Engine fits a model on a folder, and scores images.

A process of its own: ``python -m benchmarks.own.anomalib_engine fit '{"folder": ...}'``. Settings
are anomalib's defaults, but for the encoder, what is read of it, the size and the batch, which are
ours, and for pictures and metrics of the results, which it does not make here.
"""

import csv
import json
import sys
from pathlib import Path

import timm
import torch
from anomalib.data import Folder, PredictDataset
from anomalib.engine import Engine
from anomalib.models import Fastflow, Padim, Patchcore
from anomalib.models.components import AnomalibModule
from anomalib.models.image.fastflow.torch_model import create_fast_flow_block
from anomalib.pre_processing import PreProcessor
from torch import nn
from torch.utils.data import DataLoader
from torchvision.transforms.v2 import Compose, Normalize, Resize

BACKBONE, SIZE, HALF = "tf_efficientnet_lite0", (128, 128), [0.5] * 3
WORKERS = 8  # of a loader: the default of its folders, and faster than none on two cores


def model_of(detector: str, weights: str, options: dict) -> AnomalibModule:
    """A model on our encoder: PaDiM and PatchCore read strides 8 and 16, FastFlow 32 too."""
    resize = Resize(SIZE, antialias=True)
    options["pre_processor"] = PreProcessor(transform=Compose([resize, Normalize(HALF, HALF)]))
    options |= {"visualizer": False, "evaluator": False}
    if detector == "fastflow":
        model = Fastflow("resnet18", pre_trained=False, **options)
        encoder = _on_lite0(model.model)
    else:
        kind = {"padim": Padim, "patchcore": Patchcore}[detector]
        model = kind(BACKBONE, layers=[2, 3], pre_trained=False, **options)
        encoder = model.model.feature_extractor.feature_extractor
    assert not encoder.load_state_dict(torch.load(weights), strict=False).missing_keys
    return model


def _on_lite0(model: nn.Module) -> nn.Module:
    """Put another encoder into a FastFlow, whose constructor knows but a few; the encoder."""
    encoder = timm.create_model(BACKBONE, features_only=True, out_indices=(2, 3, 4))
    strides, channels = encoder.feature_info.reduction(), encoder.feature_info.channels()
    shapes = [(c, SIZE[0] // s, SIZE[1] // s) for c, s in zip(channels, strides, strict=True)]
    model.feature_extractor = encoder.requires_grad_(False)
    model.norms = nn.ModuleList(nn.LayerNorm(shape) for shape in shapes)
    model.fast_flow_blocks = nn.ModuleList(
        create_fast_flow_block(shape, conv3x3_only=False, hidden_ratio=1.0, flow_steps=8)
        for shape in shapes
    )
    return encoder


def fit(folder: str, trained: str, model: dict, batch: int, val_share: float, epochs: int) -> None:
    """Fit on ``train/good``, of which a share is held out for threshold and normalisation."""
    data = Folder(
        "images",
        root=folder,
        normal_dir="train/good",
        normal_test_dir="test/good",
        train_batch_size=batch,
        eval_batch_size=batch,
        num_workers=WORKERS,
        val_split_mode="from_train",
        val_split_ratio=val_share,
    )
    Engine(default_root_dir=trained, max_epochs=epochs).fit(model_of(**model), datamodule=data)


def score(images: str, trained: str, out: str, model: dict, batch: int) -> None:
    """Score every image in a folder and those below it into a CSV file."""
    (checkpoint,) = Path(trained).rglob("model.ckpt")
    data = PredictDataset(images, transform=Resize(SIZE, antialias=True))
    loader = DataLoader(data, batch, num_workers=WORKERS, collate_fn=data.collate_fn)
    engine = Engine(default_root_dir=f"{trained}/scoring")
    found = engine.predict(model_of(**model), loader, ckpt_path=checkpoint)
    with Path(out).open("w", newline="") as file:
        for some in found:
            scores = some.pred_score.flatten().tolist()
            csv.writer(file).writerows(zip(some.image_path, scores, strict=True))


if __name__ == "__main__":
    {"fit": fit, "score": score}[sys.argv[1]](**json.loads(sys.argv[2]))
