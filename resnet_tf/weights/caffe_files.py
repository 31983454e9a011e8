"""Reads Caffe's binary models (.caffemodel), each a NetParameter of Protocol Buffers; only its blobs matter here."""

import functools
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from resnet_tf.errors import UserError

MAX_BYTES = 2**31 - 1  # Protocol Buffers does not allow longer messages

# The fields of each message: name, number, type, repeated. They are taken from src/caffe/proto/caffe.proto
# (BVLC/caffe); fields that are not listed here are skipped.
_SCHEMA: dict[str, tuple[tuple[str, int, str, bool], ...]] = {
    "BlobShape": (("dim", 1, "INT64", True),),
    "BlobProto": (
        ("num", 1, "INT32", False),
        ("channels", 2, "INT32", False),
        ("height", 3, "INT32", False),
        ("width", 4, "INT32", False),
        ("data", 5, "FLOAT", True),
        ("shape", 7, "BlobShape", False),
        ("double_data", 8, "DOUBLE", True),
    ),
    "LayerParameter": (("name", 1, "STRING", False), ("blobs", 7, "BlobProto", True)),
    "V1LayerParameter": (("name", 4, "STRING", False), ("blobs", 6, "BlobProto", True)),
    "NetParameter": (
        ("name", 1, "STRING", False),
        ("layers", 2, "V1LayerParameter", True),
        ("layer", 100, "LayerParameter", True),
    ),
}
_LEGACY_SHAPE = ("num", "channels", "height", "width")  # before BlobShape, every blob had four axes

# Fields of NetParameter with their wire type: 0 for numbers, 2 for values with a length.
_NAME, _LAYERS = (1, 2), ((2, 2), (100, 2))
_NET_FIELDS = {_NAME, *_LAYERS, (3, 2), (4, 0), (5, 0), (6, 2), (7, 0), (8, 2)}
_MOST_FIELDS_BEFORE_LAYERS = 64
_LONGEST_NAME = 1000


def read_caffemodel(path: Path) -> dict[str, list[np.ndarray]]:
    """Reads the blobs of a network, in today's format (`layer`) or in that used before 2015 (`layers`).

    Args:
        path: Path of a .caffemodel file.

    Returns:
        Dictionary from a layer's name to its blobs, float32 or float64, in Caffe's axes. Layers without blobs are left
        out. Blobs in the old format have four axes, so a bias is [1, 1, 1, outputs].

    Raises:
        UserError: The file is too large or has no blobs.
        google.protobuf.message.DecodeError, ValueError: The file is damaged.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"the weights {str(path)!r} are {size:,} bytes long, more than {MAX_BYTES:,}")
    network = _net_parameter()()
    network.ParseFromString(path.read_bytes())
    blobs = {
        layer.name: [_to_array(blob, layer.name) for blob in layer.blobs]
        for layer in (*network.layers, *network.layer)
        if layer.blobs
    }
    if not blobs:
        raise UserError(f"the Caffe model {str(path)!r} has no layer with weights")
    return blobs


def looks_like_caffe(path: Path) -> bool:
    """Returns whether a file begins like a NetParameter: known fields such as a name, then a layer that fits the file.

    Args:
        path: Path of any file. Only the network's name and the heads of the first few fields are read.

    Returns:
        Whether the file begins like that; False for a file that ends before its first layer.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            return _has_layer(file, size)
        except (EOFError, UnicodeDecodeError):
            return False


def _has_layer(file: BinaryIO, size: int) -> bool:
    for _ in range(_MOST_FIELDS_BEFORE_LAYERS):
        tag = _read_varint(file)
        field = (tag >> 3, tag & 7)
        if field not in _NET_FIELDS:
            return False
        value = _read_varint(file)
        if field[1] == 0:
            continue
        if value > size - file.tell():
            return False
        if field in _LAYERS:  # a layer begins with its name or that of an input
            return _read_varint(file) & 7 == 2 and _read_varint(file) < value
        if field != _NAME:
            file.seek(value, 1)
        elif value > _LONGEST_NAME or not file.read(value).decode().isprintable():
            return False  # field 1 of other formats is a message
    return False


def _read_varint(file: BinaryIO) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            break
    return value


def _to_array(blob: Any, layer: str) -> np.ndarray:
    legacy = any(blob.HasField(axis) for axis in _LEGACY_SHAPE)
    shape = [getattr(blob, axis) for axis in _LEGACY_SHAPE] if legacy else list(blob.shape.dim)
    numbers = np.array(blob.double_data or blob.data, np.float64 if blob.double_data else np.float32)
    if min(shape, default=0) < 0 or math.prod(shape) != len(numbers):
        raise ValueError(f"layer {layer!r} has {len(numbers):,} numbers for a blob of shape {shape}")
    return numbers.reshape(shape)


@functools.cache
def _net_parameter() -> Any:
    """Returns the message class, in a pool of its own because an installed Caffe puts the names in the default pool."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]

    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in _SCHEMA.items():
        described = file.message_type.add(name=message)
        for name, number, kind, repeated in fields:
            field = described.field.add(name=name, number=number)
            field.label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            if kind in _SCHEMA:
                field.type, field.type_name = kinds.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(kinds, f"TYPE_{kind}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("caffe.NetParameter"))
