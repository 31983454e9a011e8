"""The classes one by one: how well each is recognized, how certain that is, and what it is most taken for."""

import numpy as np
import pandas as pd

from pipelines.evaluation.intervals import LEVEL, resamples
from pipelines.evaluation.metrics import per_class
from pipelines.evaluation.shares import wilson


def class_table(matrix: pd.DataFrame, labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray) -> pd.DataFrame:
    """Returns a row for each class; undefined values are NaN.

    The intervals of precision and recall are Wilson's (1927). F1 is no share of images, so that its interval is from
    the bootstrap over groups.

    Args:
        matrix: Confusion matrix with counts of images; rows are the true classes.
        labels: int [n], true class of each image.
        predicted: int [n], predicted class of each image.
        groups: int [n], equal for images that belong together.

    Returns:
        Table with the columns class, images, named (images called so), precision, recall and f1, each of these three
        with _low and _high, most_taken_for ("" where all are recognized) and taken (how many are).
    """
    counts = matrix.to_numpy()
    hits, images, named = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    table = per_class(matrix)[["class", "images", "precision", "recall", "f1"]].copy()
    table["named"] = named
    table["precision_low"], table["precision_high"] = wilson(hits, named)
    table["recall_low"], table["recall_high"] = wilson(hits, images)
    table["f1_low"], table["f1_high"] = _f1_intervals(labels, predicted, groups, len(counts))
    others = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    table["taken"] = others.max(axis=1)
    table["most_taken_for"] = np.where(table["taken"] > 0, matrix.columns.to_numpy()[others.argmax(axis=1)], "")
    return table


def _f1_intervals(
    labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    drawn = []
    for weights in resamples(groups):
        hits = np.bincount(labels, weights * (labels == predicted), classes)
        either = np.bincount(labels, weights, classes) + np.bincount(predicted, weights, classes)
        with np.errstate(invalid="ignore"):
            drawn.append((2.0 * hits / either).astype(np.float32))
    values, ends = np.array(drawn), [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0]
    found = np.full((classes, 2), np.nan)
    for label in np.flatnonzero(np.isfinite(values).any(axis=0)):
        found[label] = np.nanquantile(values[:, label], ends)
    return found[:, 0], found[:, 1]
