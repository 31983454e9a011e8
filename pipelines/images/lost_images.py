"""Finds the image that made a stream fail."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import tensorflow as tf

from pipelines.images.decode import decode_file
from pipelines.images.stream import InputSpec, image_order
from resnet_tf.errors import UserError


class LostImage(UserError):
    """An image that was good when the run began is missing or can no longer be read.

    Leaving it out would change the order of all other images and thereby the run, so the run stops until the image is
    back.
    """


@contextmanager
def lost_images_named(rows: pd.DataFrame, root: Path) -> Iterator[None]:
    """Names the file that made a stream fail; TensorFlow's error says only that something in a batch has failed.

    Args:
        rows: Rows of a manifest that include the file.
        root: Folder that their paths are relative to.

    Raises:
        LostImage: One of the files caused the error; this replaces TensorFlow's error.
    """
    try:
        yield
    except tf.errors.OpError as error:
        for name, decoder, orientation in zip(rows["path"], rows["decoder"], rows["orientation"], strict=True):
            reason = _trouble(root / name, decoder, orientation)
            if reason:
                text = f"{str(root / name)!r} {reason}; put it back, and the same command continues"
                raise LostImage(text) from error
        raise


def rows_of_step(
    rows: pd.DataFrame, input_spec: InputSpec, *, batch_size: int, seed: int, epoch: int, step: int
) -> pd.DataFrame:
    """Returns the manifest's rows of the images in one batch of `training_stream`, whose arguments these are."""
    index_at = image_order(rows, input_spec, seed)
    positions = range(step * batch_size, (step + 1) * batch_size)
    return rows.iloc[[int(index_at(tf.constant(epoch, tf.int64), tf.constant(p, tf.int64))) for p in positions]]


def _trouble(path: Path, decoder: str, orientation: int) -> str:
    if not path.is_file():
        return "is gone"
    try:
        decode_file(tf.constant(str(path)), tf.constant(decoder), tf.constant(orientation))
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged bytes
        reason = re.sub(r"^{{function_node [^}]*}} ", "", (str(error).splitlines() or [type(error).__name__])[0])
        return f"cannot be read any more ({reason})"
    return ""
