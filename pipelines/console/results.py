"""What a command has found or made, as one JSON object on standard output, where --json asks for it."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pipelines.console.streams import write_to_standard_output

_wanted: ContextVar[bool] = ContextVar("wanted", default=False)


@contextmanager
def results(wanted: bool) -> Iterator[None]:
    """Within it, `result` prints.

    Args:
        wanted: Whether --json was given; False changes nothing.
    """
    token = _wanted.set(wanted)
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted() -> bool:
    """Returns whether --json was given."""
    return _wanted.get()


def result(content: Callable[[], dict[str, Any]]) -> None:
    """Prints what a command has found or made, if that is wanted as JSON.

    Args:
        content: Function that returns it; it is not called where nobody wants it.

    Raises:
        OSError: Not all of it could be written.
    """
    if _wanted.get():
        text = json.dumps(content(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        write_to_standard_output(text.encode(errors="backslashreplace"))
