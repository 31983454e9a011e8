"""The figure of a confusion matrix, drawn with Matplotlib without a screen."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.evaluation.metrics import most_confused

DOTS_PER_INCH = 120
_LABEL_LENGTH = 28


def draw_confusion_matrix(matrix: pd.DataFrame, path: Path, title: str) -> None:
    """Draws a confusion matrix that is readable with 30 classes, and writes it as a PNG.

    Each cell shows its count, and its colour shows the count's share of the row: blue on the diagonal for right
    predictions, red off it for wrong ones. The worst confusions have a frame. A class without images has a gray row.

    Args:
        matrix: Counts of images; rows are the true classes, columns the predicted ones.
        path: Path of the PNG.
        title: Title above the figure.
    """
    counts = matrix.to_numpy()
    size = len(counts)
    images = counts.sum(axis=1)
    shares = counts / np.maximum(images, 1)[:, None]
    names = [_shortened(str(name)) for name in matrix.index]

    side = max(5.0, 0.36 * size + 2.5)
    figure = Figure(figsize=(side + 1.0, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.imshow(_colours(shares, images), aspect="equal")
    font = 9 if size <= 40 else max(2.5, 360 / size)
    axes.set_xticks(range(size), names, rotation=90, fontsize=font)
    axes.set_yticks(
        range(size), [f"{name}  ({count})" for name, count in zip(names, images, strict=True)], fontsize=font
    )
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (images)")
    accuracy = counts.trace() / max(1, counts.sum())
    axes.set_title(
        f"{title}: {counts.sum()} images, accuracy {accuracy:.1%}\ncounts; colour is the share of the row",
        fontsize=11,
        parse_math=False,
    )
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_parse_math(False)  # a class may be named "$5"
    axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="0.9", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    for row, column in zip(*np.nonzero(counts), strict=True):
        dark = shares[row, column] > 0.55
        text = f"{counts[row, column]}" if row == column or size > 40 else _count_and_share(counts, shares, row, column)
        axes.text(column, row, text, ha="center", va="center", fontsize=font - 2, color="white" if dark else "black")
    place = {name: number for number, name in enumerate(matrix.index)}
    for true, taken, _, _ in most_confused(matrix):
        row, column = place[true], place[taken]
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="darkred", linewidth=2))
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def _count_and_share(counts: np.ndarray, shares: np.ndarray, row: int, column: int) -> str:
    return f"{counts[row, column]}\n{shares[row, column]:.0%}"


def _colours(shares: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Returns the colour of each cell, RGB [classes, classes, 3].

    Colours range from white to blue on the diagonal and from white to red off it; rows without images are gray.
    """
    blue, red, white = np.array([0.03, 0.27, 0.58]), np.array([0.80, 0.09, 0.11]), np.ones(3)
    right = np.eye(len(shares), dtype=bool)[..., None]
    strength = np.where(right[..., 0], shares, np.sqrt(shares))[..., None]  # a single error must be visible
    colours = white + strength * (np.where(right, blue, red) - white)
    colours[images == 0] = 0.93
    return colours


def _shortened(name: str) -> str:
    return name if len(name) <= _LABEL_LENGTH else name[: _LABEL_LENGTH - 1] + "…"
