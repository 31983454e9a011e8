"""Tells the failures of a machine from the faults of a file.

A disk that fails, a share that is gone, and memory or handles that are used up say nothing about a photo. A command
that meets them stops, and neither leaves the photo out nor moves it aside.
"""

import errno
import os

from resnet_tf.errors import UserError

_ERRORS = [
    *(errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT),
    *(errno.ENOTCONN, errno.ECONNRESET, errno.ECONNABORTED, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN),
    *(errno.ENETUNREACH, errno.EAGAIN, errno.EBUSY, errno.ENOBUFS, errno.EDEADLK, errno.ENOLCK, errno.EPROTO),
    *(getattr(errno, name) for name in ("EREMOTEIO", "ECOMM", "ENOLINK", "ESHUTDOWN") if hasattr(errno, name)),
]
MACHINE_ERRORS = frozenset(_ERRORS)
_WORDS = tuple(os.strerror(number) for number in MACHINE_ERRORS)


class MachineFailure(UserError):
    """The machine, and not an image, is at fault; the command stops and can be given again."""


def is_machine_failure(error: BaseException) -> bool:
    """Returns whether an error is the machine's: no memory, no handles, or a disk or network that fails."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in MACHINE_ERRORS)


def words_of_machine_failure(text: str) -> str:
    """Returns the machine's failure that the text of a library's error tells of, "" where it tells of none."""
    if "MemoryError" in text or "OOM when allocating" in text:
        return "out of memory"
    return next((words for words in _WORDS if words in text), "")


def machine_failure(path: object, reason: str) -> MachineFailure:
    """Returns the error that says which file was being read, and what the machine said."""
    return MachineFailure(
        f"cannot read {str(path)!r}: {reason}; this is a failure of the machine or its disk, not of the image, "
        "so nothing was left out or moved; mend it and give the command again"
    )


def reason_of(error: BaseException) -> str:
    """Returns what the machine said, in a few words."""
    if isinstance(error, MemoryError):
        return "out of memory"
    return getattr(error, "strerror", None) or str(error)
