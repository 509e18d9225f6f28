"""The packaged weights are the original network; fetched ones are checked; errors name a file."""

import hashlib
import os
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import timm
import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet

from aeflow_utils.data.encoders import (
    CPU_BATCH,
    ENCODERS,
    Encoder,
    EncoderSpec,
    fetch_weights,
    packaged_lite0_weights,
    weights_hash,
)
from aeflow_utils.errors import UserError
from aeflow_utils.paths import paths

LITE0 = "efficientnet_lite0"


@pytest.fixture(scope="module")
def lite0():
    return Encoder(LITE0, (8, 16, 32))


@pytest.fixture(scope="module")
def original():
    path = str(packaged_lite0_weights())
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()


def noise(size, n=2):
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [64, 128])
def test_lite0_features_are_those_of_the_original_architecture(size, lite0, original):
    expected, blocks = {}, {8: 4, 16: 10, 32: 15}  # the last block of each resolution
    for stride, block in blocks.items():
        original._blocks[block].register_forward_hook(
            lambda module, given, output, stride=stride: expected.update({stride: output})
        )
    with torch.inference_mode():
        original((noise(size) - 0.5) / 0.5)
    for stride, maps in lite0(noise(size)).items():
        torch.testing.assert_close(maps, expected[stride], rtol=1e-4, atol=1e-4)


def test_lite0_weights_renamed_for_timm_classify_as_the_original(original):
    state = torch.load(packaged_lite0_weights(), weights_only=True)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(ENCODERS[LITE0].rename(state))
    with torch.inference_mode():
        x = 2 * noise(128) - 1
        torch.testing.assert_close(network(x), original(x), rtol=1e-4, atol=1e-4)


def test_the_hash_of_the_weights_is_that_of_the_pinned_file():
    assert weights_hash(LITE0).startswith("57934424")  # as the file's name promises


def test_the_encoder_is_frozen(lite0):
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    assert not any(module.training for module in lite0.modules())
    assert not lite0(noise(64))[16].requires_grad


def test_channels_and_sizes_by_stride(lite0):
    assert lite0.channels == {8: 40, 16: 112, 32: 320}
    shapes = {stride: tuple(maps.shape) for stride, maps in lite0(noise(64)).items()}
    assert shapes == {8: (2, 40, 8, 8), 16: (2, 112, 4, 4), 32: (2, 320, 2, 2)}


def test_maps_are_labelled_right_whatever_the_order_of_strides():
    encoder = Encoder(LITE0, (32, 8))
    assert encoder.channels == {8: 40, 32: 320}
    assert {stride: maps.shape[-1] for stride, maps in encoder(noise(64)).items()} == {8: 8, 32: 2}


def test_an_unknown_encoder_lists_the_known_ones():
    with pytest.raises(UserError, match=f"'vgg'.*{', '.join(ENCODERS)}"):
        Encoder("vgg", (16,))


@pytest.fixture
def no_proxy(own_cache, monkeypatch):
    """No proxy for this machine, and a weights folder that is empty."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def closed_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture
def server(no_proxy):
    """Serves the bytes in `files` by path, and lists the paths asked for in `asked`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            content = self.server.files.get(self.path)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def stored_weights():
    return [path.name for path in paths().weights.iterdir()]


def test_weights_without_a_network_name_the_file_and_the_way_out(no_proxy, closed_port):
    with pytest.raises(UserError, match="efficientnet_lite0") as error:
        fetch_weights(f"http://127.0.0.1:{closed_port}/net-00000000.pth")
    assert str(paths().weights / "net-00000000.pth") in str(error.value)
    assert stored_weights() == []


def test_weights_are_fetched_once(server):
    content = b"weights" * 1000
    name = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    server.files[f"/{name}"] = content
    for _ in range(2):
        path = fetch_weights(f"{server.url}/{name}")
        assert path == paths().weights / name
        assert path.read_bytes() == content
    assert server.asked == [f"/{name}"]


def test_weights_with_the_wrong_hash_are_refused_and_not_kept(server):
    server.files["/net-00000000.pth"] = b"something else"
    with pytest.raises(UserError, match=r"net-00000000\.pth.*hash"):
        fetch_weights(f"{server.url}/net-00000000.pth")
    assert stored_weights() == []


def test_a_missing_file_on_the_server_is_an_error_that_names_it(server):
    with pytest.raises(UserError, match=r"net-00000000\.pth.*404"):
        fetch_weights(f"{server.url}/net-00000000.pth")
    assert stored_weights() == []


def test_weights_put_there_by_hand_are_used_without_a_network(no_proxy, closed_port):
    paths().weights.mkdir(parents=True)
    (paths().weights / "net-00000000.pth").write_bytes(b"by hand")
    path = fetch_weights(f"http://127.0.0.1:{closed_port}/net-00000000.pth")
    assert path.read_bytes() == b"by hand"


@pytest.fixture
def weights_file(no_proxy):
    """Makes the place of an encoder's weights file."""

    def place(name):
        paths().weights.mkdir(parents=True, exist_ok=True)
        return paths().weights / name

    return place


@pytest.mark.parametrize("content", [b"", b"<html>sign in first</html>", b"PK\x03\x04 cut off"])
def test_a_broken_weights_file_is_named(content, weights_file):
    path = weights_file("resnet10t.pth")
    path.write_bytes(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        Encoder("resnet10t", (16,))


@pytest.mark.parametrize("state", [{"conv1.weight": torch.zeros(8, 3, 3, 3)}, {}])
def test_weights_of_another_network_are_refused_by_name(state, weights_file):
    path = weights_file("resnet18.pth")
    torch.save(state, path)
    with pytest.raises(UserError, match=r"conv1\.weight") as error:
        Encoder("resnet18", (16,))
    assert str(path) in str(error.value)


def test_wide_resnet_gives_the_features_of_torchvisions_layer3(weights_file):
    torch.manual_seed(0)
    network = torchvision.models.wide_resnet50_2(weights=None).eval()
    url = torchvision.models.Wide_ResNet50_2_Weights.IMAGENET1K_V1.url
    torch.save(network.state_dict(), weights_file(url.rsplit("/", 1)[-1]))
    encoder = Encoder("wide_resnet50_2", (16,))
    images = torch.rand(2, 3, 64, 64)
    stem = (network.conv1, network.bn1, network.relu, network.maxpool)
    x = (images - encoder.mean) / encoder.std
    with torch.inference_mode():
        for layer in (*stem, network.layer1, network.layer2, network.layer3):
            x = layer(x)
    found = encoder(images)[16]
    assert found.shape == (2, 1024, 4, 4)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4 * float(x.abs().max()))


def test_any_backbone_of_timm_is_an_encoder_once_its_weights_are_there(monkeypatch, tmp_path):
    monkeypatch.setenv("AEFLOW_WEIGHTS", str(tmp_path))
    torch.manual_seed(0)
    network = timm.create_model("resnet18").eval()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    encoder = Encoder("resnet18", (8, 16))
    assert encoder.channels == {8: 128, 16: 256}
    mean, std = encoder.mean, encoder.std
    with torch.inference_mode():
        x = network.maxpool(network.act1(network.bn1(network.conv1((noise(64) - mean) / std))))
        x = network.layer2(network.layer1(x))
        maps = encoder(noise(64))
        torch.testing.assert_close(maps[8], x, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(maps[16], network.layer3(x), rtol=1e-4, atol=1e-4)


def test_an_untrained_encoder_has_random_weights_the_same_ones_each_time(monkeypatch, tmp_path):
    images = torch.rand(2, 3, 64, 64)
    maps, hashes = [], set()
    for process, folder in enumerate(("one", "two")):
        monkeypatch.setenv("AEFLOW_WEIGHTS", str(tmp_path / folder))
        torch.manual_seed(process)  # whatever was drawn before
        monkeypatch.setattr(os, "getpid", lambda process=process: process)
        encoder = Encoder("efficientnet_lite0_untrained", (16,))
        maps.append(encoder(images)[16])
        hashes.add(weights_hash("efficientnet_lite0_untrained"))
    assert torch.equal(*maps)
    assert len(hashes) == 1
    trained = Encoder("efficientnet_lite0", (16,))(images)[16]
    assert trained.shape == maps[0].shape
    assert not torch.allclose(trained, maps[0], atol=0.1)


def test_weights_of_timm_are_fetched_once_and_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("AEFLOW_WEIGHTS", str(tmp_path))
    create, asked = timm.create_model, []

    def fetching(name, pretrained=False, **options):
        asked.append(pretrained)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", fetching)
    assert weights_hash("resnet10t") == weights_hash("resnet10t")
    Encoder("resnet10t", (16,))
    assert asked.count(True) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["resnet10t.pth"]


def test_weights_of_timm_that_cannot_be_fetched_name_file_and_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("AEFLOW_WEIGHTS", str(tmp_path))

    def offline(name, pretrained=False, **options):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UserError, match=r"resnet10t \(no network\).*resnet10t\.pth by hand"):
        Encoder("resnet10t", (16,))


def test_a_stride_that_a_backbone_does_not_have_is_named(weights_file):
    weights_file("deit_tiny_patch16_224.pth").touch()  # asked for its strides before its weights
    with pytest.raises(UserError, match="stride 8, only at 16"):
        Encoder("deit_tiny_patch16_224", (8, 16))


def test_blocks_beyond_the_coarsest_map_are_left_out(lite0):
    short = Encoder(LITE0, (16,))
    assert len(short.network.blocks) < len(lite0.network.blocks)
    torch.testing.assert_close(short(noise(64))[16], lite0(noise(64))[16], rtol=0, atol=0)


def randomise_norms(network):
    """Off their start, where a norm's statistics and weights do nothing."""
    generator = torch.Generator().manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.running_var, norm.weight, norm.bias):
                tensor.data += 0.1 * torch.rand(tensor.shape, generator=generator)


@pytest.mark.parametrize("name", [LITE0, "resnet18", "resnet50"])
def test_a_fused_encoder_has_no_norms_and_gives_the_same_maps(name, own_cache, monkeypatch):
    if name != LITE0:  # drawn at random: no weights are fetched
        spec = EncoderSpec(name, (0.5,) * 3, (0.5,) * 3, lambda: own_cache / "weights.pth")
        monkeypatch.setitem(ENCODERS, name, spec)
        own_cache.mkdir()
        torch.manual_seed(0)
        network = timm.create_model(name)
        randomise_norms(network)
        torch.save(network.state_dict(), own_cache / "weights.pth")
    plain, fused = Encoder(name, (8, 16)), Encoder(name, (8, 16)).fuse()
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in fused.modules())
    for stride, maps in fused(noise(64)).items():
        expected = plain(noise(64))[stride]
        assert maps.shape == expected.shape
        assert (maps - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_maps_do_not_depend_on_how_many_images_come_at_once(lite0):
    images = torch.rand(2 * CPU_BATCH + 3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one_by_one = [lite0(image[None]) for image in images]
    for stride, maps in lite0(images).items():
        expected = torch.cat([each[stride] for each in one_by_one])
        torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("n_threads", [2, 3])
def test_maps_are_the_same_bytes_for_any_number_of_threads(n_threads, lite0):
    images = torch.rand(10, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    expected = lite0(images)
    torch.set_num_threads(n_threads)
    try:
        found = lite0(images)
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(found[stride], expected[stride]) for stride in expected)


def test_an_encoder_is_fused_only_when_asked():
    norms = [m for m in Encoder(LITE0, (16,)).modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) > 10
