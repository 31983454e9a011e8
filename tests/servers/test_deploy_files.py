"""The files of a deployment, read by the parsers that their programs publish."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format

pytest.importorskip("tensorflow_serving.config", reason="the servers are not installed; make servers")

from tensorflow_serving.config import model_server_config_pb2
from tritonclient.grpc import model_config_pb2

from pipelines.runs.directory import Run
from pipelines.serving.deploy import LARGEST_BATCH, deploy
from pipelines.serving.entries import write_entries
from tests.servers.conftest import CLASSES


@pytest.fixture(scope="module")
def folder(saved_model, tmp_path_factory):
    run = Run(tmp_path_factory.mktemp("runs") / "photos")
    shutil.copytree(saved_model, run.saved_model)
    run.classes.write_text(json.dumps(CLASSES))
    (run.path / "export" / "model.onnx").write_bytes(b"onnx")
    write_entries(run, [{"path": path, "model_sha256": "1"} for path in ("saved_model/1", "model.onnx")])
    folder = run.path / "deploy"
    deploy(run, folder)
    return folder


def test_tensorflow_serving_knows_where_the_model_is(folder):
    text = (folder / "tensorflow-serving" / "models.config").read_text()
    (config,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    assert (config.name, config.base_path) == ("photos", "/models/photos")


def test_triton_knows_the_inputs_and_outputs_of_the_signature(folder, signatures):
    text = (folder / "triton" / "photos" / "config.pbtxt").read_text()
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    signature = signatures[config.parameters["TF_SIGNATURE_DEF"].string_value]
    assert [each.name for each in config.input] == list(signature.structured_input_signature[1])
    assert {each.name for each in config.output} == set(signature.structured_outputs)
    for output in config.output:
        shape = [-1, *(output.reshape.shape if output.HasField("reshape") else output.dims)]
        assert shape == [-1 if side is None else side for side in signature.structured_outputs[output.name].shape]
    assert config.max_batch_size == LARGEST_BATCH
    text_format.Parse((folder / "triton" / "photos-onnx" / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_hadolint_finds_nothing_in_the_dockerfile(folder):
    command = [Path(sys.executable).parent / "hadolint", folder / "tensorflow-serving" / "Dockerfile"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")
