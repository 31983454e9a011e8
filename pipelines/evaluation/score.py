"""Defines how good a model is on some images, where every image counts the same and where every class does."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import metrics as sk

from pipelines.evaluation.missed import MissedClass, missed_classes

# The names of the figures by which a model may be chosen.
LOG_LOSS, BALANCED_LOG_LOSS = "log_loss", "balanced_log_loss"


@dataclass(frozen=True)
class Score:
    """The figures of a model on the validation images, from which the best model is chosen.

    Args:
        accuracy: Share of the images that are recognized.
        log_loss: Mean log loss of the images (natural logarithm); NaN if an output is not finite.
        balanced_accuracy: Mean over the classes of the share of the class's images that are recognized.
        balanced_log_loss: Mean over the classes of the mean log loss of the class's images.
        missed: Classes that are (nearly) never recognized, the largest ones first.
    """

    accuracy: float
    log_loss: float
    balanced_accuracy: float
    balanced_log_loss: float
    missed: tuple[MissedClass, ...] = ()

    def columns(self) -> dict[str, float]:
        """Returns the figures by their columns in history.csv."""
        return {
            "val_accuracy": self.accuracy,
            "val_log_loss": self.log_loss,
            "val_balanced_accuracy": self.balanced_accuracy,
            "val_balanced_log_loss": self.balanced_log_loss,
        }

    def in_words(self, choose_by: str) -> str:
        """Returns the figures that a reader wants to see where models are chosen by one of them.

        Args:
            choose_by: `LOG_LOSS` or `BALANCED_LOG_LOSS`.
        """
        accuracy = f"val accuracy {self.accuracy:.4f}  "
        if choose_by == LOG_LOSS:
            return f"{accuracy}val log loss {self.log_loss:.4f}"
        balanced = f"val balanced accuracy {self.balanced_accuracy:.4f}  "
        return f"{accuracy}{balanced}val balanced log loss {self.balanced_log_loss:.4f}"


def score_of(labels: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> Score:
    """Returns the score of a model's answers. A class without images is in none of the means over classes.

    Args:
        labels: int [n], true class of each image, in 0 … classes - 1; there is at least one image.
        predicted: int [n], predicted class of each image.
        probabilities: float [n, classes].
    """
    finite = bool(np.isfinite(probabilities).all())
    return Score(
        accuracy=float((predicted == labels).mean()),
        log_loss=log_loss(labels, probabilities) if finite else float("nan"),
        balanced_accuracy=balanced_accuracy(labels, predicted),
        balanced_log_loss=balanced_log_loss(labels, probabilities) if finite else float("nan"),
        missed=missed_classes(labels, predicted),
    )


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean log loss of the images; the arguments are those of `score_of`."""
    return float(sk.log_loss(labels, probabilities, labels=np.arange(probabilities.shape[1])))


def losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns the log loss of each image, float [n]; the arguments are those of `score_of`."""
    own = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return -np.log(np.maximum(own, np.finfo(np.float64).eps))  # as scikit-learn does


def balanced_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean over the classes of the class's mean log loss; the arguments are those of `score_of`.

    It is a proper score of the probabilities for equally frequent classes, as the log loss is for the classes'
    frequencies among the images.
    """
    weights = 1.0 / np.bincount(labels, minlength=probabilities.shape[1])[labels]
    return float(sk.log_loss(labels, probabilities, sample_weight=weights, labels=np.arange(probabilities.shape[1])))


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray) -> float:
    """Returns the mean over the classes of the share of the class's images that are recognized.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        predicted: int [n], predicted class of each image.
    """
    return float(sk.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0.0))


def score_from(content: dict[str, Any]) -> Score:
    """Returns the score whose content, as `dataclasses.asdict` returns it, went through JSON."""
    return Score(**{**content, "missed": tuple(MissedClass(**each) for each in content["missed"])})
