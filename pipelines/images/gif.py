"""Decodes the first frame of a GIF in a TensorFlow graph, over white where it is transparent, as Pillow does.

TensorFlow's decoder reads all frames, shows what is transparent in black, and refuses a file without colours. So it
gets another file, of the first frame alone, in which the transparent colour is an ordinary white.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.images.gif_blocks import EXTENSION, FRAME, SCREEN, SCREEN_END, TABLE_FLAGS, GifBlocks, bytes_of_table
from pipelines.images.pixel_limit import checked, within_limit
from pipelines.images.regions import inside

_CONTROL = 0xF9  # the second byte of an extension that says what is transparent
_FRAME_HEADER, _ALL_COLOURS, _INTERLACED = 10, 0x87, 0x40
_MOST_BLOCKS = 500_000  # of at most 255 bytes each
_BYTES = [bytes([value]) for value in range(256)]
_GRAYS = b"".join(3 * one for one in _BYTES)


def is_gif(content: Any) -> Any:
    """Returns whether an encoded image, a scalar string tensor, is a GIF file."""
    return tf.strings.substr(content, 0, 4) == b"GIF8"


def decode_first_frame(content: Any) -> Any:
    """Decodes the first frame of a GIF.

    Args:
        content: Scalar string tensor, the file's bytes.

    Returns:
        uint8 [height, width, 3].

    Raises:
        tf.errors.InvalidArgumentError: When the graph runs and the file is damaged, has no frame, or claims too many
            pixels.
    """
    found = _first_frame(content)
    table = tf.where(found.has_transparency, _with_white(found.table, found.transparent), found.table)
    table = tf.strings.substr(tf.strings.join([table, bytes(len(_GRAYS))]), 0, len(_GRAYS))
    shape = tf.maximum(found.screen, found.begin + found.extent)  # as Pillow enlarges a small screen
    shape = within_limit(shape, tf.reduce_prod(tf.cast(shape, tf.int64)))  # before anything of that shape is made
    with tf.control_dependencies([shape]):
        pixels = tf.identity(found.pixels)
    height, width = (_little(side) for side in tf.unstack(found.extent))
    alone = [
        *(b"GIF89a", width, height, b"\x70\x00\x00"),  # a screen without a table
        *(b",\x00\x00\x00\x00", width, height, tf.gather(_BYTES, _ALL_COLOURS + found.interlaced), table),
        *(pixels, b";"),
    ]
    frame = tf.io.decode_gif(tf.strings.join(alone))[0]
    first_colour = tf.io.decode_raw(tf.strings.substr(table, 0, 3), tf.uint8)
    around = tf.where(found.has_transparency, tf.constant(255, tf.uint8), first_colour)
    padding = tf.stack([found.begin, shape - found.begin - found.extent], 1)
    image = tf.pad(frame, tf.pad(padding, [[0, 1], [0, 0]]))
    return tf.where(inside(shape, found.begin, found.begin + found.extent), image, around)


class _Frame(NamedTuple):
    """What a file says of its first frame.

    Args:
        screen: int32 [2], height and width of the screen.
        begin: int32 [2], top and left of the frame on it.
        extent: int32 [2], height and width of the frame.
        table: Scalar string, three bytes for each colour.
        has_transparency: Scalar bool.
        transparent: Scalar int32, the number of the transparent colour.
        interlaced: Scalar int32, the flag that says so, or 0.
        pixels: Scalar string, the compressed pixels.
    """

    screen: Any
    begin: Any
    extent: Any
    table: Any
    has_transparency: Any
    transparent: Any
    interlaced: Any
    pixels: Any


def _first_frame(content: Any) -> _Frame:
    """Walks over the file's blocks to its first frame."""
    gif = GifBlocks(content, _MOST_BLOCKS)
    sides = lambda at: tf.stack([gif.pair(at + 2), gif.pair(at)])  # noqa: E731

    def skip(at: Any, control: Any) -> list[Any]:
        return [gif.behind_sub_blocks(at + 2), tf.where(gif.byte(at + 1) == _CONTROL, at, control)]

    common = bytes_of_table(gif.byte(TABLE_FLAGS))
    is_extension = lambda at, _: (at < gif.size) & (gif.byte(at) == EXTENSION)  # noqa: E731
    start = [SCREEN_END + common, tf.constant(-1)]
    frame, control = tf.while_loop(is_extension, skip, start, maximum_iterations=_MOST_BLOCKS)
    flags = gif.byte(frame + 9)
    own = bytes_of_table(flags)
    pixels = frame + _FRAME_HEADER + own
    end = gif.behind_sub_blocks(pixels + 1)
    whole = (gif.byte(frame) == FRAME) & (end <= gif.size)
    frame = checked(frame, "a GIF without a whole frame", tf.cast(~whole, tf.int32), 0)
    table = tf.strings.substr(content, tf.where(own > 0, frame + _FRAME_HEADER, SCREEN_END), own + common)
    table = tf.strings.substr(table, 0, tf.where(own > 0, own, common))
    return _Frame(
        screen=sides(SCREEN),
        begin=sides(frame + 1),
        extent=sides(frame + 5),
        table=tf.where(own + common > 0, table, _GRAYS),
        has_transparency=(control >= 0) & (gif.byte(control + 3) % 2 == 1),
        transparent=gif.byte(control + 6),
        interlaced=flags // _INTERLACED % 2 * _INTERLACED,
        pixels=tf.strings.substr(content, pixels, end - pixels),
    )


def _with_white(table: Any, index: Any) -> Any:
    """Makes one colour of a table, three bytes each, white."""
    place = tf.minimum(3 * index, tf.strings.length(table))
    rest = tf.minimum(place + 3, tf.strings.length(table))
    parts = tf.strings.substr(table, 0, place), b"\xff\xff\xff", tf.strings.substr(table, rest, len(_GRAYS))
    return tf.strings.join(parts)


def _little(value: Any) -> Any:
    """Encodes a number as two bytes, the lower one first."""
    return tf.strings.join([tf.gather(_BYTES, value % 256), tf.gather(_BYTES, value // 256 % 256)])
