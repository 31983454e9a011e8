"""PyTorch's checkpoints are read without PyTorch, and nothing in them is executed."""

import contextlib
import os
import pickle
import struct
import tracemalloc
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from resnet_tf.errors import UserError
from resnet_tf.weights import torch_pickle
from resnet_tf.weights.torch_files import read_torch

LAYOUTS = ("zip", "legacy")


@dataclass
class Global:
    module: str
    name: str


@dataclass
class Call:
    function: Any
    arguments: Any


@dataclass
class Persistent:
    identifier: Any


@dataclass
class Raw:
    """Operations of a pickle that are written unchanged."""

    operations: bytes


def encode(value):
    """Returns the operations that put a value on the stack of a pickle machine, as in PyTorch's files."""
    match value:
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            return b"\x8a\x0a" + value.to_bytes(10, "little", signed=True)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(encode, value)) + b"t"
        case list():
            return b"](" + b"".join(map(encode, value)) + b"e"
        case dict():
            return b"}(" + b"".join(encode(key) + encode(item) for key, item in value.items()) + b"u"
        case Global():
            return f"c{value.module}\n{value.name}\n".encode()
        case Call():
            return encode(value.function) + encode(value.arguments) + b"R"
        case Persistent():
            return encode(value.identifier) + b"Q"
        case Raw():
            return value.operations
    raise TypeError(value)


def pickled(value):
    return b"\x80\x02" + encode(value) + b"."


def storage(key, count, kind="FloatStorage"):
    return Persistent(("storage", Global("torch", kind), key, "cuda:0", count))


def tensor(place, size, strides, offset=0):
    hooks = Call(Global("collections", "OrderedDict"), ())
    return Call(Global("torch._utils", "_rebuild_tensor_v2"), (place, offset, size, strides, False, hooks))


def write(layout, path, content, storages, byte_order="little"):
    """Writes a file in a layout; `storages` maps a key to (number of elements, bytes)."""
    if layout == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("any_name/data.pkl", pickled(content))
            archive.writestr("any_name/byteorder", byte_order)
            for key, (_, numbers) in storages.items():
                archive.writestr(f"any_name/data/{key}", numbers)
            archive.writestr("any_name/version", "3\n")
        return path
    parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, content, list(storages)]
    raw = b"".join(struct.pack("<q", count) + numbers for count, numbers in storages.values())
    path.write_bytes(b"".join(map(pickled, parts)) + raw)
    return path


def floats(*numbers, order="<"):
    return len(numbers), np.array(numbers, f"{order}f4").tobytes()


def small_file(layout, path):
    content = {
        "module.conv1.weight": tensor(storage("7", 6), (2, 3), (3, 1)),
        "module.step": tensor(storage("8", 1), (), ()),
    }
    return write(layout, path, content, {"7": floats(0, 1, 2, 3, 4, 5), "8": floats(9)})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_state_dict_from_a_gpu_and_data_parallel_is_read(layout, tmp_path):
    tensors = read_torch(small_file(layout, tmp_path / "w.pth"))
    assert list(tensors) == ["conv1.weight", "step"]
    np.testing.assert_array_equal(tensors["conv1.weight"], np.float32([[0, 1, 2], [3, 4, 5]]))
    assert tensors["step"].shape == ()
    assert tensors["step"] == 9
    assert tensors["conv1.weight"].flags.writeable


def test_numbers_of_the_other_byte_order_are_turned(tmp_path):
    content = {"a": tensor(storage("0", 2), (2,), (1,))}
    path = write("zip", tmp_path / "w.pth", content, {"0": floats(1, 2, order=">")}, byte_order="big")
    np.testing.assert_array_equal(read_torch(path)["a"], np.float32([1, 2]))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_views_of_one_storage_keep_their_offset_and_strides(layout, tmp_path):
    shared_storage = storage("0", 6)
    content = {
        "transposed": tensor(shared_storage, (3, 2), (1, 3)),
        "second row": tensor(shared_storage, (3,), (1,), offset=3),
        "nothing": tensor(shared_storage, (0, 3), (3, 1)),
    }
    tensors = read_torch(write(layout, tmp_path / "w.pth", content, {"0": floats(0, 1, 2, 3, 4, 5)}))
    np.testing.assert_array_equal(tensors["transposed"], [[0, 3], [1, 4], [2, 5]])
    assert tensors["transposed"].flags.c_contiguous
    np.testing.assert_array_equal(tensors["second row"], [3, 4, 5])
    assert tensors["nothing"].shape == (0, 3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_of_number_is_read(layout, tmp_path):
    kinds = {
        "Double": "f8",
        "Half": "f2",
        "Long": "i8",
        "Int": "i4",
        "Short": "i2",
        "Char": "i1",
        "Byte": "u1",
        "Bool": "?",
    }
    content = {kind: tensor(storage(kind, 2, f"{kind}Storage"), (2,), (1,)) for kind in (*kinds, "BFloat16")}
    storages = {kind: (2, np.array([0, 1], f"<{dtype}").tobytes()) for kind, dtype in kinds.items()}
    storages["BFloat16"] = (2, struct.pack("<2f", 1.5, -2)[2:4] + struct.pack("<f", -2)[2:])  # the upper halves
    tensors = read_torch(write(layout, tmp_path / "w.pth", content, storages))
    for kind, dtype in kinds.items():
        assert tensors[kind].dtype == dtype
        np.testing.assert_array_equal(tensors[kind], [0, 1])
    assert tensors["BFloat16"].dtype.name == "bfloat16"
    np.testing.assert_array_equal(tensors["BFloat16"].astype("f4"), [1.5, -2])


def test_pickles_of_python_2_are_read(tmp_path):
    """The items are in OrderedDict's argument, text is in bytes, and the function has no version."""
    key = Raw(b"U\x02w0")
    place = storage("0", 1)
    value = Call(Global("torch._utils", "_rebuild_tensor"), (place, 0, (1,), (1,)))
    content = Call(Global("collections", "OrderedDict"), ([[key, value]],))
    path = write("legacy", tmp_path / "w.pth", content, {"0": floats(4)})
    np.testing.assert_array_equal(read_torch(path)["w0"], [4])


def test_a_parameter_is_its_tensor_and_attributes_of_a_state_dict_are_left_out(tmp_path):
    parameter = Call(Global("torch._utils", "_rebuild_parameter"), (tensor(storage("0", 1), (1,), (1,)), True, None))
    attributes = encode({"_metadata": {"": {"version": 1}}}) + b"b"
    content = Raw(encode({"w": parameter}) + attributes)
    np.testing.assert_array_equal(read_torch(write("zip", tmp_path / "w.pth", content, {"0": floats(4)}))["w"], [4])


def one(number):
    return tensor(storage(str(number), 1), (1,), (1,))


@pytest.mark.parametrize("name", ["state_dict", "model_state_dict", "model", "net", "model_ema", "state_dict_ema"])
def test_the_state_dict_of_a_checkpoint_is_found(name, tmp_path):
    """A checkpoint also has numbers, the optimizer's tensors, and the best accuracy, which can be a tensor."""
    optimizer = {"state": {0: {"momentum_buffer": one(1)}}, "param_groups": [{"lr": 1, "params": [0]}]}
    content = {"epoch": 90, "best_acc1": one(2), name: {"_orig_mod.module.w": one(3)}, "optimizer": optimizer}
    path = write("zip", tmp_path / "w.pth", content, {str(number): floats(number) for number in (1, 2, 3)})
    tensors = read_torch(path)
    assert list(tensors) == ["w"]
    assert tensors["w"] == 3


def test_averaged_weights_are_not_taken_before_the_others(tmp_path):
    content = {"model_ema": {"w": one(1)}, "state_dict_ema": {"w": one(2)}, "net": {"w": one(3)}}
    path = write("zip", tmp_path / "w.pth", content, {str(number): floats(number) for number in (1, 2, 3)})
    assert read_torch(path)["w"] == 3


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_without_named_tensors_says_so(layout, tmp_path):
    for content in ({"epoch": 3}, [one(1)], 5, {"a": {"b": {"c": one(1)}}}):
        with pytest.raises(UserError, match="holds no tensors by name"):
            read_torch(write(layout, tmp_path / "w.pth", content, {}))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_whole_model_is_refused_with_a_way_out(layout, tmp_path):
    module = Raw(b"c__main__\nNet\n)\x81}b")  # the way pickle writes any object
    with pytest.raises(UserError, match=r"asks for __main__\.Net.* save model\.state_dict\(\)") as caught:
        read_torch(write(layout, tmp_path / "w.pth", module, {}))
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def memory_below(limit):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def hostile_pickles(marker):
    """Yields a name that the error must contain, and a pickle that would write the marker."""
    command = f"touch {marker}"

    class Command:
        def __reduce__(self):
            return os.system, (command,)

    for protocol in range(6):  # GLOBAL, and STACK_GLOBAL since 4; protocols 0 and 1 have operations of their own
        operations = pickle.dumps({"w": Command()}, protocol).removesuffix(b".")
        yield r"posix\.system|pickle's", Raw(operations.removeprefix(bytes([0x80, protocol])))
    code = f"open({str(marker)!r}, 'w')"
    yield r"builtins\.eval", Call(Global("builtins", "eval"), (code,))
    yield r"__builtin__\.eval", {"optimizer": [{"deep": Call(Global("__builtin__", "eval"), (code,))}]}
    yield r"torch\.os\.system", Call(Raw(encode("torch") + encode("os.system") + b"\x93"), (command,))
    yield r"torch\._utils\.os\.system", Call(Global("torch._utils", "os.system"), (command,))
    yield r"collections\.OrderedDict\.__init__", Global("collections", "OrderedDict.__init__")
    yield "makes no sense", Call(Raw(encode("posix") + encode(["system"]) + b"\x93"), (command,))
    yield "makes no sense", Call("os.system", (command,))
    yield "makes no sense", Call(Global("torch", "FloatStorage"), (command,))
    yield "makes no sense", Persistent(command)
    yield "makes no sense", Persistent(("module", Global("torch", "FloatStorage"), command, command))
    yield "INST", Raw(b"(" + encode(command) + b"iposix\nsystem\n")
    yield r"posix\.system", Raw(b"(cposix\nsystem\n" + encode(command) + b"o")
    yield "NEWOBJ", Raw(b"ccollections\nOrderedDict\n)\x81")
    yield "EXT1", Raw(b"\x82\x01")
    yield "PERSID", Raw(b"Pposix.system\n")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_in_a_hostile_pickle_is_executed(layout, tmp_path):
    marker = tmp_path / "executed"
    for message, content in hostile_pickles(marker):
        with pytest.raises(ValueError, match=message) as caught:
            read_torch(write(layout, tmp_path / "w.pth", content, {}))
        assert "\n" not in str(caught.value)
        assert not marker.exists()


def test_the_hostile_pickles_would_write_the_marker(tmp_path):
    marker = tmp_path / "executed"
    _, content = next(hostile_pickles(marker))
    pickle.loads(pickled(content))
    assert marker.exists()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("too few for 7 elements", tensor(storage("0", 7), (7,), (1,))),
        ("unpack to", tensor(storage("0", 2**60), (2**60,), (1,))),
        ("unpack to", tensor(storage("0", 6), (2**60,), (0,))),
        ("more elements than its storage", tensor(storage("0", 6), (1000, 1000), (0, 0))),
        ("strides", tensor(storage("0", 6), (6,), (2,))),
        ("strides", tensor(storage("0", 6), (6,), (1,), offset=1)),
        ("Maximum", tensor(storage("0", 6), (2,), (2**70,))),
        ("makes no sense", tensor(storage("0", 6), (2,), (-1,), offset=1)),
        ("makes no sense", tensor(storage("0", 6), (2,), (1,), offset=-1)),
        ("makes no sense", tensor(storage("0", 6), (-2,), (1,))),
        ("makes no sense", tensor(storage("0", 6), ("two",), (1,))),
        ("makes no sense", tensor(storage("0", 6), (2, 3), (1,))),
        ("makes no sense", tensor(storage("0", 6), (1,) * 65, (1,) * 65)),
        ("makes no sense", tensor("storage", (1,), (1,))),
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(layout, message, content, tmp_path):
    path = write(layout, tmp_path / "w.pth", {"w": content}, {"0": floats(0, 1, 2, 3, 4, 5)})
    with memory_below(2**20), pytest.raises((ValueError, OverflowError), match=message):
        read_torch(path)


def test_a_storage_that_claims_more_than_the_file_has_is_refused(tmp_path):
    content = {"w": tensor(storage("0", 6), (6,), (1,))}
    for count in (7, 2**40, 2**63):
        path = write("legacy", tmp_path / "w.pth", content, {"0": (0, b"")})
        path.write_bytes(path.read_bytes()[:-8] + struct.pack("<Q", count) + bytes(20))
        with pytest.raises((ValueError, OverflowError)):
            read_torch(path)


@pytest.mark.parametrize("numbers", [bytes(2**24), b"what becomes no shorter"])
def test_a_compressed_file_is_refused_before_it_is_unpacked(numbers, tmp_path):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", pickled({"w": tensor(storage("0", 2**22), (2**22,), (1,))}))
        archive.writestr("x/data/0", numbers)
    with memory_below(2**20), pytest.raises(UserError, match="is compressed"):
        read_torch(tmp_path / "w.pth")


def doubled_tuples(depth):
    """Returns nested tuples of two, which are short in the file; to hash, print or compare them takes forever."""
    return Raw(
        b")"
        + b"".join(
            b"r" + struct.pack("<I", level) + b"j" + struct.pack("<I", level) + b"\x86" for level in range(depth)
        )
    )


def long_list_often(length, times):
    """Returns a long list that is converted to a dictionary many times."""
    pairs = encode(([[f"{number}", None] for number in range(length)],)) + b"q\x00"
    return Raw(b"](" + pairs + b"ccollections\nOrderedDict\nh\x00R" * times + b"e")


@pytest.mark.parametrize(
    "content",
    [
        Raw(encode({}) + b"r\xff\xff\xff\xff"),
        Raw(b"B" + struct.pack("<I", 2**31)),
        Raw(b"\x8e" + struct.pack("<Q", 2**62)),
        Raw(b"\x96" + struct.pack("<Q", 2**40)),
        Raw(b"\x95" + struct.pack("<Q", 2**62) + b"N"),
        Raw(b"}" + encode(doubled_tuples(60)) + b"Ns"),
        Raw(encode("torch") + encode(doubled_tuples(60)) + b"\x93"),
        Persistent(("storage", Global("torch", "FloatStorage"), doubled_tuples(60), "cpu", 1)),
        long_list_often(2000, 2000),
    ],
)
def test_a_short_pickle_takes_neither_much_memory_nor_much_time(content, tmp_path):
    path = write("zip", tmp_path / "w.pth", content, {})
    with memory_below(2**24), pytest.raises(ValueError, match=r".+"):
        read_torch(path)


def test_a_pickle_with_too_many_operations_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(torch_pickle, "_MAX_OPCODES", 1000)
    path = write("zip", tmp_path / "w.pth", {"w": one(1), "losses": list(range(1000))}, {"1": floats(1)})
    with pytest.raises(UserError, match="over 1,000 operations"):
        read_torch(path)


def test_a_list_of_storages_that_is_none_is_refused(tmp_path):
    path = write("legacy", tmp_path / "w.pth", {"w": one(0)}, {})
    start = path.read_bytes().removesuffix(pickled([]))
    for keys in (["other"], [doubled_tuples(60)], 5, None):
        path.write_bytes(start + pickled(keys) + bytes(100))
        with pytest.raises((ValueError, LookupError, TypeError)):
            read_torch(path)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_cut_anywhere_is_an_error(layout, tmp_path):
    whole = small_file(layout, tmp_path / "w.pth").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(Exception, match=r".*"):  # the caller turns any error into one sentence
            read_torch(tmp_path / "cut.pth")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_file_with_a_wrong_byte_is_an_error_or_read(layout, tmp_path):
    whole = small_file(layout, tmp_path / "w.pth").read_bytes()
    survived = 0  # a changed letter of a name or a changed number is no error
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        (tmp_path / "damaged.pth").write_bytes(damaged)
        with memory_below(2**24), contextlib.suppress(Exception):  # the caller turns any error into one sentence
            read_torch(tmp_path / "damaged.pth")
            survived += 1
    assert survived < len(whole) / 2


def test_other_pickles_and_archives_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps({"w": 1}) + pickle.dumps(2))
    with pytest.raises(UserError, match="no PyTorch checkpoint"):
        read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "no")
    with pytest.raises(UserError, match=r"0 members data\.pkl"):
        read_torch(path)


@pytest.mark.parametrize(("name", "convolutions"), [("resnet20-12fca82f.th", 19), ("resnet56-4bfd9763.th", 55)])
def test_checkpoints_that_others_trained_are_read(name, convolutions, shared):
    """Those of akamaster/pytorch_resnet_cifar10 have the older layout, and were saved from a GPU in DataParallel."""
    tensors = read_torch(shared / "weights" / name)
    kernels = {key: tensor for key, tensor in tensors.items() if tensor.ndim == 4}
    assert len(kernels) == convolutions
    assert kernels["conv1.weight"].shape == (16, 3, 3, 3)
    assert tensors["linear.weight"].shape == (10, 64)
    for key, value in tensors.items():
        assert np.isfinite(value).all()
        if key.endswith("running_var"):
            assert (value > 0).all()
    assert 0.01 < kernels["conv1.weight"].std() < 1


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_pytorch_writes_is_read_as_pytorch_reads_it(layout, tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(60.0).reshape(3, 4, 5)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = network.state_dict() | {
        "half": torch.randn(7).half(),
        "transposed": base.transpose(0, 2),
        "slice": base[1:, ::2, 1:4],
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
    }
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    content = {"epoch": 1, "state_dict": state, "optimizer": optimizer.state_dict(), "size": base.shape}
    path = tmp_path / "w.pth"
    for protocol in (2, 3, 4, 5):
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=layout == "zip")
        tensors = read_torch(path)
        assert list(tensors) == list(state)
        for name, expected in state.items():
            np.testing.assert_array_equal(tensors[name], expected.detach().numpy(), strict=True)


def test_a_storage_is_unpacked_once_whatever_its_tensors_say_of_its_size(tmp_path):
    """Otherwise a small file could fill the memory."""
    size = 2**20
    content = {f"t{count}": tensor(storage("0", count), (1,), (1,)) for count in range(1, 200)}
    path = write("zip", tmp_path / "many.pth", content, {"0": (size // 4, bytes(size))})
    tracemalloc.start()
    assert len(read_torch(path)) == 199
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * size
