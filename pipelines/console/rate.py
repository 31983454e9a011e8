"""Shows how far a long job is, how fast it goes, and what remains where the end is known."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.console.clock import as_clock
from pipelines.console.terminal import progress_bar, say

_SECONDS = 60.0  # between two lines, where there is no terminal for a bar


@contextmanager
def counted(label: str, total: int | None, done: int, unit: str = "image") -> Iterator[Callable[[int], None]]:
    """Shows a bar on a terminal, and elsewhere a line a minute; at the end it says how many there were and how fast.

    Args:
        label: What is done; nothing is shown without.
        total: Units in all, None where that is not known.
        done: Units that were done before.
        unit: Name of one of them.

    Yields:
        A function that counts further units.
    """
    started = said = time.monotonic()
    now = done

    def count(units: int) -> None:
        nonlocal now, said
        now += units
        bar.update(units)
        if label and not sys.stderr.isatty() and time.monotonic() - said > _SECONDS:
            said = time.monotonic()
            say(f"{label}: {now:,}{_what_remains(now - done, now, total, said - started, unit)}")

    with progress_bar(total, label, unit, done) as bar:
        yield count
    seconds = time.monotonic() - started
    if label:
        speed = (now - done) / max(seconds, 1e-9)
        say(f"{label}: {now - done} {unit}s in {seconds:.1f} s, {speed:.1f} {unit}s/s")


def _what_remains(units: int, now: int, total: int | None, seconds: float, unit: str) -> str:
    """Returns the speed and the time to the end in words, such as " of 100,000 images, 310.5 images/s; 4:43 remain"."""
    speed = units / seconds
    if total is None:
        return f" {unit}s, {speed:.1f} {unit}s/s"
    return f" of {total:,} {unit}s, {speed:.1f} {unit}s/s; {as_clock(max(0, total - now) / speed)} remain"
