"""Reads and undoes the EXIF orientation in a TensorFlow graph, and finds parts of an upright picture in the file."""

from typing import Any

import tensorflow as tf

# An EXIF segment has at most 64 KiB and is among the first segments of a JPEG file.
_EXIF_SEARCH_BYTES = 128 * 1024
_SHORT = 3  # the type of a value of 16 bits
# The values are in the order of the orientations 1 … 8. `_TRANSPOSED` says whether the file exchanges the upright
# picture's rows and columns; `_REVERSED` says whether it reverses the rows, and whether it reverses the columns.
_TRANSPOSED = (False, False, False, False, True, True, True, True)
_REVERSED = tuple((value in (3, 4, 7, 8), value in (2, 3, 6, 7)) for value in range(1, 9))


def upright(image: Any, orientation: Any) -> Any:
    """Undoes an EXIF orientation.

    Args:
        image: [height, width, channels].
        orientation: Scalar int32, 1 … 8 (CIPA DC-008, tag 0x0112); any other value counts as 1.
    """
    pictures = (
        lambda: image,
        lambda: tf.reverse(image, [1]),
        lambda: tf.reverse(image, [0, 1]),
        lambda: tf.reverse(image, [0]),
        lambda: tf.transpose(image, [1, 0, 2]),
        lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [1]),
        lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [0, 1]),
        lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [0]),
    )
    result = tf.switch_case(orientation - 1, [*pictures, pictures[0]])  # any other value takes the last branch
    return tf.ensure_shape(result, (None, None, image.shape[-1]))


def upright_shape(shape: Any, orientation: Any) -> Any:
    """Returns height and width, int32 [2], of the upright picture whose stored shape is given."""
    return tf.where(_is_transposed(orientation), shape[::-1], shape)


def stored_window(begin: Any, extent: Any, shape: Any, orientation: Any) -> tuple[Any, Any]:
    """Finds the place of a window of the upright picture in the stored picture.

    Args:
        begin: int32 [2], top and left of the window.
        extent: int32 [2], height and width of the window.
        shape: int32 [2], height and width of the upright picture.
        orientation: Scalar int32, 1 … 8.

    Returns:
        begin and extent of the window in the stored picture, int32 [2] each.
    """
    begin = tf.where(is_reversed(orientation), shape - begin - extent, begin)
    transposed = _is_transposed(orientation)
    return tf.where(transposed, begin[::-1], begin), tf.where(transposed, extent[::-1], extent)


def is_reversed(orientation: Any) -> Any:
    """Returns bool [2]: whether the file reverses the upright picture's rows, and whether it reverses its columns."""
    return tf.gather(tf.constant(_REVERSED), orientation - 1)


def _is_transposed(orientation: Any) -> Any:
    return tf.gather(tf.constant(_TRANSPOSED), orientation - 1)


def exif_orientation(content: Any) -> Any:
    """Reads the EXIF orientation of a JPEG file inside the graph, so that a served model turns photos as Pillow does.

    Args:
        content: Scalar string tensor, the file's bytes.

    Returns:
        Scalar int32, 1 … 8; 1 where the file has none.
    """
    header = tf.strings.substr(content, 0, _EXIF_SEARCH_BYTES)
    data = tf.cast(tf.io.decode_raw(header, tf.uint8), tf.int32)
    start = _find(data, b"Exif\x00\x00")
    tiff = data[start + 6 :]
    found = tf.io.is_jpeg(content) & (start >= 0) & (tf.size(tiff) > 8)
    value = tf.cond(found, lambda: _tiff_orientation(tiff), lambda: tf.constant(1))
    return tf.where((value >= 1) & (value <= 8), value, 1)


def _find(data: Any, pattern: bytes) -> Any:
    """Returns the index of the first occurrence of the bytes, or -1 if there is none."""
    length = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
    hits = tf.fill([length], True)
    for offset, byte in enumerate(pattern):
        hits &= data[offset : offset + length] == byte
    places = tf.where(hits)
    return tf.cond(tf.size(places) > 0, lambda: tf.cast(places[0, 0], tf.int32), lambda: tf.constant(-1))


def _tiff_orientation(tiff: Any) -> Any:
    """Returns the value of tag 0x0112 in the first directory of a TIFF header (TIFF 6.0, section 2)."""
    weights = tf.where(tiff[0] == 0x49, [1, 256, 0, 0], [256, 1, 0, 0])  # "II" little, "MM" big endian
    long_weights = tf.where(tiff[0] == 0x49, [1, 256, 65536, 0], [0, 65536, 256, 1])
    directory = tf.tensordot(tiff[4:8], long_weights, 1)
    short = weights[:2]
    inside = (directory >= 8) & (directory <= tf.size(tiff) - 2)

    def search() -> Any:
        entries = tf.tensordot(tiff[directory : directory + 2], short, 1)
        available = (tf.size(tiff) - directory - 2) // 12
        count = tf.minimum(entries, available)
        table = tf.reshape(tiff[directory + 2 : directory + 2 + 12 * count], [-1, 12])
        tags, types = tf.tensordot(table[:, 0:2], short, 1), tf.tensordot(table[:, 2:4], short, 1)
        values = tf.tensordot(table[:, 8:10], short, 1)
        orientations = tf.boolean_mask(values, (tags == 0x0112) & (types == _SHORT))
        return tf.cond(tf.size(orientations) > 0, lambda: orientations[0], lambda: tf.constant(1))

    return tf.cond(inside, search, lambda: tf.constant(1))
