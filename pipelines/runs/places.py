"""The place that an output goes to: a file of its own, or what is written through, such as a device or a pipe."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from pipelines.config.setting import STANDARD_OUTPUT

_DESCRIPTOR = re.compile(r"/(?:proc/(self|thread-self|\d+)(?:/task/\d+)?|dev)/fd/(\d+)")
_MOST_LINKS = 40  # as in Linux


@dataclass(frozen=True)
class Place:
    """Where an output goes.

    Args:
        path: Path of the file to replace, behind all links; or path of what is written through.
        descriptor: Number of the open file descriptor that is written to, or None.
        through: Whether `path` exists and is neither a file nor a folder.
    """

    path: Path
    descriptor: int | None = None
    through: bool = False


def place_of(path: Path) -> Place:
    """Returns the place that a path names.

    Raises:
        OSError: It cannot be looked at, such as a link that leads to itself.
    """
    if path == Path(STANDARD_OUTPUT):
        return Place(path, descriptor=1)
    for _ in range(_MOST_LINKS):
        if found := _DESCRIPTOR.fullmatch(os.path.abspath(path)):
            process, number = found.groups(default="self")
            ours = process in ("self", "thread-self", str(os.getpid()))
            return Place(path, descriptor=int(number) if ours else None, through=not ours)
        if not path.is_symlink():
            break
        path = Path(os.path.realpath(path.parent)) / os.readlink(path)
    try:
        kind = path.stat().st_mode
    except FileNotFoundError:
        return Place(path)
    return Place(path, through=not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)))


def is_standard_output(name: str) -> bool:
    """Returns whether a path given as text names standard output: "-", "/dev/stdout" and the like."""
    try:
        return place_of(Path(name)).descriptor == 1
    except OSError:
        return False
