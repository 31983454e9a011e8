"""Decodes the first frame of a GIF in a TensorFlow graph, over white where it is transparent, as Pillow does.

TensorFlow's decoder reads all frames, shows what is transparent in black, and refuses a file without colours. So it
gets another file, of the first frame alone, in which the transparent colour is an ordinary white.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from pipelines.images.pixel_limit import checked, within_limit
from pipelines.images.regions import inside

# Places in the file and lengths of its parts (GIF89a, sections 18 to 23).
_SCREEN, _TABLE_FLAGS, _SCREEN_END = 6, 10, 13
_FRAME, _EXTENSION, _CONTROL = 0x2C, 0x21, 0xF9
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
    """Walks over the file's blocks to its first frame (GIF89a, sections 18 to 23)."""
    data = tf.io.decode_raw(content, tf.uint8)
    size = tf.size(data)
    byte = lambda at: tf.cast(data[tf.minimum(at, size - 1)], tf.int32)  # noqa: E731
    pair = lambda at: byte(at) + 256 * byte(at + 1)  # noqa: E731
    sides = lambda at: tf.stack([pair(at + 2), pair(at)])  # noqa: E731
    colours = lambda flags: tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)  # noqa: E731

    def behind_sub_blocks(at: Any) -> Any:
        within = lambda at: (at < size) & (byte(at) > 0)  # noqa: E731
        step = lambda at: [at + 1 + byte(at)]  # noqa: E731
        return tf.while_loop(within, step, [at], maximum_iterations=_MOST_BLOCKS)[0] + 1

    def skip(at: Any, control: Any) -> list[Any]:
        return [behind_sub_blocks(at + 2), tf.where(byte(at + 1) == _CONTROL, at, control)]

    common = colours(byte(_TABLE_FLAGS))
    is_extension = lambda at, _: (at < size) & (byte(at) == _EXTENSION)  # noqa: E731
    start = [_SCREEN_END + common, tf.constant(-1)]
    frame, control = tf.while_loop(is_extension, skip, start, maximum_iterations=_MOST_BLOCKS)
    flags = byte(frame + 9)
    own = colours(flags)
    pixels = frame + _FRAME_HEADER + own
    end = behind_sub_blocks(pixels + 1)
    whole = (byte(frame) == _FRAME) & (end <= size)
    frame = checked(frame, "a GIF without a whole frame", tf.cast(~whole, tf.int32), 0)
    table = tf.strings.substr(content, tf.where(own > 0, frame + _FRAME_HEADER, _SCREEN_END), own + common)
    table = tf.strings.substr(table, 0, tf.where(own > 0, own, common))
    return _Frame(
        screen=sides(_SCREEN),
        begin=sides(frame + 1),
        extent=sides(frame + 5),
        table=tf.where(own + common > 0, table, _GRAYS),
        has_transparency=(control >= 0) & (byte(control + 3) % 2 == 1),
        transparent=byte(control + 6),
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
