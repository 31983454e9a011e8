"""Says in a TensorFlow graph, by name, why an encoded image was not decoded."""

from typing import Any

import tensorflow as tf

from pipelines.data.damage import PNG_SIGNATURE
from pipelines.images.first_bytes import has, number, padded
from pipelines.images.pixel_limit import MAX_PIXELS, OLD_BMP, claimed_pixels
from pipelines.images.scan_limit import has_many_scans

OK = "ok"
EMPTY, NOT_AN_IMAGE, UNSUPPORTED = "empty", "not an image", "unsupported format"
TOO_MANY_PIXELS, TOO_MANY_SCANS = "too many pixels", "too many scans"
TRUNCATED, DAMAGED = "truncated", "damaged"
STATUSES = {
    OK: "the image was decoded; the other answers are about it",
    EMPTY: "there are no bytes, or no pixels",
    NOT_AN_IMAGE: "the bytes begin like no image file",
    UNSUPPORTED: "an image that TensorFlow has no decoder for: TIFF, HEIC, AVIF, JPEG 2000, JPEG XL, PPM, PSD, an "
    "icon, or a BMP that is compressed; send JPEG, PNG, WebP, GIF or BMP",
    TOO_MANY_PIXELS: f"the file claims more than {MAX_PIXELS:,} pixels, and none was decoded",
    TOO_MANY_SCANS: "a JPEG that would take very long, see the limits in decoding.md",
    TRUNCATED: "the end of the file is missing",
    DAMAGED: "the bytes in the file are wrong",
}

# Offsets and bytes by which files are recognized.
_DECODED = ((0, b"\xff\xd8\xff"), (0, PNG_SIGNATURE), (0, b"GIF8"), (8, b"WEBP"), (0, b"BM"))
_OTHERS = (
    *((0, start) for start in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),  # TIFF, and raw files of cameras
    (4, b"ftyp"),  # HEIC and AVIF
    *((4, b"jP  "), (0, b"\xff\x4f\xff\x51")),  # JPEG 2000
    *((0, b"\xff\x0a"), (4, b"JXL ")),
    *((0, b"P%d\n" % kind) for kind in range(1, 8)),  # PPM and its kin
    (0, b"8BPS"),
    *((0, b"\x00\x00\x01\x00"), (0, b"\x00\x00\x02\x00")),  # icons and cursors
)
_HEADER = 64
_SCAN, _END_OF_JPEG = b"\xff\xda", b"\xff\xd9"
_UNCOMPRESSED = (0, 3)  # kinds of BMP: plain, and with masks of its colours


def reason(content: Any) -> Any:
    """Returns why an encoded image cannot have been decoded, one of `STATUSES`.

    Args:
        content: Scalar string tensor, the bytes.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and not even the file's header can be read.
    """
    header = padded(content, _HEADER)
    starts = lambda kinds: tf.reduce_any([has(header, at, letters) for at, letters in kinds])  # noqa: E731
    say = lambda word: lambda: tf.constant(word)  # noqa: E731

    is_jpeg = tf.io.is_jpeg(content)
    is_bomb = lambda: claimed_pixels(content) > MAX_PIXELS  # noqa: E731
    no = lambda: tf.constant(False)  # noqa: E731

    def of_a_whole_jpeg() -> Any:
        kinds = [(is_bomb(), say(TOO_MANY_PIXELS)), (has_many_scans(content), say(TOO_MANY_SCANS))]
        return tf.case(kinds, default=say(DAMAGED))

    kinds = [
        (tf.strings.length(content) == 0, say(EMPTY)),
        (starts(_OTHERS) | _is_compressed_bmp(header), say(UNSUPPORTED)),
        (~starts(_DECODED), say(NOT_AN_IMAGE)),
        (tf.cond(is_jpeg, no, is_bomb), say(TOO_MANY_PIXELS)),  # a JPEG may be cut off before it says its size
        (_is_cut_off(content, header), say(TRUNCATED)),
        (is_jpeg, of_a_whole_jpeg),
    ]
    return tf.case(kinds, default=say(DAMAGED))


def _is_compressed_bmp(header: Any) -> Any:
    kind, is_old = number(header, 30, 4), number(header, 14, 4) == OLD_BMP  # the old ones are never compressed
    return has(header, 0, b"BM") & ~is_old & tf.reduce_all(kind != tf.constant(_UNCOMPRESSED, tf.int64))


def _is_cut_off(content: Any, header: Any) -> Any:
    """Returns whether the end of a file of a known kind is missing, by the mark or the length that the kind has."""
    size = tf.cast(tf.strings.length(content), tf.int64)
    kinds = [
        (tf.io.is_jpeg(content), lambda: _last(content, _END_OF_JPEG) <= _last(content, _SCAN)),
        (has(header, 0, PNG_SIGNATURE), lambda: ~tf.strings.regex_full_match(content, r"\C*IEND\C*")),
        (has(header, 0, b"GIF8"), lambda: ~tf.strings.regex_full_match(content, r"\C*;\x00*")),
        (has(header, 8, b"WEBP"), lambda: number(header, 4, 4) + 8 > size),
        (has(header, 0, b"BM"), lambda: number(header, 2, 4) > size),
    ]
    return tf.case(kinds, default=lambda: tf.constant(False))


def _last(content: Any, pair: bytes) -> Any:
    """Returns the last place of two bytes, -1 where they stand nowhere."""
    data = tf.io.decode_raw(content, tf.uint8)
    places = tf.where((data[:-1] == pair[0]) & (data[1:] == pair[1]))
    return tf.reduce_max(tf.concat([[[-1]], tf.cast(places, tf.int32)], 0))
