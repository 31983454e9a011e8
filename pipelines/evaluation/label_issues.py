"""Labels to look at again: confident learning on predictions of a model that has not learned the labels in question.

Source: Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels" (arXiv
1911.00068). The rule is the paper's "off-diagonals of the confident joint", which needs no number to be chosen.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

# Two classes may be one if the model is sure of the other one of them for this share of their images.
SHARE_OF_PAIR = 0.15


@dataclass(frozen=True)
class LabelIssue:
    """A label to look at again.

    Args:
        image: Number of the image.
        label: Number of the class that it is labelled as.
        suggested: Number of the class that the model is sure of.
        score: Probability of the label; the lower, the likelier the label is wrong.
    """

    image: int
    label: int
    suggested: int
    score: float


@dataclass(frozen=True)
class ClassPair:
    """Two classes that may be one.

    Args:
        first: Name of a class.
        second: Name of another class.
        images: Number of images of both.
        taken: Number of these that the model is sure belong to the other class of the two.
    """

    first: str
    second: str
    images: int
    taken: int

    def as_dict(self) -> dict[str, Any]:
        """Returns the content for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class LabelsLookedAt:
    """What confident learning finds among all labelled images of a run.

    Args:
        images: Number of images that were looked at.
        table: Content of label_issues.csv, the likeliest to be wrong first.
        pairs: Pairs of classes that may be one.
    """

    images: int
    table: pd.DataFrame = field(repr=False)
    pairs: list[ClassPair]

    def in_words(self) -> str:
        """Returns what was found in a sentence or two."""
        found = f"{len(self.table)} of {self.images} labels to look at again"
        pairs = "; ".join(f"{pair.first!r} and {pair.second!r}" for pair in self.pairs[:3])
        return found + (f"; classes that may be one: {pairs}" if pairs else "")


def confident_classes(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the class that the model is sure of for each image, int [n]; -1 where it is sure of none.

    It is sure of a class whose probability is at least the mean that this class has on the images labelled so. If it
    is sure of several, it takes the likeliest of all classes, as cleanlab does; the paper (equation 1) takes the
    likeliest of the several.

    Args:
        labels: int [n], label of each image.
        probabilities: float [n, classes], of a model that was not fitted to the image.
    """
    classes = probabilities.shape[1]
    own, images = probabilities[np.arange(len(labels)), labels], np.bincount(labels, minlength=classes)
    with np.errstate(invalid="ignore"):
        means = np.bincount(labels, own, classes) / images
    sure = probabilities >= np.where(images > 0, means, np.inf) - 1e-6  # a constant model is at its mean
    count = sure.sum(axis=1)
    return np.where(count > 1, probabilities.argmax(axis=1), np.where(count == 1, sure.argmax(axis=1), -1))


def label_issues(labels: np.ndarray, probabilities: np.ndarray) -> list[LabelIssue]:
    """Returns the labels to look at again, the likeliest to be wrong first.

    Args:
        labels: int [n], label of each image.
        probabilities: float [n, classes], of a model that was not fitted to the image.
    """
    sure = confident_classes(labels, probabilities)
    # A model that itself names the label contradicts it less than its means do.
    off = np.flatnonzero((sure >= 0) & (sure != labels) & (probabilities.argmax(axis=1) != labels))
    own = probabilities[off, labels[off]]
    order = np.argsort(own, kind="stable")
    return [
        LabelIssue(int(image), int(labels[image]), int(sure[image]), float(score))
        for image, score in zip(off[order], own[order], strict=True)
    ]


def pairs_to_merge(labels: np.ndarray, probabilities: np.ndarray, classes: list[str]) -> list[ClassPair]:
    """Returns the pairs of classes that may be one, those with the largest share of such images first.

    Args:
        labels: int [n], label of each image.
        probabilities: float [n, classes], of a model that was not fitted to the image.
        classes: Names of the classes.
    """
    sure, images = confident_classes(labels, probabilities), np.bincount(labels, minlength=len(classes))
    off = (sure >= 0) & (sure != labels)
    pairs = np.sort(np.stack([labels[off], sure[off]], axis=1), axis=1)
    found = []
    for (first, second), taken in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
        of_both = int(images[first] + images[second])
        both_ways = {int(label) for label in labels[off][(pairs == (first, second)).all(axis=1)]}
        if taken >= SHARE_OF_PAIR * of_both and len(both_ways) == 2:
            found.append(ClassPair(classes[first], classes[second], of_both, int(taken)))
    return sorted(found, key=lambda pair: -pair.taken / pair.images)


def label_issue_table(issues: list[LabelIssue], paths: list[str], classes: list[str]) -> pd.DataFrame:
    """Returns the table label_issues.csv: path, label, suggested, score."""
    rows = [(paths[each.image], classes[each.label], classes[each.suggested], each.score) for each in issues]
    return pd.DataFrame(rows, columns=["path", "label", "suggested", "score"])
