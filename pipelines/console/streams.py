"""Standard output and standard error of a command, which go on after nobody reads them any more.

`resnet-tf finetune … | head -1` closes its pipe after a line, a full disk takes no more, and `>&-` closes standard
output before the start. The command then finishes its work and prints nothing more.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from pipelines.console.escapes import visible_lines


class Stream:
    """Passes text on to a stream until that takes no more, and remembers that it was lost.

    Args:
        stream: Text stream.
        change: Function that is applied to each text before.
        lost: Whether it was closed from the beginning.
    """

    def __init__(self, stream: Any, change: Callable[[str], str] = str, lost: bool = False) -> None:
        self._stream, self._change, self.lost = stream, change, lost

    def write(self, text: str) -> int:
        if not self.lost:
            try:
                self._stream.write(_encodable(self._change(text), self._stream))
            except (OSError, ValueError):  # ValueError: it was closed
                self.give_up()
        return len(text)

    def flush(self) -> None:
        if not self.lost:
            try:
                self._stream.flush()
            except (OSError, ValueError):
                self.give_up()

    def write_data(self, content: bytes) -> None:
        """Writes bytes.

        Raises:
            OSError: Not all of them could be written.
        """
        if self.lost:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        try:
            self._stream.flush()
            self._stream.buffer.write(content)
            self._stream.buffer.flush()
        except OSError:
            self.give_up()
            raise

    def give_up(self) -> None:
        """Drops all further text, and what is buffered, since Python would try to write that at its end."""
        self.lost = True
        with suppress(OSError, ValueError):
            handle = os.open(os.devnull, os.O_WRONLY)
            os.dup2(handle, self._stream.fileno())
            os.close(handle)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Makes `sys.stdout` and `sys.stderr` such streams within the `with` block."""
    _fill_descriptors()
    before = sys.stdout, sys.stderr
    # A library may print names, such as those in a file of weights. Progress bars on standard error need escapes.
    sys.stdout, sys.stderr = _lasting(before[0], visible_lines), _lasting(before[1], str)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def write_to_standard_output(content: bytes) -> None:
    """Writes data to standard output.

    Raises:
        OSError: Not all of it could be written, for example because the reader of a pipe has gone.
    """
    stream = sys.stdout if isinstance(sys.stdout, Stream) else _lasting(sys.stdout, visible_lines)
    stream.write_data(content)


def is_lost(stream: Any) -> bool:
    """Returns whether some of what was printed to a stream was lost."""
    return getattr(stream, "lost", stream is None)


def _lasting(stream: Any, change: Callable[[str], str]) -> Any:
    return Stream(open(os.devnull, "w"), lost=True) if stream is None else Stream(stream, change)


def _fill_descriptors() -> None:
    """Opens the three standard file descriptors that were closed, so that no file gets the number of one of them.

    TensorFlow's messages would otherwise be written into a file that happens to have the number 2.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)  # the lowest number that is free
            os.set_inheritable(number, True)


def _encodable(text: str, stream: Any) -> str:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
