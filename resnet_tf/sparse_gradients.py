"""Gradients of some rows of a variable, as TensorFlow gives them for an Embedding (`tf.IndexedSlices`)."""

from typing import Any

import keras


def as_dense(gradient: Any, variable: Any) -> Any:
    """Returns a gradient of all rows of a variable; what several slices say of one row is summed."""
    if not _is_sparse(gradient):
        return gradient
    import tensorflow as tf

    return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, variable.shape[0])


def touched_rows(gradient: Any, variable: Any) -> Any:
    """Returns which rows a sparse gradient is of, True or False as [rows, 1 …], or None for a gradient of all rows."""
    if not _is_sparse(gradient):
        return None
    import tensorflow as tf

    counts = tf.math.unsorted_segment_sum(tf.ones_like(gradient.indices), gradient.indices, variable.shape[0])
    return tf.reshape(counts > 0, (-1, *(1,) * (len(variable.shape) - 1)))


def _is_sparse(gradient: Any) -> bool:
    return keras.backend.backend() == "tensorflow" and type(gradient).__name__ == "IndexedSlices"
