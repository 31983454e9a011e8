"""Our networks with PyTorch's weights compute what PyTorch computes."""

import numpy as np
import pytest

import resnet_tf
from resnet_tf.weights import load_weights, read_weights
from tests.conftest import relative_error

torch = pytest.importorskip("torch", reason="PyTorch is not installed; `make torch` installs it")

from tests.resnet_tf.torch_reference import VGG, ResNet, logits_of, randomize_torch  # noqa: E402

LOGITS = 1e-4  # the two libraries add float32 numbers in different orders
RESNETS = {"resnet18": ((2, 2, 2, 2), False), "resnet34": ((3, 4, 6, 3), False), "resnet50": ((3, 4, 6, 3), True)}
VGGS = {
    "vgg16": ((2, 2, 3, 3, 3), False),
    "vgg16_bn": ((2, 2, 3, 3, 3), True),
    "vgg19": ((2, 2, 4, 4, 4), False),
    "vgg19_bn": ((2, 2, 4, 4, 4), True),
}


def images(size=64):
    return np.random.default_rng(7).normal(0, 1, (8, size, size, 3)).astype("float32")


def assert_same_logits(model, network, x):
    found, expected = model.predict(x, verbose=0), logits_of(network, x)
    assert relative_error(found, expected) < LOGITS
    np.testing.assert_array_equal(np.argsort(-found)[:, :5], np.argsort(-expected)[:, :5])


@pytest.mark.parametrize(
    ("name", "stride_at"), [("resnet18", None), ("resnet34", None), ("resnet50", "1x1"), ("resnet50", "3x3")]
)
def test_a_resnet_computes_what_pytorch_computes(name, stride_at, tmp_path):
    network = ResNet(*RESNETS[name], classes=20, stride_at=stride_at)
    randomize_torch(network)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    ours = resnet_tf.build(name, classes=20, input_shape=(64, 64, 3), stride_at=stride_at)
    report = load_weights(ours, tmp_path / "weights.pth")
    assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
    assert any("strides on the 3x3" in note for note in report.notes) is (stride_at == "1x1")
    assert_same_logits(ours, network, images())


def test_the_place_of_the_stride_is_taken_from_the_weights(tmp_path):
    network = ResNet((3, 4, 6, 3), True, classes=20)
    randomize_torch(network)
    torch.save({"state_dict": network.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    ours = resnet_tf.build("resnet50", classes=20, input_shape=(64, 64, 3), weights=str(tmp_path / "checkpoint.pth"))
    assert_same_logits(ours, network, images())


@pytest.mark.parametrize("name", VGGS)
@pytest.mark.parametrize("size", [32, 96, 224])
def test_a_vgg_computes_what_pytorch_computes(name, size, tmp_path):
    """This includes hidden layers, whose inputs have a different order, and a size that must be pooled to 7×7."""
    network = VGG(*VGGS[name], classes=20, width=1 / 16)
    randomize_torch(network)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    ours = resnet_tf.build(name, classes=20, input_shape=(size, size, 3), width=1 / 16)
    report = load_weights(ours, read_weights(tmp_path / "weights.pth"))
    assert (report.missing, report.left_over, report.wrong_shape) == ([], [], {})
    assert_same_logits(ours, network, images(size))


def test_a_file_in_torchvisions_names_goes_back_to_pytorch(tmp_path):
    """Our weights go to .safetensors in torchvision's names, and into PyTorch's own module."""
    from safetensors.torch import load_file

    from resnet_tf.weights import TORCH, write_weights
    from tests.conftest import randomize

    ours = resnet_tf.ResNet18(classes=20, input_shape=(64, 64, 3))
    randomize(ours)
    write_weights(ours, tmp_path / "ours.safetensors", TORCH, torchvision=True)
    network = ResNet((2, 2, 2, 2), False, classes=20)
    missing = network.load_state_dict(load_file(tmp_path / "ours.safetensors"), strict=False)
    assert not missing.unexpected_keys
    assert all(name.endswith("num_batches_tracked") for name in missing.missing_keys)
    assert_same_logits(ours, network, images())
