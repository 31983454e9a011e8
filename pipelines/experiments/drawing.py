"""The look of the experiments' figures, which is that of all pages and figures."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.report.look import LIGHT

DOTS_PER_INCH = 110
# A colour for each depth; plain and residual nets of one depth have the same.
DEPTHS = {20: LIGHT.right, 32: LIGHT.third, 44: "#cc79a7", 56: LIGHT.wrong, 110: LIGHT.ink}


def rc_context() -> AbstractContextManager[None]:
    """Returns Matplotlib's settings for files that are the same each time."""
    return mpl.rc_context({"svg.hashsalt": "resnet_tf", "svg.fonttype": "none", "font.family": "DejaVu Sans"})


def new_figure(rows: int, columns: int, width: float = 8.0, height: float = 3.6, **more: Any) -> tuple[Figure, Any]:
    """Returns a figure with its axes, [rows, columns].

    Args:
        rows: Number of rows of axes.
        columns: Number of columns of axes.
        width: Width in inches.
        height: Height in inches.
        more: Further arguments of `Figure.subplots`.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **more)
    for each in axes.flat:
        each.grid(color=LIGHT.line, linewidth=0.6)
        each.set_axisbelow(True)
        for side in ("top", "right"):
            each.spines[side].set_visible(False)
    return figure, axes


def colour_of(network: str) -> str:
    """Returns the colour of a network's depth."""
    digits = "".join(letter for letter in network if letter.isdigit())
    return DEPTHS.get(int(digits or 0), LIGHT.quiet)


def say_in_legend(axes: Axes, **more: Any) -> None:
    """Draws the legend without a frame."""
    axes.legend(frameon=False, fontsize=8, **more)
