"""The table and the figures: all methods on all data, and what each gains over one of them."""

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from benchmarks.peer_table.cases import CASES
from benchmarks.peer_table.methods import METHODS, place_of
from benchmarks.peer_table.results import Result
from benchmarks.peer_table.scoring import Estimate, averaged, differences, estimates, mean_differences, read_predictions
from benchmarks.peer_table.training import listed_test

TABLE = "table.md"
TITLES = (
    *("method", "folds", "images", "accuracy", "balanced accuracy", "log loss", "minutes", "prediction, s"),
    "processor minutes",
    *("accuracy over", "balanced accuracy over", "log loss over"),
)


@dataclass(frozen=True)
class Row:
    """One method on one data set, over all its folds and seeds.

    Args:
        title: First cell.
        folds: Numbers of the folds that succeeded.
        images: Per image the means over the seeds, from `averaged`; None if no training succeeded.
        minutes: Mean minutes of a training.
        prediction_seconds: Mean seconds of prediction of a fold.
        processor_minutes: Mean minutes of all cores together, of a training and its prediction; NaN where unknown.
        reasons: Why trainings failed.
    """

    title: str
    folds: list[int]
    images: pd.DataFrame | None
    minutes: float
    prediction_seconds: float
    processor_minutes: float
    reasons: list[str]


def rows_of(results: list[Result], folder: Path) -> dict[str, dict[str, Row]]:
    """Returns the rows by data set and by method, in the order of the cases and of the methods.

    Args:
        results: Results, those of one data set with the same number of folds.
        folder: Folder that the results' paths are relative to.
    """
    by_method: dict[str, dict[str, list[Result]]] = defaultdict(lambda: defaultdict(list))
    for result in results:
        by_method[result.data][result.method].append(result)
    return {
        data: {method: _row(by_method[data][method], folder) for method in sorted(by_method[data], key=place_of)}
        for data in sorted(by_method, key=CASES.index)
    }


def _row(trainings: list[Result], folder: Path) -> Row:
    done = [result for result in trainings if not result.reason]
    failed = sorted({f"fold {result.fold}: {result.reason}" for result in trainings if result.reason})
    if not done:
        return Row(trainings[0].title, [], None, 0.0, 0.0, math.nan, failed)
    images = []
    for result in done:
        listing = listed_test(folder / result.listing)
        classes = sorted(pd.read_csv(folder / result.listing, keep_default_na=False, dtype=str)["label"].unique())
        images.append(read_predictions(folder / result.predictions, listing, classes))
    return Row(
        done[-1].title,
        sorted({result.fold for result in done}),
        averaged(images),
        statistics.mean(result.training_seconds or 0.0 for result in done) / 60,
        statistics.mean(result.prediction_seconds or 0.0 for result in done),
        statistics.mean(math.nan if (used := result.processor_seconds) is None else used / 60 for result in done),
        failed,
    )


def table_of(rows: dict[str, Row], against: str) -> str:
    """Returns the table of one data set in Markdown; rows that failed say why.

    Args:
        rows: Row of each method.
        against: Method that the last columns compare with.
    """
    reference = rows.get(against)
    name = reference.title if reference else title_of(against)
    titles = [f"{title} {name}'s" if title.endswith(" over") else title for title in TITLES]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for method, row in rows.items():
        if row.images is None:
            cells = [row.title, "failed: " + "; ".join(row.reasons).replace("|", "/")]
            lines.append(f"| {' | '.join(cells + [''] * (len(titles) - len(cells)))} |")
            continue
        found = estimates(row.images)
        over = [""] * 3
        if reference and reference.images is not None and method != against:
            over = [_certain(each) for each in differences(row.images, reference.images).values()]
        folds = " ".join(map(str, row.folds)) + "".join(f"; failed: {reason}" for reason in row.reasons)
        shown = [_shown(each) for each in found.values()]
        times = [f"{row.minutes:.1f}", f"{row.prediction_seconds:.0f}"]
        times.append("" if math.isnan(row.processor_minutes) else f"{row.processor_minutes:.1f}")
        lines.append(f"| {' | '.join([row.title, folds, str(len(row.images)), *shown, *times, *over])} |")
    return "\n".join(lines)


def title_of(method: str) -> str:
    """Returns what a method is called in a sentence; a variant of our recipe has its own name."""
    return METHODS[method].title if method in METHODS else method


def overall(tables: dict[str, dict[str, Row]], against: str) -> str:
    """Returns the table of the means over all data sets that a method shares with another one, in Markdown.

    Args:
        tables: Row of each method, by data set.
        against: The other method.
    """
    titles = ("method", "data sets", "minutes of its own over the other's", *TITLES[-3:])
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for method in sorted({name for rows in tables.values() for name in rows} - {against}, key=place_of):
        pairs = [(rows[method], rows[against]) for rows in tables.values() if {method, against} <= set(rows)]
        pairs = [(own, other) for own, other in pairs if own.images is not None and other.images is not None]
        if not pairs:
            continue
        found = mean_differences([(own.images, other.images) for own, other in pairs])  # type: ignore[misc]
        longer = statistics.geometric_mean(max(own.minutes, 0.01) / max(other.minutes, 0.01) for own, other in pairs)
        cells = [pairs[0][0].title, str(len(pairs)), f"{longer:.1f}", *map(_certain, found.values())]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _shown(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"


def _certain(estimate: Estimate) -> str:
    """Returns a difference, in bold if its interval leaves out 0."""
    text = f"{estimate.value:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})"
    return f"**{text}**" if estimate.low > 0 or estimate.high < 0 else text


def draw(rows: dict[str, Row], path: Path, title: str, numbers: dict[str, int]) -> None:
    """Draws accuracy and balanced accuracy over minutes, with 95 % intervals.

    Args:
        rows: Row of each method; those that failed are left out.
        path: PNG to write.
        title: Title of the figure.
        numbers: Number of each method, from 1 on, which gives it its colour as well.
    """
    shown = [(numbers[method], row) for method, row in rows.items() if row.images is not None]
    figure = Figure(figsize=(12, 4.6 + 0.09 * len(shown)), layout="constrained")
    FigureCanvasAgg(figure)
    both = figure.subplots(1, 2)
    for axes, name in zip(both, ("accuracy", "balanced_accuracy"), strict=True):
        for number, row in shown:
            assert row.images is not None
            found = estimates(row.images)[name]
            minutes = max(row.minutes, 0.01)
            error = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
            colour = f"C{(number - 1) % 10}"
            marker = "os^vDP*X"[(number - 1) // 10 % 8]
            label = f"{number}  {row.title.replace('`', '')}"
            axes.errorbar(minutes, found.value, error, fmt=marker, color=colour, capsize=2, elinewidth=0.8, label=label)
            axes.annotate(str(number), (minutes, found.value), xytext=(5, 4), textcoords="offset points", fontsize=8)
        axes.set(xscale="log", xlabel="minutes of training", ylabel=name.replace("_", " "))
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda minutes, _: f"{minutes:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    handles, labels = both[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    figure.savefig(path, dpi=120)


def write_page(results: list[Result], folder: Path, against: str) -> str:
    """Writes table.md and a figure for each data set to the folder, and returns the text of table.md."""
    tables = rows_of(results, folder)
    methods = sorted({method for rows in tables.values() for method in rows}, key=place_of)
    numbers = {method: number for number, method in enumerate(methods, 1)}
    parts = [f"## The mean of all data sets, compared with {title_of(against)}\n\n{overall(tables, against)}\n"]
    for data, rows in tables.items():
        parts.append(f"## {data}\n\n![{data}: accuracy over minutes]({data}.png)\n\n{table_of(rows, against)}\n")
        draw(rows, folder / f"{data}.png", data, numbers)
    text = "\n".join(parts)
    (folder / TABLE).write_text(text, encoding="utf-8")
    return text
