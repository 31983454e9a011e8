"""The text of every CSV table: one way to write and one to read, so that any name comes back as it was.

A file system allows line breaks, carriage returns, quotes, blanks at the ends and bytes that are not UTF-8 in a name.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import pandas as pd

# Python keeps the bytes of a name that are not UTF-8 as lone surrogates. This writes them as the bytes they were.
BYTES_OF_NAMES = "surrogateescape"


def write_table(table: "pd.DataFrame", file: TextIO, *, index: bool = False) -> None:
    r"""Writes a DataFrame as CSV with a header; rows end with "\n".

    A cell is quoted where it has a comma, a quote, a line break or a carriage return.

    Args:
        table: Table of texts and numbers.
        file: Open file that changes no line break.
        index: Whether the first column is the table's index.
    """
    rows: Any = _Rows(file)
    table.to_csv(rows, index=index, lineterminator=_Rows.END)


def csv_text(table: "pd.DataFrame", *, index: bool = False) -> str:
    """Returns what `write_table` writes."""
    text = io.StringIO(newline="")
    write_table(table, text, index=index)
    return text.getvalue()


def csv_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Returns what `write_table` writes for rows of texts and numbers; a header is a row of texts."""
    text = io.StringIO(newline="")
    file: Any = _Rows(text)
    csv.writer(file, lineterminator=_Rows.END).writerows(rows)
    return text.getvalue()


def read_table(file: Path | TextIO, text: Iterable[str] | None = None) -> "pd.DataFrame":
    """Reads a CSV that `write_table` has written, or one from elsewhere.

    Args:
        file: Path of the file, or an open file.
        text: Names of the columns that are text whatever is in them; None for all columns.

    Raises:
        ValueError: It is no table.
        OSError: It cannot be read.
    """
    import pandas as pd  # not before it is needed, since it takes half a second

    kinds: Any = str if text is None else dict.fromkeys(text, str)
    return pd.read_csv(file, dtype=kinds, keep_default_na=False, encoding_errors=BYTES_OF_NAMES)


class _Rows:
    r"""A file that takes rows with "\r\n" at the end and writes them with "\n".

    Python's writer of CSV quotes the characters that end a row, so it must take both of them for such. pandas reads
    an unquoted carriage return as the end of a row.
    """

    END = "\r\n"

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(f"{row.removesuffix(self.END)}\n")

    def __iter__(self) -> "_Rows":  # pandas takes an object for a file if it has this
        return self

    def __next__(self) -> str:
        raise StopIteration
