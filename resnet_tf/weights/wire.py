"""Reads the wire format of Protocol Buffers, field by field, with no more steps than the message has bytes."""

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def varint(data: bytes, position: int) -> tuple[int, int]:
    """Returns a number of at most 64 bits and the position behind it.

    Raises:
        ValueError: The bytes end before the number, or the number is longer.
    """
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is cut off")


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yields (field number, value) of a message; a value is an int, or the bytes of a text or of another message.

    Raises:
        ValueError: The message is malformed.
    """
    position = 0
    while position < len(message):
        key, position = varint(message, position)
        kind = key & 7
        value: int | bytes
        if kind == _VARINT:
            value, position = varint(message, position)
        elif kind in (_FIXED32, _FIXED64):
            end = position + (4 if kind == _FIXED32 else 8)
            value, position = int.from_bytes(message[position:end], "little"), end
        elif kind == _BYTES:
            length, position = varint(message, position)
            value, position = message[position : position + length], position + length
        else:
            raise ValueError(f"a field has the unknown kind {kind}")
        if position > len(message):
            raise ValueError("a field is cut off")
        yield key >> 3, value


def bytes_of(value: Any) -> bytes:
    """Returns the value of a field that has to be a text or a message.

    Raises:
        ValueError: It is a number.
    """
    if not isinstance(value, bytes):
        raise ValueError("a number stands where a message is expected")
    return value


def int_of(value: Any) -> int:
    """Returns the value of a field that has to be a number.

    Raises:
        ValueError: It is not a number.
    """
    if not isinstance(value, int):
        raise ValueError("a message stands where a number is expected")
    return value
