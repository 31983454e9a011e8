"""Finds pairs of hashes that differ in few bits, without comparing all pairs."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

Pairs = tuple[np.ndarray, np.ndarray]

# Two hashes that differ in at most 8 of 63 bits agree in at least one of nine bands of seven bits.
_BANDS, _BAND_BITS = 9, 7
_PAIRS = 65536  # pairs that are processed at a time, to limit the memory


def candidates(hashes: np.ndarray, most: int) -> Iterator[Pairs]:
    """Yields pairs of hashes that differ in few bits, comparing only hashes that agree in a band.

    Each pair appears once. Every pair that differs in at most eight bits is found, and most of those that differ in a
    few more.

    Args:
        hashes: uint64 [n], of 63 bits.
        most: Largest number of bits in which the hashes of a pair differ.
    """
    for band in range(_BANDS):
        keys = (hashes >> np.uint64(band * _BAND_BITS)) & np.uint64(2**_BAND_BITS - 1)
        order = np.argsort(keys, kind="stable")
        bounds = np.searchsorted(keys[order], np.arange(2**_BAND_BITS + 1, dtype=np.uint64))
        for bucket in (order[start:stop] for start, stop in pairwise(bounds)):
            rows = max(1, _PAIRS // max(1, len(bucket)))
            for block in range(0, len(bucket), rows):
                columns = bucket[block:]
                different = np.bitwise_count(hashes[columns[:rows], None] ^ hashes[columns])
                left, right = np.nonzero(np.triu(different <= most, 1))
                left, right = columns[left], columns[right]
                new = ~_agree_before(hashes[left] ^ hashes[right], band)
                yield left[new], right[new]


def _agree_before(different: np.ndarray, band: int) -> np.ndarray:
    """Returns whether pairs, of which the bits that differ are given, agree in a band before this one."""
    mask = np.uint64(2**_BAND_BITS - 1)
    found = np.zeros(len(different), bool)
    for earlier in range(band):
        found |= (different >> np.uint64(earlier * _BAND_BITS)) & mask == 0
    return found


def batches(pairs: Iterator[Pairs]) -> Iterator[Pairs]:
    """Gathers small lots of pairs into large ones."""
    waiting: list[Pairs] = []
    count = 0
    for lot in pairs:
        if len(lot[0]):
            waiting.append(lot)
            count += len(lot[0])
        if count >= _PAIRS:
            yield _joined(waiting)
            waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(lots: list[Pairs]) -> Pairs:
    return np.concatenate([left for left, _ in lots]), np.concatenate([right for _, right in lots])
