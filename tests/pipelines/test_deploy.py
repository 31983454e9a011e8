"""`export --deploy` writes a folder whose files their readers accept, and clients that work."""

import base64
import json
import math
import shutil
import struct
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main
from pipelines.runs.directory import Run
from pipelines.serving.deploy import deploy, model_name
from pipelines.serving.entries import entries_of, write_entries
from resnet_tf.errors import UserError

NAME = "my-photos-2"
PATHS = ("saved_model/1", "model.onnx")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Returns a run whose export is a few bytes: its content is copied, never read."""
    run = Run(tmp_path_factory.mktemp("runs") / "My <photos>: 2")
    run.saved_model.mkdir(parents=True)
    (run.saved_model / "saved_model.pb").write_bytes(b"model")
    run.classes.write_text(json.dumps(["a", "<b>", "c"]))
    (run.path / "export" / "model.onnx").write_bytes(b"onnx")
    write_entries(run, [{"path": path, "model_sha256": "1", "mirror": False} for path in PATHS])
    return run


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("deploy") / "new" / "deploy"
    deploy(run, folder)
    return folder


def test_the_folder_has_the_model_where_its_files_say(folder):
    assert (folder / "models" / NAME / "1" / "saved_model.pb").read_bytes() == b"model"
    assert (folder / "models" / f"{NAME}-onnx" / "1" / "model.onnx").read_bytes() == b"onnx"
    for file in folder.rglob("compose.yaml"):
        (service,) = yaml.safe_load(file.read_text())["services"].values()
        for volume in service.get("volumes", []):
            assert (file.parent / volume.split(":")[0]).exists(), volume
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    for line in (folder / "tensorflow-serving" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((folder / source).exists() for source in line.split()[1:-1]), line
    assert yaml.safe_load((folder / "kserve" / "inference-service.yaml").read_text())["metadata"]["name"] == NAME
    (model,) = json.loads((folder / "openvino" / "config.json").read_text())["model_config_list"]
    assert model["config"]["base_path"] == f"/models/{NAME}-onnx"
    readme = (folder / "README.md").read_text()
    assert all(f"{file.relative_to(folder)}" in readme for file in folder.rglob("compose.yaml"))


def test_a_run_without_onnx_leaves_out_what_needs_it(run, tmp_path):
    other = Run(shutil.copytree(run.path, tmp_path / "9 lives"))
    (other.path / "export" / "model.onnx").unlink()
    deploy(other, tmp_path / "deploy")
    assert model_name(other) == "model-9-lives"
    names = {str(path.relative_to(tmp_path / "deploy")) for path in (tmp_path / "deploy").rglob("*")}
    assert not [name for name in names if "onnx" in name or "openvino" in name]
    assert "onnx" not in (tmp_path / "deploy" / "triton" / "compose.yaml").read_text()


def test_a_training_on_all_images_is_named_after_the_run_that_it_belongs_to(tmp_path):
    run = Run(tmp_path / "insects")
    run.all.path.mkdir(parents=True)
    assert run.all.name == "all"  # a folder that is called so by chance
    run.config.write_text("{}")
    assert (run.name, run.all.name, model_name(run.all)) == ("insects", "insects-all", "insects-all")


@pytest.mark.parametrize(
    ("fact", "words"), [({"model_sha256": "2"}, "another model"), ({"mirror": True}, "another --mirror")]
)
def test_an_onnx_file_of_other_answers_is_left_out(fact, words, run, tmp_path, capsys):
    other = Run(shutil.copytree(run.path, tmp_path / "run"))
    saved_model, onnx = entries_of(other)
    write_entries(other, [saved_model, {**onnx, **fact}])
    deploy(other, tmp_path / "deploy")
    assert not [path for path in (tmp_path / "deploy").rglob("*") if "onnx" in path.name]
    assert f"model.onnx is left out, since it has {words} than the SavedModel" in capsys.readouterr().err


def test_nothing_is_overwritten(run, tmp_path, capsys):
    (tmp_path / "mine").write_text("kept")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for taken in (tmp_path, tmp_path / "mine", tmp_path / "link"):
        with pytest.raises(UserError, match="exists and is not an empty folder"):
            deploy(run, taken)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "link", "mine"]
    deploy(run, tmp_path / "empty")
    assert (tmp_path / "empty" / "README.md").is_file()
    assert main(["export", str(run.path), "--deploy", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


class Server(BaseHTTPRequestHandler):
    """Answers as TensorFlow Serving's REST interface and Triton's do, about bytes that say what the answer is."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == f"/v1/models/{NAME}:predict":
            request = json.loads(body)
            assert request["signature_name"] == "serve_bytes"
            contents = [base64.b64decode(each["b64"], validate=True) for each in request["instances"]]
            said = {"predictions": [answer_about(content) for content in contents]}
        else:
            assert self.path == f"/v2/models/{NAME}/infer"
            length = int(self.headers["Inference-Header-Content-Length"])
            (tensor,) = json.loads(body[:length])["inputs"]
            rest, contents = body[length:], []
            assert tensor["parameters"]["binary_data_size"] == len(rest)
            while rest:
                (size,) = struct.unpack_from("<I", rest)
                contents, rest = [*contents, rest[4 : 4 + size]], rest[4 + size :]
            assert tensor["shape"] == [len(contents), 1]
            answers = [answer_about(content) for content in contents]
            columns = {name: [answer[name] for answer in answers] for name in answers[0]}
            columns["probabilities"] = [each for answer in columns["probabilities"] for each in answer]
            said = {"outputs": [{"name": name, "data": data} for name, data in columns.items()]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_):
        pass


def answer_about(content):
    if content == b"bad":
        return {"probabilities": [math.nan] * 2, "class_index": -1, "class_name": "", "status": "not an image"}
    return {"probabilities": [0.25, 0.75], "class_index": 1, "class_name": content.decode(), "status": "ok"}


@pytest.fixture(scope="module")
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def ask(command: list[str], photos: Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=photos, timeout=60).stdout


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, content in (("one.jpg", b"crab"), ("two 2.jpg", b"bad"), ("three.jpg", b"bee" * 60)):
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_the_python_client_needs_python_alone(protocol, folder, url, photos):
    names = ["one.jpg", "two 2.jpg", "three.jpg"]
    client = [sys.executable, "-I", "-S", str(folder / "clients" / "client.py"), *names]
    said = ask([*client, "--protocol", protocol, "--url", url], photos)
    assert said.splitlines() == ["one.jpg: crab 0.750", "two 2.jpg: not an image", f"three.jpg: {'bee' * 60} 0.750"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_asks_about_a_photo(folder, url, photos):
    said = ask(["sh", str(folder / "clients" / "ask.sh"), "three.jpg", url], photos)
    assert json.loads(said)["predictions"][0]["class_name"] == "bee" * 60
