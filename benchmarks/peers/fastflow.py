"""FastFlow with anomalib's weights, on the features of anomalib's backbone."""

import math
from functools import partial

import torch
from anomalib.models.image.fastflow.loss import FastflowLoss
from anomalib.models.image.fastflow.torch_model import FastflowModel
from torch import nn

from aeflow_utils.data.features import Batch
from aeflow_utils.models.fastflow import FastFlow
from aeflow_utils.options import FastFlowConfig
from aeflow_utils.study.training import seed_everything
from benchmarks.peers.comparison import ANOMALIB, SIZE, Row, compare, flat, images_of, shake

STRIDES = (4, 8, 16)  # of the first three stages of ResNets, which anomalib's FastFlow reads


@torch.no_grad()
def check_fastflow(hidden_ratio: float) -> list[Row]:
    """Ours with the weights of anomalib's, on the same backbone's features."""
    seed_everything(0)
    peer = FastflowModel((SIZE, SIZE), "resnet18", pre_trained=False, hidden_ratio=hidden_ratio)
    images = images_of(8)
    features = dict(zip(STRIDES, peer.feature_extractor.eval()(images), strict=True))
    shapes = {stride: tuple(maps.shape[1:]) for stride, maps in features.items()}
    config = FastFlowConfig(strides=STRIDES, hidden_ratio=hidden_ratio)
    ours = FastFlow(config, shapes, SIZE).eval()
    shake(peer.norms)
    shake(peer.fast_flow_blocks)
    for index, stride in enumerate(STRIDES):
        ours.norms[str(stride)].load_state_dict(peer.norms[index].state_dict())
        blocks = peer.fast_flow_blocks[index].state_dict()  # with the permutations
        ours.flows[str(stride)].blocks.load_state_dict(blocks)
    batch = Batch(images, features)
    latents = ours(batch)
    z, log_jac_det = [list(part) for part in zip(*latents, strict=True)]
    peer_z, peer_log_jac_det = peer.train()(images)
    scores, peer_scores = ours.score(batch), peer.eval()(images)

    row = partial(compare, f"FastFlow, hidden ratio {hidden_ratio}", ANOMALIB)
    constant = sum(0.5 * math.log(2 * math.pi) * maps[0].numel() for maps in z)
    return [
        row("latents", flat(z), flat(peer_z)),
        row("log-determinants", flat(log_jac_det), flat(peer_log_jac_det)),
        row(
            "loss, without our constant (D/2) log 2π",
            ours.loss(batch)["total"] - constant,
            FastflowLoss()(peer_z, peer_log_jac_det),
        ),
        row("anomaly map", scores.anomaly_map, peer_scores.anomaly_map),
        row("image score", scores.image_score, peer_scores.pred_score.flatten()),
    ]


def check_hidden_widths() -> list[Row]:
    """The `paper` profile's FastFlow: hidden channels behind Wide ResNet-50-2's three stages."""
    peer = FastflowModel(
        (32, 32), "wide_resnet50_2", pre_trained=False, flow_steps=1, hidden_ratio=0.16
    )
    shapes = {s: tuple(n.normalized_shape) for s, n in zip(STRIDES, peer.norms, strict=True)}
    ours = FastFlow(FastFlowConfig(strides=STRIDES, n_blocks=1, hidden_ratio=0.16), shapes, 32)

    def widths(flows: nn.Module) -> list[int]:
        convolutions = [m for m in flows.modules() if isinstance(m, nn.Conv2d)]
        return [conv.out_channels for conv in convolutions[::2]]

    return [
        compare(
            "FastFlow, hidden ratio 0.16",
            ANOMALIB,
            "hidden channels, Wide ResNet-50-2",
            widths(ours.flows),
            widths(peer.fast_flow_blocks),
            "ours rounds hidden ratio times channels, anomalib cuts it off",
        )
    ]
