"""PyTorch's names: those of each library are converted to ours, and ours back."""

import numpy as np
import pytest

import resnet_tf
from resnet_tf.weights.torch_names import from_torch, is_cifar, is_torch, to_torchvision
from tests.conftest import randomize, torch_tensors


@pytest.mark.parametrize(
    ("torch_name", "name"),
    [
        ("conv1.weight", "conv1_conv/kernel"),
        ("bn1.running_var", "conv1_bn/moving_variance"),
        ("layer1.0.conv1.weight", "conv2_block1_1_conv/kernel"),
        ("layer4.2.bn3.bias", "conv5_block3_3_bn/beta"),
        ("layer3.22.conv2.weight", "conv4_block23_2_conv/kernel"),
        ("layer2.0.downsample.0.weight", "conv3_block1_0_conv/kernel"),
        ("layer2.0.downsample.1.running_mean", "conv3_block1_0_bn/moving_mean"),
        ("layer2.0.shortcut.1.weight", "conv3_block1_0_bn/gamma"),
        ("fc.weight", "predictions/kernel"),
        ("linear.bias", "predictions/bias"),
        ("fpn.inner.weight", "fpn.inner.weight"),
        ("layer1.0.conv1.scale", "layer1.0.conv1.scale"),
    ],
)
def test_names_of_torchvision_and_its_kin(torch_name, name):
    assert list(from_torch({torch_name: np.zeros(1)})) == [name]


def in_transformers_names(tensors):
    """Converts torchvision's names to those of Hugging Face transformers, by splitting instead of by patterns."""
    renamed = {}
    for name, tensor in tensors.items():
        *module, variable = name.split(".")
        if module[0] == "fc":
            place = "classifier.1"
        elif module[0] in ("conv1", "bn1"):
            place = f"resnet.embedder.embedder.{'convolution' if module[0] == 'conv1' else 'normalization'}"
        else:
            stage, block, what = int(module[0][-1]) - 1, module[1], module[2]
            kind = "convolution" if what.startswith("conv") or module[-1] == "0" else "normalization"
            inner = "shortcut" if what == "downsample" else f"layer.{int(what[-1]) - 1}"
            place = f"resnet.encoder.stages.{stage}.layers.{block}.{inner}.{kind}"
        renamed[f"{place}.{variable}"] = tensor
    return renamed


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_transformers_names_mean_what_torchvisions_do(name):
    model = resnet_tf.build(name, classes=7, use_bias=False, width=1 / 16)
    randomize(model)
    tensors = torch_tensors(model)
    theirs = in_transformers_names(tensors)
    assert is_torch(theirs)
    found, expected = from_torch(theirs), from_torch(tensors)
    assert found.keys() == expected.keys() == {f"{v.path.rsplit('/', 2)[-2]}/{v.name}" for v in model.variables}
    for key, tensor in expected.items():
        np.testing.assert_array_equal(found[key], tensor)


def test_our_names_go_to_torchvisions_and_back_bit_for_bit():
    model = resnet_tf.ResNet50(classes=7, use_bias=False, width=1 / 16)
    randomize(model)
    ours = {f"{layer.name}/{v.name}": np.asarray(v) for layer in model.layers for v in layer.weights}
    theirs = to_torchvision(ours)
    assert theirs.keys() == torch_tensors(model).keys()
    for name, tensor in from_torch(theirs).items():
        np.testing.assert_array_equal(tensor, ours[name], strict=True)


def test_torchvision_has_no_place_for_the_bias_of_a_convolution():
    with pytest.raises(KeyError, match="conv1_conv/bias"):
        to_torchvision({"conv1_conv/bias": np.zeros(3)})


def test_the_cifar_nets_are_known_by_their_classifier():
    assert is_cifar({"layer3.0.conv1.weight": 0, "linear.weight": 0})
    assert not is_cifar({"layer4.0.conv1.weight": 0, "linear.weight": 0})
    assert not is_cifar({"layer3.0.conv1.weight": 0, "fc.weight": 0})
