"""Whether a confidence of 0.8 is right in 80 % of images: reliability, its errors, and the temperature that mends it.

Sources: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599); bins of equal mass as in Nixon
et al. 2019, "Measuring Calibration in Deep Learning" (arXiv 1904.01685).
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from pipelines.evaluation.score import log_loss
from pipelines.evaluation.shares import wilson

ECE_BINS = 15
# Temperatures beyond these make every answer the same, or every probability 0 or 1.
TEMPERATURES = 0.05, 20.0
# The deviation of the logarithm of the temperature before any image was seen: it is seldom above 2.7 or below 0.4. It
# matters for a few images only; without it, three right answers would make every probability 0 or 1.
PRIOR = 0.5
_SMALLEST = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of similar confidence.

    Args:
        low: Lower end of the bin.
        high: Upper end of the bin.
        images: Number of images; there is at least one.
        confidence: Mean confidence.
        accuracy: Share of the images that are recognized.
        accuracy_low: Lower end of Wilson's 95 % interval of the accuracy.
        accuracy_high: Upper end of it.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be trusted.

    Args:
        images: Number of images.
        ece: Expected calibration error over bins of equal width (Guo et al. 2017, equation 3).
        ece_equal_mass: The same over bins with equal numbers of images.
        brier: Mean over the images of the squared distance of the probabilities from the truth, in 0 … 2 (Brier 1950).
        log_loss: Mean log loss, natural logarithm.
        bins: Bins of equal width, those without images left out.
        bins_equal_mass: Bins with equal numbers of images.
    """

    images: int
    ece: float
    ece_equal_mass: float
    brier: float
    log_loss: float
    bins: tuple[ReliabilityBin, ...]
    bins_equal_mass: tuple[ReliabilityBin, ...]

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON."""
        return asdict(self)


def calibration_of(labels: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS) -> Calibration:
    """Returns how far the confidence of a model can be trusted.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        probabilities: float [n, classes].
        bins: Number of bins.
    """
    width, mass = (reliability(labels, probabilities, bins, equal) for equal in ("width", "mass"))
    return Calibration(
        images=len(labels),
        ece=calibration_error(width),
        ece_equal_mass=calibration_error(mass),
        brier=float(squared_errors(labels, probabilities).mean()),
        log_loss=log_loss(labels, probabilities),
        bins=width,
        bins_equal_mass=mass,
    )


def reliability(
    labels: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS, equal: str = "width"
) -> tuple[ReliabilityBin, ...]:
    """Returns the bins of a reliability diagram that have images, from the least to the most confident.

    Args:
        labels: int [n], true class of each image.
        probabilities: float [n, classes].
        bins: Number of bins.
        equal: "width" divides 0 … 1 equally, "mass" divides the images equally.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    found = []
    if equal == "width":
        numbers = bins_of_equal_width(confidence, bins)
        parts = [np.flatnonzero(numbers == number) for number in range(bins)]
        ends = [(number / bins, (number + 1) / bins) for number in range(bins)]
    else:
        parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
        ends = [
            (float(confidence[part].min()), float(confidence[part].max())) if len(part) else (0, 0) for part in parts
        ]
    for part, (low, high) in zip(parts, ends, strict=True):
        if len(part):
            hits = int(right[part].sum())
            found.append(
                ReliabilityBin(
                    low,
                    high,
                    len(part),
                    float(confidence[part].mean()),
                    hits / len(part),
                    *wilson(hits, len(part)),
                )
            )
    return tuple(found)


def bins_of_equal_width(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Returns the number of the bin of each confidence, int [n]; a confidence of 1 is in the last bin."""
    return np.minimum((confidence * bins).astype(int), bins - 1)


def calibration_error(bins: tuple[ReliabilityBin, ...]) -> float:
    """Returns the mean distance of confidence from accuracy over the images of all bins."""
    images = sum(each.images for each in bins)
    return float(sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / images)


def squared_errors(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the squared distance of each image's probabilities from the truth, float [n]."""
    own = probabilities[np.arange(len(labels)), labels]
    return (probabilities**2).sum(axis=1) - 2.0 * own + 1.0


def fit_temperature(labels: np.ndarray, logits: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the temperature by which logits are divided for the smallest log loss (the maximum a posteriori, with a
    normal distribution of its logarithm around 0).

    The logits must be those of images that the model was not fitted to. On images that it has learned, it looks better
    than it is, and the temperature would be too low.

    Args:
        labels: int [n], true class of each image.
        logits: float [n, classes]; logarithms of probabilities will do.
        weights: float [n], how much each image counts; None counts all the same.

    Returns:
        A number in `TEMPERATURES`; above 1 the model was too sure of itself.
    """
    values, every = np.asarray(logits, np.float64), np.arange(len(labels))

    def loss(logarithm: float) -> float:
        own = log_softmax(values / math.exp(logarithm), axis=1)[every, labels]
        return float(-len(labels) * np.average(own, weights=weights) + 0.5 * (logarithm / PRIOR) ** 2)

    bounds, precise = tuple(map(math.log, TEMPERATURES)), {"xatol": 1e-6}
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options=precise).x)


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Returns the probabilities whose logits were divided by a temperature, float64 [n, classes]."""
    if temperature == 1.0:
        return probabilities
    logarithms = np.log(np.maximum(probabilities, _SMALLEST)) / temperature
    return np.exp(log_softmax(logarithms, axis=1))
