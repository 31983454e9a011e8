"""MLServer, a real server of the open inference protocol, serves the export; tritonclient asks it by HTTP and gRPC."""

import base64
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from tests.servers.conftest import photos

# MLServer is not imported here: its messages have the same names as the client's.
grpc = pytest.importorskip("tritonclient.grpc", reason="the servers are not installed; make servers")
http = pytest.importorskip("tritonclient.http")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException

NAME = "photos"
SECONDS = 60
OUTPUTS = "probabilities", "class_index", "class_name", "status"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def server(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """Starts MLServer on the loopback, and ends it."""
    folder = tmp_path_factory.mktemp("mlserver")
    ports = {name: free_port() for name in ("http_port", "grpc_port", "metrics_port")}
    (folder / "settings.json").write_text(json.dumps({"host": "127.0.0.1", "parallel_workers": 0, **ports}))
    model = {"uri": str(saved_model), "version": "1"}
    settings = {"name": NAME, "implementation": "saved_model_runtime.SavedModelRuntime", "parameters": model}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(Path(sys.executable).parent / "mlserver"), "start", str(folder)]
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        client = http.InferenceServerClient(f"127.0.0.1:{ports['http_port']}")
        wait_until_ready(client, process, folder / "log")
        yield SimpleNamespace(**ports)
    finally:
        process.terminate()
        process.wait(20)


def wait_until_ready(client, process, log) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            if client.is_model_ready(NAME):
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(log.read_text()[-2000:])


@pytest.fixture(params=["http", "grpc"])
def ask(request, server):
    """Returns a function from one input to the answer of the server, a dictionary of arrays."""
    module, in_json = {"http": (http, {"binary_data": False}), "grpc": (grpc, {})}[request.param]
    client = module.InferenceServerClient(f"127.0.0.1:{getattr(server, f'{request.param}_port')}")

    def infer(name, value, kind):
        tensor = module.InferInput(name, list(value.shape), kind)
        if in_json and kind == "BYTES":
            value = np.array([base64.b64encode(each) for each in value], object)
        tensor.set_data_from_numpy(value, **in_json)
        wanted = [module.InferRequestedOutput(each, **in_json) for each in OUTPUTS]
        answer = client.infer(NAME, [tensor], outputs=wanted)
        return {each: answer.as_numpy(each) for each in OUTPUTS}

    yield infer
    client.close()


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
