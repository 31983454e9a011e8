"""Accuracy in parts of the images: the dark ones, the small ones, those of one camera; the weakest parts first."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact

from pipelines.evaluation.shares import wilson

# A part with fewer images says too little to be tested, and would only make the correction harder on the others.
FEWEST_IMAGES = 10
QUARTERS = 4
# Of a column with more different texts, such as one of file names, only the commonest are parts.
MOST_VALUES = 20


@dataclass(frozen=True)
class Slice:
    """The accuracy in a part of the images.

    Args:
        column: What the part was chosen by, such as "brightness".
        value: Value or range that its images have.
        images: Number of images.
        accuracy: Share of them that are recognized.
        low: Lower end of Wilson's 95 % interval.
        high: Upper end of it.
        p: Probability of such a distance from the other images, or a larger one, by chance (Fisher's exact test).
        p_adjusted: The same after Holm's correction (1979) for looking at all parts.
    """

    column: str
    value: str
    images: int
    accuracy: float
    low: float
    high: float
    p: float
    p_adjusted: float

    @property
    def name(self) -> str:
        """Column and value, as the column "slice" of slices.csv has them."""
        return f"{self.column}: {self.value}"

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON."""
        return {"slice": self.name, **asdict(self)}


def slices_of(facts: pd.DataFrame, right: np.ndarray) -> list[Slice]:
    """Returns the accuracy in parts of the images, the lowest accuracy first.

    A column of numbers is divided into quarters; each text of another column is a part.

    Args:
        facts: Table with a row per image and a column per property; an empty text or NaN is unknown.
        right: bool [n], whether the image is recognized.
    """
    parts = [
        (column, value, inside)
        for column in facts
        for value, inside in _parts(facts[column])
        if FEWEST_IMAGES <= inside.sum() < len(right)
    ]
    chances = [_chance(right, inside) for _, _, inside in parts]
    found = []
    for (column, value, inside), p, adjusted in zip(parts, chances, holm(chances), strict=True):
        images, hits = int(inside.sum()), int(right[inside].sum())
        found.append(Slice(str(column), value, images, hits / images, *wilson(hits, images), p, adjusted))
    return sorted(found, key=lambda each: (each.accuracy, each.p))


def holm(chances: list[float]) -> list[float]:
    """Returns p-values that are corrected for their number (Holm 1979, "A simple sequentially rejective multiple test
    procedure"), in the same order.
    """
    order = np.argsort(chances, kind="stable")
    corrected = np.minimum(np.maximum.accumulate(np.asarray(chances)[order] * np.arange(len(order), 0, -1)), 1.0)
    found = np.empty(len(order))
    found[order] = corrected
    return found.tolist()


def slice_table(slices: list[Slice]) -> pd.DataFrame:
    """Returns the table slices.csv."""
    columns = ["slice", "images", "accuracy", "low", "high", "p", "p_adjusted"]
    return pd.DataFrame([each.as_dict() for each in slices], columns=columns)


def _chance(right: np.ndarray, inside: np.ndarray) -> float:
    table = [[int((right & part).sum()), int((~right & part).sum())] for part in (inside, ~inside)]
    return float(fisher_exact(table)[1])


def _parts(values: pd.Series) -> Iterator[tuple[str, np.ndarray]]:
    numbers = pd.to_numeric(values.replace("", np.nan), errors="coerce").replace([np.inf, -np.inf], np.nan)
    known = values.notna().to_numpy() & (values.astype(str) != "").to_numpy()
    if numbers.notna().to_numpy()[known].all() and numbers.nunique() > QUARTERS:
        yield from _quarters(numbers.to_numpy(float))
        return
    texts = values.astype(str)
    for text in texts[known].value_counts().index[:MOST_VALUES]:
        yield str(text), known & (texts == text).to_numpy()


def _quarters(numbers: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    edges = np.unique(np.nanquantile(numbers, np.linspace(0.0, 1.0, QUARTERS + 1)))
    last = len(edges) - 2
    for place, (low, high) in enumerate(itertools.pairwise(edges)):
        above = numbers <= high if place == last else numbers < high
        yield f"{low:.4g} to {high:.4g}", (numbers >= low) & above
