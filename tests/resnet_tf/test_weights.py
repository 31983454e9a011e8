"""Weights from files: what matches, what does not, and that the loaded network computes the same."""

import json
import zipfile

import h5py
import keras
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import resnet_tf
from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.errors import UserError
from resnet_tf.weights import CAFFE, TORCH, load_weights, read_weights, write_weights
from tests.conftest import randomize, relative_error, torch_tensors

LOGITS = 1e-4


def batch(size=64):
    return np.random.default_rng(7).normal(0, 50, (2, size, size, 3)).astype("float32")


def logits(model, images):
    """Returns logits without compiling a graph, which would take longer than one batch."""
    return np.asarray(model(images, training=False))


# The smallest and the largest network of each kind; benchmarks/parity.py has the others too.
KERAS_NETWORKS = ["ResNet50", "ResNet152", "ResNet50V2", "ResNet152V2", "VGG16", "VGG19"]


@pytest.mark.parametrize("name", KERAS_NETWORKS)
def test_weights_of_keras_applications_give_the_same_features(name, tmp_path):
    """The weights are those without a head, which fine-tuning uses."""
    shape = (64, 64, 3)
    reference = getattr(keras.applications, name)(weights=None, input_shape=shape, include_top=False, pooling="avg")
    randomize(reference)
    reference.save_weights(tmp_path / "reference.weights.h5")
    ours = getattr(resnet_tf, name)(input_shape=shape, include_top=False, pooling="avg")
    assert {v.path: tuple(v.shape) for v in ours.variables} == {v.path: tuple(v.shape) for v in reference.variables}
    report = load_weights(ours, tmp_path / "reference.weights.h5")
    assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
    assert relative_error(logits(ours, batch()), logits(reference, batch())) < LOGITS


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2"])
def test_weights_go_to_keras_applications_and_back_with_the_same_logits(name, tmp_path):
    """benchmarks/parity.py does the same with a VGG's 138 million weights."""
    shape = (64, 64, 3)
    ours = getattr(resnet_tf, name)(input_shape=shape, classes=20)
    randomize(ours)
    write_weights(ours, tmp_path / "ours.weights.h5", CAFFE)
    theirs = getattr(keras.applications, name)(weights=None, input_shape=shape, classes=20, classifier_activation=None)
    theirs.load_weights(tmp_path / "ours.weights.h5")
    expected = logits(theirs, batch())
    assert relative_error(logits(ours, batch()), expected) < LOGITS
    theirs.save_weights(tmp_path / "theirs.weights.h5")
    randomize(ours, seed=1)
    assert load_weights(ours, tmp_path / "theirs.weights.h5").head_loaded
    assert relative_error(logits(ours, batch()), expected) < LOGITS


@pytest.fixture(scope="module")
def resnet50_of_keras():
    """Returns a ResNet-50 of keras.applications with random values, and its logits for the batch."""
    model = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=5, classifier_activation=None)
    randomize(model)
    return model, logits(model, batch())


@pytest.fixture(scope="module")
def with_and_without_biases():
    """Returns two ResNet-50, whose values tests overwrite."""
    return {use_bias: resnet_tf.ResNet50(classes=5, input_shape=(64, 64, 3), use_bias=use_bias) for use_bias in (1, 0)}


@pytest.mark.parametrize("extension", ["h5", "keras", "weights.h5"])
def test_every_file_of_keras_loads_with_and_without_biases(
    extension, resnet50_of_keras, with_and_without_biases, tmp_path
):
    reference, expected = resnet50_of_keras
    path = tmp_path / f"reference.{extension}"
    (reference.save_weights if extension == "weights.h5" else reference.save)(path)
    for use_bias, ours in with_and_without_biases.items():
        randomize(ours, seed=1)  # nothing is left of the file before
        report = load_weights(ours, path)
        assert report.convolutions == (53, 53)
        assert bool(report.notes) is (not use_bias)  # the biases moved into the batch norms
        assert relative_error(logits(ours, batch()), expected) < LOGITS


def old_layout(model, path):
    """Writes the layout of Keras's official files, layer/layer/kernel:0."""
    with h5py.File(path, "w") as file:
        for layer in model.layers:
            for variable in layer.weights:
                file[f"{layer.name}/{layer.name}/{variable.name}:0"] = np.asarray(variable)


def test_the_layout_of_the_official_files_loads(tmp_path):
    reference = resnet_tf.ResNet50(classes=5, width=1 / 8, input_shape=(64, 64, 3))
    randomize(reference)
    old_layout(reference, tmp_path / "old.h5")
    ours = resnet_tf.ResNet50(classes=5, width=1 / 8, input_shape=(64, 64, 3), weights=str(tmp_path / "old.h5"))
    np.testing.assert_array_equal(np.asarray(ours(batch())), np.asarray(reference(batch())))


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
def test_torchvision_names_load(kind, tmp_path):
    reference = resnet_tf.ResNet50(classes=5, width=1 / 8, use_bias=False, stride_at="3x3")
    randomize(reference)
    tensors = torch_tensors(reference)
    tensors["layer1.0.bn1.num_batches_tracked"] = np.array(7)
    path = tmp_path / f"torch.{kind}"
    save_file(tensors, path) if kind == "safetensors" else np.savez(path, **tensors)
    assert read_weights(path).structure.stride_at == "3x3"
    assert read_weights(path).preprocessing == TORCH
    for use_bias in (False, True):
        ours = resnet_tf.ResNet50(classes=5, width=1 / 8, use_bias=use_bias, stride_at="3x3")
        report = load_weights(ours, path)
        assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
        assert relative_error(logits(ours, batch()), logits(reference, batch())) < LOGITS


def folded(tensors):
    """Folds each batch norm into the convolution before it, which gets a bias."""
    result = {name: value for name, value in tensors.items() if name.startswith("fc.")}
    for name, kernel in tensors.items():
        if kernel.ndim != 4:
            continue
        module = name.removesuffix(".weight")
        norm = module.replace("conv", "bn") if "downsample" not in module else module[:-1] + "1"
        scale = tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + 1e-5)
        result[name] = kernel * scale[:, None, None, None]
        result[f"{module}.bias"] = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return result


def test_folded_batch_norms_become_identities(tmp_path):
    reference = resnet_tf.ResNet18(classes=5, width=1 / 8, input_shape=(64, 64, 3))
    randomize(reference)
    np.savez(tmp_path / "folded.npz", **folded(torch_tensors(reference)))
    ours = resnet_tf.ResNet18(classes=5, width=1 / 8, input_shape=(64, 64, 3))
    report = load_weights(ours, tmp_path / "folded.npz")
    assert "20 batch norms are folded" in str(report)
    assert relative_error(logits(ours, batch()), logits(reference, batch())) < LOGITS


def test_the_shared_partial_file_loads_and_the_report_says_what_is_missing(shared):
    model = resnet_tf.ResNet18(classes=1000, input_shape=(64, 64, 3))
    report = load_weights(model, shared / "weights" / "resnet18_imagenet_trunk.npz")
    assert report.convolutions == (16, 20)
    kernels = [name for name in report.missing if name.endswith("kernel")]
    assert kernels == [f"conv5_block{block}_{number}_conv/kernel" for block in (1, 2) for number in (1, 2)]
    assert "16 of 20 convolutions" in str(report)
    assert "16 batch norms are folded" in str(report)


def test_the_shared_whole_file_loads_completely(shared):
    path = shared / "weights" / "resnet18_imagenet.safetensors"
    report = load_weights(resnet_tf.ResNet18(classes=200), path)
    assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
    assert report.head_loaded
    report = load_weights(resnet_tf.ResNet18(classes=30), path)
    assert set(report.wrong_shape) == {"predictions/kernel", "predictions/bias"}
    assert not report.head_loaded
    assert "another number of classes" in str(report)


def test_a_classifier_of_ours_carries_its_own_preprocessing(tmp_path):
    model = resnet_tf.build_classifier("resnet50", 3, image_size=64, preprocessing=TORCH, stride_at="3x3")
    model.save(tmp_path / "ours.keras")
    file = read_weights(tmp_path / "ours.keras")
    assert file.preprocessing == TORCH
    assert file.structure.stride_at == "3x3"
    assert load_weights(resnet_tf.build_classifier("resnet50", 3, image_size=64), file).missing == []
    keras.applications.ResNet50(weights=None).save(tmp_path / "theirs.keras")
    theirs = read_weights(tmp_path / "theirs.keras")
    assert (theirs.preprocessing, theirs.structure.stride_at) == (CAFFE, "1x1")


def test_weights_of_another_architecture_are_refused_and_change_nothing(torch_weights):
    for name, message in (("resnet34", "only 20 of the 36 convolutions of resnet34"), ("resnet50", "another")):
        model = resnet_tf.build(name, input_shape=(64, 64, 3))
        before = [np.asarray(v) for v in model.variables]
        with pytest.raises(UserError, match=message):
            load_weights(model, torch_weights)
        for old, new in zip(before, model.variables, strict=True):
            np.testing.assert_array_equal(old, np.asarray(new))


def test_weights_of_a_deeper_network_are_refused(tmp_path):
    save_file(torch_tensors(resnet_tf.ResNet34(classes=5, width=1 / 8)), tmp_path / "deeper.safetensors")
    with pytest.raises(UserError, match="has not"):
        load_weights(resnet_tf.ResNet18(classes=5, width=1 / 8), tmp_path / "deeper.safetensors")


def damaged_files(tmp_path):
    whole = tmp_path / "whole.h5"
    with h5py.File(whole, "w") as file:
        file["conv1_conv/conv1_conv/kernel:0"] = np.zeros((7, 7, 3, 64), "float32")
    (tmp_path / "cut.h5").write_bytes(whole.read_bytes()[:1500])
    save_file({"conv1.weight": np.zeros((64, 3, 7, 7), "float32")}, tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "length.safetensors").write_bytes((10**7).to_bytes(8, "little") + content[8:])
    (tmp_path / "cut.safetensors").write_bytes(content[:-100])
    with zipfile.ZipFile(tmp_path / "config.keras", "w") as archive:
        archive.writestr("model.weights.h5", b"no")
        archive.writestr("config.json", json.dumps({}))
    np.savez(tmp_path / "pickle.npz", conv1=np.array([{"a": 1}], dtype=object))
    (tmp_path / "zip.npz").write_bytes((tmp_path / "pickle.npz").read_bytes()[:-40])
    (tmp_path / "text.h5").write_text("These are no weights, but a text.")
    (tmp_path / "empty.h5").write_bytes(b"")
    whole.unlink()
    (tmp_path / "whole.safetensors").unlink()
    return sorted(tmp_path.iterdir())


def test_a_damaged_file_is_one_clear_sentence(tmp_path):
    files = damaged_files(tmp_path)
    assert len(files) == 8
    for file in files:
        with pytest.raises(UserError) as caught:
            read_weights(file)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_hdf5_file_that_points_outside_itself_is_refused(tmp_path):
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(16))
    with h5py.File(tmp_path / "evil.h5", "w") as file:
        file.create_dataset("conv1_conv/kernel:0", (4,), "float32", external=[(str(secret), 0, 16)])
    with pytest.raises(UserError, match="outside of their file"):
        read_weights(tmp_path / "evil.h5")


def test_half_precision_files_become_float32(tmp_path):
    network = resnet_tf.ResNet18(classes=2, width=1 / 8)
    tensors = {name: value.astype(np.float16) for name, value in torch_tensors(network).items()}
    save_file(tensors, tmp_path / "half.safetensors")
    assert load_file(tmp_path / "half.safetensors")["conv1.weight"].dtype == np.float16
    assert {str(tensor.dtype) for tensor in read_weights(tmp_path / "half.safetensors").tensors.values()} == {"float32"}


def plain_weights(model, path):
    """Writes the weights as Keras does, with its own batch norm."""
    write_weights(model, path, CAFFE)
    with h5py.File(path, "a") as file:
        del file.attrs["resnet_tf"]


def without_layer_names(path):
    """Changes a file to the .weights.h5 that Keras wrote before 3.6."""
    with h5py.File(path, "a") as file:
        file.visititems(lambda name, item: item.attrs.pop("name", None) if name.endswith("/vars") else None)


@pytest.mark.parametrize("name", ["resnet50", "resnet50v2", "vgg16_bn"])
def test_files_that_do_not_name_their_layers_load_by_class_and_number(name, tmp_path):
    reference = resnet_tf.build(name, classes=5, width=1 / 16)
    randomize(reference)
    path = tmp_path / "old.weights.h5"
    plain_weights(reference, path)
    without_layer_names(path)
    ours = resnet_tf.build(name, classes=5, width=1 / 16, weights=str(path))
    for expected, found in zip(reference.weights, ours.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


def test_a_keras_file_that_does_not_name_its_layers_has_them_in_its_config(tmp_path):
    """This includes the names of layers in a model inside the model."""
    network = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg", input_shape=(32, 32, 3))
    randomize(network)
    whole = keras.Sequential(
        [keras.Input((32, 32, 3)), keras.layers.Rescaling(1 / 127.5, offset=-1.0), network, keras.layers.Dense(3)]
    )
    whole.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as old, zipfile.ZipFile(tmp_path / "old.keras", "w") as new:
        (tmp_path / "x.h5").write_bytes(old.read("model.weights.h5"))
        without_layer_names(tmp_path / "x.h5")
        new.write(tmp_path / "x.h5", "model.weights.h5")
        new.writestr("config.json", old.read("config.json"))
    ours = resnet_tf.ResNet50(include_top=False, pooling="avg")
    for name in ("new.keras", "old.keras"):
        file = read_weights(tmp_path / name)
        randomize(ours, seed=1)
        assert load_weights(ours, file).missing == []
        assert relative_error(logits(ours, batch(32)), logits(network, batch(32))) < LOGITS
        assert (file.preprocessing.mean, file.preprocessing.deviation) == ((127.5,) * 3, (127.5,) * 3)
        assert not file.assumed


def neighbours():
    """Returns every pair of networks that differ in depth and whose layers have the same names."""
    kinds = {}
    for row in ARCHITECTURES.values():
        if row.name != "cifar_resnet1202":
            kinds.setdefault((row.family, row.block, row.batch_norm), []).append(row.name)
    return [(one, other) for names in kinds.values() for one in names for other in names if one != other]


def narrow(name):
    """Returns a network with all layers and as few numbers as possible."""
    return resnet_tf.build(name, include_top=False, width=1 / 64)


@pytest.fixture(scope="module")
def narrow_networks():
    return {name: narrow(name) for name in {name for pair in neighbours() for name in pair}}


@pytest.mark.parametrize(("one", "other"), neighbours())
def test_a_network_of_another_depth_is_refused(one, other, narrow_networks, tmp_path):
    write_weights(narrow_networks[one], tmp_path / "one.npz", TORCH)
    with pytest.raises(UserError, match=r"another architecture|shallower network"):
        load_weights(narrow_networks[other], tmp_path / "one.npz")


def test_brain_floats_and_numbers_that_are_none(tmp_path):
    model = resnet_tf.CifarResNet20(classes=3)
    randomize(model)
    names = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    for value, message in ((np.float32("nan"), "infinite or none"), (np.int8(3), "as int8")):
        changed = {**names, "conv1_bn/gamma": np.full(16, value)}
        np.savez(tmp_path / "x.npz", **changed)
        with pytest.raises(UserError, match=message):
            load_weights(resnet_tf.CifarResNet20(classes=3), tmp_path / "x.npz")
    with h5py.File(tmp_path / "bfloat16.h5", "w") as file:
        for name, value in names.items():
            data = file.create_dataset(f"{name}:0", data=value.astype(ml_dtypes.bfloat16).view("V2"))
            data.attrs["dtype"] = "bfloat16"
    assert load_weights(model, tmp_path / "bfloat16.h5").missing == []


@pytest.fixture(scope="module")
def narrow_resnet18():
    return resnet_tf.ResNet18(classes=10, width=1 / 8)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.module.", "model."])
def test_what_a_wrapper_put_before_the_names_is_taken_away(prefix, narrow_resnet18, tmp_path):
    tensors = {f"{prefix}{name}": tensor for name, tensor in torch_tensors(narrow_resnet18).items()}
    save_file(tensors, tmp_path / "wrapped.safetensors")
    assert load_weights(narrow_resnet18, tmp_path / "wrapped.safetensors").missing == []


DESCRIPTIONS = [
    {"interpolation": "nearest"},
    {"mean": [1, 2]},
    {"mean": [float("nan")] * 3},
    {"deviation": [0, 1, 1]},
    {"crop_fraction": 0},
    {"crop_fraction": 1e-9},
    {"crop_fraction": 0.01},
    {"crop_fraction": 1.5},
    {"deviation": [1e-30, 1, 1]},
    {"deviation": [1e30, 1, 1]},
    {"mean": [0, -1e30, 0]},
    {"channels": "gbr"},
    {"size": 3},
]


@pytest.mark.parametrize("size", [0, -5, 10**9, True, 3.5, "224"])
def test_an_image_size_that_makes_no_sense_is_refused(size, tmp_path):
    look = {"mean": [0, 0, 0], "deviation": [1, 1, 1], "channels": "rgb", "crop_fraction": 1.0}
    text = json.dumps({"preprocessing": look, "structure": {}, "image_size": size})
    save_file({"conv1_conv/kernel": np.zeros(1, "float32")}, tmp_path / "x.safetensors", metadata={"resnet_tf": text})
    with pytest.raises(UserError, match="is not understood"):
        read_weights(tmp_path / "x.safetensors")


@pytest.mark.parametrize("change", DESCRIPTIONS)
def test_a_description_that_makes_no_sense_is_refused(change, tmp_path):
    look = {"mean": [0, 0, 0], "deviation": [1, 1, 1], "channels": "rgb", "crop_fraction": 1.0, **change}
    text = json.dumps({"preprocessing": look, "structure": {}})
    save_file({"conv1_conv/kernel": np.zeros(1, "float32")}, tmp_path / "x.safetensors", metadata={"resnet_tf": text})
    with pytest.raises(UserError, match="is not understood") as caught:
        read_weights(tmp_path / "x.safetensors")
    assert "\n" not in str(caught.value)
