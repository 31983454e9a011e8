"""The page of a comparison."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.console.escapes import visible
from pipelines.evaluation.comparison import LESS_IS_BETTER, Comparison
from pipelines.report.album import LARGE, small_copies
from pipelines.report.templates import render

_PHOTOS, _CELLS = 60, 40


def comparison_page(
    comparison: Comparison, matrix: pd.DataFrame, changed: pd.DataFrame, note: str, root: Path | None
) -> str:
    """Returns the page as HTML. Every name that comes from the user's folders is escaped.

    Args:
        comparison: The comparison.
        matrix: Counts of the second side's confusion matrix less those of the first.
        changed: Photos that the two sides name differently.
        note: What a reader must know, or "".
        root: Folder of the photos, or None if they are not to be shown.
    """
    first, second = comparison.names
    return render(
        "comparison.html",
        plain_title=visible(f"{first} and {second} on {comparison.n:,} photos"),
        sentence=comparison.in_words(),
        note=note,
        names=comparison.names,
        figures=_figures(comparison),
        spread=comparison.figures["accuracy"].spread is not None,
        only=(comparison.only_a_right, comparison.only_b_right),
        p=comparison.p,
        cells=_cells(matrix),
        changed=len(changed),
        photos=_photos(changed.head(_PHOTOS), root),
    )


def _figures(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    for name, figure in comparison.figures.items():
        low, high = figure.ci95
        rows.append(
            {
                "name": name.replace("_", " "),
                "a": figure.a,
                "b": figure.b,
                "difference": figure.difference,
                "low": low,
                "high": high,
                "certain": low > 0 or high < 0,
                "better": (figure.difference > 0) != (name in LESS_IS_BETTER),
                "spread": figure.spread,
            }
        )
    return rows


def _cells(matrix: pd.DataFrame) -> list[tuple[str, str, int]]:
    """Returns the cells of the matrix that changed, the largest changes first."""
    counts = matrix.to_numpy()
    rows, columns = np.nonzero(counts)
    order = np.argsort(-np.abs(counts[rows, columns]), kind="stable")[:_CELLS]
    return [
        (str(matrix.index[row]), str(matrix.columns[column]), int(counts[row, column]))
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def _photos(changed: pd.DataFrame, root: Path | None) -> list[dict[str, Any]]:
    rows = [{str(name): value for name, value in row.items()} for row in changed.to_dict("records")]
    paths = [] if root is None else [root / str(row["path"]) for row in rows]
    sources = [source for source, _ in small_copies(paths, LARGE)] or [""] * len(rows)
    return [{**row, "source": source} for row, source in zip(rows, sources, strict=True)]
