"""Reads the first bytes of an encoded image in a TensorFlow graph."""

from typing import Any

import tensorflow as tf


def padded(content: Any, count: int) -> Any:
    """Returns the first bytes of a file, with zeros behind them, so that a short file can be read like any other.

    Args:
        content: Scalar string tensor, the file's bytes.
        count: Number of bytes that will be read.
    """
    return tf.strings.join([tf.strings.substr(content, 0, count), bytes(count)])


def has(header: Any, at: int, letters: bytes) -> Any:
    """Returns whether some bytes stand at an offset of a padded header, a scalar bool."""
    return tf.strings.substr(header, at, len(letters)) == letters


def number(header: Any, at: Any, count: int, big: bool = False) -> Any:
    """Reads an unsigned integer of `count` bytes at an offset, little endian unless `big`, as an int64."""
    data = tf.cast(tf.io.decode_raw(tf.strings.substr(header, at, count), tf.uint8), tf.int64)
    powers = [256**place for place in range(count)]
    return tf.reduce_sum(data * tf.constant(powers[::-1] if big else powers, tf.int64))
