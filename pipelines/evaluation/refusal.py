"""When to say "I don't know": the risk of the answers that are left where unsure ones are refused.

Source: Geifman and El-Yaniv 2017, "Selective Classification for Deep Neural Networks" (arXiv 1705.08500).
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipelines.evaluation.shares import wilson

# What `choose_threshold` returns where even the surest answers are not right often enough.
NEVER = 1.0
WANTED = 0.98
MOST_POINTS = 200


@dataclass(frozen=True)
class Answered:
    """What is left where answers below a threshold are refused.

    Args:
        threshold: Confidence below which answers are refused.
        images: Number of all images.
        answered: Number of images whose answers are left.
        right: Number of right answers among these.
    """

    threshold: float
    images: int
    answered: int
    right: int

    @property
    def coverage(self) -> float:
        """Share of the images that are answered."""
        return self.answered / self.images

    @property
    def accuracy(self) -> float | None:
        """Share of the answers that are right; None where there are no answers."""
        return self.right / self.answered if self.answered else None

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON, with Wilson's 95 % intervals of coverage and accuracy."""
        accuracy = list(wilson(self.right, self.answered)) if self.answered else None
        return {
            **asdict(self),
            "coverage": self.coverage,
            "coverage_ci95": list(wilson(self.answered, self.images)),
            "accuracy": self.accuracy,
            "accuracy_ci95": accuracy,
        }

    def in_words(self) -> str:
        """Returns a sentence such as "Refuse below 0.83: 98.1 % of the remaining answers are right (95 % interval 96.2
        to 99.1), on 91 % of the images."
        """
        if not self.answered:
            return f"Below a confidence of {self.threshold:.3g} all answers are refused."
        low, high = (100.0 * end for end in wilson(self.right, self.answered))
        share, covered = 100.0 * self.right / self.answered, 100.0 * self.coverage
        figures = f"{share:.1f} % of the answers are right (95 % interval {low:.1f} to {high:.1f})"
        if self.answered == self.images:
            return f"No answer is refused: {figures}."
        remaining = figures.replace("the answers", "the remaining answers")
        return f"Refuse below {self.threshold:.3g}: {remaining}, on {covered:.0f} % of the images."


def answered_above(confidence: np.ndarray, right: np.ndarray, threshold: float) -> Answered:
    """Returns what is left of answers where those below a threshold are refused.

    Args:
        confidence: float [n], probability of the predicted class.
        right: bool [n], whether the predicted class is the true one.
        threshold: Smallest confidence that is no reason to refuse.
    """
    kept = confidence >= threshold
    return Answered(threshold, len(confidence), int(kept.sum()), int(right[kept].sum()))


def risk_coverage(confidence: np.ndarray, right: np.ndarray, most: int = MOST_POINTS) -> list[Answered]:
    """Returns what is left for each threshold that makes a difference, from all answers to the surest ones.

    Args:
        confidence: float [n], probability of the predicted class; there is at least one.
        right: bool [n], whether the predicted class is the true one.
        most: Number of thresholds at most; others between them are left out.
    """
    thresholds, answered, hits = _cumulated(confidence, right)
    places = np.unique(np.linspace(0, len(thresholds) - 1, min(most, len(thresholds))).round().astype(int))
    return [
        Answered(float(thresholds[place]), len(confidence), int(answered[place]), int(hits[place])) for place in places
    ]


def choose_threshold(confidence: np.ndarray, right: np.ndarray, wanted: float = WANTED) -> float:
    """Returns the lowest threshold above which the wanted share of the answers is right.

    The share is that of these images. Of other images it will be a little lower, since the threshold was chosen here;
    `answered_above` shows it for images that did not choose.

    Args:
        confidence: float [n], probability of the predicted class; there is at least one.
        right: bool [n], whether the predicted class is the true one.
        wanted: Share of right answers, in 0 … 1.

    Returns:
        0 where nothing has to be refused, and `NEVER` where no threshold is high enough.
    """
    thresholds, answered, hits = _cumulated(confidence, right)
    enough = np.flatnonzero(hits >= wanted * answered)
    if not len(enough):
        return NEVER
    return 0.0 if enough[0] == 0 else float(thresholds[enough[0]])


def _cumulated(confidence: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns every different confidence, ascending, with the numbers of images at or above it and of right ones."""
    thresholds, place = np.unique(confidence, return_inverse=True)
    images = np.bincount(place)[::-1].cumsum()[::-1]
    hits = np.bincount(place, right.astype(int))[::-1].cumsum()[::-1]
    return thresholds, images, hits
