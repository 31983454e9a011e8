"""The figure of a confusion matrix, drawn with Matplotlib without a screen."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.console.terminal import warn
from pipelines.evaluation.metrics import most_confused
from pipelines.report.fonts import families_for, without
from pipelines.report.look import LIGHT, rgb

DOTS_PER_INCH = 120
# With more classes, neither names nor counts can be read.
MOST_NAMED = 100
_MOST_CELLS = 1000
_LABEL_LENGTH = 28


def draw_confusion_matrix(matrix: pd.DataFrame, path: Path, title: str) -> None:
    """Draws a confusion matrix, and writes it as a PNG of bounded size.

    The colour of each cell shows the count's share of the row: blue on the diagonal for right predictions, vermilion
    off it for wrong ones. A class without images has a gray row. Up to `MOST_NAMED` classes, cells show their counts,
    classes their names, and the worst confusions have a frame. With more classes, only colours and numbers of classes
    can be read; the names are in confusion_matrix.csv.

    Args:
        matrix: Counts of images; rows are the true classes, columns the predicted ones.
        path: Path of the PNG.
        title: Title above the figure.
    """
    counts = matrix.to_numpy()
    size = len(counts)
    images = counts.sum(axis=1)
    side = max(5.0, 0.36 * size + 2.5) if size <= MOST_NAMED else 14.0
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)" if size <= MOST_NAMED else "true")
    accuracy = counts.trace() / max(1, counts.sum())
    shown = "counts; colour" if size <= MOST_NAMED else "classes by their numbers; colour"
    families, missing = families_for([title])
    axes.set_title(
        f"{without(title, missing)}: {counts.sum()} images, accuracy {accuracy:.1%}\n{shown} is the share of the row",
        fontsize=11,
        parse_math=False,
        fontfamily=families,
    )
    if size <= MOST_NAMED:
        shares = counts / np.maximum(images, 1)[:, None]
        # Cells as shapes: an image would be resized to the figure in floating point, which takes a gigabyte.
        axes.pcolormesh(
            np.arange(-0.5, size), np.arange(-0.5, size), _colours(shares, np.eye(size, dtype=bool), images)
        )
        axes.set_aspect("equal")
        axes.invert_yaxis()
        _name_cells(axes, matrix, shares)
    else:
        axes.imshow(_condensed(counts, images), aspect="equal", extent=(-0.5, size - 0.5, size - 0.5, -0.5))
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def _name_cells(axes: Axes, matrix: pd.DataFrame, shares: np.ndarray) -> None:
    """Writes the names of the classes and the counts, and frames the worst confusions."""
    counts, size = matrix.to_numpy(), len(matrix)
    names = [_shortened(str(name)) for name in matrix.index]
    font = 9 if size <= 40 else max(2.5, 360 / size)
    families, missing = families_for(names)
    if missing:
        warn(f"no installed font has the letters {missing[:20]!r} for the figure; install one, such as fonts-noto-cjk")
        names = [without(name, missing) for name in names]
    axes.set_xticks(range(size), names, rotation=90, fontsize=font)
    rows = [f"{name}  ({count})" for name, count in zip(names, counts.sum(axis=1), strict=True)]
    axes.set_yticks(range(size), rows, fontsize=font)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be named "$5"
        label.set_fontfamily(families)
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=LIGHT.line, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.55
        text = f"{counts[row, column]}" if row == column or size > 40 else _count_and_share(counts, shares, row, column)
        axes.text(column, row, text, ha="center", va="center", fontsize=font - 2, color="white" if dark else "black")
    place = {name: number for number, name in enumerate(matrix.index)}
    for true, taken, _, _ in most_confused(matrix):
        row, column = place[true], place[taken]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=LIGHT.ink, linewidth=2))


def _condensed(counts: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns the colours of a large matrix in at most `_MOST_CELLS` rows and columns, RGB.

    Where several classes share a row or a column, it shows the largest share among them, so that no error vanishes.
    """
    step = -(-len(counts) // _MOST_CELLS)
    starts = np.arange(0, len(counts), step)
    bands = []
    for start in starts:  # a band at a time, since shares of all classes would take eight times the memory of counts
        rows = slice(start, start + step)
        shares = counts[rows] / np.maximum(images[rows], 1)[:, None]
        bands.append(np.maximum.reduceat(shares, starts, axis=1).max(axis=0))
    return _colours(np.array(bands), np.eye(len(starts), dtype=bool), np.add.reduceat(images, starts))


def _count_and_share(counts: np.ndarray, shares: np.ndarray, row: int, column: int) -> str:
    return f"{counts[row, column]}\n{shares[row, column]:.0%}"


def _colours(shares: np.ndarray, right: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns the colour of each cell, uint8 RGB [rows, columns, 3].

    Colours range from white to blue for right predictions and from white to vermilion for wrong ones; rows without
    images are gray.
    """
    right_one, wrong_one, white = np.array(rgb(LIGHT.right)), np.array(rgb(LIGHT.wrong)), np.array(rgb(LIGHT.paper))
    strength = np.where(right, shares, np.sqrt(shares))[..., None]  # a single error must be visible
    colours = white + strength * (np.where(right[..., None], right_one, wrong_one) - white)
    colours[images == 0] = 0.93
    return np.round(255 * colours).astype(np.uint8)  # Matplotlib resizes these in an eighth of the memory


def _shortened(name: str) -> str:
    return name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"
