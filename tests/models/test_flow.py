"""The flow is exactly invertible, its log-determinant is the Jacobian's, and seeds fix it."""

import pytest
import torch
import torch.nn.functional as F
from models.flows import KINDS, SHAPES, build, normal, randomised, trainable

from aeflow_utils.models.flow import CLAMP
from aeflow_utils.models.scores import bits_per_dim

torch.set_num_threads(1)

every_flow = pytest.mark.parametrize(
    ("kind", "shape"), [(kind, shape) for kind in KINDS for shape in SHAPES]
)


@every_flow
def test_a_block_computes_its_equation(kind, shape):
    flow, z = randomised(build(kind, shape, n_blocks=1)), normal(4, *shape)
    n_active, (block,) = shape[0] // 2, flow.blocks
    z1, z2 = z[:, :-n_active], z[:, -n_active:]
    s, t = block.subnet(z1).chunk(2, dim=1)
    log_factor = CLAMP * torch.tanh(0.1 * s)
    halves = torch.cat([z1, z2 * log_factor.exp() + 0.1 * t], dim=1)
    scale = 0.1 * F.softplus(block.global_scale, beta=0.5)
    expected = (scale * halves + block.global_offset)[:, block.order]
    found, log_jac_det = flow(z)
    torch.testing.assert_close(found, expected)
    of_scale = shape[1] * shape[2] * scale.log().sum()
    torch.testing.assert_close(log_jac_det, log_factor.sum(dim=(1, 2, 3)) + of_scale)


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


def test_a_stored_flow_is_read_with_its_permutations():
    flow, other = randomised(build("conv_like")), build("conv_like", numpy_seed=5, torch_seed=5)
    other.load_state_dict(flow.state_dict())
    x = normal(2, *SHAPES[0])
    z, log_jac_det = other.eval()(x)
    assert torch.equal(z, flow(x)[0]) and torch.equal(log_jac_det, flow(x)[1])
    torch.testing.assert_close(other.inverse(z)[0], x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(6, 2, 3), (6, 3, 3), (5, 3, 2)])
def test_features_of_another_shape_are_refused(shape):
    flow = build("conv_like", (6, 3, 2))
    for direction in (flow, flow.inverse):
        with pytest.raises(ValueError, match=r"\(6, 3, 2\)"):
            direction(normal(1, *shape))


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
