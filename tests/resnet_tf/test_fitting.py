"""Images with other channels, tensors of other models as input, and VGG's head for images of another size."""

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import resnet_tf
from pipelines.cli import main
from resnet_tf.errors import UserError
from resnet_tf.weights import TORCH, load_weights, read_weights, write_weights
from resnet_tf.weights.fitting import pooling_matrix
from tests.conftest import randomize, relative_error, torch_tensors


@pytest.fixture(scope="module")
def colour(small, tmp_path_factory):
    """Returns a network for colour images and its file."""
    model = resnet_tf.build(small, classes=3)
    randomize(model)
    path = tmp_path_factory.mktemp("colour") / "colour.npz"
    write_weights(model, path, TORCH)
    return model, path


def gray(channels):
    """Returns images whose channels are all the same."""
    values = np.random.default_rng(1).normal(size=(2, 32, 32, 1)).astype("float32")
    return np.repeat(values, channels, axis=3)


@pytest.mark.parametrize("channels", [1, 2, 4, 5, 6, 7, 12, 16])
def test_weights_for_colour_give_gray_images_of_any_channels_the_same_logits(channels, colour, small):
    reference, path = colour
    model = resnet_tf.build(small, classes=3, input_shape=(None, None, channels))
    report = load_weights(model, path, verbose=False)
    assert report.fitted == ["conv1_conv/kernel"]
    assert f"for images of 3 channels, and the model's have {channels}" in str(report)
    if channels in (1, 6, 12):  # whole repetitions; others weigh some of the three colours more
        assert relative_error(np.asarray(model(gray(channels))), np.asarray(reference(gray(3)))) < 1e-5
    kernel, theirs = (
        np.asarray(model.get_layer("conv1_conv").kernel),
        np.asarray(reference.get_layer("conv1_conv").kernel),
    )
    if channels == 1:
        np.testing.assert_allclose(kernel, theirs.sum(axis=2, keepdims=True), rtol=1e-6)
    else:
        for channel in range(channels):
            np.testing.assert_allclose(kernel[:, :, channel], theirs[:, :, channel % 3] * 3 / channels, rtol=1e-6)


def test_weights_for_gray_images_are_repeated_for_colour(colour, small, tmp_path):
    model = resnet_tf.build(small, classes=3, input_shape=(None, None, 1))
    randomize(model)
    write_weights(model, tmp_path / "gray.npz", TORCH)
    wide = resnet_tf.build(small, classes=3, weights=str(tmp_path / "gray.npz"))
    assert relative_error(np.asarray(wide(gray(3))), np.asarray(model(gray(1)))) < 1e-5


@pytest.mark.parametrize("name", ["resnet50v2", "cifar_resnet20", "vgg16_bn"])
def test_every_family_takes_other_channels(name, tmp_path):
    model = resnet_tf.build(name, width=1 / 16, include_top=False)
    write_weights(model, tmp_path / "colour.npz", TORCH)
    narrow = resnet_tf.build(
        name, width=1 / 16, include_top=False, input_shape=(None, None, 4), weights=str(tmp_path / "colour.npz")
    )
    assert narrow.input_shape == (None, None, None, 4)
    assert narrow(np.zeros((1, 32, 32, 4), "float32")).shape[-1] == model.output.shape[-1]


def test_the_named_builders_take_them_and_import_does_not_change_a_network(tmp_path, capsys):
    model = resnet_tf.CifarResNet20(classes=1000, input_shape=(32, 32, 1))
    write_weights(model, tmp_path / "gray.npz", TORCH)
    words = ["import", str(tmp_path / "gray.npz"), "--arch", "cifar_resnet20", "--run", str(tmp_path / "run")]
    assert main(words) == 2
    assert "is for other images than the network" in capsys.readouterr().err


def test_convert_keeps_the_channels_of_a_file(tmp_path):
    model = resnet_tf.CifarResNet20(classes=3, input_shape=(32, 32, 4))
    write_weights(model, tmp_path / "four.npz", TORCH)
    words = [str(tmp_path / "four.npz"), str(tmp_path / "four.safetensors"), "--arch", "cifar_resnet20"]
    assert main(["convert", *words]) == 0
    first, second = (read_weights(tmp_path / f"four.{kind}").tensors for kind in ("npz", "safetensors"))
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name])


# input_tensor


def test_a_network_is_built_upon_a_tensor_of_another_model(colour, small):
    reference, path = colour
    images = keras.Input((32, 32, 3), name="images")
    scaled = keras.layers.Rescaling(0.5, name="scaling")(images)
    model = resnet_tf.build(small, classes=3, input_tensor=scaled, weights=str(path))
    assert model.input is images
    assert model.input_shape == (None, 32, 32, 3)
    assert relative_error(np.asarray(model(gray(3))), np.asarray(reference(gray(3) * 0.5))) < 1e-5
    features = resnet_tf.ResNet18(include_top=False, pooling="avg", input_tensor=keras.Input((64, 64, 3)))
    assert features.output_shape == (None, 512)


@pytest.mark.parametrize(
    ("tensor", "shape", "message"),
    [
        (np.zeros((1, 32, 32, 3)), None, "must be a Keras tensor"),
        (keras.Input((32, 32, 3)), (64, 64, 3), r"has the shape \(32, 32, 3\), and input_shape is \(64, 64, 3\)"),
        (keras.Input((5,)), None, r"received \(5,\)"),
    ],
)
def test_an_input_tensor_that_does_not_fit_is_named(tensor, shape, message):
    with pytest.raises(UserError, match=message):
        resnet_tf.ResNet18(input_tensor=tensor, input_shape=shape)


# VGG


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
def test_a_vgg_for_smaller_images_gives_the_same_logits_at_their_size(size, tmp_path):
    pixels = 32 * size
    theirs = keras.Sequential([keras.Input((pixels, pixels, 3)), *vgg_layers()])
    randomize(theirs)
    theirs.save_weights(tmp_path / "vgg.weights.h5")
    model = resnet_tf.VGG16(classes=3, width=1 / 32, input_shape=(pixels, pixels, 3))
    report = load_weights(model, tmp_path / "vgg.weights.h5", verbose=False)
    assert f"fc1 is for images of {pixels} pixels" in str(report)
    assert report.head_loaded
    images = np.random.default_rng(0).normal(size=(2, pixels, pixels, 3)).astype("float32")
    # A pseudoinverse has larger numbers than the kernel, of which the sum cancels a part.
    assert relative_error(np.asarray(model(images)), np.asarray(theirs(images))) < 1e-4


def vgg_layers():
    """Returns the layers of a narrow VGG-16 of keras.applications, which sees images of one size."""
    layers = []
    for block, (repeats, width) in enumerate(zip((2, 2, 3, 3, 3), (2, 4, 8, 16, 16), strict=True), 1):
        for number in range(1, repeats + 1):
            name = f"block{block}_conv{number}"
            layers.append(keras.layers.Conv2D(width, 3, padding="same", activation="relu", name=name))
        layers.append(keras.layers.MaxPooling2D(2))
    hidden = [keras.layers.Dense(128, activation="relu", name=f"fc{number}") for number in (1, 2)]
    return [*layers, keras.layers.Flatten(), *hidden, keras.layers.Dense(3, name="predictions")]


def test_a_vgg_for_larger_images_is_fitted_and_said_to_be_an_approximation(tmp_path):
    theirs = keras.Sequential([keras.Input((256, 256, 3)), *vgg_layers()])
    theirs.save_weights(tmp_path / "vgg.weights.h5")
    report = load_weights(resnet_tf.VGG16(classes=3, width=1 / 32), tmp_path / "vgg.weights.h5", verbose=False)
    assert "fc1 is for images of 256 pixels, 8 × 8 before it, and is fitted to 7 × 7: this is an approximation" in str(
        report
    )


def test_a_vgg_whose_hidden_layer_cannot_be_fitted_leaves_its_whole_head_and_says_so(tmp_path):
    theirs = keras.Sequential([keras.Input((96, 128, 3)), *vgg_layers()])
    theirs.save_weights(tmp_path / "vgg.weights.h5")
    model = resnet_tf.VGG16(classes=3, width=1 / 32)
    before = np.asarray(model.get_layer("fc2").kernel)
    report = load_weights(model, tmp_path / "vgg.weights.h5", verbose=False)
    assert "the whole head, from fc1 to predictions, stays at its initial values" in str(report)
    assert not report.head_loaded
    assert report.convolutions == (13, 13)
    np.testing.assert_array_equal(before, np.asarray(model.get_layer("fc2").kernel))


def test_convert_says_that_it_would_have_to_change_a_vgg(tmp_path, capsys):
    theirs = keras.Sequential([keras.Input((96, 96, 3)), *vgg_layers()])
    theirs.save(tmp_path / "vgg.keras")
    with pytest.MonkeyPatch.context() as patch:
        build = resnet_tf.networks.build
        patch.setattr("pipelines.convert.build", lambda *names, **settings: build(*names, **settings, width=1 / 32))
        assert main(["convert", str(tmp_path / "vgg.keras"), str(tmp_path / "x.npz"), "--arch", "vgg16"]) == 2
    assert "its fc1/kernel would have to be changed" in capsys.readouterr().err


@pytest.mark.parametrize("size", [1, 2, 4, 7, 8, 9])
def test_the_pooling_matrix_is_that_of_keras(size):
    x = np.random.default_rng(0).normal(size=(1, size, size, 1)).astype("float32")
    matrix = pooling_matrix(size, 7)
    ours = np.einsum("ih,nhwc,jw->nijc", matrix, x, matrix)
    if size > 1:  # Keras 3.15's layer fails at one pixel
        np.testing.assert_allclose(ours, np.asarray(keras.layers.AdaptiveAveragePooling2D(7)(x)), atol=1e-6)
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0)


def test_a_vgg_of_timm_for_images_that_are_no_squares_is_no_damaged_file(tmp_path):
    tensors = {
        "features.0.weight": np.zeros((4, 3, 3, 3), "float32"),
        "classifier.0.weight": np.zeros((8, 4 * 3 * 4), "float32"),
    }
    save_file(tensors, tmp_path / "vgg.safetensors")
    assert read_weights(tmp_path / "vgg.safetensors").tensors["fc1/kernel"].shape == (48, 8)


def test_torch_names_are_fitted_too(small, tmp_path):
    tensors = torch_tensors(resnet_tf.build(small, classes=3, input_shape=(None, None, 1)))
    save_file(tensors, tmp_path / "gray.safetensors")
    assert load_weights(resnet_tf.build(small, classes=3), tmp_path / "gray.safetensors").fitted == [
        "conv1_conv/kernel"
    ]
