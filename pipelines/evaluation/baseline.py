"""What somebody would reach who does not look at the images: always the largest class."""

from typing import Any

import numpy as np

from pipelines.evaluation.intervals import Answers


def majority_baseline(labels: np.ndarray, classes: list[str]) -> dict[str, Any]:
    """Returns the figures of always naming the largest class, beside which a model's own can be read.

    Its log loss is that of giving every class its share of the images. That is the lowest one without looking at them.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        classes: Names of the classes.

    Returns:
        class (its name), accuracy (the share of the largest class), balanced_accuracy, macro_f1 and log_loss.
    """
    shares = np.bincount(labels, minlength=len(classes)) / len(labels)
    figures = Answers(labels, np.tile(shares, (len(labels), 1))).figures()
    names = "accuracy", "balanced_accuracy", "macro_f1", "log_loss"
    return {"class": classes[int(shares.argmax())], **{name: figures[name] for name in names}}
