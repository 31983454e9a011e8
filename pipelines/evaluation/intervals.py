"""How certain a figure of a model is: the bootstrap over groups of images.

Images that belong together, such as near-identical pictures or those of one patient, are drawn together, because they
are not independent (Efron and Tibshirani 1993, chapter 8).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipelines.evaluation.calibration import ECE_BINS, bins_of_equal_width, squared_errors
from pipelines.evaluation.score import losses
from pipelines.evaluation.shares import LEVEL

REPLICATES = 1000
# The error of calibration grows with every resampling, so that its percentiles are mirrored at the estimate ("basic"
# bootstrap, Davison and Hinkley 1997, section 5.2).
_MIRRORED = ("ece",)


@dataclass(frozen=True)
class Answers:
    """What a model says of labelled images, in the form in which thousands of resamples are counted quickly.

    Args:
        labels: int [n], true class of each image.
        probabilities: float [n, classes].
    """

    labels: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray = field(init=False)
    _of_images: np.ndarray = field(init=False)  # [n, 3]: log loss, Brier score, whether the class is in the top five
    _bins: np.ndarray = field(init=False)
    _gaps: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        labels, found = self.labels, self.probabilities
        own = found[np.arange(len(labels)), labels]
        # Ties are broken by the order of the classes, as in `pipelines.evaluation.metrics.top_k_accuracy`.
        earlier = np.arange(found.shape[1])[None] < labels[:, None]
        better = ((found > own[:, None]) | ((found == own[:, None]) & earlier)).sum(axis=1)
        predicted, confidence = found.argmax(axis=1), found.max(axis=1)
        values = {
            "predicted": predicted,
            "_of_images": np.stack([losses(labels, found), squared_errors(labels, found), better < 5], axis=1),
            "_bins": bins_of_equal_width(confidence, ECE_BINS),
            "_gaps": (predicted == labels) - confidence,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def figures(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """Returns accuracy, top-5 accuracy, balanced accuracy, macro F1, Cohen's kappa, Matthews's coefficient, log
        loss, Brier score and calibration error.

        Args:
            weights: float [n], how often each image counts; None counts each once.
        """
        weights = np.ones(len(self.labels)) if weights is None else weights
        classes, total = self.probabilities.shape[1], float(weights.sum())
        images, named = (np.bincount(of, weights, classes) for of in (self.labels, self.predicted))
        hits = np.bincount(self.labels, weights * (self.predicted == self.labels), classes)
        present, right = images > 0, float(hits.sum())
        log_loss, brier, top5 = weights @ self._of_images / total
        chance, named_squared, squared = images @ named, named @ named, images @ images
        spread = np.sqrt((total**2 - named_squared) * (total**2 - squared))
        beyond = total**2 - chance
        return {
            "accuracy": right / total,
            "top5_accuracy": float(top5),
            "balanced_accuracy": float((hits[present] / images[present]).mean()),
            "macro_f1": float((2.0 * hits[present] / (images + named)[present]).mean()),
            "cohen_kappa": float((right * total - chance) / beyond) if beyond > 0 else 0.0,
            "matthews_corrcoef": float((right * total - chance) / spread) if spread > 0 else 0.0,
            "log_loss": float(log_loss),
            "brier": float(brier),
            "ece": float(np.abs(np.bincount(self._bins, weights * self._gaps)).sum() / total),
        }


def resamples(groups: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yields how often each image counts in each bootstrap resample, float [n].

    Args:
        groups: int or str [n], equal for images that are drawn together.
        replicates: Number of resamples.
        seed: Seed of the random numbers; the same seed draws the same resamples.
    """
    _, number = np.unique(groups, return_inverse=True)
    count, random = int(number.max()) + 1, np.random.default_rng(seed)
    for _ in range(replicates):
        yield np.bincount(random.integers(count, size=count), minlength=count)[number].astype(float)


def bootstrap_intervals(
    answers: Answers, groups: np.ndarray, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, list[float]]:
    """Returns the 95 % interval of each of the answers' figures, as [low, high].

    Args:
        answers: Answers of a model.
        groups: int or str [n], equal for images that belong together.
        replicates: Number of resamples.
        seed: Seed of the resamples.
    """
    drawn = [answers.figures(weights) for weights in resamples(groups, replicates, seed) if weights.any()]
    estimate = answers.figures()
    return {name: interval_of([each[name] for each in drawn], estimate[name], name in _MIRRORED) for name in estimate}


def interval_of(drawn: Any, estimate: float, mirrored: bool = False, level: float = LEVEL) -> list[float]:
    """Returns the interval of a figure from its values in the resamples, as [low, high].

    Args:
        drawn: float [replicates].
        estimate: Value of the figure for the images themselves.
        mirrored: Whether the percentiles are mirrored at the estimate; the interval ends at 0 then.
        level: Probability with which the interval contains the figure.
    """
    low, high = np.quantile(np.asarray(drawn), [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    if mirrored:
        low, high = max(0.0, 2.0 * estimate - high), max(0.0, 2.0 * estimate - low)
    return [float(low), float(high)]
