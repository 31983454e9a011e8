"""The classes one by one: how well each is recognized, how certain that is, and what it is most taken for."""

import numpy as np
import pandas as pd

from pipelines.evaluation.metrics import per_class
from pipelines.evaluation.shares import wilson


def class_table(matrix: pd.DataFrame) -> pd.DataFrame:
    """Returns a row for each class; undefined values are NaN.

    All intervals are Wilson's (1927), which are sound for few images, too.

    Args:
        matrix: Confusion matrix with counts of images; rows are the true classes.

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
    table["f1_low"], table["f1_high"] = _f1_intervals(hits, images, named)
    others = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    table["taken"] = others.max(axis=1)
    table["most_taken_for"] = np.where(table["taken"] > 0, matrix.columns.to_numpy()[others.argmax(axis=1)], "")
    return table


def _f1_intervals(hits: np.ndarray, images: np.ndarray, named: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the ends of the interval of F1, which grows with a share of images: of those that are of the class or
    called so, the share J that is both. F1 is 2J / (1 + J).
    """
    low, high = wilson(hits, images + named - hits)
    return 2.0 * low / (1.0 + low), 2.0 * high / (1.0 + high)
