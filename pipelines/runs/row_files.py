"""Rows of predictions as bytes that can be written one after the other: CSV and JSON lines, and Parquet from these.

The rows of a CSV are those of `pipelines.runs.tables.write_table`.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.runs.tables import BYTES_OF_NAMES, csv_rows
from resnet_tf.errors import UserError

CSV, JSON_LINES, PARQUET = FORMATS = (".csv", ".jsonl", ".parquet")
# Rows of one group of a Parquet file; so many are in memory at a time.
_ROW_GROUP = 4096
_NUMBER, _PROBABILITY = "confidence", "p:"
_LIST = "set"


def csv_bytes(rows: Sequence[Sequence[Any]]) -> bytes:
    """Returns rows of texts and numbers as CSV; the header is a row, too."""
    return csv_rows(rows).encode(errors=BYTES_OF_NAMES)


def json_lines(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """Returns rows as JSON objects, one a line, with the columns as keys.

    A set of classes, which is text in a CSV, becomes a list. Bytes of a name that are not UTF-8 become JSON's escapes.
    """
    return b"".join(json_line(dict(zip(columns, row, strict=True))) for row in rows)


def json_line(cells: dict[str, Any]) -> bytes:
    """Returns one row of `json_lines`."""
    found = {name: json.loads(cell) if name == _LIST else cell for name, cell in cells.items()}
    return (json.dumps(found, ensure_ascii=False, allow_nan=False) + "\n").encode(errors="backslashreplace")


def check_parquet() -> None:
    """Checks that Parquet can be written.

    Raises:
        UserError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise UserError(
            "a .parquet file needs pyarrow: pip install 'resnet-tf[parquet]', or name a .csv or .jsonl file"
        ) from error


def write_parquet(columns: Sequence[str], source: Path, target: Path) -> None:
    r"""Makes a Parquet file of JSON lines, some thousand rows at a time.

    Probabilities are float64, sets are lists, and everything else is text. Bytes of a name that are not UTF-8 become
    texts such as "\xff", because Parquet has nothing but UTF-8.

    Args:
        columns: Names of the columns.
        source: File that `json_lines` has made.
        target: File to write.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    schema = pa.schema([(_utf8(name), _kind(name)) for name in columns])
    with source.open("rb") as file, ParquetWriter(target, schema) as writer:
        for rows in _some(map(json.loads, file)):
            arrays = [pa.array([_utf8(row[name]) for row in rows], _kind(name)) for name in columns]
            writer.write_table(pa.table(arrays, schema=schema))


def _kind(column: str) -> Any:
    import pyarrow as pa

    if column == _NUMBER or column.startswith(_PROBABILITY):
        return pa.float64()
    return pa.list_(pa.string()) if column == _LIST else pa.string()


def _utf8(cell: Any) -> Any:
    if isinstance(cell, list):
        return [_utf8(each) for each in cell]
    if not isinstance(cell, str) or cell.isascii():
        return cell
    return cell.encode(errors=BYTES_OF_NAMES).decode(errors="backslashreplace")


def _some(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while found := list(islice(rows, _ROW_GROUP)):
        yield found
