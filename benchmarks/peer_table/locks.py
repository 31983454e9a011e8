"""Locks, so that several processes may fill one folder of results."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(path: Path, wait: bool) -> Iterator[bool]:
    """Holds a lock beside a file or folder, and yields whether it was got.

    Args:
        path: Path that the lock is about; its folder is made.
        wait: Whether to wait until another process lets go of it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True
