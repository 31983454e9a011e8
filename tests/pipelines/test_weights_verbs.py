"""The commands info, convert and import."""

import errno
import json
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

import resnet_tf
from pipelines import import_network
from pipelines.cli import main
from pipelines.export import export
from pipelines.runs.directory import Run, load_model
from resnet_tf.weights import CAFFE, CIFAR, TORCH, read_weights, write_weights
from resnet_tf.weights.imagenet import imagenet_classes
from resnet_tf.weights.loading import configs_of
from resnet_tf.weights.structure import structure_of
from tests.conftest import randomize, relative_error


@pytest.fixture(scope="module")
def cifar_file(tmp_path_factory):
    """Returns the file of a CIFAR net with three classes and random numbers."""
    model = resnet_tf.CifarResNet20(classes=3)
    randomize(model)
    path = tmp_path_factory.mktemp("weights") / "cifar.safetensors"
    write_weights(model, path, CIFAR)
    return path


def tensors_of(path):
    return read_weights(path).tensors


def test_info_prints_layers_sums_and_known_weights(capsys):
    assert main(["info", "resnet18", "--classes", "30"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    convolution = next(line for line in lines if line.startswith("conv2_block1_1_conv"))
    assert convolution.split() == ["conv2_block1_1_conv", "Conv2D", "56", "×", "56", "×", "64", "36,864", "115,605,504"]
    assert any("11,191,902 parameters and 1,813,576,704 multiply-adds" in line for line in lines)
    assert any("top-1 73.2% on ImageNet" in line and "Apache-2.0" in line for line in lines)


def test_info_knows_the_options_and_says_where_no_weights_are_known(capsys):
    words = ["--classes", "10", "--shortcut", "none", "--width", "0.5", "--image-size", "16"]
    assert main(["info", "cifar_resnet20", *words]) == 0
    out = capsys.readouterr().out
    assert "16 × 16 × 8" in out
    assert "_add" not in out
    assert "no published file is known" in out


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("resnet18", {"stem_pool": "caffe", "shortcut": None}),
        ("resnet50", {"stride_at": "3x3", "stochastic_depth": 0.5}),
        ("resnet50v2", {"shortcut": "A"}),
        ("vgg16_bn", {}),
    ],
)
def test_convert_loses_no_bit_and_no_option_through_every_format_and_back(name, options, tmp_path, monkeypatch):
    model = resnet_tf.build(name, classes=5, width=1 / 8, **options)
    build = resnet_tf.networks.build
    monkeypatch.setattr("pipelines.convert.build", lambda *names, **settings: build(*names, **settings, width=1 / 8))
    randomize(model)
    start = tmp_path / "start.safetensors"
    write_weights(model, start, TORCH)
    structure = structure_of(configs_of(model))
    for option, value in options.items():
        assert getattr(structure, option) == value
    before = start
    for kind in ("npz", "weights.h5", "keras", "safetensors"):
        after = tmp_path / f"converted.{kind}"
        assert main(["convert", str(before), str(after), "--arch", name]) == 0
        file = read_weights(after)
        assert (file.preprocessing, file.structure) == (TORCH, structure)
        before = after
    first, last = tensors_of(start), tensors_of(before)
    assert first.keys() == last.keys()
    for tensor_name, tensor in first.items():
        assert tensor.tobytes() == last[tensor_name].tobytes()
    assert start.read_bytes() == before.read_bytes()


def test_convert_writes_torchvisions_names_and_reads_them_back(torch_weights, tmp_path):
    middle, back = tmp_path / "ours.npz", tmp_path / "theirs.safetensors"
    assert main(["convert", str(torch_weights), str(middle), "--arch", "resnet18"]) == 0
    assert main(["convert", str(middle), str(back), "--arch", "resnet18", "--names", "torchvision"]) == 0
    from safetensors.numpy import load_file

    first, last = load_file(torch_weights), load_file(back)
    assert first.keys() == last.keys()
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, last[name], strict=True)


def test_convert_keeps_the_biases_of_keras(tmp_path):
    theirs = keras.applications.ResNet50(weights=None, include_top=False)
    randomize(theirs)
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    assert main(["convert", str(tmp_path / "theirs.weights.h5"), str(tmp_path / "x.npz"), "--arch", "resnet50"]) == 0
    converted = tensors_of(tmp_path / "x.npz")
    for layer in theirs.layers:
        for variable in layer.weights:
            np.testing.assert_array_equal(converted[f"{layer.name}/{variable.name}"], np.asarray(variable))


WRONG = [
    (["convert", "{file}", "{new}.onnx", "--arch", "cifar_resnet20"], "must end in .safetensors, .npz"),
    (["convert", "{file}", "{file}", "--arch", "cifar_resnet20"], "exists; choose another target"),
    (["convert", "{file}", "{new}.npz", "--arch", "cifar_resnet56"], "only 19 of the 55 convolutions"),
    (["convert", "{file}", "{new}.npz", "--arch", "resnet18"], "of resnet18"),
    (["convert", "{half}", "{new}.npz", "--arch", "cifar_resnet20"], "lacks 1 tensors"),
    (["convert", "{more}", "{new}.npz", "--arch", "cifar_resnet20"], "has 1 tensors that the network has not"),
    (
        ["convert", "{file}", "{new}.keras", "--arch", "cifar_resnet20", "--names", "torchvision"],
        ".safetensors and .npz",
    ),
    (["convert", "{file}", "{new}.npz", "--arch", "cifar_resnet20", "--names", "caffe"], "received 'caffe'"),
    (["convert", "{run}", "{new}.npz", "--arch", "small"], "sees the last 3 stages"),
    (["import", "{more}", "--arch", "cifar_resnet20", "--run", "{new}", "--data", "{data}"], "has 1 tensors that the"),
    (["import", "{file}", "--arch", "cifar_resnet20", "--run", "{new}"], "has 3 classes, and names are known"),
    (["import", "{file}", "--arch", "cifar_resnet20", "--run", "{data}", "--data", "{data}"], "exists; choose another"),
    (["import", "{headless}", "--arch", "cifar_resnet20", "--run", "{new}"], "has no classifier"),
    (["import", "{file}", "--arch", "cifar_resnet20", "--run", "{new}", "--data", "{two}"], "has 3 classes, and"),
    (["import", "{half}", "--arch", "cifar_resnet20", "--run", "{new}", "--data", "{data}"], "lacks 1 tensors"),
    (["info", "resnet19"], "unknown architecture 'resnet19'"),
    (["info", "vgg16", "--shortcut", "B"], "vgg16 has no shortcuts"),
    (["info", "resnet18", "--width", "0"], "received 0.0"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_bad_input_is_one_line_and_leaves_nothing(words, message, cifar_file, images, tmp_path, capsys, finished):
    from safetensors.numpy import save_file

    tensors = tensors_of(cifar_file)
    places = {
        "file": cifar_file,
        "data": images,
        "new": tmp_path / "new",
        "two": tmp_path / "two",
        "run": finished.model,
    }
    changed = {
        "half": {name: value for name, value in tensors.items() if name != "conv1_bn/beta"},
        "more": {**tensors, "conv9_extra/thing": np.zeros(1, "float32")},
        "headless": {name: value for name, value in tensors.items() if not name.startswith("predictions")},
    }
    for name, content in changed.items():
        places[name] = tmp_path / f"{name}.safetensors"
        save_file(content, places[name])
    shutil.copytree(images, places["two"])
    shutil.rmtree(min(places["two"].iterdir()))
    before = {path.name for path in tmp_path.iterdir()}
    assert main([word.format(**places) for word in words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == before


def test_an_imported_network_is_a_run_like_any_other(cifar_file, images, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["import", str(cifar_file), "--arch", "cifar_resnet20", "--run", str(run), "--data", str(images)]
    assert main(words) == 0
    assert main(["evaluate", str(run)]) == 0
    predictions = pd.read_csv(run / "evaluation" / "test" / "predictions.csv")
    assert len(predictions) == 30  # nothing is trained, so all images are test
    first = images / predictions["path"][0]
    assert main(["predict", str(run), str(first), "--out", str(tmp_path / "one.csv")]) == 0
    alone = pd.read_csv(tmp_path / "one.csv")
    assert alone["confidence"][0] == pytest.approx(predictions["confidence"][0], abs=1e-6)
    config = json.loads((run / "config.json").read_text())
    assert config["preprocessing"]["crop_fraction"] == 1.0  # from the file's description
    expected = tensors_of(cifar_file)
    for layer in load_model(Run(run)).layers:
        for variable in layer.weights:
            np.testing.assert_array_equal(np.asarray(variable), expected[f"{layer.name}/{variable.name}"])
    capsys.readouterr()


def test_a_run_that_another_process_writes_is_not_imported_into(cifar_file, images, tmp_path, capsys):
    run = Run(tmp_path / "run")
    words = ["import", str(cifar_file), "--arch", "cifar_resnet20", "--run", str(run.path), "--data", str(images)]
    hold = "import sys\nfrom pathlib import Path\nfrom pipelines.runs.lock import locked\n"
    hold += "from pipelines.runs.directory import Run\n"
    hold += "with locked(Run(Path(sys.argv[1]))): print('mine', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"mine\n"
        assert main(words) == 2
        assert f"is in use by process {other.pid}" in capsys.readouterr().err
        assert list(run.path.iterdir()) == [run.lock]
        other.kill()
    run.model.write_bytes(b"half")  # as if a process was killed before it wrote config.json, the last file
    assert main(words) == 0
    assert main(words) == 2
    assert "exists; choose another --run" in capsys.readouterr().err


def test_an_import_that_the_disk_does_not_take_leaves_nothing(cifar_file, images, tmp_path, capsys, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(import_network, "write_weights", full)
    run = tmp_path / "run"
    words = ["import", str(cifar_file), "--arch", "cifar_resnet20", "--run", str(run), "--data", str(images)]
    assert main(words) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not run.exists()


def test_a_saved_model_of_ours_brings_its_preprocessing_along(finished, images, tmp_path):
    """This applies when it is imported as a run of its own, and when it is the start of a training."""
    plain, run = Run(shutil.copytree(finished.path, tmp_path / "plain")), tmp_path / "again"
    plain.calibration.unlink()  # a network that is imported has no temperature
    export(plain)
    words = ["--arch", "small", "--image-size", "32"]
    assert main(["import", str(plain.saved_model), *words, "--run", str(run), "--data", str(images)]) == 0
    files = sorted(str(path) for path in images.rglob("*.jpg"))[:5]
    for source, out in ((plain.path, "one.csv"), (run, "two.csv")):
        assert main(["predict", str(source), *files, "--out", str(tmp_path / out)]) == 0
    one, two = (pd.read_csv(tmp_path / out).iloc[:, 2:] for out in ("one.csv", "two.csv"))
    np.testing.assert_allclose(one, two, atol=1e-6)
    words += ["--weights", str(plain.saved_model), "--run", str(tmp_path / "tuned"), "--epochs", "0"]
    assert main(["finetune", str(images), *words]) == 0
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert len(config["weights"]["sha256"]) == 64


def test_a_network_for_bgr_is_the_same_in_a_run_a_saved_model_and_a_converted_file(images, tmp_path):
    """The file of a run has its first convolution turned around, and what is taken from it must know that."""
    model, classes = resnet_tf.CifarResNet20(classes=3), sorted(folder.name for folder in images.iterdir())
    randomize(model)
    sources = {"caffe": tmp_path / "caffe.npz", "converted": tmp_path / "converted.npz"}
    write_weights(model, sources["caffe"], CAFFE)
    run = Run(tmp_path / "caffe")
    words = ["--arch", "cifar_resnet20", "--data", str(images)]
    assert main(["import", str(sources["caffe"]), "--run", str(run.path), *words]) == 0
    sources["exported"] = export(run)
    assert main(["convert", str(run.model), str(sources["converted"]), "--arch", "cifar_resnet20"]) == 0
    for name in ("converted", "exported"):
        assert read_weights(sources[name]).classes == tuple(classes)
        assert main(["import", str(sources[name]), "--run", str(tmp_path / name), *words]) == 0
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    expected = model(keras.applications.imagenet_utils.preprocess_input(pictures.astype("float32"), mode="caffe"))
    for name in sources:
        classifier = resnet_tf.load(tmp_path / name)
        assert classifier.classes == classes
        assert relative_error(np.asarray(classifier.model(pictures)), np.asarray(expected)) < 1e-5


def test_a_finished_run_is_imported_with_its_classifier(finished, images, tmp_path):
    run = tmp_path / "again"
    words = ["--arch", "small", "--image-size", "32", "--run", str(run), "--data", str(images)]
    assert main(["import", str(finished.model), *words]) == 0
    theirs, ours = load_model(finished), load_model(Run(run))
    for expected, found in zip(theirs.weights, ours.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(expected), np.asarray(found))


def test_the_names_that_weights_have_keep_their_order_whatever_the_folders_are(images, tmp_path, capsys):
    """Some classes may have no images, and a folder that is none of the classes is refused."""
    names = sorted((folder.name for folder in images.iterdir()), reverse=True)
    model = resnet_tf.CifarResNet20(classes=4)
    randomize(model)
    source = tmp_path / "named.safetensors"
    write_weights(model, source, CIFAR, classes=[*names, "zebra"])
    words = ["import", str(source), "--arch", "cifar_resnet20", "--data"]
    assert main([*words, str(images), "--run", str(tmp_path / "run")]) == 0
    assert json.loads((tmp_path / "run" / "classes.json").read_text()) == [*names, "zebra"]
    assert main([*words[:-1], "--run", str(tmp_path / "alone")]) == 0  # the names alone will do
    data = shutil.copytree(images, tmp_path / "data")
    (data / names[0]).rename(data / "horse")
    capsys.readouterr()
    assert main([*words, str(data), "--run", str(tmp_path / "no")]) == 2
    assert f"'horse' of '{data}' is none of them" in capsys.readouterr().err


def test_it_is_said_where_the_order_of_the_classes_is_assumed(images, tmp_path, capsys):
    write_weights(resnet_tf.CifarResNet20(classes=3), tmp_path / "plain.npz", CIFAR)
    words = ["--arch", "cifar_resnet20", "--run", str(tmp_path / "run"), "--data", str(images)]
    assert main(["import", str(tmp_path / "plain.npz"), *words]) == 0
    assert "the outputs are taken to be the classes of DATA, in sorted order" in capsys.readouterr().out


def test_photos_of_some_of_imagenets_classes_are_found_by_name(images, tmp_path):
    source, data = tmp_path / "imagenet.npz", tmp_path / "data"
    write_weights(resnet_tf.CifarResNet20(classes=1000), source, TORCH)
    for folder, name in zip(sorted(images.iterdir()), ("tiger cat", "tench", "tabby"), strict=True):
        shutil.copytree(folder, data / name)
    words = ["--arch", "cifar_resnet20", "--run", str(tmp_path / "run"), "--data", str(data)]
    assert main(["import", str(source), *words]) == 0
    assert json.loads((tmp_path / "run" / "classes.json").read_text()) == imagenet_classes()


def test_an_unmodified_imagenet_network_prints_names(images, tmp_path, capsys):
    model = resnet_tf.CifarResNet20(classes=1000)
    head, bias = model.get_layer("predictions"), np.zeros(1000, "float32")
    bias[[281, 282]] = 9.0, 8.0
    head.kernel.assign(np.zeros((64, 1000), "float32"))
    head.bias.assign(bias)
    source, run = tmp_path / "imagenet.npz", tmp_path / "run"
    write_weights(model, source, TORCH)
    assert main(["import", str(source), "--arch", "cifar_resnet20", "--run", str(run)]) == 0
    picture = next(iter(sorted(images.rglob("*.jpg"))))
    assert main(["predict", str(run), str(picture), "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "tabby" in out
    assert "tiger cat" in out
    assert main(["evaluate", str(run)]) == 2
    assert "has no images" in capsys.readouterr().err
    saved_model = export(Run(run))  # checked with drawn images, because it has none of its own
    assert "held-out" not in capsys.readouterr().out
    assert (saved_model / "saved_model.pb").is_file()


def test_the_names_of_imagenet_are_a_thousand_and_different():
    names = imagenet_classes()
    assert len(set(names)) == len(names) == 1000
    assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")


@pytest.mark.parametrize("name", ["resnet20-12fca82f.th", "resnet56-4bfd9763.th"])
def test_published_cifar_weights_fill_our_cifar_nets(name, shared):
    depth = name.removeprefix("resnet").partition("-")[0]
    model = resnet_tf.build(f"cifar_resnet{depth}", classes=10)
    report = resnet_tf.load_weights(model, shared / "weights" / name)
    assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
    assert read_weights(shared / "weights" / name).preprocessing == CIFAR
