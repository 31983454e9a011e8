"""Files of other networks whose names fit are refused by what is seen in them; partial files are taken and said."""

import numpy as np
import pytest
from safetensors.numpy import save_file

import resnet_tf
from pipelines.cli import main
from resnet_tf.classifier import build_classifier, freeze_batch_norms, freeze_stages
from resnet_tf.errors import UserError
from resnet_tf.weights import TORCH, load_weights, write_weights
from tests.conftest import randomize, torch_tensors


@pytest.fixture(scope="module")
def narrow():
    """Returns a narrow ResNet-50 and its tensors in PyTorch's names."""
    model = resnet_tf.ResNet50(classes=5, width=1 / 16, use_bias=False, stride_at="3x3")
    randomize(model)
    return model, torch_tensors(model)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def group_norm(tensors):
    return {name: value for name, value in tensors.items() if "running_" not in name}


def group_norm_with_biases(tensors):
    biases = {name.replace("weight", "bias"): normal(len(value)) for name, value in tensors.items() if value.ndim == 4}
    return {**group_norm(tensors), **biases}


def deep_stem(tensors):
    """timm's resnet50c, s and t; d and many others have it too."""
    without = {name: value for name, value in tensors.items() if name != "conv1.weight"}
    stem = {f"conv1.{index}.weight": normal(4, 3 if index == 0 else 4, 3, 3) for index in (0, 3, 6)}
    norms = {f"conv1.{index}.{name}": normal(4) for index in (1, 4) for name in ("weight", "bias", "running_mean")}
    return {**without, **stem, **norms}


def deep_stem_of_the_same_name(tensors):
    """Keras's and Caffe's builders of deep stems call the last of three convolutions conv1."""
    return {**tensors, "conv1.weight": normal(4, 4, 3, 3)}


def pooled_projections(tensors):
    """ResNet-D pools before its projections, which are the second module then."""
    names = {
        name: name.replace("downsample.1", "downsample.2").replace("downsample.0", "downsample.1") for name in tensors
    }
    return {names[name]: value for name, value in tensors.items()}


def squeeze_and_excitation(tensors):
    return {**tensors, "layer1.0.se.fc1.weight": normal(1, 16, 1, 1), "layer1.0.se.fc1.bias": normal(1)}


def efficient_attention(tensors):
    return {**tensors, "layer1.0.se.conv.weight": normal(1, 1, 3)}


def grouped(tensors):
    return {
        name: value[:, : value.shape[1] // 4] if name.endswith("conv2.weight") else value
        for name, value in tensors.items()
    }


def one_wide_kernel(tensors):
    return {**tensors, "layer1.0.conv2.weight": normal(8, 4, 3, 3)}


def stem_of_cifar(tensors):
    return {**tensors, "conv1.weight": normal(4, 3, 3, 3)}


def without_a_norm(tensors):
    return {name: value for name, value in tensors.items() if not name.startswith("layer2.1.bn2.")}


def without_a_variance(tensors):
    return {name: value for name, value in tensors.items() if name != "bn1.running_var"}


def without_a_middle_kernel(tensors):
    return {name: value for name, value in tensors.items() if name != "layer2.1.conv2.weight"}


def blurred(tensors):
    return {**tensors, "layer2.0.conv2.1.filt": normal(8, 1, 3, 3)}


def one_more_block(tensors):
    return {**tensors, "layer4.3.conv1.weight": normal(32, 128, 1, 1)}


OTHERS = [
    (
        group_norm,
        r"lacks 106 tensors of resnet50, such as conv1_bn/moving_mean; .* without moving statistics \(conv1_bn\)",
    ),
    (group_norm_with_biases, "without moving statistics"),
    (deep_stem, r"a stem of several convolutions, as ResNet-C.*\(conv1\.0\.weight\)"),
    (deep_stem_of_the_same_name, r"conv1_conv/kernel is \(3, 3, 4, 4\) in the file and \(7, 7, 3, 4\) in resnet50"),
    (pooled_projections, "a pooling before its projections"),
    (squeeze_and_excitation, r"as SE nets have \(layer1\.0\.se\.fc1\."),
    (efficient_attention, "as ECA nets have"),
    (grouped, r"grouped convolutions .* as ResNeXt has"),
    (one_wide_kernel, r"conv2_block1_2_conv/kernel is \(3, 3, 4, 8\) in the file"),
    (stem_of_cifar, r"conv1_conv/kernel is \(3, 3, 3, 4\) in the file"),
    (without_a_norm, "lacks 4 tensors of resnet50, such as conv3_block2_2_bn/gamma"),
    (without_a_variance, "lacks 1 tensors of resnet50, such as conv1_bn/moving_variance"),
    (without_a_middle_kernel, "lacks 1 tensors of resnet50, such as conv3_block2_2_conv/kernel"),
    (blurred, "filters against aliasing"),
    (one_more_block, r"has 1 tensors that the network has not, such as conv5_block4_1_conv/kernel"),
]


@pytest.mark.parametrize(("change", "message"), OTHERS, ids=lambda value: getattr(value, "__name__", ""))
def test_another_network_is_refused_by_what_is_seen_in_its_file(change, message, narrow, tmp_path):
    model, tensors = narrow
    before = [np.asarray(variable) for variable in model.variables]
    path = tmp_path / "other.safetensors"
    save_file({name: np.ascontiguousarray(value) for name, value in change(tensors).items()}, path)
    with pytest.raises(UserError, match=message) as caught:
        load_weights(model, path, verbose=False)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, np.asarray(variable))


def test_group_norm_in_keras_names_is_refused(tmp_path):
    model = resnet_tf.CifarResNet20(classes=3)
    tensors = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    np.savez(tmp_path / "gn.npz", **{name: value for name, value in tensors.items() if "moving" not in name})
    with pytest.raises(UserError, match="without moving statistics"):
        load_weights(model, tmp_path / "gn.npz")
    renamed = {name.replace("_bn/", "_gn/"): value for name, value in tensors.items() if "moving" not in name}
    np.savez(tmp_path / "renamed.npz", **renamed)
    with pytest.raises(UserError, match="tensors that the network has not"):
        load_weights(model, tmp_path / "renamed.npz")


def heads(tensors):
    rest = {name: value for name, value in tensors.items() if not name.startswith("fc.")}
    return [
        {**rest, "fc.weight": normal(7, 128), "fc.bias": normal(7)},
        {**rest, "head.0.weight": normal(7, 128), "projector.2.weight": normal(9, 9), "loss.centers": normal(3)},
        rest,
    ]


def test_heads_of_any_kind_stay_possible(narrow, tmp_path):
    _, tensors = narrow
    model = resnet_tf.ResNet50(classes=5, width=1 / 16, stride_at="3x3")
    for head in heads(tensors):
        save_file(head, tmp_path / "head.safetensors")
        report = load_weights(model, tmp_path / "head.safetensors", verbose=False)
        assert report.convolutions == (53, 53)
        assert not report.head_loaded


# Partial files


@pytest.fixture(scope="module")
def trunk(tmp_path_factory, small):
    """Returns a file that lacks the convolutions of the last stage, as the shared trunk of a ResNet-18 does."""
    tensors = torch_tensors(resnet_tf.build(small, classes=3))
    path = tmp_path_factory.mktemp("trunk") / "trunk.safetensors"
    save_file(
        {name: value for name, value in tensors.items() if not name.startswith(("layer4.0.conv2", "layer4.0.bn2"))},
        path,
    )
    return path


def test_random_layers_are_said_and_never_frozen(trunk, small):
    model = build_classifier(small, 3)
    report = load_weights(model, trunk, verbose=False)
    assert report.random_layers == ["conv5_block1_2_conv", "conv5_block1_2_bn"]
    assert "not in the file, so random and never frozen: conv5_block1_2_conv, conv5_block1_2_bn" in str(report)
    freeze_stages(model, ("conv1", "conv2", "conv5"), but=report.random_layers)
    frozen = freeze_batch_norms(model, but=report.random_layers)
    learning = {layer.name for layer in model.layers if layer.trainable_variables}
    assert set(report.random_layers) <= learning
    assert "conv5_block1_1_conv" not in learning
    assert frozen == sum(layer.name.endswith("_bn") for layer in model.layers) - 1


def test_a_training_from_a_partial_file_lets_its_random_layers_learn(trunk, small, images, tmp_path):
    from pipelines.training.network import build_trainer
    from pipelines.training.setup import make_plan
    from tests.conftest import small_config

    plan = make_plan(small_config(images, tmp_path / "run", arch=small, weights=str(trunk), image_size=64))
    model = build_trainer(plan).model
    assert model.get_layer("conv5_block1_2_bn").trainable
    assert not model.get_layer("conv5_block1_1_bn").trainable
    assert not model.get_layer("conv1_conv").trainable


def test_neither_import_nor_convert_take_a_partial_file(trunk, small, tmp_path, capsys):
    assert main(["convert", str(trunk), str(tmp_path / "x.npz"), "--arch", small]) == 2
    assert "lacks 5 tensors of the network, such as conv5_block1_2_conv/kernel" in capsys.readouterr().err


# Numbers

NUMBERS = [
    ("conv1_conv/kernel", 1e38, "up to 1e\\+38, too large"),
    ("conv1_conv/kernel", -1e20, "too large to compute with"),
    ("predictions/bias", 1e30, "too large"),
    ("conv2_block1_1_bn/moving_variance", -0.5, "the negative variance -0.5"),
    ("conv2_block1_1_bn/moving_variance", -1e-6, "the negative variance"),
    ("conv2_block1_1_bn/moving_variance", 1e30, "too large"),
    ("conv2_block1_1_bn/moving_mean", np.nan, "infinite or none"),
    ("conv1_bn/gamma", np.inf, "infinite or none"),
    ("conv1_bn/gamma", -np.inf, "infinite or none"),
]


@pytest.mark.parametrize(("name", "number", "message"), NUMBERS)
def test_numbers_that_no_network_has_are_refused(name, number, message, tmp_path):
    model = resnet_tf.CifarResNet20(classes=3)
    tensors = {f"{layer.name}/{v.name}": np.array(v) for layer in model.layers for v in layer.weights}
    tensors[name].flat[0] = number
    np.savez(tmp_path / "x.npz", **tensors)
    with pytest.raises(UserError, match=message) as caught:
        load_weights(model, tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


def test_import_refuses_a_network_that_leaves_float32_only_as_a_whole(tmp_path, capsys):
    model = resnet_tf.CifarResNet20(classes=1000)
    randomize(model)
    for layer in model.layers:
        if layer.name.endswith("_2_bn"):
            layer.gamma.assign(np.full(layer.gamma.shape, 1e8, "float32"))
    write_weights(model, tmp_path / "x.npz", TORCH)
    words = ["import", str(tmp_path / "x.npz"), "--arch", "cifar_resnet20", "--run", str(tmp_path / "run")]
    assert main(words) == 2
    assert "gives infinite numbers or NaN for images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_doubles_beyond_float32_are_infinite_without_a_warning(tmp_path, recwarn):
    model = resnet_tf.CifarResNet20(classes=3)
    tensors = {f"{layer.name}/{v.name}": np.array(v, "float64") for layer in model.layers for v in layer.weights}
    tensors["conv1_conv/kernel"].flat[0] = 1e300
    np.savez(tmp_path / "x.npz", **tensors)
    with pytest.raises(UserError, match="infinite or none"):
        load_weights(model, tmp_path / "x.npz")
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_a_description_of_our_own_still_loads(tmp_path):
    model = resnet_tf.CifarResNet20(classes=3)
    write_weights(model, tmp_path / "x.npz", TORCH, image_size=32)
    assert load_weights(model, tmp_path / "x.npz").notes == []
