"""Gradients of some rows of a variable, as TensorFlow gives them for an Embedding (`tf.IndexedSlices`)."""

from typing import Any

import keras


def as_dense(gradient: Any) -> Any:
    """Returns a gradient for all rows; what several slices say of one row is summed."""
    if not _is_sparse(gradient):
        return gradient
    import tensorflow as tf

    return tf.convert_to_tensor(gradient)


def touched_rows(gradient: Any) -> Any:
    """Returns which rows a sparse gradient is of, True or False as [rows, 1 …], or None for a gradient of all rows."""
    if not _is_sparse(gradient):
        return None
    import tensorflow as tf

    rank = len(gradient.values.shape)
    ones = tf.ones((tf.shape(gradient.indices)[0], *(1,) * (rank - 1)))
    rows = tf.reshape(tf.cast(gradient.dense_shape[0], tf.int64), (1,))
    shape = tf.concat([rows, tf.ones((rank - 1,), tf.int64)], axis=0)
    return tf.scatter_nd(tf.cast(gradient.indices, tf.int64)[:, None], ones, shape) > 0


def _is_sparse(gradient: Any) -> bool:
    return keras.backend.backend() == "tensorflow" and type(gradient).__name__ == "IndexedSlices"
