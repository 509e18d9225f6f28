"""FastFlow: a flow on the features of each scale (Yu et al., arXiv:2111.07677)."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from aeflow_utils.data.features import Batch
from aeflow_utils.models.flow import Flow, Subnet, conv_like
from aeflow_utils.models.scores import Scores, gaussian_log_prob, likelihood_map, pool_map, upsample
from aeflow_utils.models.system import Losses, Shapes, System
from aeflow_utils.options import FastFlowConfig


def fastflow_subnets(n_blocks: int, hidden_ratio: float) -> list[Subnet]:
    """3x3 kernels and 1x1 kernels in turn."""
    kernels = [(3, 3) if block % 2 == 0 else (1, 1) for block in range(n_blocks)]
    return [partial(conv_like, kernels=pair, hidden_ratio=hidden_ratio) for pair in kernels]


class FastFlow(System):
    """One flow a scale behind a trainable LayerNorm, which the paper omits but results need.

    Loss: the negative log-likelihood, summed over scales. Map: the mean over scales of
    ``-exp(-mean_c z^2 / 2)``; image score: its maximum.

    That loss counts the flow's log-determinant and not that of the LayerNorm's weights w before it,
    so it falls without end as w shrinks, and says little of the fit. ``density`` has it too: the
    loss minus sum log|w|, the negative log-likelihood of the normalised features themselves.
    """

    def __init__(self, config: FastFlowConfig, shapes: Shapes, image_size: int) -> None:
        super().__init__(config, shapes, image_size)
        self.norms = nn.ModuleDict({str(s): nn.LayerNorm(shapes[s]) for s in config.strides})
        subnets = fastflow_subnets(config.n_blocks, config.hidden_ratio)
        self.flows = nn.ModuleDict({str(s): Flow(shapes[s], subnets) for s in config.strides})

    def forward(self, batch: Batch) -> list[tuple[Tensor, Tensor]]:
        """For each scale z (N, C, h, w) and log_jac_det (N,)."""
        return [
            self.flows[str(s)](self.norms[str(s)](batch.features[s])) for s in self.config.strides
        ]

    def loss(self, batch: Batch) -> Losses:
        latents = self(batch)
        total = sum(-(gaussian_log_prob(z) + log_jac_det).mean() for z, log_jac_det in latents)
        n_dims = sum(z[0].numel() for z, _ in latents)
        bits = total.detach() / (n_dims * torch.log(torch.tensor(2.0)))
        scale = sum(norm.weight.detach().abs().log().sum() for norm in self.norms.values())
        return {"total": total, "flow": bits, "density": total.detach() - scale}

    def score(self, batch: Batch) -> Scores:
        size = batch.image.shape[-2:]
        maps = [upsample(-torch.exp(-likelihood_map(z)), size) for z, _ in self(batch)]
        anomaly_map = torch.stack(maps).mean(dim=0)
        image_score = pool_map(anomaly_map, "max")
        return Scores(image_score, anomaly_map, flow_score=image_score)
