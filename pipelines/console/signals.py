"""Handles Ctrl-C and SIGTERM: at once if nothing would be lost, and after the current step while a network trains."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RETRY_SECONDS = 0.1
INTERRUPTED, TERMINATED = 130, 143  # exit statuses, as shells report SIGINT and SIGTERM
_IMPORT = "<frozen importlib._bootstrap"  # start of the file names of Python's own code that imports


class Terminated(KeyboardInterrupt):
    """SIGTERM was received, which a preempted machine sends some seconds before its end."""


class Interrupts:
    """A context manager that turns the two signals into the exceptions KeyboardInterrupt and Terminated.

    While signals are held, the first one is only remembered; a second one is raised at once, whatever it breaks.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._held = self._over = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._handlers = _set_handlers(self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Makes signals wait for `raise_received` or for the end of the `with` block."""
        self.raise_received()
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self.raise_received()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Lets signals through at once within a `held` block."""
        self._held = False
        try:
            self.raise_received()
            yield
        finally:
            self._held = True

    def raise_received(self) -> None:
        """Raises the exception of a remembered signal, if there is one."""
        if self.received is not None:
            raise _exception(self.received)

    def end(self) -> None:
        """Makes further signals do nothing, for the last lines of a command that is about to end."""
        self._over = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._over:
            return
        waits = self._held and self.received is None
        if not waits and _is_deaf(frame):
            threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number)).start()
            return
        self.received = number
        if not waits:
            raise _exception(number)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Lets the signals end the process at once within the `with` block, which is for imports.

    Nothing can be lost there, and many modules catch whatever is raised while they are imported.
    """
    with suppress(OSError):
        terminal = os.dup(2)  # file descriptor 2 goes elsewhere while TensorFlow is imported

    def end(number: int, frame: FrameType | None) -> None:
        with suppress(OSError, NameError):
            os.write(terminal, f"{_exception(number)}\n".encode())
        os._exit(TERMINATED if number == signal.SIGTERM else INTERRUPTED)

    handlers = _set_handlers(end)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(OSError, NameError):
            os.close(terminal)


def stop_handling() -> None:
    """Leaves the signals to the kernel, which ends the process without a word."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _set_handlers(handle: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Sets the handler of both signals, and returns those before; only the main thread may do so."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    # nohup and `&` ignore signals on purpose.
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handle) for number in heard}


def _is_deaf(frame: FrameType | None) -> bool:
    """Returns whether a frame is inside a destructor or an import, where an exception is lost.

    Python only prints what is raised in a destructor, and continues; those of TensorFlow's functions and iterators take
    long. Modules such as NumPy and TensorFlow catch whatever is raised while they import an optional one.
    """
    while frame is not None:
        if frame.f_code.co_name == "__del__" or frame.f_code.co_filename.startswith(_IMPORT):
            return True
        frame = frame.f_back
    return False


def _exception(number: int) -> KeyboardInterrupt:
    return Terminated("terminated") if number == signal.SIGTERM else KeyboardInterrupt("interrupted")
