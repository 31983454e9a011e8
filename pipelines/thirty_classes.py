"""The table that compares VGG-16, ResNet-18 and ResNet-50 on photos, from scratch and from ImageNet weights.

Each row is a run of finetune with the same time. It is a part of the verb reproduce, and the only one that trains on
photos.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from shlex import quote

import numpy as np
import pandas as pd

from pipelines.config.experiments import ReproduceConfig
from pipelines.config.finetune import FinetuneConfig
from pipelines.console.clock import Stopwatch
from pipelines.console.terminal import say
from pipelines.evaluate import evaluate
from pipelines.evaluation.shares import wilson
from pipelines.experiments.drawing import new_figure
from pipelines.experiments.outcome import Drawing, Outcome, Table
from pipelines.finetune import finetune
from pipelines.report.evaluation_files import Evaluation
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, write_json
from pipelines.runs.state import state_of
from resnet_tf.errors import UserError

SCRATCH, IMAGENET = "none", "imagenet"
MINUTES = {"quick": 2.0, "half": 10.0, "paper": 60.0}
_FILES = (".safetensors", ".weights.h5", ".h5", ".keras", ".npz", ".pth")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        arch: Name of the network.
        start: `SCRATCH` or `IMAGENET`.
        seed: Seed of the run.
    """

    arch: str
    start: str
    seed: int

    @property
    def name(self) -> str:
        """Name of the row's run."""
        return f"{self.arch}-{'scratch' if self.start == SCRATCH else 'imagenet'}-{self.seed}"


NETWORKS = ("vgg16", "resnet18", "resnet50")


def rows_with_weights(where: str | None, seeds: int) -> list[tuple[Row, str | None]]:
    """Returns the rows of the table, all networks from scratch and then all from weights.

    Args:
        where: Value of --weights.
        seeds: Number of runs of each row.

    Returns:
        Each row with the value of --weights for its run, or None if its weights are not at hand.

    Raises:
        UserError: There is no such folder of weights.
    """
    starts = product((SCRATCH, IMAGENET), NETWORKS, range(seeds))
    return [(row, _weights_of(row, where)) for row in (Row(arch, start, seed) for start, arch, seed in starts)]


def train_thirty_classes(config: ReproduceConfig, rows: Iterable[tuple[Row, str | None]]) -> Outcome:
    """Trains every row whose weights are at hand, and judges it by the test photos.

    A row that is finished is not trained again, and one that was stopped is continued.

    Args:
        config: Folder of photos, scale and folder of the runs.
        rows: Rows with their weights, from `rows_with_weights`.

    Returns:
        The table, the confusion matrices, and the commands of the rows whose weights are not at hand.
    """
    found: list[tuple[Row, Evaluation, float]] = []
    commands: list[str] = []
    for row, weights in rows:
        if weights is None:
            commands.append(_command(row, config))
        else:
            found.append((row, *_trained(row, weights, config)))
    outcome = Outcome(measured={"results": pd.DataFrame([_cells(*each) for each in found])})
    outcome.tables.append(_table(found))
    outcome.drawings.append(_draw(found))
    best = max(found, key=lambda each: each[1].metrics["accuracy"])
    outcome.sentences.append(
        f"In {MINUTES[config.scale]:g} minutes each, {best[0].name} is the most accurate: {_accuracy(best[1])}."
    )
    for command in commands:
        outcome.sentences.append(f"Not run, since its weights are not at hand: {command}")
    return outcome


def _weights_of(row: Row, where: str | None) -> str | None:
    """Returns the value of --weights for a row, or None if its weights are not at hand.

    Raises:
        UserError: There is no such folder.
    """
    if row.start == SCRATCH or where == IMAGENET:
        return row.start
    if where is None:
        return None
    if not Path(where).is_dir():
        raise UserError(
            f"--weights must be imagenet or a folder with files such as resnet18_imagenet.npz, received {where!r}"
        )
    paths = (Path(where, f"{row.arch}_imagenet{ending}") for ending in _FILES)
    return next((str(path) for path in paths if path.is_file()), None)


def _command(row: Row, config: ReproduceConfig) -> str:
    return (
        f"resnet-tf finetune {quote(str(config.data))} --run RUN --arch {row.arch} --weights imagenet "
        f"--seed {row.seed} --minutes {MINUTES[config.scale]:g}"
    )


def _trained(row: Row, weights: str, config: ReproduceConfig) -> tuple[Evaluation, float]:
    """Returns the evaluation of a row and the seconds that its training took."""
    assert config.data is not None  # the verb has seen to it
    run, stopwatch = Run(Path(config.out, "runs", row.name)), Stopwatch()
    timed = Path(config.out, "runs", f"{row.name}.json")
    if not (run.config.exists() and state_of(run).finished):
        say(f"{row.name}:")
        finetune(
            FinetuneConfig(
                data=config.data,
                run=str(run.path),
                arch=row.arch,
                weights=weights,
                minutes=MINUTES[config.scale],
                seed=row.seed,
                strategy="one",
            ),
            stopwatch=stopwatch,
        )
        write_json(timed, {"seconds": stopwatch.seconds})
    return evaluate(run, strategy="one"), float(read_json(timed)["seconds"]) if timed.exists() else float("nan")


def _cells(row: Row, evaluation: Evaluation, seconds: float) -> dict[str, object]:
    metrics = evaluation.metrics
    low, high = wilson(round(metrics["accuracy"] * metrics["n"]), metrics["n"])
    figures = {"accuracy": metrics["accuracy"], "low": low, "high": high, "log_loss": metrics["log_loss"]}
    return {
        "network": row.arch,
        "start": row.start,
        "seed": row.seed,
        "n": metrics["n"],
        **figures,
        "minutes": seconds / 60,
    }


def _accuracy(evaluation: Evaluation) -> str:
    metrics = evaluation.metrics
    low, high = wilson(round(metrics["accuracy"] * metrics["n"]), metrics["n"])
    return f"{100 * metrics['accuracy']:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f})"


def _table(found: list[tuple[Row, Evaluation, float]]) -> Table:
    cells = [
        (
            row.arch,
            "random weights" if row.start == SCRATCH else "ImageNet weights",
            str(row.seed),
            _accuracy(evaluation),
            f"{evaluation.metrics['log_loss']:.3f}",
            f"{seconds / 60:.1f}",
        )
        for row, evaluation, seconds in found
    ]
    images = found[0][1].metrics["n"]
    header = ("network", "from", "seed", "accuracy", "log loss", "minutes")
    return Table(f"The same {images} photos for the test, the same time for each row", header, cells)


def _draw(found: list[tuple[Row, Evaluation, float]]) -> Drawing:
    """Draws the confusion matrices side by side, as shares of their rows."""
    columns = min(3, len(found))
    lines = -(-len(found) // columns)
    figure, axes = new_figure(lines, columns, 3.4 * columns, 3.6 * lines)
    for panel in axes.flat:
        panel.set_axis_off()
    for panel, (row, evaluation, _) in zip(axes.flat, found, strict=False):
        counts = evaluation.confusion_matrix.to_numpy()
        panel.set_axis_on()
        panel.grid(visible=False)
        panel.imshow(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), cmap="Blues", vmin=0, vmax=1)
        panel.set_title(f"{row.name}\n{evaluation.metrics['accuracy']:.1%}", fontsize=9)
        panel.set_xlabel("predicted class", fontsize=8)
        panel.set_ylabel("true class", fontsize=8)
    return Drawing("confusion_matrices", "Confusion matrices, as shares of the true class's photos.", figure)
