"""Compares the answers of two models to the same photos: whether there is a difference, and how certain that is.

Sources: the exact test of McNemar 1947 for paired answers, the paired bootstrap (Efron and Tibshirani 1993) for every
figure, and the number of photos of Connor 1987 ("Sample size for testing differences in proportions for the
paired-sample design").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri
from scipy.stats import binomtest, t

from pipelines.evaluation.intervals import REPLICATES, Answers, interval_of, resamples
from pipelines.evaluation.shares import LEVEL

# A difference is seen if chance alone brings such a one less often than this.
ALPHA = 0.05
# The number of photos that is named would show the difference with this probability.
POWER = 0.8
# A difference in accuracy that matters to most; its number of photos is named where there is no difference at all.
WORTH_SEEING = 0.01
# Figures of which less is better.
LESS_IS_BETTER = ("log_loss", "brier", "ece")


@dataclass(frozen=True)
class FigureDifference:
    """A figure of two sides, and the difference.

    Args:
        a: Figure of the first side; the mean over its seeds.
        b: Figure of the second side.
        ci95: Ends of the paired interval of b - a over photos.
        seeds: Ends of Welch's interval of b - a over seeds (1947); None where a side has one seed.
        spread: Deviation over the seeds of each side; None where a side has one seed.
    """

    a: float
    b: float
    ci95: tuple[float, float]
    seeds: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None

    @property
    def difference(self) -> float:
        """How much the second side has more."""
        return self.b - self.a

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON."""
        found = {"a": self.a, "b": self.b, "difference": self.difference, "ci95": list(self.ci95)}
        if self.seeds is not None and self.spread is not None:
            found |= {"seeds_ci95": list(self.seeds), "spread_a": self.spread[0], "spread_b": self.spread[1]}
        return found


@dataclass(frozen=True)
class Comparison:
    """The comparison of two sides on the same photos.

    Args:
        names: Names of the two sides.
        seeds: Number of models of each side.
        n: Number of photos.
        figures: Differences, by the names of the figures in metrics.json.
        only_a_right: Photos that only the first side names rightly; between first models where there are several.
        only_b_right: Photos that only the second side names rightly.
        mcnemar_p: Probability of such a difference, or a larger one, by chance.
        adjusted_p: The same after Holm's correction for several comparisons.
        discordant: Share of the photos that only one of the two names rightly.
    """

    names: tuple[str, str]
    seeds: tuple[int, int]
    n: int
    figures: dict[str, FigureDifference]
    only_a_right: int
    only_b_right: int
    mcnemar_p: float
    discordant: float
    adjusted_p: float | None = None
    _by_seeds: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_seeds", max(self.seeds) > 1)

    @property
    def p(self) -> float:
        """The probability that decides."""
        return self.mcnemar_p if self.adjusted_p is None else self.adjusted_p

    @property
    def differ(self) -> bool:
        """Whether a difference in accuracy is seen.

        With several seeds, it must be larger than chance both in the photos and in the seeds.
        """
        accuracy = self.figures["accuracy"]
        if not self._by_seeds:
            return self.p < ALPHA
        ends = [accuracy.ci95, *([accuracy.seeds] if accuracy.seeds else [])]
        return all(low > 0 or high < 0 for low, high in ends)

    @property
    def photos_needed(self) -> int:
        """How many photos it takes to see the difference in accuracy, or one of 1 % if there is none."""
        return photos_needed(self.discordant, self.figures["accuracy"].difference or WORTH_SEEING)

    def in_words(self) -> str:
        """Returns one sentence for people."""
        accuracy = self.figures["accuracy"]
        first, second = self.names
        better, worse = (second, first) if accuracy.difference > 0 else (first, second)
        figures = f"{100 * accuracy.b:.1f} % for {second} and {100 * accuracy.a:.1f} % for {first} of {self.n:,} photos"
        low, high = (100 * end for end in accuracy.ci95)
        certainty = f"difference {100 * accuracy.difference:+.1f} points, 95 % interval {low:+.1f} to {high:+.1f}"
        certainty += self._test_in_words()
        if self.differ:
            return f"{better} is better than {worse}: {figures} ({certainty})."
        size = abs(accuracy.difference)
        what = f"a difference of {100 * size:.1f} points" if size else f"a difference of {100 * WORTH_SEEING:g} point"
        return (
            f"No difference is seen between {first} and {second}: {figures} ({certainty}). To see {what}, it would "
            f"take about {_rounded(self.photos_needed):,} photos.{self._probabilities_in_words()}"
        )

    def _probabilities_in_words(self) -> str:
        """Returns a further sentence if the probabilities differ, though the accuracies do not."""
        loss = self.figures["log_loss"]
        ends = [loss.ci95, *([loss.seeds] if loss.seeds else [])]
        if not all(low > 0 or high < 0 for low, high in ends):
            return ""
        better = self.names[1] if loss.difference < 0 else self.names[0]
        lower, higher = sorted((loss.a, loss.b))
        return f" The probabilities of {better} are better: log loss {lower:.3f} against {higher:.3f}."

    def _test_in_words(self) -> str:
        if not self._by_seeds:
            corrected = "" if self.adjusted_p is None else " after Holm's correction"
            return f", McNemar's p = {self.p:.2g}{corrected}"
        seeds = self.figures["accuracy"].seeds
        if seeds is None:
            return ""
        low, high = (100 * end for end in seeds)
        return f", over {self.seeds[0]} and {self.seeds[1]} seeds {low:+.1f} to {high:+.1f}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of comparison.json."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "n": self.n,
            "seeds_a": self.seeds[0],
            "seeds_b": self.seeds[1],
            "metrics": {name: figure.as_dict() for name, figure in self.figures.items()},
            "only_a_right": self.only_a_right,
            "only_b_right": self.only_b_right,
            "mcnemar_p": self.mcnemar_p,
            **({} if self.adjusted_p is None else {"mcnemar_p_adjusted": self.adjusted_p}),
            "differ": self.differ,
            "photos_needed": self.photos_needed,
            "sentence": self.in_words(),
        }


def mcnemar(only_a: int, only_b: int) -> float:
    """Returns the exact two-sided p-value of McNemar's test.

    Args:
        only_a: Number of photos that only the first model names rightly.
        only_b: Number of photos that only the second model names rightly.
    """
    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue) if only_a + only_b else 1.0


def photos_needed(discordant: float, difference: float) -> int:
    """Returns how many photos it takes to see a difference in accuracy with a probability of 80 %.

    Args:
        discordant: Share of the photos that only one of the two models names rightly.
        difference: Difference in accuracy; not 0.
    """
    size = abs(difference)
    discordant = max(discordant, size)
    wanted, power = float(ndtri(1.0 - ALPHA / 2.0)), float(ndtri(POWER))
    return math.ceil(((wanted * math.sqrt(discordant) + power * math.sqrt(discordant - size**2)) / size) ** 2)


def compared(
    names: tuple[str, str],
    sides: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    labels: np.ndarray,
    groups: np.ndarray,
    replicates: int = REPLICATES,
) -> Comparison:
    """Compares two sides on the same photos.

    Args:
        names: Names of the sides.
        sides: Probabilities of each model of each side, float [n, classes].
        labels: int [n], true class of each photo.
        groups: int [n], equal for photos that belong together.
        replicates: Number of resamples.
    """
    answers = [[Answers(labels, found) for found in side] for side in sides]
    estimates = [[each.figures() for each in side] for side in answers]
    differences = [_difference(answers, weights) for weights in resamples(groups, replicates)]
    figures = {}
    for name in estimates[0][0]:
        values = [np.array([found[name] for found in side]) for side in estimates]
        low, high = interval_of([each[name] for each in differences], 0.0)
        spread = (float(values[0].std(ddof=1)), float(values[1].std(ddof=1))) if min(map(len, values)) > 1 else None
        figures[name] = FigureDifference(
            float(values[0].mean()), float(values[1].mean()), (low, high), _welch(*values), spread
        )
    first, second = (side[0].predicted == labels for side in answers)
    only_a, only_b = int((first & ~second).sum()), int((second & ~first).sum())
    return Comparison(
        names=names,
        seeds=(len(sides[0]), len(sides[1])),
        n=len(labels),
        figures=figures,
        only_a_right=only_a,
        only_b_right=only_b,
        mcnemar_p=mcnemar(only_a, only_b),
        discordant=(only_a + only_b) / len(labels),
    )


def _difference(answers: list[list[Answers]], weights: np.ndarray) -> dict[str, float]:
    """Returns how much more the second side has of each figure, as means over the seeds, in a resample."""
    first, second = ([each.figures(weights) for each in side] for side in answers)
    return {
        name: float(np.mean([found[name] for found in second]) - np.mean([found[name] for found in first]))
        for name in first[0]
    }


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[float, float] | None:
    """Returns the 95 % interval of the difference of means over seeds; None where a side has only one."""
    if min(len(first), len(second)) < 2:
        return None
    shares = [each.var(ddof=1) / len(each) for each in (first, second)]
    middle, variance = second.mean() - first.mean(), sum(shares)
    if variance == 0:
        return float(middle), float(middle)
    freedom = variance**2 / sum(share**2 / (len(each) - 1) for share, each in zip(shares, (first, second), strict=True))
    half = float(t.ppf((1.0 + LEVEL) / 2.0, freedom)) * math.sqrt(variance)
    return float(middle - half), float(middle + half)


def _rounded(number: int) -> int:
    """Returns a number with two significant digits, since no more of it is known."""
    digits = max(0, len(str(number)) - 2)
    return round(number, -digits)
