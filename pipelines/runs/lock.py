"""A lock that lets only one process at a time write a run directory."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.console.terminal import warn
from pipelines.runs.directory import Run
from resnet_tf.errors import UserError


@contextmanager
def locked(run: Run) -> Iterator[None]:
    """Keeps other processes from writing a run until the end of the `with` block.

    The kernel releases the lock when the process dies, however it dies. The lock is a POSIX lock because forked
    children do not keep it after the process's death, as they would with flock. At the end, a directory that contains
    nothing but the lock is removed.

    Args:
        run: Run to lock; its directory is made if it is missing.

    Raises:
        UserError: Another process has locked the run.
    """
    run.path.mkdir(parents=True, exist_ok=True)
    with run.lock.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise UserError(
                    f"the run {str(run.path)!r} is in use by process {file.read().strip() or '?'}; "
                    "wait for its end, or choose another --run"
                ) from error
            warn(f"{str(run.lock)!r} cannot be locked ({error.strerror}); start no second process on this run")
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        try:
            yield
        finally:
            if list(run.path.iterdir()) == [run.lock]:
                run.lock.unlink()
                run.path.rmdir()
