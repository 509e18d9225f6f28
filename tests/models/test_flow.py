"""The flow is exactly invertible, its log-determinant is the Jacobian's, and seeds fix it."""

from functools import partial

import numpy as np
import pytest
import torch
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock

from aeflow_utils.errors import UserError
from aeflow_utils.models.flow import Flow, ae_flow_subnets, fastflow_subnets
from aeflow_utils.models.scores import bits_per_dim

torch.set_num_threads(1)

KINDS = ("conv_like", "resnet_like", "fastflow")
SHAPES = ((6, 3, 2), (5, 2, 3))  # the second splits into unequal halves
every_flow = pytest.mark.parametrize(
    ("kind", "shape"), [(kind, shape) for kind in KINDS for shape in SHAPES]
)


def build(kind, shape=SHAPES[0], numpy_seed=0, torch_seed=0, n_blocks=3):
    np.random.seed(numpy_seed)  # noqa: NPY002 - FrEIA draws permutations from this generator
    torch.manual_seed(torch_seed)
    if kind == "fastflow":
        subnets = fastflow_subnets(n_blocks, hidden_ratio=1.0)
    else:
        subnets = ae_flow_subnets(kind, n_blocks, hidden_ratio=1.0)
    return Flow(shape, subnets, clamp=2.0)


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


@every_flow
def test_inverse_undoes_forward(kind, shape):
    flow, x = randomised(build(kind, shape)), normal(4, *shape)
    with torch.no_grad():
        z, _ = flow(x)
        restored, _ = flow.inverse(z)
    assert (z - x).abs().max() > 0.1
    torch.testing.assert_close(restored, x, atol=1e-4, rtol=1e-4)


@every_flow
def test_log_jac_det_equals_autograd(kind, shape):
    flow, x = randomised(build(kind, shape)).double(), normal(3, *shape).double()
    log_jac_det = flow(x)[1].detach()

    def flat_flow(row):
        return flow(row.view(1, *shape))[0].flatten()

    jacobians = [torch.autograd.functional.jacobian(flat_flow, row.flatten()) for row in x]
    expected = torch.linalg.slogdet(torch.stack(jacobians)).logabsdet
    assert log_jac_det.shape == (3,)
    assert expected.std() > 1e-3  # it differs between images: the coupling takes part
    torch.testing.assert_close(log_jac_det, expected, atol=1e-9, rtol=1e-9)


@every_flow
def test_log_jac_det_of_inverse_is_minus_that_of_forward(kind, shape):
    flow, x = randomised(build(kind, shape)).double(), normal(4, *shape).double()
    with torch.no_grad():
        z, forward = flow(x)
        _, backward = flow.inverse(z)
    torch.testing.assert_close(backward, -forward, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_reaches_every_trainable_parameter(kind):
    flow = build(kind).train()
    bits_per_dim(*flow(normal(8, *SHAPES[0]))).mean().backward()
    gradients = {name: p.grad for name, p in trainable(flow).items()}
    assert [name for name, grad in gradients.items() if grad is None] == []
    assert [name for name, grad in gradients.items() if not grad.isfinite().all()] == []
    assert [name for name, grad in gradients.items() if not grad.any()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_same_seeds_build_the_same_flow(kind):
    first, second = build(kind).state_dict(), build(kind).state_dict()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_numpy_seed_sets_the_permutations_and_torch_seed_the_weights():
    flow, other_numpy = build("conv_like"), build("conv_like", numpy_seed=1)
    other_torch = build("conv_like", torch_seed=1)
    assert same_permutations(flow, other_torch) and not same_permutations(flow, other_numpy)
    assert same_weights(flow, other_numpy) and not same_weights(flow, other_torch)


def same_permutations(a, b):
    return all(torch.equal(x.order, y.order) for x, y in zip(a.blocks, b.blocks, strict=True))


def same_weights(a, b):
    return all(torch.equal(p, trainable(b)[name]) for name, p in trainable(a).items())


@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 3, 3), (5, 3, 2)])
def test_features_of_another_shape_are_refused(shape):
    flow = build("conv_like", (6, 3, 2))
    for direction in (flow, flow.inverse):
        with pytest.raises(ValueError, match=r"built for \(6, 3, 2\)"):
            direction(normal(1, *shape))


def test_unknown_subnet_is_a_user_error_that_names_the_choices():
    with pytest.raises(UserError, match=r"'mlp'.*conv_like, resnet_like"):
        ae_flow_subnets("mlp", 2, 1.0)


def test_fastflow_alternates_kernels_of_3_and_1():
    blocks = build("fastflow", n_blocks=4).blocks
    kernels = [[conv.kernel_size for conv in block.subnet[::2]] for block in blocks]
    assert kernels == [[(3, 3)] * 2, [(1, 1)] * 2] * 2


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_leaves_the_flow_in_float32(kind):
    flow, x = randomised(build(kind)), normal(2, *SHAPES[0])
    with torch.no_grad():
        plain = flow(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under_autocast = flow(x)
    for value, expected in zip(under_autocast, plain, strict=True):
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, expected)


def twin(flow, kind):
    """The same chain of FrEIA's own blocks, drawn from the same seeds as `build` draws."""
    blocks = SequenceINN(*flow.shape)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    make = fastflow_subnets if kind == "fastflow" else partial(ae_flow_subnets, kind)
    for subnet in make(len(flow.blocks), 1.0):
        blocks.append(
            AllInOneBlock, subnet_constructor=subnet, affine_clamping=2.0, permute_soft=False
        )
    return blocks


@pytest.fixture
def freias_layout(monkeypatch):
    """Subnets see maps as FrEIA's do; another layout of the same numbers rounds otherwise."""
    monkeypatch.setattr("aeflow_utils.models.flow.CHANNELS_LAST_UP_TO", 0)


@pytest.fixture(params=[((6, 3, 2), 0), ((5, 2, 3), 0), ((40, 16, 16), 0), ((6, 3, 2), 9)])
def shape_and_seed(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_every_bit_is_that_of_freias_own_blocks(kind, shape_and_seed, freias_layout):
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
def test_gradients_of_the_inverse_are_freias(kind, freias_layout):
    flow = build(kind)
    freia, flow = randomised(twin(flow, kind)), randomised(flow)
    results = []
    for inverse in (flow.inverse, partial(freia, rev=True)):
        z = normal(4, *SHAPES[0]).requires_grad_()
        x, log_jac_det = inverse(z)
        results.append(torch.autograd.grad(x.square().sum() + log_jac_det.sum(), z)[0])
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_changes_no_more_than_rounding(kind, monkeypatch):
    shape, x = (40, 16, 16), normal(4, 40, 16, 16)
    found = []
    for up_to in (0, 64):
        monkeypatch.setattr("aeflow_utils.models.flow.CHANNELS_LAST_UP_TO", up_to)
        flow = randomised(build(kind, shape))
        loss = bits_per_dim(*flow(x)).mean()
        loss.backward()
        gradients = [parameter.grad for parameter in trainable(flow).values()]
        found.append([loss.detach(), flow(x)[0].detach(), *gradients])
    for ours, expected in zip(*found, strict=True):
        assert (ours - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_dict_of_freias_is_read(kind, freias_layout):
    flow = build(kind, numpy_seed=5, torch_seed=5)
    freia = randomised(twin(flow, kind))
    flow.blocks.load_state_dict(freia.state_dict())
    flow.eval()
    for ours, theirs in zip(flow(normal(4, *SHAPES[0])), freia(normal(4, *SHAPES[0])), strict=True):
        assert torch.equal(ours, theirs)
    restored, _ = flow.inverse(flow(normal(4, *SHAPES[0]))[0])
    torch.testing.assert_close(restored, normal(4, *SHAPES[0]), rtol=1e-4, atol=1e-4)


def test_a_state_dict_of_our_own_is_read_and_holds_no_dense_matrix():
    flow, other = randomised(build("conv_like")), build("conv_like", numpy_seed=5, torch_seed=5)
    state = flow.state_dict()
    assert not [name for name in state if "w_perm" in name]
    other.load_state_dict(state)
    x = normal(2, *SHAPES[0])
    z, log_jac_det = other.eval()(x)
    assert torch.equal(z, flow(x)[0]) and torch.equal(log_jac_det, flow(x)[1])
    torch.testing.assert_close(other.inverse(z)[0], x, rtol=1e-4, atol=1e-4)


def test_a_soft_permutation_is_refused():
    flow = build("conv_like")
    state = twin(flow, "conv_like").state_dict()
    state["module_list.0.w_perm"] = torch.full((6, 6, 1, 1), 1 / 6)
    with pytest.raises(RuntimeError, match="soft permutation"):
        flow.blocks.load_state_dict(state)


def test_freia_is_the_pypi_0_2_build_with_dense_permutations():
    for block in twin(build("conv_like", (6, 3, 2)), "conv_like"):
        assert block.w_perm.shape == (6, 6, 1, 1)
        assert not block.w_perm.requires_grad
        assert (block.w_perm.sum(0) == 1).all() and (block.w_perm.sum(1) == 1).all()
