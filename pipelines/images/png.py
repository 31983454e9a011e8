"""Decodes PNG files with TensorFlow alone, with all 16 bits and in little memory."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.data.damage import PNG_SIGNATURE
from pipelines.data.value_range import DEPTHS, INTEGER, UNKNOWN, ValueRange, scale_of

_WHITE = 255.0
# Offsets of the depth and of the colour type in a file's header (ISO/IEC 15948, 11.2).
_DEPTH, _COLOURS = 24, 25
_GRAY, _GRAY_WITH_ALPHA, _RGB = b"\x00", b"\x04", b"\x02"
_BAND = 4_000_000  # pixels whose transparency is undone at a time


def is_png(content: Any) -> Any:
    """Returns whether an encoded image, a scalar string tensor, is a PNG file."""
    return tf.strings.substr(content, 0, len(PNG_SIGNATURE)) == PNG_SIGNATURE


def decode_plain_png(content: Any) -> Any:
    """Decodes a PNG of 8 bits without transparency, in one channel if it is gray and in three otherwise.

    Returns:
        uint8 [height, width, 1 or 3].
    """
    return tf.cond(
        _has(content, _COLOURS, _GRAY), lambda: tf.io.decode_png(content, 1), lambda: tf.io.decode_png(content, 3)
    )


def decode_png_over_white(content: Any, value_range: ValueRange = UNKNOWN) -> Any:
    """Decodes any PNG over white, as Pillow does.

    Args:
        content: Scalar string tensor, the file's bytes.
        value_range: Stored values that become black and white, where there are 16 bits.

    Returns:
        uint8 [height, width, 1 or 3].
    """
    levels = lambda image: _levels(image, value_range)  # noqa: E731
    return tf.cond(
        _has(content, _DEPTH, b"\x10"),
        lambda: _painted(content, tf.uint16, levels),
        lambda: _painted(content, tf.uint8, lambda image: image),
    )


def _painted(content: Any, kind: Any, levels: Callable[[Any], Any]) -> Any:
    """Decodes a PNG in as few channels as it has, makes 8 bits of its values, and puts it over white."""
    transparent = _may_name_a_transparent_colour(content)
    decode = lambda channels: tf.io.decode_png(content, channels=channels, dtype=kind)  # noqa: E731
    blended = lambda channels: over_white(levels(decode(channels)))  # noqa: E731
    kinds = [
        (_has(content, _COLOURS, _GRAY) & ~transparent, lambda: levels(decode(1))),
        (_has(content, _COLOURS, _RGB) & ~transparent, lambda: levels(decode(3))),
        (_has(content, _COLOURS, _GRAY_WITH_ALPHA), lambda: blended(0)),
    ]
    return tf.case(kinds, default=lambda: blended(4))


def _has(content: Any, place: int, byte: bytes) -> Any:
    start = tf.strings.join([tf.strings.substr(content, 0, _COLOURS + 1), bytes(_COLOURS + 1)])
    return tf.strings.substr(start, place, 1) == byte


def _may_name_a_transparent_colour(content: Any) -> Any:
    """Returns whether a file may have a tRNS chunk; the letters may also stand elsewhere, which costs some memory."""
    return tf.strings.regex_full_match(content, r"\C*tRNS\C*")


def over_white(image: Any) -> Any:
    """Puts an image over white, uint8 [height, width, channels]; the last channel is alpha, and goes."""

    def blend(band: Any) -> Any:
        colours, alpha = tf.cast(band[..., :-1], tf.float32), tf.cast(band[..., -1:], tf.float32) / 255.0
        return tf.cast(tf.round(colours * alpha + _WHITE * (1.0 - alpha)), tf.uint8)

    return _in_bands(image, blend)


def _levels(image: Any, value_range: ValueRange) -> Any:
    """Scales 16 bits to 8 as `pipelines.data.pillow_decode` does.

    Args:
        image: uint16 [height, width, 1 to 4]; the last of two or four channels is alpha.
        value_range: Stored values that become black and white.

    Returns:
        uint8 of the same shape.
    """
    channels = tf.shape(image)[-1]
    is_colour = tf.range(channels) < channels - 1 + channels % 2
    # The constants of a scale, for the colours and for alpha.
    alpha = [tf.constant(0.0, tf.float64), 256.0 / (_usual_top(image, ~is_colour) + 1.0), 0.0]
    if value_range.integers:
        colour = list(scale_of(INTEGER, value_range.integers))
    else:
        colour = [tf.constant(0.0, tf.float64), 256.0 / (_usual_top(image, is_colour) + 1.0), 0.0]
    pairs = zip(colour, alpha, strict=True)
    low, factor, offset = (tf.where(is_colour, *(tf.cast(one, tf.float64) for one in pair)) for pair in pairs)

    def scale(band: Any) -> Any:
        scaled = (tf.cast(band, tf.float64) - low) * factor + offset
        return tf.cast(tf.clip_by_value(tf.floor(scaled), 0.0, 255.0), tf.uint8)

    return _in_bands(image, scale, dropped=0)


def _usual_top(image: Any, wanted: Any) -> Any:
    """Returns the highest value, float64, of the smallest usual depth that holds the wanted channels' values."""
    largest = tf.reduce_max(tf.where(wanted, tf.cast(tf.reduce_max(image, [0, 1]), tf.int32), 0))
    tops = tf.constant([2**depth - 1 for depth in DEPTHS])
    return tf.cast(tf.reduce_min(tf.where(tops >= largest, tops, tops[-1])), tf.float64)


def _in_bands(image: Any, function: Callable[[Any], Any], dropped: int = 1) -> Any:
    """Applies a function to some rows of an image at a time, whose results of more bytes then need little memory.

    Args:
        image: Any [height, width, channels].
        function: Function from rows to uint8 rows.
        dropped: By how many channels the function's result has fewer.
    """
    height, width, channels = tf.unstack(tf.shape(image))
    step = tf.maximum(1, _BAND // tf.maximum(1, width))
    count = -(-height // step)
    parts = tf.TensorArray(tf.uint8, count, infer_shape=False, element_shape=(None, None, None))

    def write(number: Any, parts: Any) -> tuple[Any, Any]:
        band = function(image[number * step : (number + 1) * step])
        return number + 1, parts.write(number, band)

    _, parts = tf.while_loop(lambda number, _: number < count, write, [0, parts], parallel_iterations=1)
    return tf.reshape(parts.concat(), tf.stack([height, width, channels - dropped]))
