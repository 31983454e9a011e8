"""Checks of a file before its content is read: that reading it ends, and that it fits into memory."""

import stat
from pathlib import Path

from resnet_tf.errors import UserError
from resnet_tf.weights.weight_file import MAX_BYTES


def check_regular(path: Path) -> None:
    """Checks that a path leads to a file of bytes. Opening a pipe would wait for its writer, perhaps for ever.

    Raises:
        UserError: There is no such file, or it is a pipe, a device, a socket or a folder.
    """
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read the weights {str(path)!r}: {getattr(error, 'strerror', error)}") from error
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "no file")
        raise UserError(f"the weights {str(path)!r} are {kind}, not a file; save them to a file first")


_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_size(size: int, path: Path, most: int = MAX_BYTES) -> None:
    """Checks how much memory a file will take.

    Raises:
        UserError: It is more than `most` bytes.
    """
    if size > most:
        raise UserError(f"the weights {str(path)!r} unpack to {size:,} bytes, more than {most:,}")
