"""The check sum CRC-32C (Castagnoli; RFC 3720, appendix B.4), of many bytes at once with NumPy."""

import functools

import numpy as np

_POLYNOMIAL = 0x82F63B78
_LANES = 4096


def crc32c(data: bytes | memoryview, before: int = 0) -> int:
    """Returns the check sum of bytes.

    The bytes are divided into lanes of the same length, whose sums grow side by side and are put together in the end:
    a check sum is linear, so that appending zeros to the bytes is a matrix.

    Args:
        data: Any bytes.
        before: Check sum of the bytes before these.
    """
    numbers = np.frombuffer(data, np.uint8)
    length = len(numbers) // _LANES if len(numbers) >= 16 * _LANES else 0
    state = before ^ 0xFFFFFFFF
    if length:
        lanes = np.zeros(_LANES, np.uint32)
        table = _table()
        for column in np.ascontiguousarray(numbers[: length * _LANES].reshape(_LANES, length).T):
            lanes = table[(lanes ^ column) & 0xFF] ^ (lanes >> 8)
        zeros = _bytewise(_appended_zeros(length))
        for lane in lanes.tolist():
            state = (
                zeros[0][state & 0xFF]
                ^ zeros[1][state >> 8 & 0xFF]
                ^ zeros[2][state >> 16 & 0xFF]
                ^ zeros[3][state >> 24]
                ^ lane
            )
    plain = _table().tolist()
    for byte in numbers[length * _LANES :].tolist():
        state = plain[(state ^ byte) & 0xFF] ^ (state >> 8)
    return state ^ 0xFFFFFFFF


@functools.cache
def _table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(_POLYNOMIAL), table >> 1)
    return table


def _appended_zeros(count: int) -> list[int]:
    """Returns the matrix, as its 32 columns, that a state goes through in `count` zero bytes."""
    table = _table().tolist()
    power = [table[column & 0xFF] ^ (column >> 8) for column in (1 << bit for bit in range(32))]  # one byte
    result = [1 << bit for bit in range(32)]
    while count:
        if count & 1:
            result = [_product(power, column) for column in result]
        power = [_product(power, column) for column in power]
        count >>= 1
    return result


def _product(matrix: list[int], vector: int) -> int:
    total = 0
    for bit in range(32):
        if vector >> bit & 1:
            total ^= matrix[bit]
    return total


def _bytewise(matrix: list[int]) -> list[list[int]]:
    """Returns a table for each byte of a state, with the matrix's product for each value of that byte."""
    return [[_product(matrix, value << shift) for value in range(256)] for shift in (0, 8, 16, 24)]
