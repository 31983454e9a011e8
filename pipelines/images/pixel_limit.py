"""Refuses decompression bombs by their headers in a TensorFlow graph, before memory is allocated for their pixels.

For the files that Pillow decodes, Pillow itself applies the same limit when it opens a file.
"""

from typing import Any

import tensorflow as tf

from pipelines.images.first_bytes import has, number, padded
from pipelines.images.gif_blocks import EXTENSION, FRAME, SCREEN, SCREEN_END, TABLE_FLAGS, GifBlocks, bytes_of_table

# Pillow's limit: it warns above a quarter of a gigabyte of RGB, and refuses files with more than twice as many pixels.
MAX_PIXELS = 178_956_970

# Number of bytes at the beginning that contain the size of the picture, for all formats except JPEG.
_HEADER = 32
_14_BITS = 2**14
OLD_BMP = 12  # bytes of the oldest header of a BMP's picture, whose sides have 16 bits


def refuse_bomb(content: Any) -> Any:
    """Returns an encoded image unchanged, so that decoding the result depends on a check of its number of pixels.

    Args:
        content: Scalar string tensor, an encoded image. Anything but JPEG, PNG, GIF, BMP and WebP passes unchecked.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and the image claims more than `MAX_PIXELS` pixels.
    """
    return within_limit(content, claimed_pixels(content))


def within_limit(value: Any, pixels: Any) -> Any:
    """Returns a value unchanged if a picture has no more than `MAX_PIXELS` pixels.

    Args:
        value: Tensor that decoding depends on.
        pixels: Scalar int64, the picture's number of pixels.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and there are more pixels.
    """
    return checked(
        value, f"more than {MAX_PIXELS} pixels in one image file are not decoded; it claims", pixels, MAX_PIXELS
    )


def checked(value: Any, text: str, number: Any, limit: Any) -> Any:
    """Returns a value unchanged if a number is not above a limit.

    Args:
        value: Tensor that depends on the check.
        text: Message of the error, which the number follows.
        number: Scalar tensor.
        limit: Highest number that passes.

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and the number is higher.
    """
    check = tf.raw_ops.Assert(condition=number <= limit, data=[text, number])
    with tf.control_dependencies([check] if check is not None else []):  # it is None where TensorFlow is eager
        return tf.identity(value)


def claimed_pixels(content: Any) -> Any:
    """Returns the number of pixels that an image file claims to have.

    For a GIF, this is the sum over all frames, because TensorFlow decodes all of them.

    Args:
        content: Scalar string tensor, an encoded image.

    Returns:
        Scalar int64; 0 where the file does not state it or is too short.
    """
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.reduce_prod(tf.io.extract_jpeg_shape(content, tf.int64)[:2]),
        lambda: _other_pixels(content),
    )


def _other_pixels(content: Any) -> Any:
    header = padded(content, _HEADER)

    def lossless() -> Any:
        sides = number(header, 21, 4)
        return (sides % _14_BITS + 1) * (sides // _14_BITS % _14_BITS + 1)

    def webp() -> Any:
        kinds = [
            (has(header, 12, b"VP8 "), lambda: (number(header, 26, 2) % _14_BITS) * (number(header, 28, 2) % _14_BITS)),
            (has(header, 12, b"VP8L"), lossless),
            (has(header, 12, b"VP8X"), lambda: (number(header, 24, 3) + 1) * (number(header, 27, 3) + 1)),
        ]
        return tf.case(kinds, default=nothing)

    def bmp() -> Any:
        of_16_bits = number(header, 18, 2) * number(header, 20, 2)
        of_32_bits = tf.abs(_signed(number(header, 18, 4)) * _signed(number(header, 22, 4)))
        return tf.where(number(header, 14, 4) == OLD_BMP, of_16_bits, of_32_bits)

    def not_png() -> Any:
        kinds = [
            (has(header, 0, b"GIF8"), lambda: _gif_pixels(content)),
            (has(header, 0, b"BM"), bmp),
            (has(header, 0, b"RIFF"), webp),
        ]
        return tf.case(kinds, default=nothing)

    nothing = lambda: tf.constant(0, tf.int64)  # noqa: E731
    # The formats are tested one after the other, so that the many JPEG and PNG files of a stream need few operations.
    return tf.cond(
        has(header, 0, b"\x89PNG"), lambda: number(header, 16, 4, True) * number(header, 20, 4, True), not_png
    )


def _signed(value: Any) -> Any:
    """Reads a 32-bit number as signed: the height of a BMP is negative where its first row is at the top."""
    return tf.where(value >= 2**31, value - 2**32, value)


def _gif_pixels(content: Any) -> Any:
    """Adds up the pixels of all frames of a GIF, block by block. Each frame has a size of its own."""
    gif = GifBlocks(content)

    def area(at: Any) -> Any:
        return tf.cast(gif.pair(at), tf.int64) * tf.cast(gif.pair(at + 2), tf.int64)

    def is_block(at: Any, pixels: Any) -> Any:
        return (at < gif.size) & ((gif.byte(at) == FRAME) | (gif.byte(at) == EXTENSION)) & (pixels <= MAX_PIXELS)

    def block(at: Any, pixels: Any) -> tuple[Any, Any]:
        is_frame = gif.byte(at) == FRAME
        header = tf.where(is_frame, 11 + bytes_of_table(gif.byte(at + 9)), 2)
        return gif.behind_sub_blocks(at + header), pixels + tf.where(is_frame, area(at + 5), 0)

    first = SCREEN_END + bytes_of_table(gif.byte(TABLE_FLAGS))
    _, pixels = tf.while_loop(is_block, block, [first, tf.constant(0, tf.int64)])
    return tf.maximum(pixels, area(tf.constant(SCREEN)))
