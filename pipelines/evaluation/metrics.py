"""Computes metrics from true classes and probabilities.

scikit-learn and SciPy do the counting; this module decides how a class without images is treated.
"""

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from sklearn import metrics as sk

from pipelines.evaluation.missed import missed_classes
from pipelines.evaluation.score import balanced_accuracy, balanced_log_loss, log_loss

ECE_BINS = 15


def summarize(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Returns the metrics that metrics.json contains.

    Balanced accuracy and macro F1 are means over the classes that have images here, because the others have no recall.

    Args:
        labels: int [n], true class of each image, in 0 … len(classes) - 1; there is at least one image.
        probabilities: float [n, len(classes)].
        classes: Names of the classes.

    Returns:
        n, accuracy, accuracy_ci95 (Wilson 1927), top5_accuracy, balanced_accuracy, macro_f1, cohen_kappa,
        matthews_corrcoef, log_loss (natural logarithm), balanced_log_loss, ece, never_recognized (see
        `pipelines.evaluation.missed`).
    """
    predicted = probabilities.argmax(axis=1)
    correct = int((predicted == labels).sum())
    kappa, correlation = agreement(labels, predicted, len(classes))
    present = np.unique(labels)
    interval = binomtest(correct, len(labels)).proportion_ci(confidence_level=0.95, method="wilson")
    return {
        "n": len(labels),
        "accuracy": correct / len(labels),
        "accuracy_ci95": [float(interval.low), float(interval.high)],
        "top5_accuracy": top_k_accuracy(labels, probabilities, 5),
        "balanced_accuracy": balanced_accuracy(labels, predicted),
        "macro_f1": float(sk.f1_score(labels, predicted, labels=present, average="macro", zero_division=0.0)),
        "cohen_kappa": kappa,
        "matthews_corrcoef": correlation,
        "log_loss": log_loss(labels, probabilities),
        "balanced_log_loss": balanced_log_loss(labels, probabilities),
        "ece": expected_calibration_error(labels, probabilities),
        "never_recognized": [missed.named(classes) for missed in missed_classes(labels, predicted)],
    }


def top_k_accuracy(labels: np.ndarray, probabilities: np.ndarray, k: int) -> float:
    """Returns the share of the images whose class is among the k likeliest; it is 1 with k classes or fewer."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(axis=1).mean())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = ECE_BINS) -> float:
    """Returns the mean distance of confidence from accuracy over equal bins of confidence (Guo et al. 2017, eq. 3)."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        (bin_of == number).mean() * abs(right[bin_of == number].mean() - confidence[bin_of == number].mean())
        for number in np.unique(bin_of)
    ]
    return float(sum(gaps))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """Returns the counts of images by true class (rows) and predicted class (columns), with all classes in order."""
    counts = sk.confusion_matrix(labels, predicted, labels=np.arange(len(classes)))
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=classes)


def per_class(matrix: pd.DataFrame) -> pd.DataFrame:
    """Returns the number of images, precision, recall and F1 of each class; undefined values are NaN."""
    counts = matrix.to_numpy()
    hits, images, named = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(named > 0, hits / named, np.nan)
        recall = np.where(images > 0, hits / images, np.nan)
        f1 = np.where(images + named > 0, 2 * hits / (images + named), np.nan)
    return pd.DataFrame({"class": matrix.index, "images": images, "precision": precision, "recall": recall, "f1": f1})


def most_confused(matrix: pd.DataFrame, most: int = 5) -> list[tuple[str, str, int, int]]:
    """Returns the largest counts off the diagonal, as tuples of (true, predicted, count, images of the true class)."""
    counts = matrix.to_numpy()
    images, names = counts.sum(axis=1), list(matrix.index)
    rows, columns = np.nonzero(counts)
    off = rows != columns
    rows, columns = rows[off], columns[off]
    order = np.argsort(-counts[rows, columns], kind="stable")[:most]
    return [
        (names[row], names[column], int(counts[row, column]), int(images[row]))
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def agreement(labels: np.ndarray, predicted: np.ndarray, classes: int) -> tuple[float, float]:
    """Returns Cohen's kappa and Matthews's coefficient.

    Both are 0/0 if labels and predictions are all one class; the agreement is then no better than chance, and 0.

    Args:
        labels: int [n], true class of each image.
        predicted: int [n], predicted class of each image.
        classes: Number of classes.
    """
    if len(np.union1d(labels, predicted)) == 1:
        return 0.0, 0.0
    kappa = sk.cohen_kappa_score(labels, predicted, labels=np.arange(classes))
    return float(kappa), float(sk.matthews_corrcoef(labels, predicted))
