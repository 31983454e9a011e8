"""results.csv: a row for each epoch of each training."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.experiments.networks import find_network
from pipelines.runs.files import write_atomically
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError

COLUMNS = (
    "network",
    "seed",
    "iteration",
    "iterations",
    "rate",
    "training_loss",
    "training_error",
    "test_error",
    "training_error_at_rest",
)


def write_rows(path: Path, rows: Iterable[dict[str, Any]], *more: str) -> None:
    """Writes rows in the order of network, seed and iteration, with six digits.

    Args:
        path: Path of the CSV.
        rows: Values by the names of the columns; errors are in 0 … 1.
        more: Names of further columns.
    """
    ordered = sorted(rows, key=lambda row: (row["network"], row["seed"], row["iteration"]))

    def write(partial: Path) -> None:
        with partial.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, (*COLUMNS, *more), lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: _short(value) for name, value in row.items()} for row in ordered)

    write_atomically(path, write)


def as_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Returns rows as a table; what is not measured in a row is NaN."""
    return pd.DataFrame([{name: row.get(name) for name in COLUMNS} for row in rows], columns=COLUMNS).astype(
        dict.fromkeys(COLUMNS[4:], float)
    )


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a results.csv.

    Raises:
        UserError: It is none.
    """
    try:
        table = read_table(path)
        found = [_row(row) for row in table.to_dict("records")]
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r}: {error.strerror}") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{str(path)!r} is no results.csv of an experiment: {error}") from error
    for name in {row["network"] for row in found}:
        find_network(name)
    return found


def _row(cells: Any) -> dict[str, Any]:
    """Returns the values of a row; empty cells are left out."""
    kinds = (str, int, int, int, *(float,) * (len(COLUMNS) - 4))
    return {name: kind(cells[name]) for name, kind in zip(COLUMNS, kinds, strict=True) if cells[name] != ""}


def _short(value: Any) -> Any:
    return f"{value:.6g}" if isinstance(value, float) else value
