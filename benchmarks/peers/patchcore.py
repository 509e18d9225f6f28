"""PatchCore on the features of anomalib's backbone, with the same coreset."""

from functools import partial
from unittest.mock import patch

import torch
from anomalib.models.components.sampling.k_center_greedy import KCenterGreedy
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from torch import Tensor, nn

from aeflow_utils.data.features import Batch
from aeflow_utils.models.patchcore import PatchCore, greedy_coreset
from aeflow_utils.models.scores import upsample
from aeflow_utils.options import PatchCoreConfig
from aeflow_utils.study.training import seed_everything
from benchmarks.peers.comparison import ANOMALIB, SIZE, Row, compare, images_of

STRIDES = (8, 16)  # of ResNet-18's second and third stage


class AsItIs:
    """In place of anomalib's random projection: both then choose among the same points."""

    def fit(self, points: Tensor) -> None:
        """Nothing to learn."""

    def transform(self, points: Tensor) -> Tensor:
        return points


@torch.no_grad()
def check_patchcore() -> list[Row]:
    """A coreset of 100 patches from 12 images, scores of 8 others.

    In float64: both take small distances from large norms.
    """
    seed_everything(0)
    peer = PatchcoreModel(["layer2", "layer3"], "resnet18", pre_trained=False).double().eval()
    images = images_of(20).double()
    train, test = images[:12], images[12:]

    def patches(pictures: Tensor) -> Tensor:
        pooled = {k: peer.feature_pooler(v) for k, v in peer.feature_extractor(pictures).items()}
        return peer.reshape_embedding(peer.generate_embedding(pooled))

    zeros = peer.feature_pooler
    peer.feature_pooler = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    candidates = patches(train)
    sampler = KCenterGreedy(candidates, 100.5 / len(candidates))
    sampler.model = AsItIs()
    with patch("torch.randint", lambda **_: torch.zeros(1, dtype=torch.long)):  # our first row
        peer_chosen = sampler.select_coreset_idxs()
    chosen = greedy_coreset(candidates, 100)

    features = dict(zip(STRIDES, peer.feature_extractor(test).values(), strict=True))
    shapes = {stride: tuple(maps.shape[1:]) for stride, maps in features.items()}
    ours = PatchCore(PatchCoreConfig(strides=STRIDES), shapes, SIZE).eval()
    ours.coreset = peer.memory_bank = candidates[chosen]
    scores = ours.score(Batch(test, features))

    def peer_scores() -> tuple[Tensor, Tensor]:
        embedding = patches(test)
        distances, nearest = (
            part.reshape(len(test), -1) for part in peer.nearest_neighbors(embedding, 1)
        )
        distance_map = upsample(distances.view(-1, 1, *ours.size), (SIZE, SIZE))
        return distance_map, peer.compute_anomaly_score(distances, nearest, embedding)

    same_map, same_score = peer_scores()
    peer.feature_pooler = zeros
    peer.memory_bank = patches(train)[chosen]
    plain_map, plain_score = peer_scores()

    row = partial(compare, "PatchCore, two layers", ANOMALIB)
    border = (
        "at the border anomalib averages a patch with zeros, ours with the neighbours there are"
    )
    blur = border + "; anomalib also blurs the map (sigma 4)"
    return [
        row("members of the coreset", chosen, peer_chosen),
        row("distance map before blurring, same border", scores.anomaly_map, same_map),
        row("image score, same border", scores.image_score, same_score),
        row("distance map before blurring", scores.anomaly_map, plain_map, border),
        row("image score", scores.image_score, plain_score, border),
        row("anomaly map", scores.anomaly_map, peer(test).anomaly_map, blur),
    ]
