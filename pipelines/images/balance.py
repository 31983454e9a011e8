"""Remedies for classes of unequal size: weights in the loss, the logarithms of the classes' shares added to the logits,
or an order that shows all classes equally often."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.images.augment import key_of


def class_weights(labels: pd.Series, classes: list[str]) -> list[float]:
    """Returns a weight per class that is inversely proportional to the class's number of images.

    The mean weight over all images is 1 (King and Zeng 2001, "Logistic regression in rare events data"), as in
    scikit-learn's "balanced".

    Args:
        labels: Label of each image; every class occurs among them.
        classes: Names of the classes, in the order of the weights.
    """
    counts = labels.value_counts()
    return [len(labels) / (len(counts) * int(counts[name])) for name in classes]


def log_prior(labels: pd.Series, classes: list[str]) -> list[float]:
    """Returns the logarithm of each class's share of the images.

    A loss of logits to which they are added makes the logits themselves those for equally frequent classes (Menon et
    al. 2021, "Long-tail learning via logit adjustment", arXiv 2007.07314, equation 10 with τ = 1).

    Args:
        labels: Label of each image; every class occurs among them.
        classes: Names of the classes, in the order of the logits.
    """
    counts = labels.value_counts()
    return [math.log(int(counts[name]) / len(labels)) for name in classes]


def balanced_order(labels: pd.Series, seed: int) -> Callable[[Any, Any], Any]:
    """Returns an order of the images that shows all classes equally often.

    With C classes, every C consecutive images contain one image of each class. Within an epoch no image of a class is
    repeated before all of its images were shown. A large class shows a different part of its images in each epoch.

    Args:
        labels: Label of each image.
        seed: Seed of the order.

    Returns:
        A pure function from (epoch, position), scalar int64 tensors, to the number of an image, scalar int64.
    """
    codes, names = pd.factorize(labels, sort=True)
    by_class = tf.constant(np.argsort(codes, kind="stable"), tf.int64)
    counts = np.bincount(codes)
    sizes, starts = tf.constant(counts, tf.int64), tf.constant(np.cumsum(counts) - counts, tf.int64)
    classes = len(names)

    def index(epoch: Any, position: Any) -> Any:
        round_number = position // classes
        key = key_of(seed, epoch, round_number)
        chosen = tf.random.experimental.index_shuffle(position % classes, key, classes - 1)
        size = sizes[chosen]
        key = key_of(seed, epoch, round_number // size)
        key = tf.random.experimental.stateless_fold_in(key, chosen)
        place = tf.random.experimental.index_shuffle(round_number % size, key, size - 1)
        return by_class[starts[chosen] + place]

    return index
