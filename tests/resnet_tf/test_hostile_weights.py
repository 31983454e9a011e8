"""Files that would hang, fill the memory or end the process, and files with two tensors of one name."""

import io
import json
import os
import random
import socket
import time
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import save_file

import resnet_tf
from pipelines.cli import main
from resnet_tf.errors import UserError
from resnet_tf.weights import read_weights
from resnet_tf.weights.caffe_names import from_caffe
from resnet_tf.weights.crc32c import crc32c
from resnet_tf.weights.torch_names import from_torch
from tests.campaigns.weight_files import resealed
from tests.campaigns.weights import run

ONES = np.ones(3, "float32")


def refused(path, message):
    """Checks that a file is refused in one line, within two seconds."""
    started = time.monotonic()
    with pytest.raises(UserError, match=message) as caught:
        read_weights(path)
    assert time.monotonic() - started < 2.0
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# What is no file


def test_a_pipe_a_socket_and_a_device_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "are a pipe, not a file")
    (tmp_path / "link.h5").symlink_to(tmp_path / "pipe.h5")
    refused(tmp_path / "link.h5", "are a pipe, not a file")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s"))
        refused(tmp_path / "s", "are a socket")
    refused("/dev/zero", "are a device")


def test_a_pipe_among_the_files_of_a_checkpoint_is_refused_at_once(tmp_path):
    prefix = tf.train.Checkpoint(v=tf.Variable(1.0, name="a/kernel")).write(str(tmp_path / "state"))
    shard = tmp_path / "state.data-00000-of-00001"
    shard.unlink()
    os.mkfifo(shard)
    refused(prefix, "are a pipe")
    (tmp_path / "state.index").unlink()
    os.mkfifo(tmp_path / "state.index")
    for path in (prefix, tmp_path / "state.index", tmp_path):
        with pytest.raises(UserError):
            read_weights(path)


def test_the_verbs_do_not_wait_for_a_pipe(tmp_path, images, capsys):
    os.mkfifo(tmp_path / "pipe")
    for words in (
        ["convert", str(tmp_path / "pipe"), str(tmp_path / "x.npz"), "--arch", "resnet18"],
        ["import", str(tmp_path / "pipe"), "--arch", "resnet18", "--run", str(tmp_path / "run")],
        ["finetune", str(images), "--weights", str(tmp_path / "pipe"), "--run", str(tmp_path / "run")],
    ):
        assert main(words) == 2
        assert "a pipe, not a file" in capsys.readouterr().err
    with pytest.raises(UserError, match="a pipe, not a file"):
        resnet_tf.ResNet18(weights=str(tmp_path / "pipe"))


# HDF5


def test_groups_thousands_deep_are_refused_at_once(tmp_path):
    with h5py.File(tmp_path / "deep.h5", "w") as file:
        group = file
        for _ in range(3000):
            group = group.create_group("g")
        group["kernel:0"] = ONES
    refused(tmp_path / "deep.h5", "groups inside of groups, more than 64 deep")


def test_too_many_groups_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("resnet_tf.weights.hdf5_files._MOST_LINKS", 100)
    with h5py.File(tmp_path / "wide.h5", "w") as file:
        for number in range(101):
            file.create_group(f"g{number}")
    refused(tmp_path / "wide.h5", "more than 100 groups and tensors")


@pytest.mark.parametrize("kind", [h5py.string_dtype(), h5py.vlen_dtype("float32"), h5py.ref_dtype], ids=str)
def test_texts_and_lists_whose_size_nothing_says_are_refused(kind, tmp_path):
    with h5py.File(tmp_path / "text.h5", "w") as file:
        file.create_dataset("conv1_conv/kernel:0", (4,), kind)
    refused(tmp_path / "text.h5", "texts or lists in 'conv1_conv/kernel:0' where numbers should be")


def test_more_numbers_than_fit_into_memory_are_refused_before_they_are_read(tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        for number in range(3):
            file.create_dataset(f"layer{number}/kernel:0", (2**30,), "float32", chunks=(2**20,))
    refused(tmp_path / "huge.h5", "unpack to 12,884,901,888 bytes, more than 8,589,934,592")


def test_a_small_file_of_very_many_numbers_is_refused_before_they_are_read(tmp_path):
    """Both are within the bound of 8 GiB, and would fill the memory of a small machine."""
    with h5py.File(tmp_path / "empty.h5", "w") as file:
        file.create_dataset("conv1_conv/kernel:0", (2**28,), "float32", chunks=(2**20,))
    refused(tmp_path / "empty.h5", r"unpack to 1,073,741,824, as no weights do")
    array = io.BytesIO()
    np.save(array, np.zeros(2**20, "float32"))
    with (
        zipfile.ZipFile(tmp_path / "zeros.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("conv1_conv/kernel.npy", "w", force_zip64=True) as member,
    ):
        for _ in range(70):
            member.write(array.getvalue())
    refused(tmp_path / "zeros.npz", "as no weights do")


def test_links_in_circles_end(tmp_path):
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file["conv1_conv/kernel:0"] = ONES
        file["conv1_conv/again"] = file["/"]
        file["soft"] = h5py.SoftLink("/soft")
    assert list(read_weights(tmp_path / "loop.h5").tensors) == ["conv1_conv/kernel"]


def test_attributes_of_other_kinds_are_left_alone(tmp_path):
    with h5py.File(tmp_path / "attributes.h5", "w") as file:
        file["conv1_conv/kernel:0"] = ONES
        file["conv1_conv/kernel:0"].attrs["dtype"] = [1, 2]
        file.attrs["resnet_tf"] = np.zeros(3)
    np.testing.assert_array_equal(read_weights(tmp_path / "attributes.h5").tensors["conv1_conv/kernel"], ONES)


# Two tensors of one name


def test_two_tensors_of_one_name_in_hdf5_are_an_error(tmp_path):
    with h5py.File(tmp_path / "twice.h5", "w") as file:
        file["a/conv1_conv/kernel:0"] = ONES
        file["b/conv1_conv/kernel:0"] = 2 * ONES
    refused(tmp_path / "twice.h5", "two tensors of the name 'conv1_conv/kernel', the second in 'b/conv1_conv/kernel:0'")


def test_two_tensors_of_one_name_in_other_formats_are_an_error(tmp_path):
    array = io.BytesIO()
    np.save(array, ONES)
    with zipfile.ZipFile(tmp_path / "twice.npz", "w") as archive:
        archive.writestr("a/kernel.npy", array.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a/kernel.npy", array.getvalue())
    refused(tmp_path / "twice.npz", "two tensors of the name")

    save_file({"a/kernel": ONES}, tmp_path / "once.safetensors")
    content = (tmp_path / "once.safetensors").read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length].strip()
    entry = json.dumps(json.loads(header)["a/kernel"])
    twice = header[:-1] + f', "a/kernel": {entry}}}'.encode()
    (tmp_path / "twice.safetensors").write_bytes(len(twice).to_bytes(8, "little") + twice + content[8 + length :])
    refused(tmp_path / "twice.safetensors", "two tensors of the name 'a/kernel'")


def test_two_names_for_one_tensor_of_a_network_are_an_error():
    two = {f"layer2.0.{name}.0.weight": np.zeros((2, 2, 1, 1)) for name in ("downsample", "shortcut")}
    with pytest.raises(UserError, match=r"two tensors for conv3_block1_0_conv/kernel, 'layer2.0.downsample.0.weight'"):
        from_torch(two)
    with pytest.raises(UserError, match="two tensors for conv3_block2_1_conv/kernel"):
        from_caffe({name: [np.zeros((2, 2, 1, 1))] for name in ("res3b_branch2a", "res3b1_branch2a")})


# Checkpoints of TensorFlow


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Returns the index of a checkpoint whose tensors are read."""
    layer = tf.train.Checkpoint(kernel=tf.Variable(tf.zeros((4, 3)), name="conv1_conv/kernel"))
    folder = tmp_path_factory.mktemp("checkpoint")
    tf.train.Checkpoint(layer=layer).write(str(folder / "state"))
    assert list(read_weights(folder / "state").tensors) == ["conv1_conv/kernel"]
    return folder / "state.index"


def test_a_checkpoint_with_wrong_bytes_and_right_check_sums_does_not_end_the_process(index, tmp_path):
    """TensorFlow's own reader aborts at some of these."""
    (tmp_path / "state.data-00000-of-00001").write_bytes(index.with_name("state.data-00000-of-00001").read_bytes())
    outcomes = set()
    for seed in range(200):
        (tmp_path / "state.index").write_bytes(resealed(index.read_bytes(), random.Random(seed)))
        try:
            outcomes.add(tuple(read_weights(tmp_path / "state").tensors))
        except UserError as error:
            outcomes.add(str(error))
    assert any("damaged or incomplete" in str(outcome) for outcome in outcomes)
    assert not [outcome for outcome in outcomes if "\n" in str(outcome)]


def test_every_type_of_number_in_a_checkpoint_is_read(tmp_path):
    kinds = [tf.float32, tf.float64, tf.float16, tf.bfloat16, tf.int32, tf.int64, tf.uint8, tf.int8, tf.int16, tf.bool]
    root = tf.train.Checkpoint()
    for kind in kinds:
        values = tf.cast([[0, 1, 1], [1, 0, 1]], kind)
        setattr(root, kind.name, tf.train.Checkpoint(v=tf.Variable(values, name=f"{kind.name}/kernel")))
    tensors = read_weights(root.write(str(tmp_path / "kinds"))).tensors
    for kind in kinds:
        np.testing.assert_array_equal(np.asarray(tensors[f"{kind.name}/kernel"], "float32"), [[0, 1, 1], [1, 0, 1]])


def test_a_checkpoint_in_several_shards_is_read(tmp_path):
    for number, value in enumerate((1.0, 2.0)):
        root = tf.train.Checkpoint(v=tf.Variable([value], name=f"layer{number}/kernel"))
        root.write(str(tmp_path / f"part{number}"))
    prefixes = [str(tmp_path / f"part{number}") for number in range(2)]
    # Both have an object graph, and merging keeps the first one.
    tf.raw_ops.MergeV2Checkpoints(
        checkpoint_prefixes=prefixes[:1], destination_prefix=str(tmp_path / "merged"), delete_old_dirs=False
    )
    assert list(read_weights(tmp_path / "merged").tensors) == ["layer0/kernel"]


def test_the_check_sum_is_that_of_the_standard():
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4, and all other descriptions
    assert crc32c(bytes(32)) == 0x8A9136AA
    data = random.Random(0).randbytes(300_000)
    whole = crc32c(data)
    assert whole == crc32c(data[100_001:], crc32c(data[:100_001])) == crc32c(data[7:], crc32c(data[:7]))
    plain = 0
    for start in range(0, len(data), 1000):  # too short to be divided into lanes
        plain = crc32c(data[start : start + 1000], plain)
    assert whole == plain


def test_names_in_a_file_reach_the_terminal_short_and_without_control_characters(tmp_path, capsys):
    model = resnet_tf.CifarResNet20(classes=3)
    tensors = {f"{layer.name}/{v.name}": np.array(v) for layer in model.layers for v in layer.weights}
    save_file({**tensors, "\x1b[2J\nhead": ONES, "x" * 5000: ONES}, tmp_path / "head.safetensors")
    resnet_tf.load_weights(model, tmp_path / "head.safetensors")
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert r"\x1b[2J\nhead" in out
    assert max(map(len, out.splitlines())) < 400
    save_file({**tensors, "conv9_\x1b[2J\n" + "x" * 5000: ONES}, tmp_path / "backbone.safetensors")
    with pytest.raises(UserError, match="has 1 tensors that the network has not") as caught:
        resnet_tf.load_weights(model, tmp_path / "backbone.safetensors")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_the_error_of_a_library_is_cut_to_one_line(tmp_path):
    """zipfile quotes a member's name from the member, whose length may be anything."""
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("a.npy", bytes(5000))
    content = bytearray((tmp_path / "x.npz").read_bytes())
    content[26:28] = b"\xff\x10"  # the length of the name before the member's bytes
    (tmp_path / "x.npz").write_bytes(content)
    refused(tmp_path / "x.npz", "damaged or incomplete")
    with pytest.raises(UserError) as caught:
        read_weights(tmp_path / "x.npz")
    assert len(str(caught.value)) < 500


def test_damaged_files_of_every_format_are_read_or_refused():
    failures = [trial for trial in run(count=60, seed=1) if not trial.passed]
    assert failures == []
