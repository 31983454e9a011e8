"""Imports TensorFlow without the messages that it prints to standard error at the start."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras, and shows what they print to file descriptor 2 only if the import fails.

    They print it before their log level applies.
    """
    with _standard_error_kept():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextmanager
def _standard_error_kept() -> Iterator[None]:
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as kept:
        os.dup2(kept.fileno(), 2)
        try:
            yield
        except BaseException:
            kept.seek(0)
            os.write(original, kept.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
