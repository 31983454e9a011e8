"""Sources of weights: the real code downloads from a small server on this machine."""

import functools
import hashlib
import json
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import keras
import numpy as np
import pytest

import resnet_tf
from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.errors import UserError
from resnet_tf.weights import CAFFE, TORCH, find_weights, load_weights, sources
from resnet_tf.weights.catalogue import IMAGENET, RemoteFile
from tests.conftest import randomize
from tests.resnet_tf.test_weights import old_layout


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Logs nothing."""


class BreakingHandler(QuietHandler):
    """Promises a file and stops after a tenth of it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(bytes(10_000))


class HubHandler(QuietHandler):
    """Serves the requests of huggingface_hub, /OWNER/NAME/resolve/REVISION/FILE, with a commit and an ETag."""

    commit = "0123456789abcdef0123456789abcdef01234567"
    wrong_hash = False

    def translate_path(self, path):
        owner, name, _, _, file = path.strip("/").split("/")
        return f"{self.directory}/{owner}/{name}/{file}"

    def end_headers(self):
        try:
            with open(self.translate_path(self.path), "rb") as file:
                content = file.read()
        except OSError:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            digest = hashlib.sha256(content + b"!" * self.wrong_hash).hexdigest()
            self.send_header("X-Repo-Commit", self.commit)
            self.send_header("ETag", f'"{digest}"')
        super().end_headers()


@pytest.fixture
def serve(tmp_path):
    """Yields a function that serves a folder with a handler and returns (folder, address)."""
    servers = []

    def start(handler=QuietHandler):
        folder = tmp_path / "mirror"
        folder.mkdir(exist_ok=True)
        server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return folder, f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Returns the folder in which Keras keeps its downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def put_official_file(folder, monkeypatch):
    """Writes a file with the official name, and puts its hash in the table in place of the real one's."""
    model = resnet_tf.ResNet50(include_top=False, width=1 / 16)
    randomize(model)
    published = IMAGENET["resnet50"]
    file = folder / published.file_without_top.name
    old_layout(model, file)
    digest = hashlib.md5(file.read_bytes()).hexdigest()
    remote = replace(published.file_without_top, digest=digest)
    monkeypatch.setitem(IMAGENET, "resnet50", replace(published, file_without_top=remote))
    return file


def test_imagenet_weights_are_downloaded_once_checked_and_loaded(serve, cache, monkeypatch):
    folder, address = serve()
    served = put_official_file(folder, monkeypatch)
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, address)
    file = find_weights("imagenet", "resnet50", include_top=False)
    assert file.path == cache / served.name
    assert file.path.read_bytes() == served.read_bytes()
    assert file.preprocessing == CAFFE
    served.unlink()
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, "http://127.0.0.1:9")
    again = find_weights("imagenet", "resnet50", include_top=False)  # from the cache
    assert load_weights(resnet_tf.ResNet50(include_top=False, width=1 / 16), again).convolutions == (53, 53)


def test_a_wrong_hash_keeps_no_file(serve, cache, monkeypatch):
    folder, address = serve()
    served = put_official_file(folder, monkeypatch)
    content = served.read_bytes()
    served.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, address)
    with pytest.raises(UserError, match="hash"):
        find_weights("imagenet", "resnet50", include_top=False)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("trouble", ["404", "breaks off", "no server"])
def test_a_failed_download_names_address_file_and_place(trouble, serve, cache, monkeypatch):
    _, address = serve(BreakingHandler if trouble == "breaks off" else QuietHandler)
    if trouble == "no server":
        address = "http://127.0.0.1:9"
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, address)
    with pytest.raises(UserError) as caught:
        find_weights("imagenet", "resnet50", include_top=False)
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for part in (f"{address}/{name}", str(cache / name), sources.ADDRESS_VARIABLE):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (cache / name).exists()


def test_an_architecture_without_official_file_says_so():
    with pytest.raises(UserError, match="no ImageNet file is known for 'cifar_resnet20'"):
        find_weights("imagenet", "cifar_resnet20")


def test_the_table_is_that_of_keras_applications():
    from keras.src.applications import resnet, vgg16, vgg19

    for name, (digest, without_top) in resnet.WEIGHTS_HASHES.items():
        if name in ARCHITECTURES:
            published = IMAGENET[name]
            assert (published.file.digest, published.file_without_top.digest) == (digest, without_top)
            assert published.file.url == f"{resnet.BASE_WEIGHTS_PATH}{published.file.name}"
    for module, name in ((vgg16, "vgg16"), (vgg19, "vgg19")):
        assert IMAGENET[name].file.url == module.WEIGHTS_PATH
        assert IMAGENET[name].file_without_top.url == module.WEIGHTS_PATH_NO_TOP


def test_the_preprocessing_of_keras_applications_is_that_of_its_files():
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 3)).astype("float32")
    modules = {"resnet50": "resnet", "resnet50v2": "resnet_v2", "vgg16": "vgg16"}
    for name, module in modules.items():
        look = IMAGENET[name].preprocessing
        ours = ((images[..., ::-1] if look.channels == "bgr" else images) - look.mean) / look.deviation
        theirs = getattr(keras.applications, module).preprocess_input(images.copy())
        np.testing.assert_allclose(ours, theirs, atol=1e-6)  # theirs are computed in float32


def test_every_published_file_has_a_whole_hash_and_says_what_it_is():
    for name, published in IMAGENET.items():
        assert name in ARCHITECTURES
        for file in filter(None, (published.file, published.file_without_top)):
            assert isinstance(file, RemoteFile)
            assert len(bytes.fromhex(file.digest)) == hashlib.new(file.algorithm).digest_size
            assert file.url.startswith("https://")
        assert published.licence
        assert published.reference
        assert published.top1 is None or 0.7 < published.top1 < 0.8


def test_an_address_with_its_hash_is_downloaded_and_checked(serve, cache, torch_weights):
    folder, address = serve()
    content = torch_weights.read_bytes()
    (folder / "some weights.safetensors").write_bytes(content)
    url = f"{address}/some%20weights.safetensors"
    digest = hashlib.sha256(content).hexdigest()
    file = find_weights(f"{url}#sha256={digest}", "resnet18")
    assert file.path.parent == cache
    assert load_weights(resnet_tf.ResNet18(classes=10), file).head_loaded
    wrong = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(UserError, match="hash"):
        find_weights(f"{url}#sha256={wrong}", "resnet18")
    assert [path.name for path in cache.iterdir()] == [file.path.name]


@pytest.mark.parametrize("fragment", ["", "#sha256=12", "#md5=" + "0" * 32])
def test_an_address_without_a_hash_is_refused(fragment):
    with pytest.raises(UserError, match="must end in #sha256="):
        find_weights(f"https://example.org/weights.pth{fragment}", "resnet18")


@pytest.fixture
def hub(serve, tmp_path, monkeypatch, torch_weights):
    """Serves a hub with one repository of timm and one of transformers."""
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    folder, address = serve(HubHandler)
    monkeypatch.setenv("HF_ENDPOINT", address)
    timm, other = folder / "timm" / "resnet18.a1_in1k", folder / "someone" / "resnet-18"
    for repository in (timm, other):
        repository.mkdir(parents=True)
        (repository / "model.safetensors").write_bytes(torch_weights.read_bytes())
    look = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bicubic", "crop_pct": 0.95}
    (timm / "config.json").write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": look}))
    (other / "config.json").write_text(json.dumps({"model_type": "resnet"}))
    look = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "resample": 2, "crop_pct": 0.9}
    (other / "preprocessor_config.json").write_text(json.dumps(look))
    return folder


def test_weights_of_timm_come_with_their_own_preprocessing(hub):
    file = find_weights("timm:resnet18.a1_in1k", "resnet18")
    look = file.preprocessing
    assert (look.mean, look.deviation) == ((127.5,) * 3, (63.75,) * 3)
    assert (look.crop_fraction, look.interpolation) == (0.95, "bicubic")
    assert load_weights(resnet_tf.ResNet18(classes=10), file).missing == []
    (hub / "timm" / "resnet18.a1_in1k" / "model.safetensors").unlink()
    find_weights(f"timm:resnet18.a1_in1k@{HubHandler.commit}", "resnet18")  # from the cache


def test_weights_of_transformers_come_with_their_own_preprocessing(hub):
    look = find_weights("hf:someone/resnet-18", "resnet18").preprocessing
    assert (look.crop_fraction, look.interpolation) == (0.9, "bilinear")


def test_a_hub_repository_of_another_architecture_is_refused(hub):
    with pytest.raises(UserError, match="holds the architecture 'resnet18', not 'resnet50'"):
        find_weights("timm:resnet18.a1_in1k", "resnet50")


HUB_CONFIGS = [
    ({"architecture": "resnetblur18"}, "holds the architecture 'resnetblur18', not 'resnet18'"),
    ({"architecture": "resnet18", "model_args": {"aa_layer": "avg"}}, "its config.json builds it with aa_layer='avg'"),
]


@pytest.mark.parametrize(("config", "message"), HUB_CONFIGS)
def test_a_hub_repository_of_a_network_with_the_same_tensors_is_refused(config, message, hub):
    look = {"mean": [0.5] * 3, "std": [0.25] * 3, "interpolation": "bicubic", "crop_pct": 0.95}
    file = hub / "timm" / "resnet18.a1_in1k" / "config.json"
    file.write_text(json.dumps({**config, "pretrained_cfg": look}))
    with pytest.raises(UserError, match=message):
        find_weights("timm:resnet18.a1_in1k", "resnet18")


def test_a_hub_repository_is_refused_by_its_name_where_its_config_says_nothing(hub):
    (hub / "someone" / "resnet-18").rename(hub / "someone" / "resnetaa18-flowers")
    with pytest.raises(UserError, match="'resnetaa18' by its name"):
        find_weights("hf:someone/resnetaa18-flowers", "resnet18")


def test_a_hub_repository_may_spell_our_name_in_another_way(hub):
    file = hub / "timm" / "resnet18.a1_in1k" / "config.json"
    file.write_text(file.read_text().replace('"resnet18"', '"tv_resnet18"'))
    assert not find_weights("timm:resnet18.a1_in1k", "resnet18").untold


def test_a_hub_file_that_is_not_what_its_name_says_is_not_kept(hub, monkeypatch, tmp_path):
    monkeypatch.setattr(HubHandler, "wrong_hash", True)
    with pytest.raises(UserError, match="has the hash"):
        find_weights("timm:resnet18.a1_in1k", "resnet18")
    large = [path for path in (tmp_path / "hub").rglob("*") if path.is_file() and path.stat().st_size > 10**6]
    assert large == []


def test_a_missing_hub_repository_is_one_line(hub):
    with pytest.raises(UserError, match=r"could not download config\.json of 'timm:nothing'") as caught:
        find_weights("timm:nothing", "resnet18")
    assert "\n" not in str(caught.value)


def test_a_wrong_hub_source_is_one_line():
    with pytest.raises(UserError, match="timm:NAME or hf:OWNER/NAME"):
        find_weights("hf:resnet-50", "resnet50")


def test_a_file_in_torch_names_has_torchs_preprocessing(torch_weights):
    assert find_weights(str(torch_weights), "resnet18").preprocessing == TORCH
