"""What a look at the pictures through the frozen network has shown, and which view and size follow from it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from pipelines.evaluation.score import LOG_LOSS

# A choice is preferred to the usual one only if its log loss is lower by this many standard errors of the difference.
STANDARD_ERRORS = 2.0
# With fewer images, a standard error is itself uncertain, and counts as larger by Student's distribution. With more,
# the difference is below two percent.
FEW_IMAGES = 100
_CERTAINTY = 0.97725  # of a normal distribution that is below two standard errors
# If the longer side of all pictures but a tenth is at most this many times the shorter one, padding and squeezing
# them is nearly the same.
NEARLY_SQUARE = 1.05
# The size that most weights were trained at, and larger ones that are tried where it leaves much uncertain, in pixels.
USUAL_SIZE, LARGER_SIZES = 224, (320, 448)
# The share of the uncertainty about a class from which on larger sizes are tried. It is a judgement: below, there is
# little to gain for twice the time and more.
UNCERTAIN = 0.3


@dataclass(frozen=True)
class Compared:
    """How well the frozen features tell the classes apart in cross-validation, with one choice.

    Args:
        choice: Name of a view, or size in pixels.
        log_loss: Mean log loss of the images (natural logarithm).
        difference: Mean over the images of how much larger the log loss is than with the usual choice.
        error: Standard error of that difference, see `standard_error`.
    """

    choice: str | int
    log_loss: float
    difference: float = 0.0
    error: float = 0.0


@dataclass(frozen=True)
class Findings:
    """What a look at the pictures has shown.

    Args:
        images: Number of images that were looked at.
        entropy: Log loss of always answering with the classes' shares of these images; with the balanced log loss,
            that of always answering with equal shares.
        views: Comparison of the views, the usual one first.
        sizes: Comparison of the image sizes with the view that is taken, the usual one first; () if only one was tried.
        figure: Figure that is compared, "log_loss" or "balanced_log_loss", see `pipelines.evaluation.score`.
    """

    images: int
    entropy: float
    views: tuple[Compared, ...]
    sizes: tuple[Compared, ...] = ()
    figure: str = LOG_LOSS

    @property
    def view(self) -> str:
        """Name of the view that is taken."""
        return str(best_of(self.views).choice)

    @property
    def image_size(self) -> int | None:
        """Size that is taken, in pixels; None if sizes were not compared."""
        return int(best_of(self.sizes).choice) if self.sizes else None

    @property
    def uncertainty(self) -> float:
        """Share of the uncertainty about a class that the frozen features leave: 0 is none, and 1 all of it."""
        best = best_of(self.sizes or self.views)
        return min(best.log_loss / self.entropy, 1.0) if self.entropy else 0.0

    def in_words(self, compared: tuple[Compared, ...]) -> str:
        """Returns why one of the choices is taken, with the log losses of all of them."""
        losses = ", ".join(f"{one.choice} {one.log_loss:.3f}" for one in compared)
        figure = self.figure.replace("_", " ")
        if len(compared) == 1:
            return f"{figure} of the frozen features {losses}"
        taken = "certainly better" if best_of(compared) is not compared[0] else "no other is certainly better"
        return f"{taken}, by {figure} of the frozen features of {self.images} images: {losses}"


def best_of(compared: tuple[Compared, ...]) -> Compared:
    """Returns the usual choice, or the best of those that are certainly better."""
    usual, *others = compared
    better = [one for one in others if one.difference < -STANDARD_ERRORS * one.error]
    return min([usual, *better], key=lambda one: one.log_loss)


def compare(losses: Iterable[tuple[str | int, np.ndarray]]) -> tuple[Compared, ...]:
    """Compares choices by the log loss of each image.

    Args:
        losses: Each choice and its log losses, float [images]; the usual choice comes first.
    """
    named = list(losses)
    usual = named[0][1]
    differences = [(choice, loss, loss - usual) for choice, loss in named]
    return tuple(
        Compared(choice, float(loss.mean()), float(more.mean()), standard_error(more))
        for choice, loss, more in differences
    )


def standard_error(values: np.ndarray) -> float:
    """Returns the standard error of the mean of some values, float [values].

    With fewer than `FEW_IMAGES` it is made larger, so that `STANDARD_ERRORS` of it are exceeded by chance no more often
    than with many.
    """
    number = len(values)
    error = float(values.std() / np.sqrt(number))
    if not 1 < number < FEW_IMAGES:
        return error
    of_few = np.sqrt(number / (number - 1)) * stdtrit(number - 1, _CERTAINTY) / STANDARD_ERRORS
    return float(error * of_few)


def candidate_views(widths: np.ndarray, heights: np.ndarray) -> tuple[str, ...]:
    """Returns the views to compare, the usual one first.

    Args:
        widths: Width of each picture, in pixels.
        heights: Height of each picture, in pixels.
    """
    ratios = np.maximum(widths, heights) / np.minimum(widths, heights)
    return ("crop", "squeeze") if np.quantile(ratios, 0.9) <= NEARLY_SQUARE else ("crop", "squeeze", "pad")


def larger_sizes(widths: np.ndarray, heights: np.ndarray) -> tuple[int, ...]:
    """Returns the larger sizes that most of the pictures have pixels for, the smallest first; Args as above."""
    longer = float(np.median(np.maximum(widths, heights)))
    return tuple(size for size in LARGER_SIZES if size <= longer)


def entropy_of(labels: np.ndarray) -> float:
    """Returns the entropy of the classes' shares of some images (natural logarithm); labels are int [images]."""
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())


def findings_from(content: dict[str, Any]) -> Findings:
    """Returns the findings of a config.json, whose content is that of `dataclasses.asdict`."""
    lists = {name: tuple(Compared(**one) for one in content[name]) for name in ("views", "sizes")}
    return Findings(**{**content, **lists})
