"""The figure of a range test: loss over learning rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipelines.report.figures import DOTS_PER_INCH
from pipelines.report.look import LIGHT
from pipelines.training.range_curve import Reading


def draw_range_test(
    rates: Sequence[float], losses: Sequence[float], reading: Reading, chosen: float, path: Path, title: str
) -> None:
    """Draws each batch's loss as a dot, the smoothed loss as a line, and the candidate rates, and writes a PNG.

    Args:
        rates: Learning rate of each step.
        losses: Loss of each step.
        reading: Smoothed losses and suggestion that were read from these rates and losses.
        chosen: Learning rate that a run uses by default.
        path: Path of the PNG.
        title: Title above the figure.
    """
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.scatter(rates, losses, s=10, color="0.7", label="one batch")
    axes.plot(rates, reading.smoothed, color=LIGHT.right, linewidth=2, label="smoothed")
    mark: dict[str, Any] = {"color": LIGHT.wrong, "linewidth": 2}
    if reading.suggestion is not None:
        axes.axvline(reading.suggestion, **mark, label=f"suggested: {reading.suggestion:.1e}")
    elif reading.rises_from is not None:
        axes.axvline(reading.rises_from, **mark, linestyle="dotted", label=f"rising from {reading.rises_from:.1e}")
    axes.axvline(chosen, color="black", linestyle="dashed", linewidth=1.2, label=f"the recipe's: {chosen:.1e}")
    axes.set_xlim(rates[0], rates[-1])
    axes.set_ylim(*_limits(np.asarray(rates), reading))
    axes.set_xlabel("learning rate")
    axes.set_ylabel("training loss")
    axes.set_title(title, fontsize=11, parse_math=False)
    axes.grid(color=LIGHT.line, linewidth=0.5)
    axes.legend(edgecolor="none")
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def _limits(rates: np.ndarray, reading: Reading) -> tuple[float, float]:
    """Returns the limits of the loss axis, which cover the losses up to where they rise, and a little further.

    The losses beyond that, where the network diverges, are of no interest.
    """
    last = rates[-1] if reading.rises_from is None else 4.0 * reading.rises_from
    shown = reading.smoothed[rates <= last]
    margin = 0.3 * float(shown.max() - shown.min())
    return max(0.0, float(shown.min()) - margin), float(shown.max()) + margin
