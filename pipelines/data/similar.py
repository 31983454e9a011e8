"""Finds pictures that look the same: re-encoded, resized, recoloured, or shot twice from the same place.

A perceptual hash finds candidates, and the correlation of their thumbnails decides. The hash is the 64-bit DCT hash
(pHash; Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") without its constant bit.
Crops, mirror images and rotated copies are not found.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 16
# On natural30 and grocery30, all pairs within both limits are the same picture twice or two shots of one scene. Pairs
# just outside the limits are two lamps of different colours, and different pieces of fruit in the same hand.
MAX_DIFFERENT_BITS = 8
MIN_CORRELATION = 0.96
# If the standard deviation of the gray levels is smaller than this, noise decides the correlation.
MIN_CONTRAST = 4.0

_LOW = 8  # DCT coefficients per axis
# Two hashes that differ in at most 8 of 63 bits agree in at least one of nine bands of seven bits.
_BANDS, _BAND_BITS = MAX_DIFFERENT_BITS + 1, 7
_PAIRS, _PICTURES = 65536, 8192  # numbers that are processed at a time, to limit the memory
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def thumbnail(image: Image.Image, orientation: int) -> bytes:
    """Returns the thumbnail by which a picture is compared: 16 × 16 gray levels, upright, over white.

    Args:
        image: Decoded picture, at any scale of at least about 32 pixels.
        orientation: EXIF orientation, 1 … 8, that is still to be undone.
    """
    small = _gray(image, (SIDE, SIDE))
    return (small.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else small).tobytes()


def similar_groups(thumbnails: Sequence[bytes], digests: Sequence[str]) -> np.ndarray:
    """Numbers the groups of near-identical pictures; identical files are always in one group.

    Args:
        thumbnails: Thumbnail of each picture, from `thumbnail`.
        digests: SHA-256 of each file.

    Returns:
        int64 [pictures]: 0 if the picture is alone, otherwise 1, 2, … in the order of the groups' first pictures.
    """
    if not len(thumbnails):
        return np.zeros(0, np.int64)
    _, firsts, copies = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    pictures = np.frombuffer(b"".join(thumbnails[first] for first in firsts), np.uint8).reshape(len(firsts), -1)
    groups = np.arange(len(pictures))
    hashes = perceptual_hashes(pictures)
    hashable = np.flatnonzero(_spread(pictures) >= MIN_CONTRAST)
    for left, right in _batches(_candidates(hashes[hashable])):
        left, right = hashable[left], hashable[right]
        apart = groups[left] != groups[right]
        left, right = left[apart], right[apart]
        same = _correlation(pictures[left], pictures[right]) >= MIN_CORRELATION
        groups = connected(groups, left[same], right[same])
    return numbered(groups[copies])


def perceptual_hashes(pictures: np.ndarray) -> np.ndarray:
    """Returns the hash of each picture: whether each of the 63 lowest DCT coefficients is above their median.

    Args:
        pictures: uint8 [n, 256].

    Returns:
        uint64 [n].
    """
    hashes = [np.zeros(0, np.uint64)]
    for start in range(0, len(pictures), _PICTURES):
        block = pictures[start : start + _PICTURES].reshape(-1, SIDE, SIDE).astype(np.float32)
        low = dctn(block, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW].reshape(len(block), -1)[:, 1:]
        bits = np.pad(low > np.median(low, axis=1, keepdims=True), ((0, 0), (1, 0)))
        hashes.append(np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64))
    return np.concatenate(hashes)


def connected(groups: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Joins groups that belong together.

    Args:
        groups: int [n], the group of each element, a number below n.
        left: int [pairs], first element of each pair whose groups are joined.
        right: int [pairs], second element of each pair whose groups are joined.

    Returns:
        int [n], the new group of each element.
    """
    if not len(left):
        return groups
    edges = coo_array((np.ones(len(left), bool), (groups[left], groups[right])), shape=(len(groups),) * 2)
    return connected_components(edges, directed=False)[1][groups]


def numbered(groups: np.ndarray) -> np.ndarray:
    """Renumbers groups: 0 for an element alone in its group, else 1, 2, … in the order of the groups' first members."""
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    several = np.flatnonzero(sizes > 1)
    numbers = np.zeros(len(sizes), np.int64)
    numbers[several[np.argsort(first[several])]] = np.arange(1, len(several) + 1)
    return numbers[inverse]


def _gray(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA").resize(size, Image.Resampling.BOX)
        white = Image.new("RGBA", size, "white")
        return Image.alpha_composite(white, colours).convert("L")
    return image.convert("L").resize(size, Image.Resampling.BOX)


def _candidates(hashes: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields pairs of hashes that differ in few bits, comparing only hashes that agree in a band.

    A pair can appear up to nine times, once for each band.
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
                left, right = np.nonzero(np.triu(different <= MAX_DIFFERENT_BITS, 1))
                yield columns[left], columns[right]


def _batches(pairs: Iterator[tuple[np.ndarray, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Gathers small lots of pairs into large ones."""
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
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


def _joined(lots: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([left for left, _ in lots]), np.concatenate([right for _, right in lots])


def _spread(pictures: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each picture's gray levels."""
    blocks = (pictures[start : start + _PICTURES] for start in range(0, len(pictures), _PICTURES))
    return np.concatenate([block.std(axis=1, dtype=np.float32) for block in blocks])


def _correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation of each pair of pictures."""
    left, right = (side - side.mean(axis=1, dtype=np.float32, keepdims=True) for side in (left, right))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    return np.einsum("np,np->n", left, right) / norms
