"""The page of a comparison."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.evaluation.comparison import Comparison
from pipelines.report.html import document, heading, paragraph, photo, photos, table

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
    rows = []
    for name, figure in comparison.figures.items():
        seeds = () if figure.spread is None else (f"±{figure.spread[0]:.4f}", f"±{figure.spread[1]:.4f}")
        low, high = figure.ci95
        interval = f"{low:+.4f} to {high:+.4f}"
        row = name.replace("_", " "), f"{figure.a:.4f}", f"{figure.b:.4f}", f"{figure.difference:+.4f}", interval
        rows.append((*row, *seeds))
    spread = ("spread over seeds", "") if comparison.figures["accuracy"].spread else ()
    right = [
        (f"only {first} is right", str(comparison.only_a_right)),
        (f"only {second} is right", str(comparison.only_b_right)),
        ("McNemar's p", f"{comparison.p:.3g}"),
    ]
    return document(
        f"{first} and {second} on {comparison.n:,} photos",
        [
            paragraph(comparison.in_words()),
            *([paragraph(note)] if note else []),
            table(("figure", first, second, "difference", "95 % interval", *spread), rows),
            heading("Photos that one of them names rightly"),
            table(("photos", "number"), right),
            heading("Where the answers went"),
            table(("true class", "named", "more or fewer times"), _cells(matrix)),
            heading(f"Photos that changed: {len(changed)}"),
            photos([_photo(row, root) for row in changed.head(_PHOTOS).to_dict("records")]),
        ],
    )


def _cells(matrix: pd.DataFrame) -> list[tuple[str, str, str]]:
    """Returns the cells of the matrix that changed, the largest changes first."""
    counts = matrix.to_numpy()
    rows, columns = np.nonzero(counts)
    order = np.argsort(-np.abs(counts[rows, columns]), kind="stable")[:_CELLS]
    return [
        (str(matrix.index[row]), str(matrix.columns[column]), f"{counts[row, column]:+d}")
        for row, column in zip(rows[order], columns[order], strict=True)
    ]


def _photo(row: dict, root: Path | None) -> str:
    caption = [
        f"{row['label']}: {row['change']}",
        f"{row['a_predicted']} ({row['a_confidence']:.0%}) → {row['b_predicted']} ({row['b_confidence']:.0%})",
        str(row["path"]),
    ]
    return photo(root / str(row["path"]) if root else None, caption)
