"""What a look at the pictures through the frozen network has shown, and which view follows from it."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# A view is preferred to the crop only if its log loss is lower by this many standard errors of the difference.
STANDARD_ERRORS = 2.0
# If the longer side of all pictures but a tenth is at most this many times the shorter one, padding and squeezing
# them is nearly the same.
NEARLY_SQUARE = 1.05


@dataclass(frozen=True)
class ViewScore:
    """How well the frozen features of a view tell the classes apart, in cross-validation.

    Args:
        view: Name of the view, one of `pipelines.config.shared.VIEWS`.
        log_loss: Mean log loss of the images (natural logarithm).
        difference: Mean over the images of how much larger the log loss is than with the first view.
        error: Standard error of that difference.
    """

    view: str
    log_loss: float
    difference: float = 0.0
    error: float = 0.0


@dataclass(frozen=True)
class Findings:
    """What a look at the pictures has shown.

    Args:
        images: Number of images that were looked at.
        entropy: Log loss of always answering with the classes' shares of these images.
        views: Scores of the views that were compared, the usual one first.
    """

    images: int
    entropy: float
    views: tuple[ViewScore, ...]

    @property
    def best(self) -> ViewScore:
        """The score of the view that is taken: the usual one, or one that is certainly better."""
        usual, *others = self.views
        better = [score for score in others if score.difference < -STANDARD_ERRORS * score.error]
        return min([usual, *better], key=lambda score: score.log_loss)

    @property
    def uncertainty(self) -> float:
        """The share of the uncertainty about a class that the frozen features leave: 0 is none, and 1 all of it."""
        return self.best.log_loss / self.entropy if self.entropy else 0.0

    def view_in_words(self) -> str:
        """Returns why the view is taken, with the log losses."""
        losses = ", ".join(f"{score.view} {score.log_loss:.3f}" for score in self.views)
        if len(self.views) == 1:
            return f"log loss of the frozen features {losses}"
        taken = "certainly better" if self.best is not self.views[0] else "no other is certainly better"
        return f"{taken}, by log loss of the frozen features of {self.images} images: {losses}"


def candidate_views(widths: np.ndarray, heights: np.ndarray) -> tuple[str, ...]:
    """Returns the views to compare, the usual one first.

    Args:
        widths: Width of each picture, in pixels.
        heights: Height of each picture, in pixels.
    """
    ratios = np.maximum(widths, heights) / np.minimum(widths, heights)
    return ("crop", "squeeze") if np.quantile(ratios, 0.9) <= NEARLY_SQUARE else ("crop", "squeeze", "pad")


def findings_of(labels: np.ndarray, losses: Iterable[tuple[str, np.ndarray]]) -> Findings:
    """Returns the findings from the log loss of each image with each view.

    Args:
        labels: int [images], class of each image.
        losses: Name of each view and its log losses, float [images]; the usual view comes first.
    """
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    named = list(losses)
    usual = named[0][1]
    scores = []
    for view, loss in named:
        difference = loss - usual
        error = float(difference.std() / np.sqrt(len(labels)))
        scores.append(ViewScore(view, float(loss.mean()), float(difference.mean()), error))
    return Findings(len(labels), float(-(shares * np.log(shares)).sum()), tuple(scores))
