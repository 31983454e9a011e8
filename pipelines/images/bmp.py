"""Decodes BMP files in a TensorFlow graph: palettes, masks and alpha, of which TensorFlow's decoder knows nothing.

The layouts are those that Pillow reads, except the compressed ones (RLE).
"""

from typing import Any

import tensorflow as tf

from pipelines.images.first_bytes import number, padded
from pipelines.images.pixel_limit import OLD_BMP, checked
from pipelines.images.png import over_white

_HEADER = 138  # the file's own, and the longest of the picture's
_WITH_ALPHA = 56  # bytes of the first header with four masks
_PLAIN, _MASKED = 0, 3
_NEGATIVE = 2**31
# Masks of red, green, blue and alpha in a pixel of four bytes, and the places of these colours; alpha may be nowhere.
_NO_ALPHA = -1
_PLACES = {
    (0xFF0000, 0xFF00, 0xFF, 0): (2, 1, 0, _NO_ALPHA),
    (0xFF000000, 0xFF0000, 0xFF00, 0): (3, 2, 1, _NO_ALPHA),
    (0xFF000000, 0xFF00, 0xFF, 0): (3, 1, 0, _NO_ALPHA),
    (0xFF000000, 0xFF0000, 0xFF00, 0xFF): (3, 2, 1, 0),
    (0xFF, 0xFF00, 0xFF0000, 0xFF000000): (0, 1, 2, 3),
    (0xFF0000, 0xFF00, 0xFF, 0xFF000000): (2, 1, 0, 3),
    (0xFF000000, 0xFF00, 0xFF, 0xFF0000): (3, 1, 0, 2),
    (0, 0, 0, 0): (2, 1, 0, 3),
}
_USUAL = next(iter(_PLACES))
_FIVE_SIX_FIVE = (0xF800, 0x7E0, 0x1F)


def is_bmp(content: Any) -> Any:
    """Returns whether an encoded image, a scalar string tensor, is a BMP file."""
    return tf.strings.substr(content, 0, 2) == b"BM"


def decode_bmp(content: Any) -> Any:
    """Decodes a BMP over white.

    Args:
        content: Scalar string tensor, the bytes of a file whose number of pixels has been checked.

    Returns:
        uint8 [height, width, 3].

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and the file is damaged, compressed, or of an unknown
            layout.
    """
    header = padded(content, _HEADER)
    field = lambda at, count: tf.cast(number(header, at, count), tf.int32)  # noqa: E731
    core, stored = field(14, 4) == OLD_BMP, number(header, 22, 4)
    flipped = ~core & (stored >= _NEGATIVE)
    height = tf.where(core, field(20, 2), tf.cast(tf.where(flipped, 2 * _NEGATIVE - stored, stored), tf.int32))
    width, bits = tf.where(core, field(18, 2), field(18, 4)), tf.where(core, field(24, 2), field(28, 2))
    kind = tf.where(core, _PLAIN, field(30, 4))
    bits = _asserted((kind == _PLAIN) | (kind == _MASKED), "a compressed BMP", bits)
    line = (width * bits + 31) // 32 * 4
    data = tf.io.decode_raw(tf.strings.substr(content, field(10, 4), line * height), tf.uint8)
    lines = tf.reshape(data, [height, line])
    masks = tf.stack([number(header, 54 + 4 * place, 4) for place in range(4)])
    masks *= tf.where(field(14, 4) >= _WITH_ALPHA, tf.constant([1, 1, 1, 1], tf.int64), [1, 1, 1, 0])

    def pixels(count: int) -> Any:
        return tf.reshape(lines[:, : width * count], [height, width, count])

    kinds = [
        (bits == 24, lambda: pixels(3)[..., ::-1]),
        (bits == 32, lambda: _of_four_bytes(pixels(4), tf.where(kind == _MASKED, masks, _USUAL))),
        (bits == 16, lambda: _of_two_bytes(pixels(2), tf.reduce_all(masks[:3] == _FIVE_SIX_FIVE) & (kind == _MASKED))),
    ]
    indexed = lambda: tf.gather(_palette(content, core, field(14, 4), bits), _unpacked(lines, bits)[:, :width])  # noqa: E731
    picture = tf.ensure_shape(tf.case(kinds, default=indexed), (None, None, 3))
    return tf.cond(flipped, lambda: picture, lambda: picture[::-1])


def _palette(content: Any, core: Any, length: Any, bits: Any) -> Any:
    """Returns the colours of a BMP, uint8 [256, 3]; those that the file lacks are black."""
    begin, each = 14 + length, tf.where(core, 3, 4)
    count = tf.bitwise.left_shift(1, bits)
    table = tf.strings.join([tf.strings.substr(content, begin, count * each), bytes(4 * 256)])
    data = tf.io.decode_raw(tf.strings.substr(table, 0, each * 256), tf.uint8)
    return tf.reshape(data, [256, each])[:, 2::-1]


def _unpacked(lines: Any, bits: Any) -> Any:
    """Returns the numbers of 1, 2, 4 or 8 bits in bytes, int32 [height, numbers]."""
    bits = _asserted(bits <= 8, "a BMP of an unknown number of bits", bits)
    shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
    parts = tf.bitwise.right_shift(lines[..., tf.newaxis], shifts)
    values = tf.cast(parts, tf.int32) % tf.bitwise.left_shift(1, bits)
    return tf.reshape(values, [tf.shape(lines)[0], -1])


def _of_two_bytes(pixels: Any, green_has_six: Any) -> Any:
    """Returns pixels of which each colour has five bits, or green six, in 8 bits."""
    value = tf.cast(pixels[..., 0], tf.int32) + 256 * tf.cast(pixels[..., 1], tf.int32)
    greens = tf.where(green_has_six, 64, 32)
    blue, green, red = value % 32, value // 32 % greens, value // (32 * greens) % 32
    scaled = [red * 255 // 31, green * 255 // (greens - 1), blue * 255 // 31]
    return tf.cast(tf.stack(scaled, -1), tf.uint8)


def _of_four_bytes(pixels: Any, masks: Any) -> Any:
    """Returns pixels in RGB, over white, whose colours are where four masks say."""
    same = tf.reduce_all(masks == tf.constant(list(_PLACES), tf.int64), axis=1)
    row = _asserted(tf.reduce_any(same), "a BMP of unknown masks", tf.argmax(same))
    places = tf.gather(tf.constant(list(_PLACES.values())), row)
    sort = lambda count: tf.gather(pixels, places[:count], axis=2)  # noqa: E731
    return tf.cond(places[3] == _NO_ALPHA, lambda: sort(3), lambda: over_white(sort(4)))


def _asserted(condition: Any, text: str, value: Any) -> Any:
    """Returns a value unchanged if a condition holds when the graph runs."""
    return checked(value, text, tf.cast(~condition, tf.int32), 0)
