"""Handles Ctrl-C and SIGTERM: at once if nothing would be lost, and after the current step while a network trains."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
RETRY_SECONDS = 0.1


class Terminated(KeyboardInterrupt):
    """SIGTERM was received, which a preempted machine sends some seconds before its end."""


class Interrupts:
    """A context manager that turns the two signals into the exceptions KeyboardInterrupt and Terminated.

    While signals are held, the first one is only remembered; a second one is raised at once, whatever it breaks.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._held = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "Interrupts":
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread set handlers
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # nohup and `&` ignore signals on purpose
                    self._handlers[number] = signal.signal(number, self._handle)
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

    def _handle(self, number: int, frame: FrameType | None) -> None:
        waits = self._held and self.received is None
        if not waits and _in_destructor(frame):  # Python only prints an exception in a destructor, and continues
            threading.Timer(RETRY_SECONDS, os.kill, (os.getpid(), number)).start()
            return
        self.received = number
        if not waits:
            raise _exception(number)


def _in_destructor(frame: FrameType | None) -> bool:
    """Returns whether a frame is inside a destructor; those of TensorFlow's functions and iterators take long."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def _exception(number: int) -> KeyboardInterrupt:
    return Terminated("terminated") if number == signal.SIGTERM else KeyboardInterrupt("interrupted")
