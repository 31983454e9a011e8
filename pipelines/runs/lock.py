"""One process at a time on a run directory."""

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
    """Keeps other processes that would write the run away until the end of the `with`. The kernel lets the lock go
    when the process dies, however it dies. A directory that has nothing else in it by then is removed again.

    A POSIX lock, since children that a process forks do not hold it on after its death, as they do with flock.

    Args:
        run: Its directory is made where it is missing.

    Raises:
        UserError: Another process has it.
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
