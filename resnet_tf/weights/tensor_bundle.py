"""Reads the tensors of a TensorFlow checkpoint without TensorFlow, whose own reader aborts the process at some files.

A checkpoint, or tensor bundle, has an index and shards (tensorflow/core/util/tensor_bundle). The index is a table of
LevelDB (tensorflow/core/lib/io/table_format.txt): sorted keys in blocks, and a block of those blocks. A key is the name
of a tensor; its value says where in which shard its bytes are.
"""

import math
import os
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.crc32c import crc32c
from resnet_tf.weights.files import check_regular, check_size
from resnet_tf.weights.wire import bytes_of, fields, int_of, varint

_MAGIC_NUMBER = 0xDB4775248B80FB57
_FOOTER = 48
_BLOCK_TRAILER = 5  # a byte for the compression and the check sum
_MOST_INDEX_BYTES = 32 * 2**20  # cifar_resnet1202 with an optimizer has 4 MB
_LONGEST_NAME = 1000  # of tensors; it bounds what the index unpacks to
_MOST_DIMENSIONS = 32
_MASK = 0xA282EAD8
_STRING = 7
# The numbers of tensorflow/core/framework/types.proto.
_TYPES = {
    1: "f4",
    2: "f8",
    3: "i4",
    4: "u1",
    5: "i2",
    6: "i1",
    9: "i8",
    10: "?",
    17: "u2",
    19: "f2",
    22: "u4",
    23: "u8",
}
_BFLOAT16 = 14


@dataclass(frozen=True)
class Entry:
    """What the index says of a tensor.

    Args:
        kind: Number of its type, as in types.proto.
        shape: Its shape.
        shard: Number of the file with its bytes.
        offset: Position of the first byte.
        size: Number of bytes.
        checksum: Masked CRC-32C of the bytes.
        sliced: Whether it lies in parts, as partitioned variables do.
    """

    kind: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    checksum: int
    sliced: bool


class TensorBundle:
    """A checkpoint that is open for reading.

    Args:
        prefix: Path of the index without its ending.

    Raises:
        UserError: A file is none, or too large.
        ValueError: The index is damaged.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        index = Path(f"{prefix}.index")
        check_regular(index)
        check_size(index.stat().st_size, index, _MOST_INDEX_BYTES)
        table = dict(_table(index.read_bytes()))
        header = dict(fields(table.pop(b"")))
        self.shards = int_of(header.get(1, 0))
        if header.get(2, 0) != 0:
            raise ValueError("its numbers are big-endian")
        self._raw = table

    @property
    def names(self) -> set[str]:
        """Names of all tensors."""
        return {key.decode(errors="replace") for key in self._raw}

    def stored_bytes(self) -> int:
        """Returns the number of bytes of all shards that are there."""
        shards = self.prefix.parent.glob(f"{escape(self.prefix.name)}.data-*")
        return sum(shard.stat().st_size for shard in shards)

    def entry(self, name: str) -> Entry:
        """Returns what the index says of a tensor.

        Raises:
            KeyError: There is no such tensor.
            ValueError: The index is damaged.
        """
        found: dict[int, int] = {}
        shape: tuple[int, ...] = ()
        sliced = False
        for number, value in fields(self._raw[name.encode()]):
            if number == 2:
                shape = _shape(bytes_of(value))
            elif number == 7:
                sliced = True
            else:
                found[number] = int_of(value)
        kind, shard, offset, size, checksum = (found.get(number, 0) for number in (1, 3, 4, 5, 6))
        return Entry(kind, shape, shard, offset, size, checksum, sliced)

    def numbers(self, name: str) -> np.ndarray:
        """Returns a tensor of numbers.

        Raises:
            UserError: The tensor lies in parts, or has no numbers.
            KeyError: There is no such tensor.
            ValueError: The checkpoint is damaged.
        """
        entry = self.entry(name)
        if entry.sliced:
            raise UserError(f"{str(self.prefix)!r} has the variable {name!r} in parts; save it without a partitioner")
        if entry.kind not in (*_TYPES, _BFLOAT16):
            raise UserError(f"{str(self.prefix)!r} has {name!r} of the type {entry.kind}, which has no numbers")
        raw_type = np.dtype(_TYPES.get(entry.kind, "u2")).newbyteorder("<")
        if math.prod(entry.shape) * raw_type.itemsize != entry.size:
            raise ValueError(f"{name!r} has {entry.size} bytes for the shape {entry.shape}")
        content = self._bytes(entry)
        if _masked(crc32c(content)) != entry.checksum:
            raise ValueError(f"the check sum of {name!r} is wrong")
        array = np.frombuffer(content, raw_type).reshape(entry.shape)
        if entry.kind == _BFLOAT16:
            import ml_dtypes

            return array.view(ml_dtypes.bfloat16)
        return array

    def text(self, name: str) -> bytes:
        """Returns a tensor of one string: its length, a check sum of the length, and its bytes.

        Raises:
            KeyError: There is no such tensor.
            ValueError: It is not one string, or the checkpoint is damaged.
        """
        entry = self.entry(name)
        if entry.kind != _STRING or math.prod(entry.shape) != 1 or entry.sliced:
            raise ValueError(f"{name!r} is not a string")
        check_size(entry.size, self.prefix, _MOST_INDEX_BYTES)
        content = self._bytes(entry)
        length, position = varint(content, 0)
        string = content[position + 4 :]
        of_length = crc32c(length.to_bytes(4 if length < 2**32 else 8, "little"))
        stored = content[position : position + 4]
        if len(string) != length or stored != _masked(of_length).to_bytes(4, "little"):
            raise ValueError(f"{name!r} has another length than it says")
        if _masked(crc32c(string, crc32c(stored, of_length))) != entry.checksum:
            raise ValueError(f"the check sum of {name!r} is wrong")
        return string

    def _bytes(self, entry: Entry) -> bytes:
        if not 0 <= entry.shard < self.shards:
            raise ValueError(f"it has no shard {entry.shard}")
        path = Path(f"{self.prefix}.data-{entry.shard:05d}-of-{self.shards:05d}")
        if path.exists():
            check_regular(path)
        with path.open("rb") as file:
            if entry.offset + entry.size > os.fstat(file.fileno()).st_size:
                raise ValueError(f"{path.name} is too short")
            file.seek(entry.offset)
            return file.read(entry.size)


def _table(data: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the keys and values of a table."""
    footer = data[-_FOOTER:]
    if len(footer) < _FOOTER or int.from_bytes(footer[-8:], "little") != _MAGIC_NUMBER:
        raise ValueError("the index does not end like one")
    _, position = _handle(footer, 0)
    index, _ = _handle(footer, position)
    pairs: list[tuple[bytes, bytes]] = []
    room = len(data)  # blocks do not overlap, so that all together are not longer than the file
    for _, value in _block(data, *index):
        (offset, size), _ = _handle(value, 0)
        room -= size
        if room < 0:
            raise ValueError("its blocks overlap")
        pairs += _block(data, offset, size)
    return pairs


def _handle(data: bytes, position: int) -> tuple[tuple[int, int], int]:
    offset, position = varint(data, position)
    size, position = varint(data, position)
    return (offset, size), position


def _block(data: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    """Returns the keys and values of a block; a key stores only what differs from the key before it."""
    end = offset + size + _BLOCK_TRAILER
    if end > len(data):
        raise ValueError("a block is cut off")
    if data[offset + size] != 0:
        raise ValueError("a block is compressed, which checkpoints are not")
    if _masked(crc32c(data[offset : end - 4])) != int.from_bytes(data[end - 4 : end], "little"):
        raise ValueError("the check sum of a block is wrong")
    restarts = int.from_bytes(data[offset + size - 4 : offset + size], "little")
    block = data[offset : offset + size]
    last = size - 4 - 4 * restarts
    if last < 0:
        raise ValueError("a block is cut off")
    pairs, key, position = [], b"", 0
    while position < last:
        shared, position = varint(block, position)
        own, position = varint(block, position)
        length, position = varint(block, position)
        if shared > len(key) or position + own + length > last:
            raise ValueError("a block has an entry that leaves it")
        if shared + own > _LONGEST_NAME:
            raise ValueError("a name is too long")
        key = key[:shared] + block[position : position + own]
        position += own
        pairs.append((key, block[position : position + length]))
        position += length
    return pairs


def _shape(message: bytes) -> tuple[int, ...]:
    sizes = []
    for number, value in fields(message):
        if number == 3 and value:
            raise ValueError("a tensor has no known shape")
        if number == 2:
            sizes.append(int_of(dict(fields(bytes_of(value))).get(1, 0)))
    if len(sizes) > _MOST_DIMENSIONS or any(size >= 2**63 for size in sizes):
        raise ValueError("a tensor has an impossible shape")
    return tuple(sizes)


def _masked(checksum: int) -> int:
    return (((checksum >> 15) | (checksum << 17)) + _MASK) & 0xFFFFFFFF
