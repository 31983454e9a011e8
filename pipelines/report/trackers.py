"""Tells other programs what the files of a run say: TensorBoard, MLflow and Weights & Biases.

A tracker reads history.csv and the folder of an evaluation, after they have been written. Nothing of a training depends
on it: where a tracker fails, a warning says so once, and the training goes on.
"""

import hashlib
import importlib
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from pipelines.console.terminal import say, warn
from pipelines.data.manifest import data_root
from pipelines.data.pillow_decode import decode_pillow
from pipelines.runs.directory import Run, read_config
from pipelines.runs.files import read_json
from pipelines.runs.tables import read_table
from resnet_tf.errors import UserError

_PHOTOS, _PHOTO_SIZE = 16, 160
# What a tracker keeps beside the numbers, in the folder of an evaluation.
_FILES = ("confusion_matrix.png", "report.html", "summary.txt", "per_class.csv")


class Tracker(Protocol):
    """What is told of a run."""

    def settings(self, values: dict[str, Any]) -> None:
        """Tells what the run was asked for, once."""

    def figures(self, values: dict[str, float], step: int) -> None:
        """Tells some numbers, such as those of an epoch."""

    def evaluation(self, folder: Path, photos: list[Path]) -> None:
        """Tells the folder of an evaluation, and some of the photos in it."""

    def close(self) -> None:
        """Ends it."""


def check_tracker(name: str | None) -> None:
    """Checks that a tracker's package is installed, before anything is trained.

    Raises:
        UserError: It is not.
    """
    if name in ("mlflow", "wandb"):
        try:
            importlib.import_module(name)
        except ImportError:
            raise UserError(f"--track {name} needs the package {name}: pip install {name}") from None


def following(name: str | None, run: Run) -> Callable[[], None]:
    """Returns a function that tells a tracker what history.csv has gained; it raises no errors.

    Args:
        name: Tracker, or None for none.
        run: Run that is trained. TensorBoard needs no telling, since a training writes its files anyway.
    """
    if name not in ("mlflow", "wandb"):
        return lambda: None
    told, works = 0, True

    def tell(tracker: Tracker) -> None:
        nonlocal told
        rows = read_table(run.history)
        if told == 0:
            tracker.settings(read_config(run.config)["arguments"])
        for row in rows.iloc[told:].to_dict("records"):
            tracker.figures(_numbers(row), int(row["epoch"]))
        told = len(rows)

    def follow() -> None:
        nonlocal works
        works = works and _told(name, run, tell)

    return follow


def track_evaluation(name: str, run: Run, folder: Path) -> None:
    """Tells a tracker the figures, the matrix and some photos of an evaluation; it raises no errors.

    Args:
        name: Tracker.
        run: Run that has been evaluated.
        folder: Folder of the evaluation.
    """

    def tell(tracker: Tracker) -> None:
        content = read_json(folder / "metrics.json")
        split, metrics = content["split"], _numbers(content)
        tracker.figures({f"{split} {figure}": value for figure, value in metrics.items()}, _last_epoch(run))
        tracker.evaluation(folder, _photos(run, folder))
        say(f"{name} has the evaluation on {split}")

    check_tracker(name)
    _told(name, run, tell)


def _told(name: str, run: Run, tell: Callable[[Tracker], None]) -> bool:
    """Opens a tracker and tells it something; returns whether that worked."""
    try:
        tracker = _TRACKERS[name](run)
        try:
            tell(tracker)
        finally:
            tracker.close()
    except Exception as error:  # a tracker may have a server, a disk or a version that fails in any way
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        warn(f"{name} is not told of {run.path}: {first}")
        return False
    return True


class _TensorBoard:
    """Writes pictures beside the scalars of the training, which are there already."""

    def __init__(self, run: Run) -> None:
        import tensorflow as tf

        self.tf, self.writer = tf, tf.summary.create_file_writer(str(run.tensorboard / "evaluation"))

    def settings(self, values: dict[str, Any]) -> None:
        """Nothing: the run's config.json has them."""

    def figures(self, values: dict[str, float], step: int) -> None:
        with self.writer.as_default(step):
            for name, value in values.items():
                self.tf.summary.scalar(name, value)

    def evaluation(self, folder: Path, photos: list[Path]) -> None:
        matrix = self.tf.io.decode_png((folder / "confusion_matrix.png").read_bytes(), channels=3)
        with self.writer.as_default(0):
            self.tf.summary.image("confusion matrix", matrix[None])
            if photos:
                self.tf.summary.image("photos", np.stack([_square(photo) for photo in photos]), max_outputs=_PHOTOS)

    def close(self) -> None:
        self.writer.close()


class _MLflow:
    """Tells MLflow, whose server or file store MLFLOW_TRACKING_URI names; ./mlruns without."""

    def __init__(self, run: Run) -> None:
        import mlflow

        self.client = mlflow.MlflowClient()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", "resnet-tf")
        found = self.client.get_experiment_by_name(experiment)
        number = found.experiment_id if found else self.client.create_experiment(experiment)
        tag = str(run.path.resolve())
        earlier = self.client.search_runs([number], f"tags.run_directory = '{tag}'", max_results=1)
        tags = {"run_directory": tag, "mlflow.runName": run.name}
        self.run_id = (earlier[0] if earlier else self.client.create_run(number, tags=tags)).info.run_id

    def settings(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            self.client.log_param(self.run_id, name, value)

    def figures(self, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.client.log_metric(self.run_id, name, value, step=step)

    def evaluation(self, folder: Path, photos: list[Path]) -> None:
        for file in _FILES:
            self.client.log_artifact(self.run_id, str(folder / file), f"evaluation/{folder.name}")
        for photo in photos:
            self.client.log_artifact(self.run_id, str(photo), "photos")

    def close(self) -> None:
        self.client.set_terminated(self.run_id)


class _Wandb:
    """Tells Weights & Biases, which takes its project, its key and its mode from the environment."""

    def __init__(self, run: Run) -> None:
        import wandb

        self.wandb = wandb
        project = os.environ.get("WANDB_PROJECT", "resnet-tf")
        same = {"id": _wandb_id(run), "resume": "allow", "settings": wandb.Settings(silent=True)}
        self.run = wandb.init(project=project, name=run.name, dir=str(run.path), **same)

    def settings(self, values: dict[str, Any]) -> None:
        self.run.config.update(values, allow_val_change=True)

    def figures(self, values: dict[str, float], step: int) -> None:
        self.run.log({**values, "epoch": step})

    def evaluation(self, folder: Path, photos: list[Path]) -> None:
        pictures = [self.wandb.Image(str(photo)) for photo in photos]
        self.run.log({"confusion matrix": self.wandb.Image(str(folder / _FILES[0])), "photos": pictures})

    def close(self) -> None:
        self.run.finish()


_TRACKERS: dict[str, Callable[[Run], Tracker]] = {"tensorboard": _TensorBoard, "mlflow": _MLflow, "wandb": _Wandb}


def _numbers(row: dict[Any, Any]) -> dict[str, float]:
    """Returns the numbers among some values, without those that are missing."""
    numbers = {}
    for name, value in row.items():
        with suppress(TypeError, ValueError):  # text, a list, or nothing
            number = float(value)
            if math.isfinite(number) and not isinstance(value, bool):
                numbers[str(name)] = number
    return numbers


def _last_epoch(run: Run) -> int:
    return max(map(int, read_table(run.history)["epoch"]), default=0) if run.history.is_file() else 0


def _photos(run: Run, folder: Path) -> list[Path]:
    """Returns some of the photos that were evaluated, those first that were taken for something else."""
    root = data_root(read_config(run.config)["arguments"]["data"])
    table = read_table(folder / "predictions.csv")
    wrong_first = table.assign(right=table["label"] == table["predicted"]).sort_values("right", kind="stable")
    files = [root / path for path in wrong_first["path"].head(_PHOTOS)]
    return [file for file in files if file.is_file()]


def _square(photo: Path) -> np.ndarray:
    """Returns a small copy of a photo, in the middle of a gray square, uint8 [side, side, 3]."""
    image, square = Image.fromarray(decode_pillow(photo)), Image.new("RGB", (_PHOTO_SIZE, _PHOTO_SIZE), "gray")
    image.thumbnail(square.size)
    square.paste(image, ((_PHOTO_SIZE - image.width) // 2, (_PHOTO_SIZE - image.height) // 2))
    return np.asarray(square)


def _wandb_id(run: Run) -> str:
    return hashlib.sha256(str(run.path.resolve()).encode()).hexdigest()[:16]
