"""MLServer, a real server of the open inference protocol, serves the export; tritonclient asks it by HTTP and gRPC."""

import base64
from contextlib import closing

import numpy as np
import pytest
import tensorflow as tf

from tests.servers.conftest import photos
from tests.servers.mlserver_process import NAME, started

# MLServer is not imported here: its messages have the same names as the client's.
grpc = pytest.importorskip("tritonclient.grpc", reason="the servers are not installed; make servers")
http = pytest.importorskip("tritonclient.http")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

OUTPUTS = "probabilities", "class_index", "class_name", "status"


@pytest.fixture(scope="module")
def server(saved_model, tmp_path_factory):
    with started(saved_model, tmp_path_factory.mktemp("mlserver")) as found:
        yield found


@pytest.fixture(params=["http", "grpc"])
def ask(request, server):
    """Returns a function from one input to the answer of the server, a dictionary of arrays."""
    module, in_json = {"http": (http, {"binary_data": False}), "grpc": (grpc, {})}[request.param]
    address = f"127.0.0.1:{getattr(server, f'{request.param}_port')}"

    def infer(name, value, kind):
        tensor = module.InferInput(name, list(value.shape), kind)
        if in_json and kind == "BYTES":
            value = np.array([base64.b64encode(each) for each in value], object)
        tensor.set_data_from_numpy(value, **in_json)
        wanted = [module.InferRequestedOutput(each, **in_json) for each in OUTPUTS]
        with closing(module.InferenceServerClient(address)) as client:
            answer = client.infer(NAME, [tensor], outputs=wanted)
        return {each: answer.as_numpy(each) for each in OUTPUTS}

    return infer


def texts(values) -> list[str]:
    """Returns texts that came in JSON, or as bytes."""
    return [each.decode() if isinstance(each, bytes) else each for each in values.ravel().tolist()]


def same(found, expected) -> None:
    np.testing.assert_allclose(found["probabilities"].astype(float), expected["probabilities"], atol=1e-6)
    assert found["class_index"].ravel().tolist() == expected["class_index"].numpy().tolist()
    for name in ("class_name", "status"):
        assert texts(found[name]) == texts(expected[name].numpy())


def test_photos_as_bytes_and_a_bad_one_among_them(ask, signatures):
    first, last = photos(2)
    contents = [first, b"no photo", last]
    expected = signatures["serve_bytes"](encoded=tf.constant(contents))
    found = ask("encoded", np.array(contents, object), "BYTES")
    same(found, expected)
    assert texts(found["status"]) == ["ok", "not an image", "ok"]


def test_pixels(ask, signatures):
    pixels = np.random.default_rng(1).integers(0, 256, (2, 45, 37, 3), np.uint8)
    expected = signatures["serving_default"](images=pixels)
    same(ask("images", pixels, "UINT8"), expected)


def test_a_wrong_request_leaves_the_server_alive(ask):
    with pytest.raises(InferenceServerException):
        ask("images", np.zeros((2, 3), np.uint8), "UINT8")
    assert texts(ask("encoded", np.array(photos(1), object), "BYTES")["status"]) == ["ok"]
