"""PatchCore-style nearest neighbours of patches (Roth et al., arXiv:2106.08265)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from aeflow_utils.data.features import Batch, ImageSet
from aeflow_utils.models.layers import stack
from aeflow_utils.models.scores import Scores, upsample
from aeflow_utils.models.system import Shapes, System
from aeflow_utils.options import PatchCoreConfig

MAX_CANDIDATES = 50_000  # greedy selection reads them all for each member of the coreset
MAX_WIDTH = 256  # of a candidate during selection: wider ones are projected


class PatchCore(System):
    """Distance of each patch to its nearest in a coreset of the training patches.

    A patch is the features of a position, averaged over its 3 x 3 neighbours; coarser maps are
    enlarged to the finest one's grid, and all are stacked. Map: the distances, without the
    paper's final Gaussian blur, as for the other detectors. Image score: equation 7, the largest
    distance s* of a patch p* weighted by how typical its nearest member m* is,

        s = (1 - exp|p* - m*| / sum_m exp|p* - m|) s*,   m among the b members nearest to m*.

    Deterministic: all random draws have a fixed seed.
    """

    def __init__(self, config: PatchCoreConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.size = shapes[min(config.strides)][1:]
        channels = sum(shapes[stride][0] for stride in config.strides)
        self.register_buffer("coreset", torch.empty(0, channels))

    def _patches(self, batch: Batch) -> Tensor:
        """(N, P, C) at the P positions of the finest map."""
        # At the border the mean is over the neighbours that exist: zeros are no features.
        mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        averaged = {stride: mean(batch.features[stride]) for stride in self.config.strides}
        return stack(averaged, self.config.strides, "bilinear").flatten(2).transpose(1, 2)

    def fit_statistics(self, train: ImageSet) -> None:
        n_patches = len(train) * self.size[0] * self.size[1]
        candidates = self._draw(train, n_patches)
        size = max(round(self.config.coreset_fraction * n_patches), self.config.n_neighbors)
        chosen = greedy_coreset(project(candidates), min(size, len(candidates)))
        self.coreset = candidates[chosen]

    def load_state_dict(self, state_dict: Mapping[str, Tensor], **options: bool) -> object:
        """As for any module; the size of the coreset comes with the state."""
        self.coreset = torch.empty_like(state_dict["coreset"])
        return super().load_state_dict(state_dict, **options)

    def _draw(self, train: ImageSet, n_patches: int) -> Tensor:
        """A seeded sample of the training patches, (n, C), kept small as images stream by."""
        count = min(n_patches, MAX_CANDIDATES)
        drawn = np.sort(np.random.default_rng(0).choice(n_patches, count, replace=False))
        kept, first = [], 0
        for batch in train.batches(64):
            patches = self._patches(batch).flatten(0, 1)
            begin, end = np.searchsorted(drawn, [first, first + len(patches)])
            kept.append(patches[torch.from_numpy(drawn[begin:end] - first)])
            first += len(patches)
        return torch.cat(kept)

    def score(self, batch: Batch) -> Scores:
        # One image at a time: its distances to the coreset are all that is held.
        parts = [self._score_image(patches) for patches in self._patches(batch)]
        image_scores, distances = zip(*parts, strict=True)
        distance_map = torch.stack(distances).view(-1, 1, *self.size)
        return Scores(torch.stack(image_scores), upsample(distance_map, batch.image.shape[-2:]))

    def _score_image(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Image score () and the distance of each patch (P,), from patches (P, C)."""
        nearest = torch.cdist(patches, self.coreset).argmin(dim=1)
        # `cdist` multiplies matrices: what it says of a patch in the coreset is rounding error.
        distances = (patches - self.coreset[nearest]).norm(dim=1)
        worst = distances.argmax(dim=0, keepdim=True)
        member = self.coreset[nearest[worst]]
        n_neighbors = min(self.config.n_neighbors, len(self.coreset))
        around = (self.coreset - member).norm(dim=1).topk(n_neighbors, largest=False).indices
        # `around` begins with the member itself, at distance 0.
        shares = (self.coreset[around] - patches[worst]).norm(dim=1).softmax(dim=0)
        return (1 - shares[0]) * distances[worst].squeeze(0), distances


def project(points: Tensor) -> Tensor:
    """A seeded random projection of (n, C) to `MAX_WIDTH` columns, where there are more.

    Distances survive about as well as the paper asks (Johnson-Lindenstrauss), at less cost.
    """
    width = points.shape[1]
    if width <= MAX_WIDTH:
        return points
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(width, MAX_WIDTH, generator=generator) / MAX_WIDTH**0.5
    return points @ directions.to(points)


def greedy_coreset(points: Tensor, size: int) -> Tensor:
    """Rows of `points` (n, C) such that each is the farthest from those before, (size,).

    Farthest-first selection, k-center greedy: no other choice of `size` rows covers the points
    with less than half the radius. Starts with row 0.
    """
    squared = (points**2).sum(dim=1)
    chosen = torch.zeros(size, dtype=torch.long)
    gap = torch.full_like(squared, torch.inf)  # squared distance to the nearest chosen row
    for i in range(1, size):
        last = chosen[i - 1]
        gap = torch.minimum(gap, squared + squared[last] - 2 * (points @ points[last]))
        gap[last] = -torch.inf  # never twice, even among equal rows
        chosen[i] = gap.argmax()
    return chosen
