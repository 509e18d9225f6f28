"""Each kernel beside its plain twin: every bit, or no more than rounding where a layout differs."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock
from models.flows import KINDS, SHAPES, build, normal, randomised, subnets_of, trainable
from torch import nn

from aeflow_utils.models import coupling
from aeflow_utils.models.flow import CLAMP
from aeflow_utils.models.kernels import BAND, FastSequential, gaussian_blur
from aeflow_utils.models.layers import Decoder
from aeflow_utils.models.scores import bits_per_dim

torch.set_num_threads(1)

ROUNDING = 1e-5  # of the largest value


def assert_close_to_rounding(found, expected):
    for ours, plain in zip(found, expected, strict=True):
        assert (ours - plain).abs().max() <= ROUNDING * plain.abs().max()


# --- coupling block: FrEIA's own


def twin(flow, kind):
    """The same chain of FrEIA's own blocks, drawn from the same seeds as `build` draws."""
    blocks = SequenceINN(*flow.shape)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    for subnet in subnets_of(kind, len(flow.blocks)):
        blocks.append(
            AllInOneBlock, subnet_constructor=subnet, affine_clamping=CLAMP, permute_soft=False
        )
    return blocks


@pytest.fixture
def plain_layout(monkeypatch):
    """Subnets see maps as FrEIA's do; another layout of the same numbers rounds otherwise."""
    monkeypatch.setattr(coupling, "CHANNELS_LAST_UP_TO", 0)


@pytest.fixture(params=[((6, 3, 2), 0), ((5, 2, 3), 0), ((40, 16, 16), 0), ((6, 3, 2), 9)])
def shape_and_seed(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_is_that_of_freias_own_blocks(kind, shape_and_seed, plain_layout):
    shape, seed = shape_and_seed
    flow = build(kind, shape)
    freia, flow = randomised(twin(flow, kind)), randomised(flow)  # the same seed moves both
    results = []
    for forward in (flow, freia):
        x = normal(4, *shape, seed=seed).requires_grad_()
        z, log_jac_det = forward(x)
        loss = bits_per_dim(z, log_jac_det).mean() + z.mean()
        gradients = torch.autograd.grad(loss, [x, *trainable(forward).values()])
        results.append([z, log_jac_det, *gradients])
    results[0] += flow.inverse(results[0][0])
    results[1] += freia(results[1][0], rev=True)
    assert len(results[0]) == len(results[1]) > 10
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_inverse_are_freias(kind, plain_layout):
    flow = build(kind)
    freia, flow = randomised(twin(flow, kind)), randomised(flow)
    results = []
    for inverse in (flow.inverse, partial(freia, rev=True)):
        z = normal(4, *SHAPES[0]).requires_grad_()
        x, log_jac_det = inverse(z)
        results.append(torch.autograd.grad(x.square().sum() + log_jac_det.sum(), z)[0])
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_subnets_with_the_channels_last_differ_by_rounding(kind, monkeypatch):
    shape, x, found = (40, 16, 16), normal(4, 40, 16, 16), []
    for up_to in (64, 0):
        monkeypatch.setattr(coupling, "CHANNELS_LAST_UP_TO", up_to)
        flow = randomised(build(kind, shape))
        z, log_jac_det = flow(x)
        loss = bits_per_dim(z, log_jac_det).mean()
        gradients = torch.autograd.grad(loss, list(trainable(flow).values()))
        found.append([loss.detach(), z.detach(), *gradients])
    assert_close_to_rounding(*found)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_of_freias_is_read(kind, plain_layout):
    flow, x = build(kind, numpy_seed=5, torch_seed=5), normal(4, *SHAPES[0])
    freia = randomised(twin(flow, kind))
    flow.blocks.load_state_dict(freia.state_dict())
    flow.eval()
    for ours, theirs in zip(flow(x), freia(x), strict=True):
        assert torch.equal(ours, theirs)
    torch.testing.assert_close(flow.inverse(flow(x)[0])[0], x, rtol=1e-4, atol=1e-4)


def test_a_soft_permutation_of_freias_is_refused():
    flow = build("conv_like")
    state = twin(flow, "conv_like").state_dict()
    state["module_list.0.w_perm"] = torch.full((6, 6, 1, 1), 1 / 6)
    with pytest.raises(ValueError, match="w_perm"):
        flow.blocks.load_state_dict(state)


def test_a_state_dict_of_our_own_holds_an_order_and_no_dense_matrix():
    state = build("conv_like").state_dict()
    assert not [name for name in state if "w_perm" in name]
    orders = [order for name, order in state.items() if name.endswith("order")]
    assert [sorted(order.tolist()) for order in orders] == [list(range(6))] * 3


def test_freia_is_the_pypi_0_2_build_with_dense_permutations():
    for block in twin(build("conv_like", (6, 3, 2)), "conv_like"):
        assert block.w_perm.shape == (6, 6, 1, 1)
        assert not block.w_perm.requires_grad
        assert (block.w_perm.sum(0) == 1).all() and (block.w_perm.sum(1) == 1).all()


# --- layers with the channels last: torch's own layout


def test_layers_with_the_channels_last_differ_by_rounding():
    torch.manual_seed(0)
    layers = Decoder(64, 16, "tanh").layers
    assert type(layers) is FastSequential
    found = []
    for forward in (layers, nn.Sequential(*layers)):
        z = normal(2, 64, 4, 4).requires_grad_()
        image = forward(z)
        assert image.is_contiguous()
        gradients = torch.autograd.grad(image.square().mean(), [z, *layers.parameters()])
        found.append([image.detach(), *gradients])
    assert_close_to_rounding(*found)


# --- blur by products with a band: a convolution


@pytest.mark.parametrize("n_rows", [1, BAND - 1, BAND, BAND + 1, 2 * BAND + 5])
@pytest.mark.parametrize("n_columns", [1, BAND + 3])
def test_the_blur_is_a_convolution_with_a_gaussian(n_rows, n_columns):
    maps = normal(2, 3, n_rows + 10, n_columns + 10).double()
    kernel = torch.exp(-torch.arange(-5, 6).double().square() / (2 * 1.5**2))
    window = torch.outer(kernel, kernel) / kernel.sum() ** 2
    expected = F.conv2d(maps.flatten(0, 1)[:, None], window[None, None])
    found = gaussian_blur(maps, window=11, sigma=1.5)
    torch.testing.assert_close(found, expected.view(2, 3, n_rows, n_columns))
