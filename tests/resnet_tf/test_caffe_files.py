"""Caffe's models, read from files that are written here byte by byte."""

import io
import struct

import numpy as np
import pytest

from resnet_tf.errors import UserError
from resnet_tf.weights.caffe_files import looks_like_caffe, read_caffemodel
from resnet_tf.weights.caffe_names import from_caffe

random = np.random.default_rng(3)


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """Returns a field of Protocol Buffers on the wire; text, numbers and messages have a length, integers have none."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def blob(array, data_field=5):
    shape = field(7, field(1, b"".join(map(varint, array.shape))))
    difference = field(6, array.tobytes())  # gradients, which a snapshot may have
    return shape + field(data_field, array.tobytes()) + difference


def legacy_blob(array):
    axes = (1,) * (4 - array.ndim) + array.shape
    return b"".join(field(number, axis) for number, axis in enumerate(axes, 1)) + field(5, array.tobytes())


def layer(name, *blobs):
    """Returns a LayerParameter, also with a type, an input and parameters, which are not read."""
    head = field(1, name) + field(2, "Convolution") + field(3, "data") + field(106, field(1, 64))
    return field(100, head + b"".join(field(7, content) for content in blobs))


def legacy_layer(name, *blobs):
    """Returns a V1LayerParameter."""
    return field(2, field(2, "data") + field(4, name) + field(5, 4) + b"".join(field(6, content) for content in blobs))


def network(*layers):
    head = field(1, "ResNet-50") + field(3, "data") + field(4, 1) + field(4, 224) + field(5, 1) + field(6, b"")
    return head + field(7, 1) + field(8, field(1, b"\1")) + b"".join(layers)


def normal(*shape, dtype="float32"):
    return random.normal(size=shape).astype(dtype)


@pytest.fixture
def write(tmp_path):
    def put(content):
        (tmp_path / "model.caffemodel").write_bytes(content)
        return tmp_path / "model.caffemodel"

    return put


def test_the_blobs_of_a_network_are_read(write):
    kernel, bias, scalar = normal(4, 3, 2, 2), normal(4), normal()
    path = write(network(layer("data"), layer("conv1", blob(kernel), blob(bias)), layer("s", blob(scalar))))
    assert looks_like_caffe(path)
    blobs = read_caffemodel(path)
    assert list(blobs) == ["conv1", "s"]
    np.testing.assert_array_equal(blobs["conv1"][0], kernel, strict=True)
    np.testing.assert_array_equal(blobs["conv1"][1], bias, strict=True)
    np.testing.assert_array_equal(blobs["s"][0], scalar, strict=True)


def test_the_format_before_2015_is_read_with_four_axes(write):
    kernel, bias = normal(5, 4), normal(5)
    path = write(network(legacy_layer("relu"), legacy_layer("fc1000", legacy_blob(kernel), legacy_blob(bias))))
    assert looks_like_caffe(path)
    blobs = read_caffemodel(path)
    assert list(blobs) == ["fc1000"]
    np.testing.assert_array_equal(blobs["fc1000"][0], kernel[None, None], strict=True)
    np.testing.assert_array_equal(blobs["fc1000"][1], bias[None, None, None], strict=True)


def test_numbers_of_double_precision_are_read(write):
    numbers = normal(3, 2, dtype="float64")
    blobs = read_caffemodel(write(network(layer("a", blob(numbers, data_field=8)))))
    np.testing.assert_array_equal(blobs["a"][0], numbers, strict=True)


def test_numbers_that_are_not_packed_are_read(write):
    """Each number has its own field; Protocol Buffers demands that both forms are understood."""
    numbers = normal(3)
    single = b"".join(varint(5 << 3 | 5) + struct.pack("<f", number) for number in numbers)
    blobs = read_caffemodel(write(network(layer("a", field(7, field(1, 3)) + single))))
    np.testing.assert_array_equal(blobs["a"][0], numbers, strict=True)


@pytest.mark.parametrize("shape", [(7,), (3, 3), (2**62, 4), (), (0,)])
def test_a_shape_that_does_not_fit_the_numbers_is_refused(shape, write):
    numbers = field(7, field(1, b"".join(map(varint, shape)))) + field(5, bytes(24))
    with pytest.raises(ValueError, match="'conv1' has 6 numbers for a blob of shape"):
        read_caffemodel(write(network(layer("conv1", numbers))))


def test_a_negative_axis_is_refused(write):
    negative = (1 << 64) - 3
    for content in (field(7, field(1, varint(negative) + varint((1 << 64) - 2))), field(1, negative) + field(2, 1)):
        with pytest.raises(ValueError, match="for a blob of shape"):
            read_caffemodel(write(network(layer("conv1", content + field(5, bytes(24))))))


def test_a_network_without_weights_is_refused(write):
    with pytest.raises(UserError, match="no layer with weights"):
        read_caffemodel(write(network(layer("data"))))


def test_a_file_cut_inside_of_a_layer_is_an_error(write, tmp_path):
    first = network(layer("conv1", blob(normal(4, 3, 2, 2))))
    whole = first + layer("conv2", blob(normal(4)))
    for length in range(len(first) + 1, len(whole)):
        with pytest.raises(Exception, match=r".+"):  # the caller turns any error into one sentence
            read_caffemodel(write(whole[:length]))
        assert looks_like_caffe(tmp_path / "model.caffemodel")


def test_a_file_with_a_wrong_byte_is_an_error_or_read(write):
    whole = network(layer("conv1", blob(normal(2, 2))), legacy_layer("fc", legacy_blob(normal(2))))
    errors = 0
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path = write(bytes(damaged))
        looks_like_caffe(path)
        try:
            read_caffemodel(path)
        except Exception:  # the caller turns any error into one sentence
            errors += 1
    assert errors > 0


def other_files():
    yield b""
    yield b"\n"
    yield b"\x89HDF\r\n\x1a\n" + bytes(100)
    yield b"PK\x03\x04" + bytes(100)
    yield b"\n" * 5000
    yield b"name: 'ResNet-50'\nlayer { name: 'conv1' }\n" * 10
    archive = io.BytesIO()
    np.save(archive, normal(20))
    yield archive.getvalue()
    yield field(1, 8) + field(2, "pytorch") + field(7, bytes(50))  # ONNX
    yield field(1, field(1, "node") + field(2, "Const")) + field(2, field(1, "function"))  # GraphDef
    yield (10).to_bytes(8, "little") + b'{"a": [1]}'  # safetensors whose length begins like a name
    yield (0x0512).to_bytes(8, "little") + bytes(0x0512)  # safetensors whose length begins like a layer
    yield b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + bytes(100)  # PyTorch
    yield field(1, "ResNet-50")
    yield field(1, "ResNet-50") + b"\xa2\x06\xff\xff\xff\xff\x0f"  # a layer that is longer than the file
    yield field(1, "ResNet-50") + b"\xa2\x06" + varint(10_000) + field(1, "conv1")
    yield field(1, "ResNet-50") + field(100, b"\x0a\x50") + bytes(100)  # a name that is longer than its layer
    yield field(1, 8) + layer("conv1")
    yield field(1, "long" * 1000) + layer("conv1")
    yield field(1, b"\xff\xfe") + layer("conv1")
    yield b"\xff" * 100


def test_other_files_do_not_look_like_caffe(write):
    for content in other_files():
        assert not looks_like_caffe(write(content)), content[:20]


@pytest.mark.parametrize(
    ("caffe", "keras"),
    [
        ("conv1", "conv1_conv"),
        ("res2a_branch1", "conv2_block1_0_conv"),
        ("res2a_branch2a", "conv2_block1_1_conv"),
        ("res2c_branch2b", "conv2_block3_2_conv"),
        ("res4f_branch2c", "conv4_block6_3_conv"),  # ResNet-50 counts blocks with letters
        ("res3b1_branch2a", "conv3_block2_1_conv"),  # ResNet-101 and ResNet-152 with numbers
        ("res4b35_branch2c", "conv4_block36_3_conv"),
    ],
)
def test_kernels_get_kerass_names_and_axes(caffe, keras):
    kernel = normal(4, 3, 1, 2)
    tensors = from_caffe({caffe: [kernel]})
    assert list(tensors) == [f"{keras}/kernel"]
    assert tensors[f"{keras}/kernel"].shape == (1, 2, 3, 4)
    assert tensors[f"{keras}/kernel"][0, 1, 2, 3] == kernel[3, 2, 0, 1]


@pytest.mark.parametrize(
    ("place", "keras"),
    [("_conv1", "conv1_bn"), ("5c_branch2b", "conv5_block3_2_bn"), ("3b7_branch1", "conv3_block8_0_bn")],
)
def test_batch_norm_and_scale_become_one_layer(place, keras):
    mean, variance, gamma, beta = np.split(normal(12), 4)
    tensors = from_caffe({f"bn{place}": [mean, variance, np.float32([4])], f"scale{place}": [gamma, beta]})
    expected = {"moving_mean": mean / 4, "moving_variance": variance / 4, "gamma": gamma, "beta": beta}
    assert set(tensors) == {f"{keras}/{variable}" for variable in expected}
    for variable, value in expected.items():
        np.testing.assert_array_equal(tensors[f"{keras}/{variable}"], value, strict=True)


def test_a_factor_of_zero_gives_zeros():
    tensors = from_caffe({"bn_conv1": [np.float32([1, 2]), np.float32([3, 4]), np.float32([0])]})
    np.testing.assert_array_equal(tensors["conv1_bn/moving_mean"], [0, 0])
    np.testing.assert_array_equal(tensors["conv1_bn/moving_variance"], [0, 0])


def test_the_classifier_and_biases_load_from_both_formats(write):
    kernel, bias, first = normal(5, 4), normal(5), normal(2, 3, 1, 1)
    new = network(layer("conv1", blob(first), blob(bias[:2])), layer("fc1000", blob(kernel), blob(bias)))
    old = network(
        legacy_layer("conv1", legacy_blob(first), legacy_blob(bias[:2])),
        legacy_layer("fc1000", legacy_blob(kernel), legacy_blob(bias)),
    )
    for content in (new, old):
        tensors = from_caffe(read_caffemodel(write(content)))
        np.testing.assert_array_equal(tensors["predictions/kernel"], kernel.T, strict=True)
        np.testing.assert_array_equal(tensors["predictions/bias"], bias, strict=True)
        np.testing.assert_array_equal(tensors["conv1_conv/kernel"], first.transpose(2, 3, 1, 0), strict=True)
        np.testing.assert_array_equal(tensors["conv1_conv/bias"], bias[:2], strict=True)


def test_layers_of_other_networks_are_kept_under_their_names():
    blobs = {
        "conv1_1": [normal(2), normal(3)],
        "bn2a_branch1": [normal(2)],
        "res2a": [normal(1)],
        "res3c2_branch1": [normal(1)],
    }
    tensors = from_caffe(blobs)
    assert list(tensors) == ["conv1_1/0", "conv1_1/1", "bn2a_branch1/0", "res2a/0", "res3c2_branch1/0"]
