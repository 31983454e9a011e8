"""Locks that let only one process at a time write a run directory, or a part of it."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.console.terminal import warn
from pipelines.runs.directory import Run
from pipelines.runs.temporaries import remove_leftovers
from resnet_tf.errors import UserError


@contextmanager
def locked(run: Run, option: str = "--run") -> Iterator[None]:
    """Keeps other processes from writing a run until the end of the `with` block.

    What a killed process was writing in the run directory is removed. At the end, a directory that contains nothing but
    the lock is removed.

    Args:
        run: Run to lock; its directory is made if it is missing.
        option: Option that chooses another directory.

    Raises:
        UserError: Another process has locked the run.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with held(run.lock, f"the run {str(run.path)!r} is in use", f"wait for its end, or choose another {option}"):
        export = run.export_report.parent
        parts = (run.path, run.checkpoints, run.cache, export, run.saved_model.parent, *run.evaluation("").glob("*/"))
        for folder in parts:
            remove_leftovers(folder, ours=True)
        try:
            yield
        finally:
            if list(run.path.iterdir()) == [run.lock]:
                run.lock.unlink()
                run.path.rmdir()


@contextmanager
def locked_part(run: Run, folder: Path) -> Iterator[None]:
    """Keeps other processes from writing one folder of a run, such as that of its export.

    The run may be trained or evaluated meanwhile. What a killed process was writing in the folder is removed.

    Args:
        run: Run.
        folder: Folder in the run's directory; it need not exist.

    Raises:
        UserError: Another process writes the folder, or it cannot be written.
    """
    part = folder.relative_to(run.path)
    lock = run.path / f".lock-{'-'.join(part.parts)}"
    with held(lock, f"{str(folder)!r} is being written", "wait for its end"):
        for written in (folder, *folder.glob("*/")):
            remove_leftovers(written, ours=True)
        yield


@contextmanager
def held(lock: Path, refusal: str, way_out: str) -> Iterator[None]:
    """Holds a lock within the `with` block.

    Args:
        lock: File of the lock.
        refusal: What is said where another process holds it.
        way_out: What to do then.

    Raises:
        UserError: Another process holds the lock.

    The kernel releases it when the process dies, however it dies. It is a POSIX lock because forked children do not
    keep it after the process's death, as they would with flock.
    """
    with lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                owner = file.read().strip() or "?"
                raise UserError(f"{refusal} by process {owner}; {way_out}") from error
            warn(f"{str(lock)!r} cannot be locked ({error.strerror}); start no second process that writes there")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
