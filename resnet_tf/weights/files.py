"""Checks of a file before its content is read: that reading it ends, and that it fits into memory."""

import stat
from pathlib import Path

from resnet_tf.errors import UserError
from resnet_tf.weights.weight_file import MAX_BYTES

UNSUSPICIOUS_BYTES, MOST_RATIO = 256 * 2**20, 50


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


def check_size(size: int, path: Path, most: int = MAX_BYTES, stored: int | None = None) -> None:
    """Checks how much memory a file will take.

    Weights hardly compress, so that a small file that unpacks to very much is none of weights.

    Args:
        size: Number of bytes that are to be read.
        path: Path of the file.
        most: Most bytes that are allowed.
        stored: Number of bytes that the file has; None asks the file system.

    Raises:
        UserError: It is too much.
    """
    if size > most:
        raise UserError(f"the weights {str(path)!r} unpack to {size:,} bytes, more than {most:,}")
    if stored is None:
        stored = path.stat().st_size if path.is_file() else size
    if size > UNSUSPICIOUS_BYTES and size > MOST_RATIO * stored:
        raise UserError(f"the weights {str(path)!r} have {stored:,} bytes and unpack to {size:,}, as no weights do")
