"""Decodes files while others are still being looked at, and tells which of them a batch has."""

import os
from collections import deque
from collections.abc import Generator, Iterator
from pathlib import Path
from queue import Queue
from threading import Event, Semaphore, Thread
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd

from pipelines.data.looked_at import LookedAt
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import InputSpec, stream_of_files

Group = list[LookedAt]
_AHEAD = 4  # groups that are known and wait to be decoded
_CURRENT = Path(".")


def decoded(
    groups: Iterator[Group], spec: InputSpec, batch_size: int, stop: Event | None = None
) -> Generator[tuple[Group, Any]]:
    """Yields groups of pictures, each with the images of its readable ones, uint8 [n, size, size, 3].

    Of a group without readable pictures, None is yielded instead.

    Args:
        groups: Groups with `batch_size` readable pictures each, the last with fewer or none. They are made in a
            thread of their own.
        spec: Size and view of the images.
        batch_size: Number of images in a batch.
        stop: Event that is set when nobody wants groups any more, so that what makes them need not wait.

    Raises:
        LostImage: A picture that was readable is so no more.
    """
    with _Ahead(groups, stop or Event()) as ahead:
        batches = iter(stream_of_files(ahead.files, spec, batch_size))
        while True:
            ahead.made.acquire()  # Ctrl-C is heard here, and not within TensorFlow, which may wait for a name for ever
            try:
                images = next(batches, None)
            except Exception:
                with lost_images_named(_rows(ahead.passed[0]), _CURRENT, value_range=spec.value_range):
                    raise
            if images is None:
                break
            yield ahead.passed.popleft(), images
        ahead.raise_error()
        yield from ((group, None) for group in ahead.passed)


def readable(group: Group) -> Group:
    """Returns the pictures of a group that can be predicted."""
    return [picture for picture in group if picture.readable]


def _rows(group: Group) -> pd.DataFrame:
    rows = [(picture.path, picture.decoder, picture.orientation) for picture in readable(group)]
    return pd.DataFrame(rows, columns=["path", "decoder", "orientation"])


class _Ahead:
    """Makes groups in a thread, and passes them on to a stream of TensorFlow.

    What the thread raises is kept for the one who asks, because a stream would make an error of TensorFlow of it. The
    thread has ended after the `with` block.

    Args:
        groups: The groups.
        stopped: Event that is set at the end of the `with` block.

    `made` is released for each group, and for the end.
    """

    def __init__(self, groups: Iterator[Group], stopped: Event) -> None:
        self.passed, self.made = deque[Group](), Semaphore(0)
        self._groups, self._queue, self._stopped = groups, Queue[Group | None](_AHEAD), stopped
        self._error: BaseException | None = None
        self._thread = Thread(target=self._make, daemon=True)

    def __enter__(self) -> "_Ahead":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            while not self._queue.empty():  # the thread may wait for a place
                self._queue.get()
            self._thread.join(0.05)
        while not self._queue.empty():
            self._queue.get()
        self._queue.put(None)  # the stream may wait for a group

    def files(self) -> Iterator[tuple[Any, Any, Any]]:
        """Yields the files of each group, as `stream_of_files` takes them."""
        while (group := self._queue.get()) is not None:
            self.passed.append(group)
            pictures = readable(group)
            yield (
                np.array([os.fsencode(picture.path) for picture in pictures], object),
                np.array([picture.decoder == "pillow" for picture in pictures]),
                np.array([picture.orientation for picture in pictures], np.int32),
            )

    def raise_error(self) -> None:
        """Raises what the thread has raised."""
        if self._error is not None:
            raise self._error

    def _make(self) -> None:
        try:
            for group in self._groups:
                if self._stopped.is_set():
                    break
                self.made.release()
                self._queue.put(group)
        except BaseException as error:
            self._error = error
        finally:
            self.made.release()
            self._queue.put(None)
            if isinstance(self._groups, Generator):
                self._groups.close()
