"""Classes of unequal size: weights for the loss, or an order in which all classes come equally often."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.images.augment import key_of


def class_weights(labels: pd.Series, classes: list[str]) -> list[float]:
    """Inverse to the number of images, 1 on average over the images (King and Zeng 2001, "Logistic regression in rare
    events data"), as scikit-learn's "balanced".

    Args:
        labels: One per image; every class is among them.
        classes: Order of the weights.
    """
    counts = labels.value_counts()
    return [len(labels) / (len(counts) * int(counts[name])) for name in classes]


def balanced_order(labels: pd.Series, seed: int) -> Callable[[Any, Any], Any]:
    """An order in which each run of as many images as there are classes has one of each.

    Within an epoch a class gives all of its images before one comes again; a large class gives another part of them
    in each epoch.

    Args:
        labels: One per image.
        seed: Of the order.

    Returns:
        A function of (epoch, position), scalar int64 tensors, to the number of an image, scalar int64; pure.
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
