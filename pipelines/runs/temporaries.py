"""Temporary files and folders beside the place of an output, and the removal of those that a killed process left.

A living process holds a lock on each of its own, which the kernel releases when the process dies, however it dies.
"""

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# The prefix of the names of files and folders that are being written.
WRITING = ".writing-"
_OURS = re.compile(re.escape(WRITING) + r"[a-z0-9_]{8}(\..*)?", re.DOTALL)
_LONGEST_ENDING = 32
# What this process is writing.
_made: set[Path] = set()


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yields the path of an empty file in the folder of `path`, with the same ending; what is left of it is removed.

    Some writers choose their format by the ending.
    """
    ending = "".join(path.suffixes[-2:])
    suffix = ending if len(ending) <= _LONGEST_ENDING else path.suffix[-_LONGEST_ENDING:]
    with _locked(lambda: _make_file(path.parent, suffix)) as temporary:
        yield temporary


@contextmanager
def temporary_folder(place: Path) -> Iterator[Path]:
    """Yields the path of an empty folder in the folder `place`; it is removed with its content."""
    with _locked(lambda: _make_folder(place)) as temporary:
        yield temporary


def remove_leftovers(folder: Path, *, ours: bool = False) -> None:
    """Removes what killed processes were writing in a folder, but nothing of a living process.

    Args:
        folder: Folder that need not exist.
        ours: Whether only this program writes there. Elsewhere, only what has exactly the names that it gives, and
            belongs to this user, is removed.
    """
    found = list(folder.glob(f"{WRITING}*")) if folder.is_dir() else []
    for path in found:
        with suppress(OSError):  # another process removes it too, or it cannot be locked here
            if ours or (_OURS.fullmatch(path.name) and path.lstat().st_uid == os.geteuid()):
                _remove_if_dead(path)


def remove_own() -> None:
    """Removes what this process has made and not removed, since a signal can come between any two statements."""
    for path in list(_made):
        with suppress(OSError):
            _remove(path)
    _made.clear()


def _make_file(folder: Path, suffix: str) -> tuple[int, Path]:
    path = _new_name(folder, suffix)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), path


def _make_folder(folder: Path) -> tuple[int, Path]:
    path = _new_name(folder, "")
    path.mkdir(0o700)
    return os.open(path, os.O_RDONLY), path


def _new_name(folder: Path, suffix: str) -> Path:
    path = folder / f"{WRITING}{secrets.token_hex(4)}{suffix}"
    _made.add(path)
    return path


@contextmanager
def _locked(make: Callable[[], tuple[int, Path]]) -> Iterator[Path]:
    handle, path = make()
    try:
        while not _lock(handle, path):  # another process took it for a leftover before it was locked
            os.close(handle)
            handle, path = make()
        yield path
    finally:
        _remove(path)
        _made.discard(path)
        os.close(handle)


def _lock(handle: int, path: Path) -> bool:
    with suppress(OSError):  # some file systems have no locks; there, nothing is taken for a leftover
        fcntl.flock(handle, fcntl.LOCK_EX)
    return path.exists() and os.path.samestat(os.fstat(handle), path.stat())


def _remove_if_dead(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while the process lives
        _remove(path)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
