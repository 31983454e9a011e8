"""A long output that is written in pieces: what there is of it lies in a folder beside its place until it is complete.

A process that is killed leaves the folder, `answers.csv.partial`, and the same command continues there. Nothing in it
has the name of the output, so nobody takes it for a finished one.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.console.terminal import complain
from pipelines.runs.files import check_place, read_json, write_atomically, write_json
from pipelines.runs.lock import held
from pipelines.runs.places import place_of
from resnet_tf.errors import UserError

_SECONDS = 2.0  # between two times that everything is on the disk; so much work is lost at most
_KEPT = ("progress.json", "rows", "left_out.csv", ".lock")


@dataclass(frozen=True)
class Progress:
    """What is done of the work.

    Args:
        names: Number of names that were answered or left out.
        sha256: Hash of these names, with what tells that the files are the same.
        rows: Number of rows.
        left_out: Number of names that were left out.
        row_bytes: Size of the rows.
        left_out_bytes: Size of the list of those left out.
    """

    names: int = 0
    sha256: str = ""
    rows: int = 0
    left_out: int = 0
    row_bytes: int = 0
    left_out_bytes: int = 0


class Unfinished:
    """The pieces of one output.

    Args:
        folder: Folder of the pieces.
        made_by: What the rows depend on beside the names, by what messages call it.
        progress: What is done.
    """

    def __init__(self, folder: Path, made_by: dict[str, Any], progress: Progress) -> None:
        self.progress, self._kept, self._made_by, self._folder = progress, progress, made_by, folder
        self._time = -math.inf  # the first rows are kept at once
        self._rows, self._left_out = self.rows.open("ab"), (folder / "left_out.csv").open("ab")
        self._rows.truncate(progress.row_bytes)  # what came after it may be half a row
        self._left_out.truncate(progress.left_out_bytes)

    @property
    def rows(self) -> Path:
        """The file of the rows."""
        return self._folder / "rows"

    def append(self, rows: bytes, left_out: bytes, progress: Progress) -> None:
        """Appends rows, and says what is done with them; from time to time all of it is brought to the disk.

        Args:
            rows: Further rows.
            left_out: Further lines of the list of those left out.
            progress: What is done; the sizes are set here.
        """
        self._rows.write(rows)
        self._left_out.write(left_out)
        sizes = self.progress.row_bytes + len(rows), self.progress.left_out_bytes + len(left_out)
        self.progress = Progress(progress.names, progress.sha256, progress.rows, progress.left_out, *sizes)
        if time.monotonic() - self._time > _SECONDS:
            self.keep()

    def keep(self) -> None:
        """Brings everything to the disk, so that a process that continues finds it."""
        progress = self.progress
        if progress != self._kept or not (self._folder / "progress.json").exists():
            for file in (self._rows, self._left_out):
                file.flush()
                os.fsync(file.fileno())
            write_json(self._folder / "progress.json", {"made_by": self._made_by, **asdict(progress)})
        self._kept, self._time = progress, time.monotonic()

    def close(self) -> None:
        self._rows.close()
        self._left_out.close()


@contextmanager
def unfinished(path: Path, made_by: dict[str, Any]) -> Iterator[Unfinished]:
    """Yields what there is of an output, and keeps what is added in the `with` block, however that ends.

    Args:
        path: Place of the output, a file.
        made_by: What the rows depend on beside the names, by what messages call it.

    Raises:
        UserError: Another process writes it, or it was begun with something else, or nothing can be written there.
    """
    check_place(path)
    folder = folder_of(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make the folder {str(folder)!r}: {error.strerror}") from error
    lock = folder / ".lock"
    with held(lock, f"{str(path)!r} is being written", "wait for its end, or name another file"):
        found = Unfinished(folder, made_by, _earlier(folder, made_by))
        try:
            yield found
        except BaseException:
            with suppress(OSError):
                found.keep()
            if found.progress.rows:
                complain(f"{found.progress.rows} rows are kept in {str(folder)!r}; the same command continues there")
            else:
                _remove(folder)
            raise
        finally:
            found.close()


def folder_of(path: Path) -> Path:
    """Returns the folder for what there is of an output."""
    place = place_of(path).path
    return place.with_name(f"{place.name}.partial")


def finish(path: Path, output: Unfinished, make: Callable[[Path, Path], object] | None, left_out: Path) -> None:
    """Gives a complete output its name, and removes its pieces.

    Args:
        path: Place of the output.
        output: The complete rows.
        make: Function that makes the output of the file of the rows; None takes it as it is.
        left_out: Place of the list of those left out; there is no such file where nothing was left out.

    Raises:
        UserError: The disk is full, or nothing can be written there. The pieces stay.
    """
    output.keep()
    write_atomically(path, lambda temporary: (make or _link)(output.rows, temporary))
    if output.progress.left_out:
        write_atomically(left_out, lambda temporary: _link(output.rows.with_name("left_out.csv"), temporary))
    else:
        left_out.unlink(missing_ok=True)  # that of an earlier output of this name
    _remove(output.rows.parent)


def _earlier(folder: Path, made_by: dict[str, Any]) -> Progress:
    """Returns what an earlier process has done.

    Raises:
        UserError: It was another command.
    """
    file = folder / "progress.json"
    if not file.exists():
        return Progress()
    content = read_json(file)
    way_out = f"give that command again, or remove {str(folder)!r} to begin anew"
    try:
        theirs = content.pop("made_by")
        progress = Progress(**content)
        whole = (folder / "rows").stat().st_size >= progress.row_bytes
        whole &= (folder / "left_out.csv").stat().st_size >= progress.left_out_bytes
        if not whole or set(theirs) != set(made_by):
            raise ValueError
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"what there is in {str(folder)!r} cannot be continued; remove it to begin anew") from error
    for name, value in made_by.items():
        if theirs[name] != value:
            raise UserError(f"{str(folder)!r} was begun with another {name}; {way_out}")
    return progress


def _link(source: Path, target: Path) -> None:
    """Gives a file a second name, so that a process that is killed leaves the first; where that fails, it is copied."""
    target.unlink()
    try:
        os.link(source, target)
    except OSError:  # not all file systems can
        shutil.copyfile(source, target)


def _remove(folder: Path) -> None:
    """Removes the pieces, and the folder if there is nothing else in it."""
    with suppress(OSError):
        for name in _KEPT:
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()
