"""Imports TensorFlow without the messages that it prints to standard error at the start."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pipelines.console.signals import ending_at_once
from pipelines.console.terminal import note_start


def set_up_tensorflow(*, jax_too: bool = False) -> None:
    """Sets what TensorFlow reads from the environment when it is imported. The user's own choices take precedence.

    Args:
        jax_too: Whether KERAS_BACKEND=jax is left as it is, for a command that needs no TensorFlow.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # oneDNN's convolutions are off by default on processors without AVX512-VNNI. On two such cores (AMD EPYC 7003)
    # they make a step of ResNet-18 with 32 images 1.3 (224 pixels) to 3.6 (64 pixels) times faster than Eigen's.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if not (jax_too and os.environ.get("KERAS_BACKEND") == "jax"):
        os.environ["KERAS_BACKEND"] = "tensorflow"  # the streams and the export are TensorFlow's


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras, and shows what they print to file descriptor 2 only if the import fails.

    They print it before their log level applies.
    """
    with _standard_error_kept():
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextmanager
def imports(*, tensorflow: bool = True) -> Iterator[None]:
    """Within it, a command imports its modules: Ctrl-C and SIGTERM end the process at once.

    Args:
        tensorflow: Whether TensorFlow is imported first.
    """
    with ending_at_once():
        if tensorflow:
            if "tensorflow" not in sys.modules:
                note_start("starting TensorFlow …")
            import_tensorflow()
        yield


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
            with suppress(OSError):  # nobody reads it
                os.write(original, kept.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
