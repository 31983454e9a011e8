"""The names of the pictures that a command line gives, one after the other: files, folders, globs, addresses, and what
comes on standard input. There may be millions of them, so nobody holds them all.
"""

import os
import re
import select
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipelines.console.terminal import say
from pipelines.data.named_files import expand
from pipelines.data.walk import Skipped, files_below
from resnet_tf.errors import UserError
from resnet_tf.redirects import SCHEMES

STANDARD_INPUT = "-"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LONGEST_NAME = 2**15  # bytes; neither a path of Linux nor an address is as long
_READ = 2**16
_PATIENCE = 0.2  # seconds between two looks at whether anybody still wants the names


def is_address(name: str) -> bool:
    """Returns whether a name is an address of the web, and not a file."""
    return scheme_of(name) in SCHEMES


def scheme_of(name: str) -> str:
    """Returns what an address begins with, such as "https"; "" where the name is that of a file."""
    found = _SCHEME.match(name)
    return found[1].lower() if found else ""


def count_names(patterns: Iterable[str], follow_links: bool) -> int | None:
    """Looks at what is named before anything is computed for it, and says what is skipped in folders.

    Args:
        patterns: Files, folders, globs, addresses, and "-" for names on standard input.
        follow_links: Whether links that lead out of a folder are followed.

    Returns:
        The number of names; None if some come on standard input.

    Raises:
        UserError: A pattern names nothing, or an address is none of the web.
    """
    patterns = list(patterns)
    if patterns.count(STANDARD_INPUT) > 1:
        raise UserError("standard input (-) can be read once; leave the second one out")
    found = sum(_count(pattern, follow_links) for pattern in patterns if pattern != STANDARD_INPUT)
    return None if STANDARD_INPUT in patterns else found


def picture_names(
    patterns: Iterable[str], follow_links: bool = False, null: bool = False, stop: threading.Event | None = None
) -> Iterator[str]:
    """Yields the names of files and addresses, in the order of the patterns, and within a folder by path.

    Args:
        patterns: As in `count_names`, which was asked before.
        follow_links: Whether links that lead out of a folder are followed.
        null: Whether names on standard input end with a NUL and not with a line break.
        stop: Event after which nobody wants a name any more.

    Raises:
        UserError: A folder cannot be read, or a name on standard input is too long.
    """
    for pattern in patterns:
        if pattern == STANDARD_INPUT:
            yield from _from_standard_input(b"\0" if null else b"\n", stop or threading.Event())
        elif is_address(pattern):
            yield pattern
        elif os.path.isdir(pattern):
            yield from (str(file) for file in files_below(Path(pattern), follow_links) if isinstance(file, Path))
        else:
            yield from map(str, expand(pattern, follow_links))


def _count(pattern: str, follow_links: bool) -> int:
    if scheme := scheme_of(pattern):
        if scheme not in SCHEMES:
            raise UserError(f"only http and https addresses are fetched, received {pattern!r}; name a file by its path")
        return 1
    if not os.path.isdir(pattern):
        return len(expand(pattern, follow_links))
    files, lines = 0, []
    for found in files_below(Path(pattern), follow_links):
        if isinstance(found, Skipped):
            lines = found.lines()
        else:
            files += 1
    for line in lines:
        say(line)
    if not files:
        more = f" ({'; '.join(lines)})" if lines else ""
        raise UserError(f"no file is named or matched by {pattern!r}{more}")
    return files


def _from_standard_input(end: bytes, stop: threading.Event) -> Iterator[str]:
    """Yields the names on standard input as they come; empty ones are left out."""
    kept = b""
    while not stop.is_set():
        if not select.select([0], [], [], _PATIENCE)[0]:
            continue
        found = os.read(0, _READ)
        *whole, kept = (kept + found).split(end) if found else [kept, b""]
        if max(map(len, (*whole, kept))) > _LONGEST_NAME:
            raise UserError(
                f"a name on standard input has more than {_LONGEST_NAME} bytes; give one a line, or with --null one "
                "before each NUL"
            )
        for name in whole:
            name = name.removesuffix(b"\r") if end == b"\n" else name
            if name:
                yield os.fsdecode(name)
        if not found:
            return
