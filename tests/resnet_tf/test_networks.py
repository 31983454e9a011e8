"""The builders: shapes, names, parameter counts, shortcuts, and errors."""

import inspect
import os
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

import resnet_tf
from pipelines.cli import main
from resnet_tf import networks
from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.errors import UserError
from resnet_tf.statistics import multiply_adds, parameters
from tests.conftest import randomize, relative_error, without_values

# Millions of parameters and billions of multiply-adds, from He et al. 2015, tables 1 and 6, and Simonyan and Zisserman
# 2014, table 2. The value 4.1 is torchvision's, with the stride on the 3×3 convolution.
PUBLISHED = {
    "resnet18": (11.7, 1.8),
    "resnet34": (21.8, 3.6),
    "resnet50": (25.6, 3.8),
    "resnet101": (44.5, 7.6),
    "resnet152": (60.2, 11.3),
    "cifar_resnet20": (0.27, None),
    "cifar_resnet32": (0.46, None),
    "cifar_resnet44": (0.66, None),
    "cifar_resnet56": (0.85, None),
    "cifar_resnet110": (1.7, None),
    "cifar_resnet1202": (19.4, None),
    "vgg16": (138, None),
    "vgg19": (144, None),
}
# These are counted by hand from the papers' tables, and equal torchvision's and akamaster's counts of the same network.
EXACT = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 3_857_973_248),
    "cifar_resnet20": (269_722, 40_551_040),
    "cifar_resnet110": (1_727_962, 252_887_680),
    "vgg16": (138_357_544, 15_470_264_320),
}


def paper_network(name, **arguments):
    """Returns a network with the paper's image size and classes, without the biases before batch norms.

    Its variables have no values.
    """
    row = ARCHITECTURES[name]
    use_bias = None if row.family == "vgg" else False
    classes = 10 if row.family == "cifar" else 1000
    shape = (row.image_size, row.image_size, 3)
    with without_values():
        return resnet_tf.build(name, classes=classes, input_shape=shape, use_bias=use_bias, **arguments)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_multiply_adds_are_those_of_the_papers(name):
    model = paper_network(name)
    millions, billions = PUBLISHED[name]
    assert parameters(model) / 1e6 == pytest.approx(millions, rel=0.02)  # the papers round, and truncate 3.86 to 3.8
    if billions:
        assert multiply_adds(model) / 1e9 == pytest.approx(billions, rel=0.02)
    if name in EXACT:
        assert (parameters(model), multiply_adds(model)) == EXACT[name]


def test_a_stride_on_the_3x3_costs_more():
    assert multiply_adds(paper_network("resnet50", stride_at="3x3")) == 4_089_184_256  # torchvision's 4.089


def test_option_a_has_exactly_the_parameters_of_the_plain_net():
    with without_values():
        option_a, plain = resnet_tf.ResNet34(shortcut="A"), resnet_tf.ResNet34(shortcut=None)
    assert parameters(option_a) == parameters(plain) == 21_797_672 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * 896


@pytest.mark.parametrize("name", ["ResNet50", "ResNet50V2"])
def test_parameters_and_multiply_adds_are_those_of_keras_applications(name):
    with without_values():
        ours = getattr(resnet_tf, name)(input_shape=(224, 224, 3))
        theirs = getattr(keras.applications, name)(weights=None)
    assert ours.count_params() == theirs.count_params()
    assert (parameters(ours), multiply_adds(ours)) == (parameters(theirs), multiply_adds(theirs))


def test_batch_norms_are_all_that_vgg16_bn_adds():
    with without_values():
        plain, normalized = (resnet_tf.build(name, include_top=False) for name in ("vgg16", "vgg16_bn"))
    channels = 2 * 64 + 2 * 128 + 3 * 256 + 6 * 512
    assert parameters(normalized) == parameters(plain) + 2 * channels


def test_named_functions_build_what_their_name_says(monkeypatch):
    monkeypatch.setattr(networks, "build", lambda name, **arguments: (name, arguments))
    functions = [name for name in resnet_tf.__all__ if name.startswith(("ResNet", "CifarResNet", "VGG"))]
    for name in functions:
        expected = re.sub(r"^cifarresnet", "cifar_resnet", re.sub(r"(bn|slim)$", r"_\1", name.lower()))
        assert getattr(networks, name)(classes=2) == (expected, {"classes": 2})
        assert getattr(resnet_tf, name) is getattr(networks, name)
    assert len(functions) == len(ARCHITECTURES)


def test_named_functions_explain_themselves():
    parameters = dict(inspect.signature(resnet_tf.build).parameters)
    del parameters["name"]
    for name in (name for name in resnet_tf.__all__ if name.startswith(("ResNet", "CifarResNet", "VGG"))):
        function = getattr(resnet_tf, name)
        assert function.__name__ == name
        assert dict(inspect.signature(function).parameters) == parameters
        first, *_ = function.__doc__.splitlines()
        assert re.fullmatch(rf"Builds {name}, \d+ layers with weights \(.* arXiv .*\)\.", first)
        for section in (f"resnet_tf.{name}(", "Args:\n    classes: ", "Returns:\n    ", "Raises:\n    "):
            assert section in function.__doc__
        assert " name: " not in function.__doc__
    parameters = inspect.signature(resnet_tf.ResNet50).parameters
    assert [parameters[name].default for name in ("classes", "weights", "shortcut")] == [1000, None, "default"]
    assert resnet_tf.ResNet50.__doc__.startswith("Builds ResNet50, 50 layers")


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
    with without_values():
        a, b, c, plain = (resnet_tf.ResNet18(shortcut=option) for option in ("A", "B", "C", None))
    assert (count(a, "_0_conv"), count(a, "_0_pad"), count(a, "_add")) == (0, 3, 8)
    assert (count(b, "_0_conv"), count(b, "_0_pad"), count(b, "_add")) == (3, 0, 8)
    assert (count(c, "_0_conv"), count(c, "_0_pad"), count(c, "_add")) == (8, 0, 8)
    assert (count(plain, "_0_"), count(plain, "_add")) == (0, 0)


def strides(model, *layers):
    return [model.get_layer(name).strides[0] for name in layers]


def test_the_stride_of_a_bottleneck_can_stand_in_two_places():
    names = ("conv3_block1_1_conv", "conv3_block1_2_conv", "conv3_block2_1_conv", "conv2_block1_2_conv")
    with without_values():
        assert strides(resnet_tf.ResNet50(), *names) == [2, 1, 1, 1]
        assert strides(resnet_tf.ResNet50(stride_at="3x3"), *names) == [1, 2, 1, 1]


def test_a_strided_3x3_is_padded_on_all_sides():
    """Caffe and torch do so, whereas Keras's "same" would pad only below and on the right."""
    with without_values():
        model = resnet_tf.ResNet18(input_shape=(32, 32, 3))
    assert model.get_layer("conv3_block1_1_pad").padding == ((1, 1), (1, 1))
    assert model.get_layer("conv3_block1_1_conv").padding == "valid"


def test_the_stem_pools_as_caffe_does_where_it_is_told():
    """Caffe does not pad and rounds up: its windows begin at pixel 0, and the last one extends beyond the edge."""
    model = resnet_tf.ResNet18(stem_pool="caffe", input_shape=(32, 32, 3), include_top=False)
    stem = keras.Model(model.input, [model.get_layer("conv1_relu").output, model.get_layer("pool1_pool").output])
    x = np.random.default_rng(0).normal(0, 1, (1, 32, 32, 3)).astype("float32")
    before, pooled = (np.asarray(output)[0] for output in stem(x))
    assert pooled.shape == (8, 8, 64)
    for row, column in ((0, 0), (3, 5), (7, 7)):
        window = before[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        np.testing.assert_array_equal(pooled[row, column], window.max(axis=(0, 1)))


def test_vgg_pools_to_7x7_so_that_any_image_size_has_the_same_head():
    with without_values():
        small = resnet_tf.VGG16(classes=4, width=1 / 16, input_shape=(64, 96, 3))
        assert parameters(small) == parameters(resnet_tf.VGG16(classes=4, width=1 / 16))


def test_width_scales_the_channels_of_every_layer():
    with without_values():
        model = resnet_tf.ResNet50(width=0.5, include_top=False)
    assert model.output.shape[-1] == 1024
    assert model.get_layer("conv1_conv").filters == 32


def test_zero_init_makes_blocks_start_as_identities():
    model = resnet_tf.ResNet50(width=1 / 8, zero_init=True, include_top=False, input_shape=(64, 64, 3))
    block = keras.Model(
        model.input, [model.get_layer("conv3_block1_out").output, model.get_layer("conv3_block2_out").output]
    )
    before, after = block(np.random.default_rng(0).normal(0, 1, (1, 64, 64, 3)).astype("float32"))
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after))


def test_stochastic_depth_grows_with_depth_and_leaves_nothing_out_at_the_first_input():
    with without_values():
        model = resnet_tf.ResNet18(stochastic_depth=0.5, include_top=False)
    survival = [layer.survival_probability for layer in model.layers if layer.name.endswith("_add")]
    assert survival == pytest.approx([1 - 0.5 * block / 8 for block in range(1, 9)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "resnet19"}, "unknown architecture 'resnet19'; known are resnet18"),
        ({"name": "resnet18", "shortcut": "D"}, "received 'D'"),
        ({"name": "resnet18", "stride_at": "2x2"}, "received '2x2'"),
        ({"name": "resnet18", "input_shape": (64, 64, 0)}, r"received \(64, 64, 0\)"),
        ({"name": "resnet18", "pooling": "sum", "include_top": False}, "received 'sum'"),
        ({"name": "resnet18", "classes": 0}, "received 0"),
        ({"name": "resnet18", "weights": "nothing.h5"}, "no weights file 'nothing.h5'"),
        ({"name": "resnet18", "stem_pool": "left"}, "received 'left'"),
        ({"name": "resnet18", "stride_at": "3x3"}, "resnet18 has no bottlenecks"),
        ({"name": "cifar_resnet20", "stem_pool": "caffe"}, "no pooling in its stem"),
        ({"name": "resnet18", "input_shape": (0, 0, 3)}, "at least 1 × 1"),
        ({"name": "resnet18", "width": 0.0}, "received 0.0"),
        ({"name": "resnet18", "dropout": 1.0}, "received 1.0"),
        ({"name": "resnet18", "stochastic_depth": 1.0}, "received 1.0"),
        ({"name": "resnet18", "stochastic_depth": 0.5, "shortcut": None}, "needs shortcuts"),
        ({"name": "resnet50v2", "zero_init": True}, "zero_init needs blocks that end in a batch norm"),
        ({"name": "vgg16", "shortcut": "B"}, "vgg16 has no shortcuts"),
        ({"name": "vgg16", "input_shape": (None, None, 3)}, "want a fixed size"),
        ({"name": "vgg16", "input_shape": (31, 64, 3), "include_top": False}, "at least 32 × 32"),
    ],
)
def test_a_wrong_argument_is_named(arguments, message):
    with pytest.raises(UserError, match=message):
        resnet_tf.build(**arguments)


@pytest.mark.parametrize("classes", ["5", 5.0, True, False, 0, -1, None, [5], float("nan"), np.float32(5)])
def test_classes_that_are_no_whole_number_are_named_by_all_builders(classes):
    for make in (resnet_tf.ResNet18, resnet_tf.CifarResNet20, resnet_tf.VGG16):
        with pytest.raises(UserError, match="classes must be a whole number, at least 1, received"):
            make(classes=classes)
    with pytest.raises(UserError, match="classes must be a whole number, at least 1, received"):
        resnet_tf.build_classifier("resnet18", classes)


def test_numpys_whole_numbers_are_classes():
    assert resnet_tf.CifarResNet20(classes=np.int64(5)).output_shape == (None, 5)


@pytest.mark.parametrize(
    "shape", [(64, 64), (64, 64, None), ("64", 64, 3), (64.5, 64, 3), 64, "64,64,3", (64, 64, True)]
)
def test_a_shape_that_is_none_is_named(shape):
    with pytest.raises(UserError, match=r"input_shape must be \(height, width, channels\)"):
        resnet_tf.ResNet18(input_shape=shape)


def test_channels_first_is_refused_by_all_builders_and_verbs(finished, images, tmp_path, capsys):
    picture = str(next(images.rglob("*.jpg")))
    verbs = [
        ["info", "resnet18"],
        ["predict", str(finished.path), picture],
        ["export", str(finished.path)],
        ["evaluate", str(finished.path)],
        ["finetune", str(images), "--run", str(tmp_path / "run"), "--weights", "none", "--arch", "cifar_resnet20"],
    ]
    keras.config.set_image_data_format("channels_first")
    try:
        for make in (resnet_tf.ResNet50, resnet_tf.ResNet50V2, resnet_tf.CifarResNet20, resnet_tf.VGG16):
            with pytest.raises(UserError, match="Keras is configured for channels_first"):
                make()
        with pytest.raises(UserError, match="Keras is configured for channels_first"):
            resnet_tf.build_classifier("resnet18", 5)
        with pytest.raises(UserError, match="Keras is configured for channels_first"):
            resnet_tf.load(finished.path)
        for words in verbs:
            assert main(words) == 2
            assert "error: Keras is configured for channels_first" in capsys.readouterr().err
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {"shortcut": "A", "stochastic_depth": 0.3, "dropout": 0.2, "zero_init": True}),
        ("resnet50v2", {"shortcut": "A"}),
        ("vgg16_bn", {"input_shape": (48, 32, 3)}),
        ("cifar_resnet20", {"shortcut": "C"}),
    ],
)
def test_a_network_survives_saving(name, arguments, tmp_path):
    model = resnet_tf.build(name, classes=3, width=1 / 8, **{"input_shape": (32, 32, 3), **arguments})
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    x = np.random.default_rng(0).normal(0, 1, (2, *model.input_shape[1:])).astype("float32")
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
