"""What the curve of a range test says: losses over learning rates that grow by the same factor from step to step.

A batch tells only roughly how good the weights are that all smaller rates have left. So a fall of the loss counts where
it is larger than what batches differ by, and goes below the loss of guessing, which a random network may begin above
and comes down to without having learned anything. Then the rate is suggested at which the loss begins to rise again:
the upper bound of Smith 2017, section 3.3, which Smith and Topin 2017 (arXiv 1708.07120) take as the peak of a schedule
that rises and goes down, as ours does. Near the steepest fall, where fastai and Lightning look, the rate is far too low
for such a peak (docs/recipe.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# In decades of the learning rate: the first ones, which change nothing yet; the deviation of the Gaussian that smooths.
BASELINE = 0.6
WIDTH = 0.25
# In standard errors of the difference between two smoothed losses.
CERTAIN = 3.0
# Diverged is what the last losses are of the best ones, as in fastai and Lightning …
DIVERGED = 4.0
# … but a loss that has nearly come to 0 may grow to so many times this share of guessing.
_GUESSING = 0.1


@dataclass(frozen=True)
class Reading:
    """What there is to see.

    Args:
        smoothed: Loss, one per step.
        start: Loss before rates are large enough to change it, or that of guessing where this is lower.
        lowest: Its minimum, smoothed.
        noise: How much lower it must be than the start to be certain.
        best_rate: Where the minimum is.
        rises_from: Where the loss is certainly above the minimum, or above the start where it does not fall. None where
            it never is.
        falls: Whether the loss falls for certain.
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
        """The peak learning rate, None where the loss does not fall."""
        return (self.rises_from or self.best_rate) if self.falls else None


def steps_of(decades: float, rates: Sequence[float]) -> int:
    """How many steps so many decades of the learning rate take, one at least.

    Args:
        decades: Powers of ten.
        rates: From step to step larger by the same factor.
    """
    return max(1, round(decades / math.log10(rates[1] / rates[0])))


def has_diverged(rates: Sequence[float], losses: Sequence[float], classes: int) -> bool:
    """Whether larger rates would show nothing new.

    Args:
        rates: Of all steps so far.
        losses: Of their batches.
        classes: How many there are to guess among.
    """
    if not math.isfinite(losses[-1]):
        return True
    if len(losses) < 2 or len(losses) < steps_of(BASELINE, rates):
        return False
    last = steps_of(WIDTH, rates)
    means = np.convolve(losses, np.ones(last) / last, mode="valid")
    return bool(means[-1] > DIVERGED * max(means.min(), _GUESSING * math.log(classes)))


def read_curve(rates: Sequence[float], losses: Sequence[float], classes: int) -> Reading:
    """Where the loss falls and where it rises.

    Args:
        rates: From step to step larger by the same factor; over 2 × `BASELINE` at least.
        losses: Of the batches, finite.
        classes: How many there are to guess among.
    """
    first, width = steps_of(BASELINE, rates), steps_of(WIDTH, rates)
    values = np.asarray(losses, np.float64)
    # A loss that has run away would reach far to the left of its step when it is smoothed.
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
    """A centred Gaussian mean, which does not lag behind as a running average does."""
    distances = np.subtract.outer(np.arange(len(values)), np.arange(len(values))) / width
    weights = np.exp(-0.5 * distances**2)
    return weights @ values / weights.sum(axis=1)


def _standard_error(values: np.ndarray, first: int, width: int) -> float:
    """Of the difference between the start and another smoothed loss. Differences of neighbours know the noise without
    the trend (von Neumann et al. 1941)."""
    deviation = float(np.sqrt(np.mean(np.diff(values) ** 2) / 2.0))
    return deviation * math.sqrt(1.0 / first + 1.0 / (2.0 * math.sqrt(math.pi) * width))
