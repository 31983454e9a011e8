"""Files of the answers for a stream of pictures, which are continued after an interruption."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from pipelines.console.streams import write_to_standard_output
from pipelines.data.looked_at import LookedAt
from pipelines.runs.files import check_place
from pipelines.runs.places import Place, place_of
from pipelines.runs.row_files import (
    CSV,
    FORMATS,
    PARQUET,
    check_parquet,
    csv_bytes,
    json_lines,
    write_parquet,
)
from pipelines.runs.unfinished import Progress, finish, unfinished
from resnet_tf.errors import UserError

_LEFT_OUT = ("path", "reason")


class _Pieces(Protocol):
    progress: Progress

    def append(self, rows: bytes, left_out: bytes, progress: Progress) -> None: ...


class AnswerFile:
    """Takes rows of answers.

    Args:
        pieces: What the bytes go to.
        ending: One of `FORMATS`.
        columns: Names of the columns.
    """

    def __init__(self, pieces: _Pieces, ending: str, columns: Sequence[str]) -> None:
        self._pieces, self._csv, self._columns = pieces, ending == CSV, columns

    @property
    def progress(self) -> Progress:
        """What is done, also by earlier commands."""
        return self._pieces.progress

    def append(
        self, rows: Sequence[Sequence[Any]], left_out: Sequence[tuple[str, str]], names: int, sha256: str
    ) -> None:
        """Appends the answers for further names.

        Args:
            rows: Rows of the readable pictures.
            left_out: The others, with the reasons.
            names: Number of names of which all answers are here then.
            sha256: Hash of these names.
        """
        before = self.progress
        known = Progress(names, sha256, before.rows + len(rows), before.left_out + len(left_out))
        if self._csv:
            content = csv_bytes([self._columns, *rows] if not before.rows and rows else rows)
        else:
            content = json_lines(self._columns, rows)
        listed = csv_bytes([_LEFT_OUT, *left_out] if not before.left_out and left_out else left_out)
        self._pieces.append(content, listed, known)


def check_out(out: str) -> None:
    """Checks that answers can be written to a place, before anything is computed for them.

    Raises:
        UserError: Nothing can be written there, or the name ends in none of `FORMATS`.
    """
    path, ending = Path(out), Path(out).suffix.lower()
    check_place(path)
    if is_written_through(place_of(path)):
        return
    if ending not in FORMATS:
        raise UserError(f"--out must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}, received {out!r}")
    if ending == PARQUET:
        check_parquet()


@contextmanager
def answer_file(out: str, columns: Sequence[str], made_by: dict[str, Any]) -> Iterator[AnswerFile]:
    """Yields the file that takes the answers; it gets its name at the end of the `with` block.

    A device, a pipe or standard output gets a CSV, each row as it comes.

    Args:
        out: Name of the file.
        columns: Names of the columns.
        made_by: What the rows depend on beside the names, by what messages call it.

    Raises:
        UserError: As `pipelines.runs.unfinished.unfinished`, or the disk is full.
    """
    path, place = Path(out), place_of(Path(out))
    if is_written_through(place):
        with _Through(out, place) as pieces:
            yield AnswerFile(pieces, CSV, columns)
        return
    ending = path.suffix.lower()
    with unfinished(path, {"format": ending, **made_by}) as kept:
        yield AnswerFile(kept, ending, columns)
        make = partial(write_parquet, columns) if ending == PARQUET else None
        finish(path, kept, make, left_out_of(path))


def json_lines_of(group: Sequence[LookedAt], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Returns a line of JSON for each picture of a group in order, with "path" and "error" where it could not be read.

    Args:
        group: The pictures.
        columns: Names of the columns.
        rows: Rows of the readable ones.
    """
    answered = iter(rows)
    return b"".join(
        json_lines(columns, [next(answered)])
        if picture.readable
        else json_lines(("path", "error"), [(picture.name, picture.reason)])
        for picture in group
    )


def left_out_of(path: Path) -> Path:
    """Returns the place of the list of what was left out of a file of answers, which no other file shares."""
    return path.with_name(f"{path.name}.left-out.csv")


def is_written_through(place: Place) -> bool:
    """Returns whether a place is no file that could be continued."""
    return place.through or place.descriptor is not None


class _Through:
    """Writes rows at once to what is no file. Those left out are named in warnings alone."""

    def __init__(self, out: str, place: Place) -> None:
        self.progress = Progress()
        self._out, self._place, self._handle = out, place, -1

    def __enter__(self) -> "_Through":
        if self._place.descriptor != 1:
            number = self._place.descriptor
            self._handle = os.open(self._place.path, os.O_WRONLY) if number is None else os.dup(number)
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle >= 0:
            os.close(self._handle)

    def append(self, rows: bytes, left_out: bytes, progress: Progress) -> None:
        try:
            if self._handle < 0:
                write_to_standard_output(rows)
            else:
                with os.fdopen(os.dup(self._handle), "wb") as file:
                    file.write(rows)
        except OSError as error:
            raise UserError(f"cannot write {self._out!r}: {error.strerror or error}") from error
        self.progress = progress
