"""The figure of a training: losses, accuracies and learning rate over the epochs, the phases, and the best model."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipelines.console.terminal import warn
from pipelines.report.figures import DOTS_PER_INCH
from pipelines.report.fonts import families_for, without
from pipelines.report.look import LIGHT
from pipelines.runs.files import write_atomically
from pipelines.training.checkpoint import Progress
from pipelines.training.history import history_of

# Size of the picture in pixels.
WIDTH, HEIGHT = 1000, 900
_VALIDATION: dict[str, Any] = {
    "label": "validation",
    "color": LIGHT.right,
    "linewidth": 2.0,
    "marker": "o",
    "markersize": 5,
}
_TRAINING: dict[str, Any] = {
    "label": "training",
    "color": LIGHT.wrong,
    "linewidth": 1.4,
    "marker": "s",
    "markersize": 4,
}
_BEST: dict[str, Any] = {"label": "best model", "color": LIGHT.mark, "marker": "*", "markersize": 17}
_RATE: dict[str, Any] = {"color": LIGHT.quiet, "linewidth": 1.6, "marker": "o", "markersize": 4}
_PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
# With more epochs, markers would hide the lines.
_MOST_MARKERS = 40
# With losses further apart than this, a linear axis would hide the small ones.
_LOG_FROM = 30.0
# Distance of networks that share their epoch, in parts of all epochs; and the smallest one, in epochs.
_SPREAD, _SMALLEST_SPREAD = 0.06, 0.5
# A picture takes half a second, which is longer than an epoch of a few small images.
SECONDS_BETWEEN = 10.0
# Margins as shares of the figure. They are fixed, since to fit them to each picture takes longer than to draw it.
_MARGINS = {"left": 0.105, "right": 0.985, "bottom": 0.07, "top": 0.87, "hspace": 0.1}


@dataclass(frozen=True)
class Panel:
    """One of the axes of the figure.

    Args:
        label: Label of its vertical axis.
        lines: Column of the history and style of each line.
    """

    label: str
    lines: tuple[tuple[str, dict[str, Any]], ...]


_PANELS = (
    Panel("loss", (("loss", _TRAINING), ("val_log_loss", _VALIDATION))),
    Panel("accuracy", (("accuracy", _TRAINING), ("val_accuracy", _VALIDATION))),
    Panel("learning rate", (("learning_rate", _RATE),)),
)


@dataclass
class CurvesFile:
    """A picture of a training's curves, which is drawn anew as the training goes on.

    Args:
        path: Path of the PNG.
        title: Title above the figure.
        failed: Whether it could not be drawn before, which has been said.
        drawn: Time at which it was drawn last, as `time.monotonic` counts.
    """

    path: Path
    title: str
    failed: bool = False
    drawn: float = -math.inf

    def draw(self, progress: Progress, at_end: bool = False) -> None:
        """Draws the picture, unless it was drawn a few seconds ago. If that fails, it says so the first time, and the
        training continues without it.

        Args:
            progress: Progress of the run, with its history and the name of its best model so far.
            at_end: Whether the training has ended, so that the picture is drawn in any case.
        """
        if not at_end and time.monotonic() - self.drawn < SECONDS_BETWEEN:
            return
        history = history_of(progress)
        if not _panels_of(history):  # such as after a head that nothing has judged
            return
        self.drawn = time.monotonic()
        try:
            write_atomically(self.path, lambda path: draw_curves(history, progress.best, path, self.title))
        except Exception as error:  # whatever Matplotlib or the disk raise, the picture is worth less than the training
            if not self.failed:
                warn(f"{self.path.name} is not drawn, and the training continues: {error or type(error).__name__}")
            self.failed = True


def draw_curves(history: pd.DataFrame, best: str, path: Path, title: str) -> None:
    """Draws losses, accuracies and learning rate over the epochs, and writes a PNG of `WIDTH` by `HEIGHT` pixels.

    The head stands at epoch 0. Networks that were made of an epoch's, such as averages, have no epoch of their own and
    stand side by side to the right of it, as diamonds. The best model has a star in the losses and the accuracies.

    Args:
        history: Rows of history.csv. What a row lacks is NaN; it leaves a gap.
        best: Name of the best model, in words, as in `Progress.best`; "" while there is none. Without any validation,
            it is the only model.
        path: Path of the PNG.
        title: Title above the figure.
    """
    figure = Figure(figsize=(WIDTH / DOTS_PER_INCH, HEIGHT / DOTS_PER_INCH))
    FigureCanvasAgg(figure)
    panels = _panels_of(history)
    heights = [2 if panel.label == "learning rate" else 4 for panel in panels]
    rows = figure.subplots(len(panels), sharex=True, squeeze=False, height_ratios=heights)[:, 0].tolist()
    figure.subplots_adjust(**_MARGINS)
    places, star = places_of(history["epoch"].tolist()), best_row(history, best)
    for axes, panel in zip(rows, panels, strict=True):
        _draw_panel(axes, panel, history, places, star)
    _mark_phases(rows, history, places)
    _mark_epochs(rows[-1], history, places)
    families, missing = families_for([title])
    said = f"{without(title, missing)}\n{_caption(history, best, star)}"
    figure.suptitle(said, fontsize=11, y=0.99, parse_math=False, fontfamily=families)
    named = {line.get_label(): line for axes in rows for line in axes.get_lines()}
    shown = [named[style["label"]] for style in (_TRAINING, _VALIDATION, _BEST) if style["label"] in named]
    figure.legend(handles=shown, loc="upper center", bbox_to_anchor=(0.5, 0.945), ncols=3, frameon=False, fontsize=10)
    figure.savefig(path, dpi=DOTS_PER_INCH, format="png")


def _panels_of(history: pd.DataFrame) -> list[Panel]:
    """Returns the panels that have anything to show."""
    return [panel for panel in _PANELS if any(history[column].notna().any() for column, _ in panel.lines)]


def places_of(epochs: Sequence[int]) -> np.ndarray:
    """Returns where the rows stand on the axis of epochs: at their epoch, or right of the row before if it shares it.

    Args:
        epochs: Epoch of each row.

    Returns:
        Increasing places, float [rows].
    """
    step, places = max(_SMALLEST_SPREAD, _SPREAD * max(epochs)), [float(epochs[0])]
    for epoch, before in zip(epochs[1:], epochs, strict=False):
        places.append(float(epoch) if epoch > before and epoch > places[-1] else places[-1] + step)
    return np.array(places)


def best_row(history: pd.DataFrame, best: str) -> int | None:
    """Returns the number of the row with the name of the best model, or None if no row has it.

    Args:
        history: Rows of history.csv.
        best: Name of the best model, in words, as in `Progress.best`.
    """
    trained = history["loss"].notna()
    names = history["phase"].where(~trained, "epoch " + history["epoch"].astype(str))
    found = np.flatnonzero(names.replace("head", "head on frozen features") == best)
    return int(found[0]) if len(found) else None


def _draw_panel(axes: Axes, panel: Panel, history: pd.DataFrame, places: np.ndarray, star: int | None) -> None:
    """Draws the lines of a panel through the rows with an epoch of their own, the others beside them, and the star."""
    own = (places == history["epoch"]).to_numpy()
    shown = []
    for column, style in panel.lines:
        values = history[column].astype(float).to_numpy()
        values = np.where(np.isfinite(values), values, np.nan)
        if np.isnan(values).all():
            continue
        marker = style["marker"] if own.sum() <= _MOST_MARKERS else ""
        axes.plot(places[own], values[own], **{**style, "marker": marker})
        axes.plot(places[~own], values[~own], **{**style, "marker": "D", "linestyle": "none", "label": ""})
        if star is not None and column.startswith("val_"):
            axes.plot(places[star], values[star], linestyle="none", markeredgecolor="black", zorder=5, **_BEST)
        shown.append(values)
    if panel.label == "loss":
        _choose_scale(axes, np.concatenate(shown))
    if panel.label == "learning rate":
        axes.set_ylim(bottom=0.0)
        axes.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(_PLAIN)
    axes.margins(y=0.1)
    axes.set_ylabel(panel.label)
    axes.yaxis.set_label_coords(-0.093, 0.5)  # one below the other
    axes.grid(color=LIGHT.line, linewidth=0.5)
    axes.set_axisbelow(True)


def _choose_scale(axes: Axes, values: np.ndarray) -> None:
    """Makes the axis of losses logarithmic where they are far apart, with plain numbers at its ticks."""
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() <= 0 or finite.max() < _LOG_FROM * finite.min():
        return
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(_PLAIN)
    axes.yaxis.set_minor_locator(NullLocator())


def _mark_phases(rows: Sequence[Axes], history: pd.DataFrame, places: np.ndarray) -> None:
    """Shades the phases without steps of training, and writes the names of the phases above the first axes."""
    kinds = [phase.partition(":")[0] for phase in history["phase"]]
    starts = [number for number, kind in enumerate(kinds) if number == 0 or kind != kinds[number - 1]]
    margin = max(0.5, 0.02 * (places[-1] - places[0]))
    edges = [places[0] - margin, *((places[n - 1] + places[n]) / 2 for n in starts[1:]), places[-1] + margin]
    trained = history["loss"].astype(float).to_numpy()
    for start, left, right in zip(starts, edges, edges[1:], strict=False):
        for axes in rows if np.isnan(trained[start]) else ():
            axes.axvspan(left, right, color=LIGHT.panel, linewidth=0, zorder=0)
        name, above = kinds[start], rows[0].get_xaxis_transform()
        rows[0].text((left + right) / 2, 1.02, name, transform=above, ha="center", va="bottom", fontsize=9)
    rows[0].set_xlim(edges[0], edges[-1])


def _mark_epochs(axes: Axes, history: pd.DataFrame, places: np.ndarray) -> None:
    """Numbers the epochs on the lowest axis, and the shares of averages."""
    own = (places == history["epoch"]).to_numpy()
    low, high = places[own][[0, -1]]
    ticks = [tick for tick in MaxNLocator(10, integer=True).tick_values(low, high) if low <= tick <= high]
    names = [f"{tick:.0f}" for tick in ticks]
    detail = [phase.partition(": ")[2].partition(" of ")[0] for phase in history["phase"]]
    axes.xaxis.set_major_locator(FixedLocator([*ticks, *places[~own]]))
    axes.set_xticklabels([*names, *(text for text, alone in zip(detail, own, strict=True) if not alone)])
    axes.set_xlabel("epoch" if own.all() else "epoch; right of the last one, the share of its weights in an average")


def _caption(history: pd.DataFrame, best: str, star: int | None) -> str:
    """Returns the name of the best model and its scores."""
    if not history["val_log_loss"].notna().any():
        return f"no validation; the model is {best or 'not finished'}"
    if not best:
        return "no model yet"
    if star is None:
        return f"best model: {best}"
    row = history.iloc[star]
    return f"best model ({best}): validation accuracy {row['val_accuracy']:.4f}, log loss {row['val_log_loss']:.4f}"
