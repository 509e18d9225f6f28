"""Small flows of every kind, for the tests of `flow` and of its `kernels`."""

import numpy as np
import torch

from aeflow_utils.models.fastflow import fastflow_subnets
from aeflow_utils.models.flow import SUBNETS, Flow

KINDS = (*SUBNETS, "fastflow")
SHAPES = ((6, 3, 2), (5, 2, 3))  # the second splits into unequal halves


def subnets_of(kind, n_blocks):
    return fastflow_subnets(n_blocks, 1.0) if kind == "fastflow" else [SUBNETS[kind]] * n_blocks


def build(kind, shape=SHAPES[0], numpy_seed=0, torch_seed=0, n_blocks=3):
    np.random.seed(numpy_seed)  # noqa: NPY002 - FrEIA draws permutations from this generator
    torch.manual_seed(torch_seed)
    return Flow(shape, subnets_of(kind, n_blocks))


def randomised(flow):
    """In eval mode, moved off its initialisation so that no scale is 1 and no offset 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in trainable(flow).values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        for name, buffer in flow.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.3 * torch.rand(buffer.shape, generator=generator)
    return flow.eval()


def trainable(flow):
    return {name: p for name, p in flow.named_parameters() if p.requires_grad}


def normal(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
