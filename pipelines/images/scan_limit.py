"""Refuses JPEG files of very many scans in a TensorFlow graph, because each scan takes a decoder through all pixels.

The audit applies the same limit, see `pipelines.data.damage`.
"""

from typing import Any

import tensorflow as tf

from pipelines.data.damage import MAX_SCANNED_PIXELS, MAX_SCANS
from pipelines.images.pixel_limit import checked

_MARKER, _SCAN, _END = 0xFF, 0xDA, 0xD9
_RESTARTS = (0xD0, 0xD7)


def refuse_many_scans(content: Any, value: Any = None) -> Any:
    """Returns a value unchanged if a JPEG file has few scans; other formats pass.

    Args:
        content: Scalar string tensor, an encoded image.
        value: Tensor that decoding depends on; None is the content.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and there are more than `MAX_SCANS`, or as many as make
            more than `MAX_SCANNED_PIXELS` together.
    """
    value = content if value is None else value
    scans, allowed = tf.cond(tf.io.is_jpeg(content), lambda: _scans(content), lambda: (tf.constant(0), tf.constant(1)))
    text = f"a JPEG of more than {MAX_SCANS} scans, or of fewer in a large picture, is not decoded; it has"
    return checked(value, text, scans, allowed)


def has_many_scans(content: Any) -> Any:
    """Returns whether an encoded image is a JPEG of too many scans, a scalar bool; see `refuse_many_scans`."""

    def many() -> Any:
        scans, allowed = _scans(content)
        return scans > allowed

    return tf.cond(tf.io.is_jpeg(content), many, lambda: tf.constant(False))


def _scans(content: Any) -> tuple[Any, Any]:
    pixels = tf.reduce_prod(tf.io.extract_jpeg_shape(content, tf.int64)[:2])
    allowed = tf.minimum(tf.maximum(MAX_SCANNED_PIXELS // tf.maximum(pixels, 1), 1), MAX_SCANS)
    allowed = tf.cast(allowed, tf.int32)
    data = tf.io.decode_raw(content, tf.uint8)
    is_scan = (data[:-1] == _MARKER) & (data[1:] == _SCAN)
    found = tf.math.count_nonzero(is_scan, dtype=tf.int32)
    # The pair of bytes can also stand in a thumbnail or behind the picture, so that too many of them are counted anew.
    return tf.cond(found > allowed, lambda: _scans_of_markers(data, allowed), lambda: found), allowed


def _scans_of_markers(data: Any, enough: Any) -> Any:
    """Counts the scans marker by marker, up to one more than are allowed; see `pipelines.data.damage.scans_of`."""
    after = tf.cast(data[1:], tf.int32)
    plain = (after == 0) | (after == _MARKER) | ((after >= _RESTARTS[0]) & (after <= _RESTARTS[1]))
    places = tf.cast(tf.where((data[:-1] == _MARKER) & ~plain)[:, 0], tf.int32)
    kinds = tf.gather(after, places)
    count, size = tf.size(places), tf.size(data)
    byte = lambda at: tf.cast(data[tf.minimum(at, size - 1)], tf.int32)  # noqa: E731

    def follow(index: Any, scans: Any) -> tuple[Any, Any]:
        kind, end = kinds[index], places[index] + 2
        length = tf.where((kind == 0xD8) | (kind == 0x01), 0, 256 * byte(end) + byte(end + 1))
        following = tf.searchsorted(places, [end + length])[0]
        return following, scans + tf.cast(kind == _SCAN, tf.int32)

    def is_inside(index: Any, scans: Any) -> Any:
        return (index < count) & (scans <= enough) & (kinds[tf.minimum(index, count - 1)] != _END)

    first = tf.searchsorted(places, [2])[0]
    return tf.while_loop(is_inside, follow, [first, tf.constant(0)])[1]
