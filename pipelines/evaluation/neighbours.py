"""The training photos that are nearest to a photo in what the head sees: what a judgement may have come from."""

from dataclasses import dataclass

import numpy as np

NEAREST = 3
# Photos of the training that are looked at; more of them are drawn from at random.
MOST_COMPARED = 2000


@dataclass(frozen=True)
class Neighbours:
    """The nearest of some photos to others.

    Args:
        places: int [photos, k], places of the nearest ones, the nearest first.
        similarity: float [photos, k], the cosine of the angle between both features, at most 1.
    """

    places: np.ndarray
    similarity: np.ndarray


def nearest(features: np.ndarray, among: np.ndarray, k: int = NEAREST) -> Neighbours:
    """Returns the photos whose features point in the most similar direction.

    Args:
        features: float [photos, channels].
        among: float [others, channels].
        k: Number of neighbours; fewer where there are fewer others.
    """
    k = min(k, len(among))
    cosines = _directions(features) @ _directions(among).T
    places = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return Neighbours(places, np.take_along_axis(cosines, places, axis=1))


def compared(images: int, seed: int = 0) -> np.ndarray:
    """Returns the places of the training photos that are compared: all of them, or as many as are bearable.

    Args:
        images: Number of photos of the training.
        seed: Seed of the draw.
    """
    if images <= MOST_COMPARED:
        return np.arange(images)
    return np.sort(np.random.default_rng(seed).choice(images, MOST_COMPARED, replace=False))


def _directions(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
