"""Compares pictures that share most of what they show, such as shots from one fixed camera, by what differs in them.

Two shots of one scene correlate almost perfectly although what matters in them differs: a mark, a defect, an object.
The part that many pictures share is found as their principal components (Jolliffe 2002, "Principal Component
Analysis"), and each component is divided by its strength (whitening). What is left of two shots is correlated only if
the same rare thing is at the same place, or if one file is a copy of the other, noise included.
"""

import numpy as np

from pipelines.data.candidates import batches, candidates

# Of fewer pictures it is unknown what they share, and what a few of them have in common by chance.
MIN_SHARING = 30
# Chosen on drawn shots of a fixed camera (benchmarks/near_identity.py): 0.6 calls a hundred shots of one kind the same
# picture where the camera shakes, and 0.8 loses half of the re-encoded copies.
MIN_LIKENESS = 0.7

# Share of a picture's energy, per pixel of the thumbnail, that noise and re-encoding may change. A component that is
# weaker is not made stronger than this, since noise would decide then.
_NOISE = 0.1
_NOTHING = 1e-4  # of a picture's energy, which is 1: what rounding makes
_SAMPLE, _ALL_PAIRS, _BLOCK = 1024, 4096, 4096  # pictures
_HASH_BITS, _MAX_DIFFERENT_BITS = 63, 16  # two pictures with a likeness of 0.7 differ in 16 bits on average


def pairs_by_difference(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of pictures that are the same also in what distinguishes them from all others.

    Among more than 4,096 pictures, only those are compared whose random projections have similar signs (Charikar 2002,
    "Similarity Estimation Techniques from Rounding Algorithms"), so that a few pairs may be missed.

    Args:
        pictures: uint8 [n, pixels], pictures that share a part, at least `MIN_SHARING`.

    Returns:
        Two arrays int64 [pairs], the first and the second picture of each pair.
    """
    sharpen = _whitening(normalized(pictures[:: -(-len(pictures) // _SAMPLE)]))
    seen = np.concatenate(
        [
            _unit(normalized(pictures[start : start + _BLOCK]) @ sharpen).astype(np.float16)
            for start in range(0, len(pictures), _BLOCK)
        ]
    )
    if len(seen) <= _ALL_PAIRS:
        exact = seen.astype(np.float32)
        left, right = np.nonzero(np.triu(exact @ exact.T >= MIN_LIKENESS, 1))
        return left, right
    lefts, rights = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for left, right in batches(candidates(_projected_signs(seen), _MAX_DIFFERENT_BITS)):
        for start in range(0, len(left), _BLOCK):
            some, others = left[start : start + _BLOCK], right[start : start + _BLOCK]
            likeness = np.einsum("np,np->n", seen[some].astype(np.float32), seen[others].astype(np.float32))
            lefts.append(some[likeness >= MIN_LIKENESS])
            rights.append(others[likeness >= MIN_LIKENESS])
    return np.concatenate(lefts), np.concatenate(rights)


def _projected_signs(vectors: np.ndarray) -> np.ndarray:
    """Returns the signs of 63 random projections of each vector, as the bits of uint64 [n]."""
    planes = np.random.default_rng(0).normal(size=(vectors.shape[1], _HASH_BITS)).astype(np.float32)
    signs = [
        vectors[start : start + _BLOCK].astype(np.float32) @ planes > 0 for start in range(0, len(vectors), _BLOCK)
    ]
    bits = np.pad(np.concatenate(signs), ((0, 0), (1, 0)))
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def stars(count: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Divides pictures into groups in which each is the same as one of them, so that no chain leads to a stranger.

    The picture with the most partners becomes the centre of a group and takes all of them that are still free, then
    the next one that is free.

    Args:
        count: Number of pictures.
        left: int [pairs], first picture of each pair that is the same.
        right: int [pairs], second picture of each pair.

    Returns:
        int64 [pictures], the number of each picture's centre.
    """
    edges = np.unique(np.concatenate([np.stack([left, right], 1), np.stack([right, left], 1)]), axis=0)
    bounds = np.searchsorted(edges[:, 0], np.arange(count + 1))
    centres = np.full(count, -1)
    for picture in np.argsort(-np.diff(bounds), kind="stable"):
        if centres[picture] < 0:
            partners = edges[bounds[picture] : bounds[picture + 1], 1]
            centres[partners[centres[partners] < 0]] = picture
            centres[picture] = picture
    return centres


def normalized(pictures: np.ndarray) -> np.ndarray:
    """Returns pictures without their brightness and contrast: float32 [n, pixels], of mean 0 and length 1."""
    return _unit(pictures - pictures.mean(axis=1, dtype=np.float32, keepdims=True))


def _whitening(pictures: np.ndarray) -> np.ndarray:
    """Returns the matrix, float32 [pixels, components], that weakens what many of the pictures share."""
    strengths, mixtures = np.linalg.eigh(pictures @ pictures.T)
    there = strengths > _NOTHING
    axes = pictures.T @ (mixtures[:, there] / np.sqrt(strengths[there]))
    energy = strengths[there] / len(pictures) + _NOISE / pictures.shape[1]
    return axes / np.sqrt(energy)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
