"""Finds pictures that look the same: re-encoded, resized, recoloured, or shot twice from the same place.

A perceptual hash finds candidates, and the correlation of their thumbnails decides. The hash is the 64-bit DCT hash
(pHash; Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions") without its constant bit.
Where many pictures are near each other in this way, as from a fixed camera, `pipelines.data.common_part` compares them
by what differs. Crops, mirror images and rotated copies are not found.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipelines.data.candidates import batches, candidates
from pipelines.data.common_part import MIN_SHARING, normalized, pairs_by_difference, stars

SIDE, FINE_SIDE = 16, 32  # pixels per axis of the two thumbnails; the finer one is for what differs in a crowd
# On natural30 and grocery30, all pairs within both limits are the same picture twice or two shots of one scene. Pairs
# just outside the limits are two lamps of different colours, and different pieces of fruit in the same hand.
MAX_DIFFERENT_BITS = 8
MIN_CORRELATION = 0.96
# If the standard deviation of the gray levels is smaller than this, noise decides the correlation.
MIN_CONTRAST = 4.0

_LOW = 8  # DCT coefficients per axis
_PICTURES = 8192  # pictures that are processed at a time, to limit the memory
# Above this number of pictures, those of a crowd, which would all have to be compared with each other, are found by
# comparing all pictures with a few.
_MANY, _LEADERS = 8192, 64
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
    """Returns the thumbnails by which a picture is compared: 16 × 16 and then 32 × 32 gray levels, upright, over white.

    Args:
        image: Decoded picture, at any scale of at least about 32 pixels.
        orientation: EXIF orientation, 1 … 8, that is still to be undone.
    """
    return b"".join(_upright(_gray(image, (side, side)), orientation).tobytes() for side in (SIDE, FINE_SIDE))


def similar_groups(thumbnails: Sequence[bytes], digests: Sequence[str]) -> np.ndarray:
    """Numbers the groups of near-identical pictures; identical files are always in one group.

    Args:
        thumbnails: Thumbnails of each picture, from `thumbnail`.
        digests: SHA-256 of each file.

    Returns:
        int64 [pictures]: 0 if the picture is alone, otherwise 1, 2, … in the order of the groups' first pictures.
    """
    if not len(thumbnails):
        return np.zeros(0, np.int64)
    _, firsts, copies = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    pictures = np.frombuffer(b"".join(thumbnails[first] for first in firsts), np.uint8).reshape(len(firsts), -1)
    coarse, fine = np.split(pictures, [SIDE**2], axis=1)
    return numbered(_without_strangers(_linked(coarse), coarse, fine)[copies])


def _linked(coarse: np.ndarray) -> np.ndarray:
    """Returns groups of pictures that chains of near pictures lead to, int [n]."""
    groups = np.arange(len(coarse))
    hashes = perceptual_hashes(coarse)
    hashable = np.flatnonzero(_spread(coarse) >= MIN_CONTRAST)
    if len(hashable) > _MANY:
        groups = _crowds(groups, coarse, hashes, hashable)
        # Of a crowd, only its first picture is compared on.
        _, first, inverse, sizes = np.unique(
            groups[hashable], return_index=True, return_inverse=True, return_counts=True
        )
        single = np.isin(np.arange(len(hashable)), first)
        hashable = hashable[(sizes[inverse] < MIN_SHARING) | single]
    for left, right in batches(candidates(hashes[hashable], MAX_DIFFERENT_BITS)):
        groups = _joined_if_near(groups, coarse, hashable[left], hashable[right])
    return groups


def _crowds(groups: np.ndarray, coarse: np.ndarray, hashes: np.ndarray, hashable: np.ndarray) -> np.ndarray:
    """Joins the pictures that are near one of a few leaders, which are taken at equal distances."""
    for leader in hashable[:: -(-len(hashable) // _LEADERS)]:
        right = hashable[np.bitwise_count(hashes[hashable] ^ hashes[leader]) <= MAX_DIFFERENT_BITS]
        for start in range(0, len(right), _PICTURES):
            some = right[start : start + _PICTURES]
            groups = _joined_if_near(groups, coarse, np.full(len(some), leader), some)
    return groups


def _joined_if_near(groups: np.ndarray, coarse: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    apart = groups[left] != groups[right]
    left, right = left[apart], right[apart]
    same = _correlation(coarse[left], coarse[right]) >= MIN_CORRELATION
    return connected(groups, left[same], right[same])


def _without_strangers(groups: np.ndarray, coarse: np.ndarray, fine: np.ndarray) -> np.ndarray:
    """Divides groups so that each picture is the same as the centre of its group, and crowds by what differs."""
    order = np.argsort(groups, kind="stable")
    divided = np.arange(len(groups))
    for members in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(members) >= MIN_SHARING:
            left, right = pairs_by_difference(fine[members])
        elif len(members) > 2:
            seen = normalized(coarse[members])
            left, right = np.nonzero(np.triu(seen @ seen.T >= MIN_CORRELATION, 1))
        else:
            left, right = np.zeros(len(members) - 1, int), np.arange(1, len(members))
        divided[members] = members[stars(len(members), left, right)]
    return divided


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


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def _gray(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion would clip at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        colours = image.convert("RGBA").resize(size, Image.Resampling.BOX)
        white = Image.new("RGBA", size, "white")
        return Image.alpha_composite(white, colours).convert("L")
    return image.convert("L").resize(size, Image.Resampling.BOX)


def _spread(pictures: np.ndarray) -> np.ndarray:
    """Returns the standard deviation of each picture's gray levels."""
    blocks = (pictures[start : start + _PICTURES] for start in range(0, len(pictures), _PICTURES))
    return np.concatenate([block.std(axis=1, dtype=np.float32) for block in blocks])


def _correlation(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns Pearson's correlation of each pair of pictures."""
    return np.einsum("np,np->n", normalized(left), normalized(right))
