"""Finds the image that made a stream fail."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import tensorflow as tf

from pipelines.data.machine import is_machine_failure, machine_failure, reason_of, words_of_machine_failure
from pipelines.data.value_range import UNKNOWN, ValueRange
from pipelines.images.decode import decode_file
from pipelines.images.stream import InputSpec, image_order
from resnet_tf.errors import UserError

# What TensorFlow's errors name when a stream failed, and the operations of a stream that read and decode files.
_STREAM = "IteratorGetNext"
_READING = re.compile("ReadFile|Decode|ExtractJpegShape|PyFunc|script_ops|Assert")
_PATH = re.compile(r"(/[^;\n]+); ")

# A function that passes batches on and counts them, so that the one that fails is known.
Watched = Callable[[Iterable[Any]], Iterator[Any]]


class LostImage(UserError):
    """An image that was good when the run began is missing or can no longer be read.

    Leaving it out would change the order of all other images and thereby the run, so the run stops until the image is
    back.
    """


@contextmanager
def lost_images_named(
    rows: pd.DataFrame, root: Path, batch_size: int | None = None, value_range: ValueRange = UNKNOWN
) -> Iterator[Watched]:
    """Names the file that made a stream fail; TensorFlow's error says only that something in a batch has failed.

    Errors that are not about reading or decoding images pass, and no image is opened for them.

    Args:
        rows: Rows of a manifest that include the file.
        root: Folder that their paths are relative to.
        batch_size: Number of rows per batch, in the order of the rows. With it, and if the batches go through the
            function that this yields, only the files of the batch that failed are opened.
        value_range: Range by which images of more than 8 bits are decoded.

    Raises:
        LostImage: One of the files caused the error; this replaces TensorFlow's error.
        MachineFailure: The machine cannot read files; this also replaces TensorFlow's error.
    """
    passed: int | None = None

    def watched(batches: Iterable[Any]) -> Iterator[Any]:
        nonlocal passed
        passed = 0
        for batch in batches:
            passed += 1
            yield batch

    try:
        yield watched
    except tf.errors.OpError as error:
        text = str(error)
        if _STREAM not in text or not _READING.search(text):
            raise
        if words := words_of_machine_failure(text):
            named = _PATH.search(text)
            raise machine_failure(named.group(1) if named else f"an image in {root}", words) from error
        if batch_size is not None and passed is not None:
            rows = rows.iloc[passed * batch_size : (passed + 1) * batch_size]
        for name, decoder, orientation in zip(rows["path"], rows["decoder"], rows["orientation"], strict=True):
            reason = _trouble(root / name, decoder, orientation, value_range)
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


def _trouble(path: Path, decoder: str, orientation: int, value_range: ValueRange) -> str:
    try:
        if not path.is_file():
            return "is gone"
        path.open("rb").close()
        decode_file(tf.constant(str(path)), tf.constant(decoder), tf.constant(orientation), value_range)
    except PermissionError:
        return "cannot be read any more: there is no permission"
    except Exception as error:  # Pillow's decoders raise many kinds of errors for damaged bytes
        if is_machine_failure(error):
            raise machine_failure(path, reason_of(error)) from error
        if words := words_of_machine_failure(str(error)):
            raise machine_failure(path, words) from error
        reason = re.sub(r"^{{function_node [^}]*}} ", "", (str(error).splitlines() or [type(error).__name__])[0])
        return f"cannot be read any more ({reason})"
    return ""
