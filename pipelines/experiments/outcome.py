"""What an experiment has found: sentences, tables and figures, for a page and for the terminal."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from pipelines.experiments.cifar10 import Images
from pipelines.experiments.weights import Weights


@dataclass(frozen=True)
class Material:
    """What an experiment has to show something of.

    Args:
        networks: Short names of its networks.
        rows: Rows of results.csv, one for each judged epoch of each training; empty where nothing was trained.
        weights: Function from a network's name to its weights by the moment of the training, in their order.
        images: Images for training and for the test, or None where none were given.
        scale: Name of the scale.
    """

    networks: tuple[str, ...]
    rows: pd.DataFrame
    weights: Callable[[str], dict[str, Weights]]
    images: tuple[Images, Images] | None
    scale: str


@dataclass(frozen=True)
class Table:
    """A table of text cells, those after the first one to the right.

    Args:
        caption: What it shows.
        header: Names of the columns.
        rows: Cells of each row.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Drawing:
    """A figure with what is to be seen in it.

    Args:
        name: Name of its files, without an ending.
        caption: What it shows.
        figure: Matplotlib's figure.
    """

    name: str
    caption: str
    figure: Figure


@dataclass
class Outcome:
    """What an experiment has found.

    Args:
        sentences: What the measurements say, in whole sentences.
        tables: Tables.
        drawings: Figures.
        measured: Tables of what was measured beside the trainings, by the name of their CSV without its ending.
    """

    sentences: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    drawings: list[Drawing] = field(default_factory=list)
    measured: dict[str, pd.DataFrame] = field(default_factory=dict)


def last_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the last row of each training, by network and seed."""
    return rows.sort_values("iteration").groupby(["network", "seed"], sort=False).tail(1)


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Returns the 95 % interval of a mean by Student's t distribution, or None for a single value."""
    if len(values) < 2:
        return None
    half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def percent_of_seeds(values: Sequence[float]) -> str:
    """Returns the mean of shares in percent, with each value where there are several."""
    shown = f"{100 * float(np.mean(values)):.2f} %"
    if len(values) < 2:
        return shown
    return f"{shown} ({', '.join(f'{100 * value:.2f}' for value in values)})"


def difference_in_words(rows: pd.DataFrame, first: str, second: str, column: str) -> str:
    """Says how much higher a share is in one network than in another, in percentage points, over the seeds.

    Args:
        rows: Last rows of the trainings.
        first: Name of the network whose value is subtracted.
        second: Name of the other network.
        column: Column with the share.
    """
    by_seed = {name: rows[rows["network"] == name].set_index("seed")[column] for name in (first, second)}
    found = (100 * (by_seed[second] - by_seed[first])).dropna().tolist()
    mean = float(np.mean(found))
    words = f"{abs(mean):.1f} percentage points {'higher' if mean > 0 else 'lower'}"
    limits = interval(found)
    if limits is None:
        return f"{words} (one seed, which says nothing about the spread)"
    return f"{words} (95 % interval of the difference over {len(found)} seeds: {limits[0]:+.1f} to {limits[1]:+.1f})"


def save(drawing: Drawing, folder: Path) -> None:
    """Writes a figure as PNG and as SVG; the same figure gives the same files."""
    from pipelines.experiments.drawing import DOTS_PER_INCH, rc_context
    from pipelines.runs.files import write_atomically

    def write(path: Path) -> None:
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawing.figure.savefig(path, dpi=DOTS_PER_INCH, metadata=metadata)

    with rc_context():
        for ending in ("png", "svg"):
            write_atomically(folder / f"{drawing.name}.{ending}", write)
