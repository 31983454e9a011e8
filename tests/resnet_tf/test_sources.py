"""The official ImageNet files: the real download, from a small server on this machine."""

import functools
import hashlib
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

import resnet_tf
from resnet_tf.errors import UserError
from resnet_tf.weights import load_weights, sources
from resnet_tf.weights.sources import ImageNetFile, resolve_weights
from tests.conftest import randomize
from tests.resnet_tf.test_weights import old_layout


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        """Nothing."""


class BreakingHandler(QuietHandler):
    """A server that promises a file and stops after a tenth of it."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        self.wfile.write(bytes(10_000))


@pytest.fixture
def serve(tmp_path):
    """Serves a folder with a handler; returns (folder, address)."""
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
    """Where Keras keeps what it downloads."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return tmp_path / "keras" / "models"


def put_official_file(folder, monkeypatch):
    """A file of the official name, and its hash in the table in place of the real one's."""
    model = resnet_tf.ResNet18(include_top=False)  # a small file will do
    randomize(model)
    name = sources.IMAGENET_FILES["resnet50"][False].name
    old_layout(model, folder / name)
    digest = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setitem(sources.IMAGENET_FILES, "resnet50", {False: ImageNetFile(name, digest)})
    return folder / name


def test_imagenet_weights_are_downloaded_once_checked_and_loaded(serve, cache, monkeypatch):
    folder, address = serve()
    served = put_official_file(folder, monkeypatch)
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, address)
    path = resolve_weights("imagenet", "resnet50", include_top=False)
    assert path == cache / served.name
    assert path.read_bytes() == served.read_bytes()
    served.unlink()
    monkeypatch.setenv(sources.ADDRESS_VARIABLE, "http://127.0.0.1:9")
    again = resolve_weights("imagenet", "resnet50", include_top=False)  # from the cache
    assert load_weights(resnet_tf.ResNet18(include_top=False), again).convolutions == (20, 20)


def test_a_wrong_hash_keeps_no_file(serve, cache, monkeypatch):
    folder, address = serve()
    served = put_official_file(folder, monkeypatch)
    content = served.read_bytes()
    served.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match="hash"):
        resolve_weights("imagenet", "resnet50", include_top=False, address=address)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("trouble", ["404", "breaks off", "no server"])
def test_a_failed_download_names_address_file_and_place(trouble, serve, cache):
    handler = BreakingHandler if trouble == "breaks off" else QuietHandler
    _, address = serve(handler)
    if trouble == "no server":
        address = "http://127.0.0.1:9"
    with pytest.raises(UserError) as caught:
        resolve_weights("imagenet", "resnet50", include_top=False, address=address)
    name = "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for part in (f"{address}/{name}", str(cache / name), sources.ADDRESS_VARIABLE):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not cache.exists() or list(cache.iterdir()) == []


def test_an_architecture_without_official_file_says_so():
    with pytest.raises(UserError, match="no official ImageNet file is known for 'resnet18'"):
        resolve_weights("imagenet", "resnet18")


def test_the_table_is_that_of_keras_applications():
    from keras.src.applications.resnet import BASE_WEIGHTS_PATH, WEIGHTS_HASHES

    assert sources.KERAS_ADDRESS == BASE_WEIGHTS_PATH
    for name, files in sources.IMAGENET_FILES.items():
        assert (files[True].md5, files[False].md5) == WEIGHTS_HASHES[name]
