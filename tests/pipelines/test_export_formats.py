"""Exports in other formats give the answers of `predict`, say what they are, and are kept only if they agree."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

from pipelines.cli import main
from pipelines.config.formats import FLOAT32, Target, check_installed, targets_of
from pipelines.console.escapes import one_line
from pipelines.data.manifest import load_manifest
from pipelines.evaluation.inference import logits_of, softmax
from pipelines.evaluation.pictures import predict_images
from pipelines.evaluation.predictions import input_spec_of, probability_columns
from pipelines.evaluation.run_calibration import temperature_of
from pipelines.evaluation.served import _names_in, file_probabilities
from pipelines.evaluation.sources import root_of, rows_of_split
from pipelines.export import _written, export_formats
from pipelines.report.export_page import export_page
from pipelines.runs.directory import Run, load_classes
from pipelines.runs.files import read_json
from pipelines.serving import keras_file, litert_file
from pipelines.serving.exported import load_exported
from pipelines.serving.measure import _ask_each, agreement_of
from pipelines.serving.photos import for_calibration
from pipelines.serving.verdict import Agreement, complaint
from pipelines.serving.writers import Converters
from resnet_tf.errors import UserError
from resnet_tf.weights.preprocessing import CAFFE
from resnet_tf.weights.readers import SAVED_MODEL_DESCRIPTION
from resnet_tf.weights.structure import Structure
from resnet_tf.weights.weight_file import description

PACKAGES = ("onnx", "onnxruntime", "openvino", "nncf", "ai_edge_litert")
needs_packages = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PACKAGES),
    reason="the packages of requirements-export.txt are not installed",
)
TARGETS = [Target("onnx"), Target("openvino"), Target("litert", "float16")]


@pytest.fixture(scope="module")
def exported(finished, tmp_path_factory) -> Run:
    """Returns a run with exports in several formats."""
    run = Run(Path(shutil.copytree(finished.path, tmp_path_factory.mktemp("formats") / "run")))
    export_formats(run, TARGETS)
    return run


@needs_packages
def test_every_export_is_measured_and_agrees(exported):
    entries = read_json(exported.export_report)
    assert [Target(entry["format"], entry["precision"]) for entry in entries] == TARGETS
    for entry in entries:
        assert entry["verdict"] == "kept"
        assert entry["accuracy_ci95"][0] <= entry["accuracy"] <= entry["accuracy_ci95"][1]
        assert set(entry["images_per_second"]) == {"1", "32"}
        assert min(entry["n"], entry["peak_mib"], entry["bytes"]) > 0
        assert (exported.export_report.parent / entry["path"]).exists()
        if entry["precision"] == FLOAT32:
            assert entry["changed"] == 0
            assert entry["max_probability_difference"] <= 1e-3
        assert entry["split"] == "test"
    assert not exported.saved_model.exists()  # it was measured beside the others, and not asked for
    assert not any(path.name.startswith(".") for path in exported.export_report.parent.iterdir())
    page = exported.export_report.with_name("report.html").read_text()
    assert all(str(target) in page for target in TARGETS)


@needs_packages
def test_evaluate_reads_exported_files_as_predict_reads_the_run(exported):
    rows, root, classes = rows_of_split(exported, "test").head(4), root_of(exported, None), load_classes(exported)
    expected = predict_images(exported, [root / path for path in rows["path"]])[probability_columns(classes)]
    spec, temperature = input_spec_of(exported), temperature_of(exported)
    for name in ("model.onnx", "openvino/model.xml", "model-float16.tflite"):
        file = exported.export_report.parent / name
        found, names = file_probabilities(file, rows, root, spec, temperature)
        assert names == classes
        # Of a view, a few pixels may be rounded to the next gray level; float16 has three digits.
        np.testing.assert_allclose(found, expected, atol=3e-3, err_msg=name)


@needs_packages
def test_openvino_sends_no_statistics_and_makes_no_folder_in_the_home(exported, tmp_path):
    command = [sys.executable, "-m", "pipelines.serving.engine", "openvino"]
    subprocess.run(
        [*command, str(exported.export_report.parent / "openvino")],
        env={**os.environ, "HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    assert not (tmp_path / "intel").exists()


@needs_packages
def test_each_file_has_the_classes_and_the_view(exported):
    import onnx
    import openvino

    folder, classes = exported.export_report.parent, load_classes(exported)
    said = {each.key: each.value for each in onnx.load(folder / "model.onnx").metadata_props}
    view = {"size": input_spec_of(exported).size, "view": "crop", "crop_fraction": 0.875, "interpolation": "bilinear"}
    assert json.loads(said["classes"]) == classes
    assert json.loads(said["view"]) == view
    assert said["image_size"] == str(view["size"])
    assert float(said["temperature"]) == temperature_of(exported)
    in_openvino = openvino.Core().read_model(folder / "openvino" / "model.xml").get_rt_info(["resnet_tf", "classes"])
    assert json.loads(in_openvino.astype(str)) == classes
    with zipfile.ZipFile(folder / "model-float16.tflite") as archive:
        assert json.loads(archive.read("metadata.json"))["view"] == view
        assert archive.read("labels.txt").decode().splitlines() == classes


@pytest.mark.parametrize("mirror", [False, True])
def test_a_keras_file_has_layers_of_keras_alone_and_gives_the_probabilities(finished, tmp_path, mirror):
    exported = load_exported(finished, mirror)
    exported.network.save(tmp_path)
    keras_file.main(str(tmp_path), str(tmp_path / "model.keras"), FLOAT32)
    model = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    layers = list(model._flatten_layers(include_self=False))
    assert {type(layer).__module__.partition(".")[0] for layer in layers} == {"keras"}
    assert not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers)
    images = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), np.uint8)
    expected = softmax(np.asarray(logits_of(exported.model, mirror, exported.temperature)(images)))
    np.testing.assert_allclose(model(images), expected, atol=1e-6)
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert json.loads(archive.read("export.json"))["classes"] == exported.classes


@needs_packages
@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")  # TensorFlow's own converter calls it
def test_int8_has_integer_operations_without_the_view_and_reads_training_photos(finished, tmp_path):
    """The tiny network's answers are near ties, so that its int8 need not be kept; what is written is looked at."""
    import onnx
    from ai_edge_litert.interpreter import Interpreter

    exported = load_exported(finished, mirror=False)
    photos = for_calibration(load_manifest(finished.manifest), root_of(finished, None), exported.spec, most=4)
    assert set(photos.rows["split"]) == {"train"}
    converters = Converters(exported, photos, tmp_path)
    converters.write(Target("onnx", "int8"), tmp_path / "model.onnx")
    litert_file.main(str(tmp_path / "network"), str(tmp_path / "model.tflite"), "int8", str(tmp_path / "views.npy"))
    nodes = onnx.load(tmp_path / "model.onnx").graph.node
    quantized = {node.input[0] for node in nodes if node.op_type == "QuantizeLinear"}
    assert len(quantized) > 5
    assert not any(name.startswith("view/") and "Transpose" not in name for name in quantized)
    tensors = Interpreter(model_path=str(tmp_path / "model.tflite")).get_tensor_details()
    floats = [each["name"] for each in tensors if each["dtype"] == np.float32]
    assert len(floats) == 1  # the probabilities, which are 8 bits until they leave
    assert len([each for each in tensors if each["dtype"] == np.int8]) > 10


@needs_packages
def test_an_export_that_disagrees_is_not_kept_and_the_earlier_one_stays(exported, monkeypatch, capsys):
    import pipelines.export as verb

    def disagree(written, *others):
        found = measure(written[-1:], *others)
        agreement = replace(found.exports[0].agreement, largest=0.5)
        return replace(found, exports=[replace(found.exports[0], agreement=agreement)])

    measure, file = verb.measure, exported.export_report.with_name("model.onnx")
    before, entries = file.read_bytes(), read_json(exported.export_report)
    monkeypatch.setattr(verb, "measure", disagree)
    monkeypatch.setattr(verb, "write_checked", lambda exported, photos, folder: 0.0)
    assert main(["export", str(exported.path), "--format", "onnx"]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1] == "error: onnx float32 is not kept: a probability differs by 0.5, more than 0.01"
    assert file.read_bytes() == before
    assert read_json(exported.export_report) == entries
    assert not list(exported.export_report.parent.glob(".writing-*"))


def test_a_converter_that_fails_leaves_the_others(monkeypatch, tmp_path):
    import pipelines.export as verb

    class Half:
        work = tmp_path

        def write(self, target, path):
            if target.format == "litert":
                raise UserError("its converter fails: too little memory")

    monkeypatch.setattr(verb, "write_checked", lambda *_: 0.0)
    targets = [Target("saved_model"), Target("litert", "int8"), Target("onnx")]
    written, refused = _written(None, targets, None, Half())
    assert [target for target, _ in written] == [targets[0], targets[2]]
    assert refused == {targets[1]: "its converter fails: too little memory"}


def test_an_export_whose_runtime_fails_leaves_the_others():
    class Runtime:
        def __init__(self, target):
            self.target = target

        def ask(self, images, times):
            if self.target.format == "litert":
                raise UserError("a fresh process cannot serve litert float32: no memory")
            return images.shape, [0.1] * times

    engines, failed = [Runtime(Target(name)) for name in ("saved_model", "litert", "onnx")], {}
    picture, image = np.zeros((5, 7, 3), np.uint8), np.zeros((4, 4, 3), np.uint8)
    found = [answer for _, (answer, _) in _ask_each(engines, picture, image, failed, batch=2)]
    assert found == [(2, 5, 7, 3)] * 2
    assert [engine.target.format for engine in engines] == ["saved_model", "onnx"]
    assert failed == {Target("litert"): "a fresh process cannot serve litert float32: no memory"}
    with pytest.raises(UserError, match="no memory"):  # nothing is left to compare with
        list(_ask_each([Runtime(Target("litert"))], picture, image, {}))


def test_a_model_that_a_training_replaces_while_it_is_read_is_not_exported(finished, monkeypatch, tmp_path):
    import pipelines.serving.exported as module

    run = Run(Path(shutil.copytree(finished.path, tmp_path / "run")))

    def load_and_replace(run):
        with run.model.open("ab") as file:
            file.write(b"\0")
        return None, []

    monkeypatch.setattr(module, "load_network", load_and_replace)
    with pytest.raises(UserError, match="a training has replaced"):
        load_exported(run, mirror=False)


def test_a_missing_package_is_one_line_with_the_command(finished, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ai_edge_litert" else name)
    assert main(["export", str(finished.path), "--format", "onnx", "litert"]) == 2
    error = capsys.readouterr().err
    assert error == "error: ai-edge-litert is not installed, for litert float32: pip install ai-edge-litert\n"


def test_int8_needs_a_package_more(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "nncf" else name)
    check_installed(targets_of(["onnx", "openvino", "litert"], ["float32", "float16"]))
    with pytest.raises(UserError, match="nncf is not installed, for onnx int8 and openvino int8: pip install nncf"):
        check_installed(targets_of(["onnx", "openvino"], ["int8"]))


def test_an_export_that_cannot_be_written_is_one_line(finished, tmp_path, capsys):
    run = Path(shutil.copytree(finished.path, tmp_path / "run"))
    (run / "export").write_text("a file")
    assert main(["export", str(run), "--format", "keras"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("error: ")
    assert (run / "export").read_text() == "a file"


def test_bounds_leave_one_photo_and_refuse_what_is_likely_to_be_worse():
    agreed = Agreement(n=1000, largest=0.2, far=900, mean=0.01, changed=50, only_model=5, only_export=5, mcnemar_p=1.0)
    assert complaint("int8", agreed) == ""
    assert (
        complaint("int8", replace(agreed, changed=51))
        == "it changes 51 of 1000 answers, more than the 50 that int8 may"
    )
    assert "more than the 20 that int8 may lose" in complaint("int8", replace(agreed, only_model=26))
    worse = replace(agreed, only_model=8, only_export=0, mcnemar_p=0.008)
    assert complaint("int8", worse) == "its answers are likely to be worse: McNemar's p = 0.008"
    assert complaint("float16", replace(agreed, n=9, changed=1)) == ""
    exact = replace(agreed, largest=0.002, far=10, changed=0)
    assert complaint("float32", exact) == ""
    assert "in 11 of 1000 photos a probability differs by more than 0.001; 10 may" in complaint(
        "float32", replace(exact, far=11)
    )
    assert complaint("float32", replace(exact, n=60, far=1)) == ""
    assert complaint("float32", replace(exact, n=60, far=2)) != ""
    assert complaint("float32", replace(exact, largest=float("nan"))) != ""


def test_agreement_counts_photos_that_only_one_of_the_two_names_rightly():
    expected = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3]])
    found = np.array([[0.8, 0.2], [0.6, 0.4], [0.6, 0.4], [0.7, 0.3]])
    agreement = agreement_of(found, expected, labels=np.array([0, 0, 1, 1]))
    assert (agreement.n, agreement.changed, agreement.only_model, agreement.only_export) == (4, 2, 1, 1)
    assert (agreement.largest, agreement.far) == (pytest.approx(0.4), 3)
    assert agreement.mean == pytest.approx(0.175)


def test_the_page_escapes_names_and_shows_an_export_without_figures():
    quick = {"format": "saved_model", "precision": "float32", "path": "saved_model/1", "bytes": 10**6, "n": 9}
    page = export_page("<b>run", [quick])
    assert "&lt;b&gt;run" in page
    assert "<b>run" not in page
    assert "saved_model float32" in page


def test_the_page_says_of_which_photos_the_figures_are_and_what_it_does_not_show():
    entry = {
        "format": "onnx",
        "precision": "float32",
        "path": "model.onnx",
        "bytes": 10**6,
        "images_per_second": {"1": 9.0},
        "n": 40,
        "mirror": True,
    }
    page = export_page("run", [{**entry, "split": "test"}], 2)
    assert "the same 40 photos of test, from which the run’s model has not learned" in page
    assert "onnx float32, with --mirror" in page
    assert "2 more in export.json are of an earlier model or temperature, and not shown" in page
    page = export_page("run", [{**entry, "split": "train"}])
    assert "from which the run’s model has learned: the accuracy says how an export differs" in page
    assert "earlier model" not in page
    assert "40 drawn pictures" in export_page("run", [{**entry, "split": "drawn"}])


def test_a_class_name_with_a_line_break_is_one_line_of_a_list_and_known_by_a_saved_model(tmp_path):
    assert [one_line(name) for name in ("a\nb", "a b", "é")] == ["a\\nb", "a b", "é"]
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "labels.txt").write_text("a\\nb\nc\n")
    assert _names_in(tmp_path) == ["a\\nb", "c"]  # of another program
    (tmp_path / "assets.extra").mkdir()
    said = description(CAFFE, Structure(), classes=["a\nb", "c"])
    (tmp_path / SAVED_MODEL_DESCRIPTION).write_text(said)
    assert _names_in(tmp_path) == ["a\nb", "c"]
    (tmp_path / SAVED_MODEL_DESCRIPTION).write_text("[]")
    with pytest.raises(UserError, match="is damaged"):
        _names_in(tmp_path)
