"""Shows a person what a command does: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.console.escapes import visible, visible_lines
from pipelines.console.streams import is_lost
from resnet_tf.errors import shortened

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")


# Where `say` prints: standard output, or standard error while that is for data.
_for_data: ContextVar[bool] = ContextVar("for_data", default=False)
# Whether `say` prints nothing, and progress bars do not show; and whether warnings are left out, too.
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_unwarned: ContextVar[bool] = ContextVar("unwarned", default=False)
# Whether an answer was lost, in a list that `answers` makes.
_answers: ContextVar[list[bool] | None] = ContextVar("answers", default=None)


def say(text: str = "") -> None:
    """Prints one line, or several, at once, unless it is `quiet`; characters that harm a terminal are escaped."""
    if not _quiet.get():
        _print(text)


def _print(text: str) -> None:
    print(visible_lines(text), file=sys.stderr if _for_data.get() else sys.stdout, flush=True)


def answer(text: str) -> None:
    """Prints what a command was asked for, where no file has it; `answers` says whether it arrived."""
    _print(text)
    kept = _answers.get()
    if kept is not None and not _for_data.get():
        kept.append(is_lost(sys.stdout))


@contextmanager
def answers() -> Iterator[list[bool]]:
    """Yields a list that gets an element for each `answer` of the `with` block: whether some of it was lost."""
    kept: list[bool] = []
    token = _answers.set(kept)
    try:
        yield kept
    finally:
        _answers.reset(token)


@contextmanager
def quiet(wanted: bool = True, *, warnings: bool = True) -> Iterator[None]:
    """Within it, only answers, warnings and errors are printed.

    Args:
        wanted: Whether to do so; False changes nothing.
        warnings: Whether warnings are printed.
    """
    tokens = _quiet.set(wanted or _quiet.get()), _unwarned.set(not warnings or _unwarned.get())
    try:
        yield
    finally:
        _quiet.reset(tokens[0])
        _unwarned.reset(tokens[1])


@contextmanager
def standard_output_for_data(wanted: bool) -> Iterator[None]:
    """Within it, `say` prints on standard error, so that standard output has nothing but data.

    Args:
        wanted: Whether to do so; False changes nothing.
    """
    token = _for_data.set(wanted or _for_data.get())
    try:
        yield
    finally:
        _for_data.reset(token)


def warn(text: str) -> None:
    """Prints a warning as one line to standard error."""
    if not _unwarned.get():
        complain(f"warning: {shortened(text)}")


def note_start(text: str) -> None:
    """Prints one line to standard error, so that somebody who waits sees at once that it goes on."""
    if not _quiet.get():
        complain(text)


def complain(line: str) -> None:
    """Prints one line to standard error; line breaks within it are escaped too."""
    print(visible(line), file=sys.stderr, flush=True)


def complain_in_full(text: str) -> None:
    """Prints several lines to standard error."""
    print(visible_lines(text), file=sys.stderr, flush=True)


def of_part(label: str, parts: int) -> str:
    """Returns the label of `progress` for a process that does one of several parts of the work."""
    return f"{label}, 1 of {parts} parts" if label and parts > 1 else label


def progress(items: Iterable[Item], total: int, label: str, unit: str = "image", size: int = 1) -> Iterator[Item]:
    """Passes the items on and shows how many of `total` units are done, where each item counts as `size` units.

    Nothing is shown if the label is empty.
    """
    started = time.monotonic()
    with progress_bar(total, label, unit) as bar:
        for item in items:
            yield item
            bar.update(min(size, total - bar.n))
    if label:
        say(f"{label}: {total} {unit}s in {time.monotonic() - started:.1f} s")


def progress_bar(total: int | None, label: str, unit: str, done: int = 0) -> "tqdm[Any]":
    """A progress bar on standard error, where that is a terminal. It goes when it is closed.

    Args:
        total: Units in all, None where that is not known.
        label: What is counted; nothing is shown without.
        unit: Name of one of them.
        done: Units that were done before.
    """
    from tqdm import tqdm

    hidden = None if label and not _quiet.get() else True  # None hides it where there is no terminal
    return tqdm(total=total, initial=done, desc=label, unit=unit, disable=hidden, leave=False, file=sys.stderr)
