"""Walks over the blocks of a GIF in a TensorFlow graph (GIF89a, sections 18 to 23)."""

from typing import Any

import tensorflow as tf

# Places in the file, and the first bytes of its blocks.
SCREEN, TABLE_FLAGS, SCREEN_END = 6, 10, 13
FRAME, EXTENSION = 0x2C, 0x21


class GifBlocks:
    """The bytes of a GIF, of which those beyond its end are like the last one.

    Args:
        content: Scalar string tensor, the file's bytes.
        most_blocks: Number of sub-blocks that are passed over at a time; None for any number.
    """

    def __init__(self, content: Any, most_blocks: int | None = None) -> None:
        self._data = tf.io.decode_raw(content, tf.uint8)
        self.size, self._most_blocks = tf.size(self._data), most_blocks

    def byte(self, at: Any) -> Any:
        """Returns the byte at a place, a scalar int32."""
        return tf.cast(self._data[tf.minimum(at, self.size - 1)], tf.int32)

    def pair(self, at: Any) -> Any:
        """Returns a number of two bytes, the lower one first."""
        return self.byte(at) + 256 * self.byte(at + 1)

    def behind_sub_blocks(self, at: Any) -> Any:
        """Returns the place behind a row of sub-blocks and the empty one at its end."""
        inside = lambda at: (at < self.size) & (self.byte(at) > 0)  # noqa: E731
        step = lambda at: [at + 1 + self.byte(at)]  # noqa: E731
        return tf.while_loop(inside, step, [at], maximum_iterations=self._most_blocks)[0] + 1


def bytes_of_table(flags: Any) -> Any:
    """Returns the size of a table of colours, three bytes each, by the flags in front of it."""
    return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)
