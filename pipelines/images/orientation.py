"""Reads and undoes the EXIF orientation in a TensorFlow graph, and finds parts of an upright picture in the file."""

from typing import Any

import tensorflow as tf

from pipelines.data.damage import PNG_SIGNATURE
from pipelines.images.first_bytes import has, number, padded

# An EXIF segment has at most 64 KiB and is among the first segments of a JPEG file.
_EXIF_SEARCH_BYTES = 128 * 1024
_TIFF_BYTES = 64 * 1024  # enough for the first directory
_PREFIX = b"Exif\x00\x00"
_PREFIX_IN_DIGITS = _PREFIX.hex().encode()
_WEBP_HEADER = 32
_EXIF_FLAG, _XMP_FLAG = 0x08, 0x04
_NONE = 0  # no orientation is said
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
    known = tf.where((orientation >= 1) & (orientation <= 8), orientation, 1)
    turned = tf.cond(_is_transposed(known), lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    reverse = tf.concat([is_reversed(known), [False]], 0)
    result = tf.cond(tf.reduce_any(reverse), lambda: tf.raw_ops.Reverse(tensor=turned, dims=reverse), lambda: turned)
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
    """Reads the orientation of a JPEG, PNG or WebP file inside the graph, so that a served model turns as Pillow does.

    It is in the EXIF data, or else in the XMP data, where Adobe's programs put it too.

    Args:
        content: Scalar string tensor, the file's bytes.

    Returns:
        Scalar int32, 1 … 8; 1 where the file has none.
    """
    header = padded(content, _WEBP_HEADER)
    none = lambda: tf.constant(0)  # noqa: E731
    said = tf.case(
        [
            (tf.io.is_jpeg(content), lambda: _of_jpeg(content)),
            (has(header, 0, PNG_SIGNATURE), lambda: _of_png(content)),
            (has(header, 8, b"WEBPVP8X"), lambda: _of_webp(content, number(header, 20, 1))),
        ],
        default=none,
    )
    return tf.where((said >= 1) & (said <= 8), said, 1)


def _of_jpeg(content: Any) -> Any:
    """Looks in the beginning of the file, where programs write it."""
    start = tf.strings.substr(content, 0, _EXIF_SEARCH_BYTES)
    found = _behind(start, _PREFIX)
    in_exif = _tiff_orientation(tf.io.decode_raw(found, tf.uint8))
    return tf.cond(in_exif == _NONE, lambda: _xmp_orientation(start), lambda: in_exif)


def _of_png(content: Any) -> Any:
    """Looks for the chunk eXIf, and for the text in which older programs spell EXIF data with hexadecimal digits."""
    contains = lambda letters: tf.strings.regex_full_match(content, rf"\C*{letters}\C*")  # noqa: E731
    sources = [
        (contains("eXIf"), lambda: _tiff_orientation(tf.io.decode_raw(_behind(content, b"eXIf"), tf.uint8))),
        (
            contains("Raw profile type exif"),
            lambda: _tiff_orientation(_from_digits(_behind(content, _PREFIX_IN_DIGITS))),
        ),
    ]
    in_exif = tf.case(sources, default=lambda: tf.constant(_NONE))
    is_in_xmp = (in_exif == _NONE) & contains("tiff:Orientation")
    return tf.cond(is_in_xmp, lambda: _xmp_orientation(content), lambda: in_exif)


def _of_webp(content: Any, flags: Any) -> Any:
    """Looks for the chunk EXIF, whose data may begin as in JPEG; flags of the header say which chunks there are."""

    def search() -> Any:
        data = tf.strings.substr(tf.strings.join([_behind(content, b"EXIF"), bytes(4)]), 4, -1)  # behind its length
        short = tf.strings.substr(data, 0, len(_PREFIX)) == _PREFIX
        tiff = tf.strings.substr(data, tf.where(short, len(_PREFIX), 0), -1)
        return _tiff_orientation(tf.io.decode_raw(tiff, tf.uint8))

    has_exif, has_xmp = flags // _EXIF_FLAG % 2 == 1, flags // _XMP_FLAG % 2 == 1
    in_exif = tf.cond(has_exif, search, lambda: tf.constant(_NONE))
    return tf.cond((in_exif == _NONE) & has_xmp, lambda: _xmp_orientation(content), lambda: in_exif)


def _xmp_orientation(content: Any) -> Any:
    """Returns the number behind "tiff:Orientation" in XMP data, an attribute or an element, or `_NONE`."""
    written = tf.strings.regex_replace(content, r"^\C*?tiff:Orientation(?:=.|>)([0-9])\C*$", r"\1")
    return tf.cond(
        tf.strings.length(written) == 1, lambda: tf.strings.to_number(written, tf.int32), lambda: tf.constant(_NONE)
    )


def _behind(content: Any, pattern: bytes) -> Any:
    """Returns up to `_TIFF_BYTES` bytes behind the first occurrence of a pattern, none where there is none."""
    place = _find(tf.io.decode_raw(content, tf.uint8), pattern)
    begin = tf.where(place < 0, tf.strings.length(content), place + len(pattern))
    return tf.strings.substr(content, begin, _TIFF_BYTES)


def _from_digits(text: Any) -> Any:
    """Returns the bytes that hexadecimal digits and line breaks spell, uint8, up to the first other letter."""
    digits = tf.strings.regex_replace(tf.strings.regex_replace(text, r"\s", ""), r"[^0-9a-fA-F]\C*", "")
    letters = tf.cast(tf.io.decode_raw(tf.strings.lower(digits), tf.uint8), tf.int32)
    values = tf.where(letters >= ord("a"), letters - ord("a") + 10, letters - ord("0"))
    pairs = tf.reshape(values[: tf.size(values) // 2 * 2], [-1, 2])
    return tf.cast(pairs[:, 0] * 16 + pairs[:, 1], tf.uint8)


def _find(data: Any, pattern: bytes) -> Any:
    """Returns the index of the first occurrence of the bytes, or -1 if there is none."""
    length = tf.maximum(tf.size(data) - len(pattern) + 1, 0)
    hits = tf.fill([length], True)
    for offset, byte in enumerate(pattern):
        hits &= data[offset : offset + length] == byte
    places = tf.where(hits)
    return tf.cond(tf.size(places) > 0, lambda: tf.cast(places[0, 0], tf.int32), lambda: tf.constant(-1))


def _tiff_orientation(data: Any) -> Any:
    """Returns the value of tag 0x0112 in the first directory of a TIFF header, or `_NONE` (TIFF 6.0, section 2).

    Args:
        data: uint8, the header and what follows it.
    """
    tiff = tf.concat([tf.cast(data, tf.int32), tf.zeros([8], tf.int32)], 0)  # so that a short one can be read
    weights = tf.where(tiff[0] == 0x49, [1, 256, 0, 0], [256, 1, 0, 0])  # "II" little, "MM" big endian
    long_weights = tf.where(tiff[0] == 0x49, [1, 256, 65536, 0], [0, 65536, 256, 1])
    directory = tf.tensordot(tiff[4:8], long_weights, 1)
    short = weights[:2]
    inside = (directory >= 8) & (directory <= tf.size(data) - 2)

    def search() -> Any:
        entries = tf.tensordot(tiff[directory : directory + 2], short, 1)
        available = (tf.size(data) - directory - 2) // 12
        count = tf.minimum(entries, available)
        table = tf.reshape(tiff[directory + 2 : directory + 2 + 12 * count], [-1, 12])
        tags, types = tf.tensordot(table[:, 0:2], short, 1), tf.tensordot(table[:, 2:4], short, 1)
        values = tf.tensordot(table[:, 8:10], short, 1)
        orientations = tf.boolean_mask(values, (tags == 0x0112) & (types == _SHORT))
        return tf.cond(tf.size(orientations) > 0, lambda: orientations[0], lambda: tf.constant(_NONE))

    return tf.cond(inside, search, lambda: tf.constant(_NONE))
