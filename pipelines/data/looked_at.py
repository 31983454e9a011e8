"""Looks at pictures that a command line names while the network computes: each is fetched, if it is on the web, and
inspected in a thread.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pipelines.data.connections import NotFetched
from pipelines.data.inspect import inspect_image, silence_decoders
from pipelines.data.picture_names import is_address, scheme_of
from pipelines.data.web import CONNECTIONS, Fetcher
from resnet_tf.errors import UserError

# Names that are looked at in one task of a thread, and tasks that may wait for the network.
_TOGETHER = 8
_AHEAD = 16


@dataclass(frozen=True, slots=True)
class LookedAt:
    """What is known of one picture before the network sees it.

    Args:
        name: Path or address, as it was named.
        stamp: Text that changes when the file does, see `stamp_of`.
        reason: Why it cannot be predicted; "" if it can.
        path: File to decode: that of the name, or a temporary one for an address.
        decoder: As in a manifest, see `pipelines.data.inspect.ImageFacts`; so are the others.
        orientation: EXIF orientation.
        stored_values: Which values are stored, if they have more than 8 bits.
    """

    name: str
    stamp: str
    reason: str
    path: str = ""
    decoder: str = "pillow"
    orientation: int = 1
    stored_values: str = ""

    @property
    def readable(self) -> bool:
        return not self.reason

    def forget(self) -> None:
        """Removes the temporary file of an address."""
        if self.path and self.path != self.name:
            with suppress(OSError):
                os.unlink(self.path)


def stamp_of(name: str) -> str:
    """Returns a file's size and time of change, by which a command that continues notices another file; "" where there
    is none, as for an address.
    """
    if is_address(name):
        return ""
    try:
        status = os.stat(name)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"


class Seen:
    """Counts names, and makes a hash of them and their stamps, by which a command that continues knows them again."""

    def __init__(self) -> None:
        self.names, self._hash = 0, hashlib.sha256()

    def add(self, name: str, stamp: str) -> None:
        """Counts a name."""
        self.names += 1
        self._hash.update(f"{name}\0{stamp}\0".encode(errors="surrogateescape"))

    @property
    def sha256(self) -> str:
        """Hash of all names so far, in hexadecimal."""
        return self._hash.hexdigest()


def names_behind(names: Iterator[str], count: int, sha256: str, seen: Seen) -> Iterator[str]:
    """Passes over the names that an earlier command has done, and returns those behind them.

    Args:
        names: All names.
        count: Number of names that were done.
        sha256: What `Seen` said of them.
        seen: Counts them.

    Raises:
        UserError: They are no longer the same.
    """
    for name in islice(names, count):
        seen.add(name, stamp_of(name))
    if count and (seen.names, seen.sha256) != (count, sha256):
        raise UserError(
            f"the first {count} of the named images are no longer those that were predicted: some are new, gone or "
            "changed; remove what there is of the answers to begin anew"
        )
    return names


def looked_at(names: Iterable[str], folder: str | Path) -> Iterator[LookedAt]:
    """Yields what is known of each picture, in the order of the names; some hundred are looked at ahead.

    Args:
        names: Paths and addresses.
        folder: Temporary folder for what is fetched, where each file lies until `forget`.

    Raises:
        MachineFailure: The machine, and not a picture, is at fault.
    """
    waiting, names = deque[Future[list[LookedAt]]](), iter(names)
    silence_decoders()
    with ThreadPoolExecutor(os.cpu_count()) as inspectors, ThreadPoolExecutor(CONNECTIONS) as fetchers:
        fetcher = Fetcher(Path(folder))
        try:
            for several in _together(names):
                pool = fetchers if is_address(several[0]) else inspectors
                waiting.append(pool.submit(_look_at_all, several, fetcher))
                if len(waiting) >= _AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            fetcher.stop()
            for each in waiting:
                each.cancel()


def _together(names: Iterator[str]) -> Iterator[list[str]]:
    """Yields the names in groups for one thread: several files, since a task costs time, or one address."""
    files: list[str] = []
    for name in names:
        if is_address(name):
            yield from [files] if files else []
            yield [name]
            files = []
        else:
            files.append(name)
            if len(files) == _TOGETHER:
                yield files
                files = []
    yield from [files] if files else []


def _look_at_all(names: list[str], fetcher: Fetcher) -> list[LookedAt]:
    return [_look_at(name, fetcher) for name in names]


def _look_at(name: str, fetcher: Fetcher) -> LookedAt:
    stamp, scheme = stamp_of(name), scheme_of(name)
    if scheme and not is_address(name):
        return LookedAt(name, stamp, "an address that is neither http nor https")
    try:
        path = fetcher.fetch(name) if is_address(name) else Path(name)
    except NotFetched as error:
        return LookedAt(name, stamp, str(error))
    facts = inspect_image(path, None)
    found = LookedAt(
        name,
        stamp,
        "" if facts.readable else facts.reason,
        str(path),
        facts.decoder,
        facts.orientation,
        facts.stored_values,
    )
    if found.reason:
        found.forget()
    return found


def grouped(pictures: Iterable[LookedAt], size: int) -> Iterator[list[LookedAt]]:
    """Yields pictures in groups that have as many readable ones, and between them those that are not.

    The last group may have fewer. The groups do not depend on where a command was interrupted, if it continues behind
    one of them.

    Args:
        pictures: Pictures in order.
        size: Number of readable pictures in a group.
    """
    group: list[LookedAt] = []
    readable = 0
    for picture in pictures:
        group.append(picture)
        readable += picture.readable
        if readable == size:
            yield group
            group, readable = [], 0
    if group:
        yield group
