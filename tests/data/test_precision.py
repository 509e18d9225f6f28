"""bfloat16 is used where a run allows it and the machine is fast in it, for convolutions alone."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from aeflow_utils.config import DataConfig, RunConfig, TrainConfig
from aeflow_utils.data import precision
from aeflow_utils.data.cache import stored_arrays
from aeflow_utils.data.encoders import Encoder
from aeflow_utils.data.features import load_splits
from aeflow_utils.data.precision import bf16_here, bf16_is_fast, use_bf16
from aeflow_utils.models import build_system
from aeflow_utils.models.flow import SUBNETS, Flow
from aeflow_utils.models.layers import Decoder
from aeflow_utils.models.scores import bits_per_dim
from aeflow_utils.options import AEFlowConfig, FastFlowConfig
from aeflow_utils.profiles import PROFILES
from aeflow_utils.study.experiments import run
from aeflow_utils.study.systems import load_system
from aeflow_utils.study.training import fit, score_images, seed_everything

LITE0, WIDE_RESNET = "efficientnet_lite0", "wide_resnet50_2_untrained"
SMOKE = PROFILES["smoke"]


@pytest.fixture
def fast(monkeypatch):
    """A machine that is fast in bfloat16, whichever this one is."""
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: True)


@pytest.fixture
def slow(monkeypatch):
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: False)


def watch(module):
    """The dtypes that `module` gives, a list that grows."""
    seen = []
    module.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    return seen


def small_system(images, config=None, seed=0):
    shapes = {stride: maps.shape[1:] for stride, maps in images.features.items()}
    seed_everything(seed)
    return build_system(config or AEFlowConfig(n_blocks=2), shapes, images.images.shape[-1])


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        ("vendor_id : AuthenticAMD\nflags : fma avx512f avx512_bf16", True),
        ("vendor_id : GenuineIntel\nflags : fma avx512f avx512_bf16", False),
        ("vendor_id : GenuineIntel\nflags : fma avx512_bf16 amx_bf16", True),
        ("vendor_id : AuthenticAMD\nflags : fma avx2", False),
        (None, False),
    ],
)
def test_a_processor_is_fast_in_bfloat16_if_it_has_units_that_are(cpuinfo, expected, monkeypatch):
    def read_text(path):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(precision.Path, "read_text", read_text)
    bf16_is_fast.cache_clear()
    assert bf16_is_fast("cpu") is expected
    bf16_is_fast.cache_clear()


def test_both_the_run_and_the_machine_must_agree(monkeypatch):
    for machine in (True, False):
        monkeypatch.setattr(precision, "bf16_is_fast", lambda device, machine=machine: machine)
        assert bf16_here(True) is machine and bf16_here(False) is False


def test_the_paper_profile_allows_it_and_no_other_does():
    allowed = {
        name
        for name, profile in PROFILES.items()
        if RunConfig.build(profile, "elpv", "ae_flow").train.bf16
    }
    assert allowed == {"paper"}


@pytest.mark.parametrize("kind", SUBNETS)
def test_coupling_and_log_determinant_stay_in_float32(kind):
    seed_everything(0)
    flow = Flow((6, 3, 2), [SUBNETS[kind]] * 3).eval()
    x = torch.randn(4, 6, 3, 2, generator=torch.Generator().manual_seed(0))
    seen = [watch(block.subnet) for block in flow.blocks]
    plain = flow(x)
    use_bf16(flow, True)
    rough = flow(x)
    bits_per_dim(*rough).mean().backward()
    use_bf16(flow, False)
    again = flow(x)
    assert seen == [[torch.float32, torch.bfloat16, torch.float32]] * 3
    for value, expected, after in zip(rough, plain, again, strict=True):
        assert value.dtype == torch.float32
        assert torch.equal(after, expected) and not torch.equal(value, expected)
        torch.testing.assert_close(value, expected, rtol=0.05, atol=0.05)
    assert all(p.grad.dtype == torch.float32 for p in flow.parameters() if p.requires_grad)


@pytest.mark.parametrize("activation", ["tanh", "linear"])
def test_the_decoder_gives_float32_images_close_to_its_float32_ones(activation):
    torch.manual_seed(0)
    decoder, z = Decoder(64, 16, activation), torch.randn(2, 64, 4, 4)
    seen, plain = watch(decoder.layers[0]), decoder(z)
    use_bf16(decoder, True)
    rough = decoder(z)
    rough.square().mean().backward()
    assert seen == [torch.float32, torch.bfloat16] and rough.dtype == torch.float32
    assert 0 < (rough - plain).abs().max() < 0.02 * (plain.max() - plain.min())
    assert all(
        p.grad.dtype == torch.float32 and p.grad.abs().sum() > 0 for p in decoder.parameters()
    )


@pytest.mark.parametrize("name", [LITE0, WIDE_RESNET])
def test_only_an_encoder_that_survives_it_convolves_in_bfloat16(name, small_elpv):
    encoder = Encoder(name, (8, 16)).fuse()
    images = small_elpv.test.batch(np.arange(4)).image
    plain = encoder(images)
    use_bf16(encoder, True)
    for stride, rough in encoder(images).items():
        error = (rough - plain[stride]).square().mean().sqrt() / plain[stride].std()
        assert rough.dtype == torch.float32
        assert error == 0 if name == LITE0 else 0 < error < 0.01


@pytest.mark.parametrize(("name", "survives"), [(LITE0, False), (WIDE_RESNET, True)])
def test_features_in_bfloat16_are_cached_apart(name, survives, own_cache, monkeypatch):
    data = DataConfig("elpv", image_size=32, limit=3)
    machine = SimpleNamespace(fast=False)
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: machine.fast)

    def features(**options):
        train = load_splits(data, name, (16,), **options).train
        return train.batch(np.arange(3)).features[16]

    def n_stored():
        return sum("encoder" in array.key for array in stored_arrays(own_cache, ""))

    plain = features()
    assert torch.equal(features(bf16=True), plain)
    machine.fast = True
    assert torch.equal(features(), plain) and n_stored() == 1
    error = (features(bf16=True) - plain).square().mean().sqrt() / plain.std()
    assert 0 < error < 0.01 if survives else error == 0
    assert n_stored() == 1 + survives


@pytest.mark.parametrize("config", [AEFlowConfig(n_blocks=2), FastFlowConfig(n_blocks=2)])
def test_training_in_bfloat16_ends_where_training_in_float32_does(config, small_elpv, fast):
    ends = []
    for bf16 in (False, True):
        system = small_system(small_elpv.train, config)
        train = TrainConfig(epochs=3, batch_size=8, bf16=bf16)
        history = fit(system, small_elpv.train, small_elpv.val, train, 0)
        ends.append((history["val_total"].iloc[-1], score_images(system, small_elpv.test)))
        fell = history["val_total"].iloc[0] - history["val_total"].iloc[-1]
    (loss, scores), (rough_loss, rough) = ends
    assert 0 < abs(rough_loss - loss) < 0.1 * fell
    assert spearmanr(scores["image_score"], rough["image_score"]).statistic > 0.98


def test_scores_in_bfloat16_are_those_in_float32_but_for_little(small_elpv, fast):
    system = small_system(small_elpv.train)
    fit(system, small_elpv.train, small_elpv.val, TrainConfig(epochs=2, batch_size=8), 0)
    columns = ["image_score", "flow_score", "recon_score"]
    plain = score_images(system, small_elpv.test)[columns]
    use_bf16(system, True)
    rough = score_images(system, small_elpv.test)[columns]
    difference = (rough - plain).abs()
    assert (difference.max() > 0).all()
    assert (difference.max() < 0.05 * plain.std()).all()


def test_an_image_s_score_does_not_depend_on_its_batch_in_bfloat16_either(small_elpv, fast):
    system = small_system(small_elpv.train)
    fit(system, small_elpv.train, small_elpv.val, TrainConfig(epochs=1, batch_size=8, bf16=True), 0)
    test, spread = small_elpv.test, score_images(system, small_elpv.test)["image_score"].std()
    with torch.inference_mode():
        scores = [
            torch.cat([system.score(batch).image_score for batch in test.batches(size)])
            for size in (len(test), 5, 1)
        ]
    for other in scores[1:]:
        assert (other - scores[0]).abs().max() < 0.05 * spread


@pytest.mark.parametrize("machine", ["fast", "slow"])
def test_a_run_says_what_it_computed_in_and_its_checkpoint_scores_alike(
    machine, request, small_elpv
):
    request.getfixturevalue(machine)
    config = RunConfig.build(SMOKE, "elpv", "ae_flow", n_blocks=2)
    config = replace(config, train=replace(config.train, epochs=1, bf16=True))
    result = run(config, small_elpv.listed)
    assert result.environment["bf16"] is (machine == "fast")
    again = score_images(load_system(result, small_elpv), small_elpv.test)
    np.testing.assert_allclose(
        again["image_score"], result.split("test")["image_score"], rtol=1e-5, atol=1e-6
    )
