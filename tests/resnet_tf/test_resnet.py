"""The builders: shapes, names, parameter counts, shortcuts, and errors."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import resnet_tf
from resnet_tf import resnet
from resnet_tf.errors import UserError
from tests.conftest import randomize, relative_error

# He et al. 2015 and torchvision (18, 34: no biases), keras.applications (the others: biases).
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_636_712,
    "resnet101": 44_707_176,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = resnet_tf.build(name)
    statistics = sum(int(np.prod(v.shape)) for v in model.non_trainable_variables)
    expected = PARAMETERS[name] + (statistics if name in ("resnet18", "resnet34") else 0)  # torchvision counts none
    assert model.count_params() == expected


def test_without_biases_resnet50_has_the_parameters_of_torchvision():
    model = resnet_tf.ResNet50(use_bias=False)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == 25_557_032


def test_named_functions_build_what_their_name_says(monkeypatch):
    monkeypatch.setattr(resnet, "build", lambda name, **arguments: (name, arguments))
    for name in ("ResNet18", "ResNet34", "ResNet50", "ResNet101", "ResNet152"):
        assert getattr(resnet, name)(classes=2) == (name.lower(), {"classes": 2})


def test_any_input_size_and_feature_outputs():
    x = np.zeros((1, 70, 45, 3), "float32")
    assert resnet_tf.ResNet18(include_top=False)(x).shape == (1, 3, 2, 512)
    assert resnet_tf.ResNet18(include_top=False, pooling="max")(x).shape == (1, 512)
    assert resnet_tf.ResNet50(include_top=False, pooling="avg")(x).shape == (1, 2048)
    assert resnet_tf.ResNet18(classes=7)(x).shape == (1, 7)


def test_the_classifier_gives_logits_unless_told_otherwise():
    x = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype("float32")
    probabilities = np.asarray(resnet_tf.ResNet18(classes=5, classifier_activation="softmax")(x))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
    logits = np.asarray(resnet_tf.ResNet18(classes=5)(x))
    assert np.abs(logits.sum(axis=1) - 1.0).min() > 1e-3


def count(model, text):
    return sum(text in layer.name for layer in model.layers)


def test_shortcut_options():
    a, b, c, plain = (resnet_tf.ResNet18(shortcut=option) for option in ("A", "B", "C", None))
    assert (count(a, "_0_conv"), count(a, "_0_pad"), count(a, "_add")) == (0, 3, 8)
    assert (count(b, "_0_conv"), count(b, "_0_pad"), count(b, "_add")) == (3, 0, 8)
    assert (count(c, "_0_conv"), count(c, "_0_pad"), count(c, "_add")) == (8, 0, 8)
    assert (count(plain, "_0_"), count(plain, "_add")) == (0, 0)
    assert a.count_params() == plain.count_params()  # option A has no parameters of its own


def strides(model, *layers):
    return [model.get_layer(name).strides[0] for name in layers]


def test_the_stride_of_a_bottleneck_can_stand_in_two_places():
    names = ("conv3_block1_1_conv", "conv3_block1_2_conv", "conv3_block2_1_conv", "conv2_block1_2_conv")
    assert strides(resnet_tf.ResNet50(), *names) == [2, 1, 1, 1]
    assert strides(resnet_tf.ResNet50(stride_at="3x3"), *names) == [1, 2, 1, 1]


def test_a_strided_3x3_is_padded_on_all_sides():
    """As in Caffe and torch; Keras's "same" would pad only below and on the right."""
    model = resnet_tf.ResNet18(input_shape=(32, 32, 3))
    assert model.get_layer("conv3_block1_1_pad").padding == ((1, 1), (1, 1))
    assert model.get_layer("conv3_block1_1_conv").padding == "valid"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "unknown architecture 'resnet19'; known are resnet18"),
        ({"name": "resnet18", "shortcut": "D"}, "received 'D'"),
        ({"name": "resnet18", "stride_at": "2x2"}, "received '2x2'"),
        ({"name": "resnet18", "input_shape": (64, 64, 4)}, r"received \(64, 64, 4\)"),
        ({"name": "resnet18", "pooling": "sum", "include_top": False}, "received 'sum'"),
        ({"name": "resnet18", "classes": 0}, "received 0"),
        ({"name": "resnet18", "weights": "nothing.h5"}, "no weights file 'nothing.h5'"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        resnet_tf.build(**arguments)


def test_a_network_survives_saving(tmp_path):
    model = resnet_tf.ResNet18(classes=3, shortcut="A", input_shape=(32, 32, 3))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(0, 1, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(np.asarray(model(x)), np.asarray(loaded(x)))


JAX_SCRIPT = """
import sys
import numpy as np, keras, resnet_tf
assert keras.backend.backend() == "jax"
model = resnet_tf.build_classifier("resnet18", 5, image_size=32, shortcut="C", head_stages=2)
resnet_tf.load_weights(model, sys.argv[1], verbose=False)
np.save(sys.argv[2], model.predict(np.load(sys.argv[3]), verbose=0))
assert "tensorflow" not in sys.modules
"""


def test_the_same_builders_run_on_jax(tmp_path):
    model = resnet_tf.build_classifier("resnet18", 5, image_size=32, shortcut="C", head_stages=2)
    randomize(model)
    model.save_weights(tmp_path / "model.weights.h5")
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "images.npy", images)
    files = [str(tmp_path / name) for name in ("model.weights.h5", "logits.npy", "images.npy")]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", JAX_SCRIPT, *files]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    expected = model.predict(images, verbose=0)
    assert relative_error(np.load(tmp_path / "logits.npy"), expected) < 1e-4  # two backends, 18 layers of float32
