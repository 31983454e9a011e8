"""Shows a person what a command does: a progress bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def say(text: str = "") -> None:
    """Prints one or several lines to standard output at once."""
    print(text, flush=True)


def warn(text: str) -> None:
    """Prints a warning as one line to standard error."""
    print(f"warning: {text}", file=sys.stderr, flush=True)


def of_part(label: str, parts: int) -> str:
    """Returns the label of `progress` for a process that does one of several parts of the work."""
    return f"{label}, 1 of {parts} parts" if label and parts > 1 else label


def progress(items: Iterable[Item], total: int, label: str, unit: str = "image", size: int = 1) -> Iterator[Item]:
    """Passes the items on and shows how many of `total` units are done, where each item counts as `size` units.

    Nothing is shown if the label is empty.
    """
    from tqdm import tqdm

    started = time.monotonic()
    with tqdm(total=total, desc=label, unit=unit, disable=None if label else True, leave=False, file=sys.stderr) as bar:
        for item in items:
            yield item
            bar.update(min(size, total - bar.n))
    if label:
        say(f"{label}: {total} {unit}s in {time.monotonic() - started:.1f} s")
