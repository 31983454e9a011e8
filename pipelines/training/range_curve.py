"""Reads the curve of a range test: losses over learning rates that grow by the same factor from step to step.

The loss of a batch shows only roughly how good the present weights are. So a fall of the loss counts only if it is
larger than the differences between batches, and if the loss falls below that of guessing. A random network may begin
above the loss of guessing, and comes down to it without having learned anything.

The suggested rate is the one at which the loss begins to rise again. This is the upper bound of Smith 2017, section
3.3, which Smith and Topin 2017 (arXiv 1708.07120) take as the peak of a schedule that rises and falls, as ours does.
Near the steepest fall, where fastai and Lightning look, the rate is far too low for such a peak (docs/ablation.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# The first rates, which change nothing yet, and the deviation of the Gaussian that smooths, in decades of the rate.
BASELINE = 0.6
WIDTH = 0.25
# A difference between two smoothed losses is certain if it is larger than so many of its standard errors.
CERTAIN = 3.0
# The loss has diverged if the last losses are so many times the best ones, as in fastai and Lightning.
DIVERGED = 4.0
# A loss near 0 may grow further, to `DIVERGED` times this share of the loss of guessing.
_GUESSING = 0.1


@dataclass(frozen=True)
class Reading:
    """What a curve shows.

    Args:
        smoothed: Smoothed loss of each step, float64 [steps].
        start: Loss before rates are large enough to change it, or the loss of guessing if this is lower.
        lowest: Minimum of the smoothed loss.
        noise: Difference from the start from which on a lower loss is certain.
        best_rate: Learning rate at the minimum.
        rises_from: Learning rate at which the loss is certainly above the minimum, or above the start if it does not
            fall. None if it never is.
        falls: Whether the loss certainly falls.
    """

    smoothed: np.ndarray
    start: float
    lowest: float
    noise: float
    best_rate: float
    rises_from: float | None
    falls: bool

    @property
    def suggestion(self) -> float | None:
        """Suggested peak learning rate, or None if the loss does not fall."""
        return (self.rises_from or self.best_rate) if self.falls else None


def steps_of(decades: float, rates: Sequence[float]) -> int:
    """Returns how many steps a number of decades of the learning rate takes, at least one.

    Args:
        decades: Number of powers of ten.
        rates: Learning rates that grow by the same factor from step to step.
    """
    return max(1, round(decades / math.log10(rates[1] / rates[0])))


def has_diverged(rates: Sequence[float], losses: Sequence[float], classes: int) -> bool:
    """Returns whether larger rates would show nothing new.

    Args:
        rates: Learning rates of all steps so far.
        losses: Losses of their batches.
        classes: Number of classes, from which the loss of guessing follows.
    """
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < 2 or len(losses) < steps_of(BASELINE, rates):
        return False
    last = steps_of(WIDTH, rates)
    means = np.convolve(losses, np.ones(last) / last, mode="valid")
    return bool(means[-1] > DIVERGED * max(means.min(), _GUESSING * math.log(classes)))


def read_curve(rates: Sequence[float], losses: Sequence[float], classes: int) -> Reading:
    """Returns where the loss falls and where it rises.

    Args:
        rates: Learning rates that grow by the same factor from step to step, over at least 2 × `BASELINE` decades.
        losses: Losses of the batches; all are finite.
        classes: Number of classes, from which the loss of guessing follows.
    """
    first, width = steps_of(BASELINE, rates), steps_of(WIDTH, rates)
    values = np.asarray(losses, np.float64)
    # A huge loss is limited, because smoothing would spread it over many steps before its own.
    values = np.minimum(values, 2.0 * DIVERGED * values[:first].mean())
    smoothed = _smoothed(values, width)
    start = min(float(smoothed[:first].mean()), math.log(classes))
    best = int(smoothed.argmin())
    noise = CERTAIN * _standard_error(values[: max(best + 1, 2 * first)], first, width)
    falls = bool(start - smoothed[best] > noise)
    above = np.flatnonzero(smoothed[best:] > (smoothed[best] if falls else start) + noise)
    return Reading(
        smoothed=smoothed,
        start=start,
        lowest=float(smoothed[best]),
        noise=noise,
        best_rate=float(rates[best]),
        rises_from=float(rates[best + above[0]]) if len(above) else None,
        falls=falls,
    )


def _smoothed(values: np.ndarray, width: int) -> np.ndarray:
    """Returns a centred Gaussian mean, which does not lag behind as a running average does."""
    distances = np.subtract.outer(np.arange(len(values)), np.arange(len(values))) / width
    weights = np.exp(-0.5 * distances**2)
    return weights @ values / weights.sum(axis=1)


def _standard_error(values: np.ndarray, first: int, width: int) -> float:
    """Returns the standard error of the difference between the start and another smoothed loss.

    The differences between neighbours contain the noise without the trend (von Neumann et al. 1941).
    """
    deviation = float(np.sqrt(np.mean(np.diff(values) ** 2) / 2.0))
    return deviation * math.sqrt(1.0 / first + 1.0 / (2.0 * math.sqrt(math.pi) * width))
