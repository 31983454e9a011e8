"""A writer of .keras files builds its network once, and each of its files has the values of its moment."""

import zipfile

import numpy as np
import pytest

from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.classifier import build_classifier, change_head, head
from resnet_tf.saved import load_model
from resnet_tf.weights import CAFFE, TORCH, KerasWriter, write_weights
from tests.conftest import randomize, relative_error
from tests.networks import TINY

CLASSES = ["daisy", "rose", "tulip"]
SIZE = 32


@pytest.fixture(scope="module", autouse=True)
def tiny_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, TINY.name, TINY)
        yield


def content(path):
    """Returns the bytes of a file's members, without the one that has the time."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name != "metadata.json"}


@pytest.mark.parametrize("preprocessing", [TORCH, CAFFE])
def test_every_file_of_a_writer_has_the_bits_of_a_file_that_is_written_alone(preprocessing, tmp_path):
    model = build_classifier(TINY.name, len(CLASSES), preprocessing=preprocessing)
    writer = KerasWriter(model, preprocessing, image_size=SIZE, classes=CLASSES)
    kernels = []
    for seed in range(3):
        randomize(model, seed)
        writer.twin.take_values(model)
        writer.write(tmp_path / "again.keras")
        write_weights(model, tmp_path / "alone.keras", preprocessing, image_size=SIZE, classes=CLASSES)
        again = content(tmp_path / "again.keras")
        assert again == content(tmp_path / "alone.keras")
        assert set(again) == {"config.json", "model.weights.h5", "resnet_tf.json"}
        kernel = np.asarray(load_model(tmp_path / "again.keras").get_layer("conv1_conv").kernel)
        own = np.asarray(model.get_layer("conv1_conv").kernel)
        np.testing.assert_array_equal(kernel, own[:, :, ::-1] if preprocessing is CAFFE else own)
        kernels.append(kernel)
    assert not np.array_equal(kernels[0], kernels[1])


def test_a_change_of_the_head_is_in_one_file_alone_and_never_in_the_network(tmp_path):
    model = build_classifier(TINY.name, len(CLASSES))
    before = head(model).get_weights()
    writer = KerasWriter(model, TORCH)
    writer.twin.take_values(model)
    change_head(writer.twin.model, (np.full(before[0].shape, 0.25, "float32"), np.full(3, 2.0, "float32")))
    writer.write(tmp_path / "changed.keras")
    writer.twin.take_values(model)
    writer.write(tmp_path / "plain.keras")
    found = {name: head(load_model(tmp_path / f"{name}.keras")).get_weights() for name in ("changed", "plain")}
    for changed, plain, now, was, more in zip(
        found["changed"], found["plain"], head(model).get_weights(), before, (0.25, 2.0), strict=True
    ):
        np.testing.assert_array_equal(changed, was + np.float32(more))
        np.testing.assert_array_equal(plain, was)
        np.testing.assert_array_equal(now, was)


def test_a_file_of_a_network_in_bfloat16_computes_in_float32(tmp_path):
    half = build_classifier(TINY.name, len(CLASSES), precision="bfloat16")
    randomize(half)
    write_weights(half, tmp_path / "model.keras", TORCH)
    full = load_model(tmp_path / "model.keras")
    assert full.get_layer("conv1_conv").compute_dtype == "float32"
    pictures = np.random.default_rng(3).integers(0, 256, (4, SIZE, SIZE, 3)).astype("uint8")
    error = relative_error(np.asarray(half(pictures, training=False)), np.asarray(full(pictures, training=False)))
    assert 0.0 < error < 0.1  # 8 bits in four layers
