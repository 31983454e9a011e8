"""Sets of classes that contain the true one with a guaranteed probability: conformal prediction.

Source: Angelopoulos and Bates 2021, "A Gentle Introduction to Conformal Prediction" (arXiv 2107.07511), sections 1, 3.2
and 4; RAPS is by Angelopoulos et al. 2021, "Uncertainty Sets for Image Classifiers" (arXiv 2009.14193). The guarantee
holds on average over new images that come from where the calibration images come from.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.stats import beta

from pipelines.evaluation.shares import wilson

LAC, RAPS = METHODS = ("lac", "raps")
LEVEL = 0.95
# The penalty of RAPS for each class in a set beyond the first ones, and how many are free (the values of the
# "Gentle Introduction", figure 6).
PENALTY, FREE = 0.01, 5


@dataclass(frozen=True)
class ConformalSets:
    """How large the sets of a method are, and how often they contain the true class.

    Args:
        method: "lac", the smallest sets on average; or "raps", whose sizes follow the difficulty of each image.
        level: Probability with which a set contains the true class.
        images: Number of images that sets were made for.
        calibrated_on: Number of images that the sets were calibrated on.
        covered: Number of sets that contain the true class.
        sizes: Number of sets of each size that occurs.
        guarantee: The 5th and the 95th percentile of the coverage that such a number of calibration images leads to.
    """

    method: str
    level: float
    images: int
    calibrated_on: int
    covered: int
    sizes: dict[int, int]
    guarantee: tuple[float, float]

    @property
    def mean_size(self) -> float:
        """Mean number of classes in a set."""
        return sum(size * sets for size, sets in self.sizes.items()) / self.images

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON, with the coverage and its 95 % interval."""
        return {
            **asdict(self),
            "guarantee": list(self.guarantee),
            "coverage": self.covered / self.images,
            "coverage_ci95": list(wilson(self.covered, self.images)),
            "mean_size": self.mean_size,
        }

    def in_words(self) -> str:
        """Returns what the sets promise and what they had."""
        low, high = (100.0 * end for end in self.guarantee)
        covered = 100.0 * self.covered / self.images
        return (
            f"{self.method.upper()} at {100.0 * self.level:g} %: {covered:.1f} % of the sets contain the true class, "
            f"with {self.mean_size:.2f} classes on average. With {self.calibrated_on:,} calibration images, new images "
            f"are covered at {low:.1f} to {high:.1f} %, nine times out of ten."
        )


def lac_scores(probabilities: np.ndarray) -> np.ndarray:
    """Returns how little each class fits each image: 1 less its probability, float [n, classes]."""
    return 1.0 - probabilities


def raps_scores(
    probabilities: np.ndarray, uniform: np.ndarray | None = None, penalty: float = PENALTY, free: int = FREE
) -> np.ndarray:
    """Returns how little each class fits each image, by the mass of the classes down to it.

    Args:
        probabilities: float [n, classes].
        uniform: float [n] in 0 … 1, the share of a class's own probability that does not count. Random numbers make the
            coverage exact; None takes 0, which makes it a little higher than wanted and gives an image always the
            same set.
        penalty: What is added for each rank beyond the free ones, so that sets stay small.
        free: Number of ranks without a penalty.

    Returns:
        float [n, classes].
    """
    order = np.argsort(-probabilities, axis=1, kind="stable")
    ranked = np.take_along_axis(probabilities, order, axis=1)
    own = 0.0 if uniform is None else uniform[:, None] * ranked
    ranks = np.arange(1, ranked.shape[1] + 1)
    scores = ranked.cumsum(axis=1) - own + penalty * np.maximum(ranks - free, 0)
    found = np.empty_like(scores)
    np.put_along_axis(found, order, scores, axis=1)
    return found


_SCORES = {LAC: lac_scores, RAPS: raps_scores}


def scores_of(method: str, labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the score of the true class of each calibration image, float [n], ascending.

    Args:
        method: One of `METHODS`.
        labels: int [n], true class of each image. The model must not have been fitted to the images.
        probabilities: float [n, classes].
    """
    return np.sort(_SCORES[method](probabilities)[np.arange(len(labels)), labels])


def quantile_of(scores: np.ndarray, level: float) -> float:
    """Returns the score down to which classes belong to a set; it is infinite with too few calibration images.

    Args:
        scores: float [n], scores of the true classes of the calibration images, ascending.
        level: Probability with which a set shall contain the true class.
    """
    place = math.ceil(round((len(scores) + 1) * level, 9))
    return float(scores[place - 1]) if place <= len(scores) else math.inf


def images_needed(level: float) -> int:
    """Returns how many calibration images a level needs at least."""
    return math.ceil(round(level / (1.0 - level), 9))


def sets_of(method: str, probabilities: np.ndarray, quantile: float) -> np.ndarray:
    """Returns which classes belong to the set of each image, bool [n, classes].

    A set always has the likeliest class, because an empty one helps nobody; the coverage can only grow by that.

    Args:
        method: One of `METHODS`.
        probabilities: float [n, classes].
        quantile: Result of `quantile_of`.
    """
    inside = _SCORES[method](probabilities) <= quantile
    inside[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = True
    return inside


def guarantee_of(images: int, level: float) -> tuple[float, float]:
    """Returns the 5th and the 95th percentile of the coverage over choices of the calibration images.

    The coverage has a beta distribution (Angelopoulos and Bates 2021, section 3.2).

    Args:
        images: Number of calibration images.
        level: Probability with which a set shall contain the true class.
    """
    place = math.ceil(round((images + 1) * level, 9))
    if place > images:
        return 1.0, 1.0  # every set has all classes
    low, high = beta.ppf([0.05, 0.95], place, images + 1 - place)
    return float(low), float(high)


def conformal_sets(
    method: str, scores: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, level: float = LEVEL
) -> ConformalSets:
    """Returns how a method's sets are on images that did not calibrate them.

    Args:
        method: One of `METHODS`.
        scores: Result of `scores_of` for the calibration images.
        labels: int [n], true class of each image.
        probabilities: float [n, classes].
        level: Probability with which a set shall contain the true class.
    """
    inside = sets_of(method, probabilities, quantile_of(scores, level))
    return _counted(method, level, len(scores), inside, labels)


def halved_conformal_sets(
    method: str, labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, level: float = LEVEL
) -> ConformalSets:
    """Returns how a method's sets are where there are no images beside those that are evaluated: each half of them
    calibrates the sets of the other half.

    Args:
        method: One of `METHODS`.
        labels: int [n], true class of each image; there are at least two groups.
        probabilities: float [n, classes].
        groups: int or str [n], equal for images that stay in one half.
        level: Probability with which a set shall contain the true class.
    """
    _, number = np.unique(groups, return_inverse=True)
    first = np.random.default_rng(0).permutation(int(number.max()) + 1)[number] % 2 == 0
    inside = np.zeros(probabilities.shape, bool)
    for half in (first, ~first):
        quantile = quantile_of(scores_of(method, labels[~half], probabilities[~half]), level)
        inside[half] = sets_of(method, probabilities[half], quantile)
    return _counted(method, level, min(int(first.sum()), int((~first).sum())), inside, labels)


def _counted(method: str, level: float, calibrated_on: int, inside: np.ndarray, labels: np.ndarray) -> ConformalSets:
    sizes, sets = np.unique(inside.sum(axis=1), return_counts=True)
    return ConformalSets(
        method=method,
        level=level,
        images=len(labels),
        calibrated_on=calibrated_on,
        covered=int(inside[np.arange(len(labels)), labels].sum()),
        sizes={int(size): int(count) for size, count in zip(sizes, sets, strict=True)},
        guarantee=guarantee_of(calibrated_on, level),
    )
