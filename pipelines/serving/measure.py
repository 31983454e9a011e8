"""Measures exports on the same photos, each in a process that has nothing but its runtime: answers, speed, memory."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.config.formats import Target
from pipelines.console.terminal import progress
from pipelines.evaluation.comparison import mcnemar
from pipelines.evaluation.shares import wilson
from pipelines.serving.photos import Photos
from pipelines.serving.processes import Engine
from pipelines.serving.verdict import FAR, Agreement, complaint

BATCHES = (1, 32)
# In each round every export serves each batch; the first round warms up.
_ROUNDS = 6
_TIMES = {1: 5, 32: 1}


@dataclass(frozen=True)
class Cost:
    """What an export takes.

    Args:
        bytes: Its size.
        peak_bytes: Largest memory of its process.
        images_per_second: Photos a second by the size of the batch.
        saved_model_per_second: The same of the SavedModel in float32, measured in turns with it.
    """

    bytes: int
    peak_bytes: int
    images_per_second: dict[int, float]
    saved_model_per_second: dict[int, float]


@dataclass(frozen=True)
class Measured:
    """An export with its figures.

    Args:
        target: The export.
        path: Its file or folder.
        agreement: How its answers agree with those of the run's model.
        accuracy: Share of the photos that it names rightly; None without labels.
        accuracy_ci95: Wilson's interval of it; None without labels.
        cost: What it takes.
    """

    target: Target
    path: Path
    agreement: Agreement
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    cost: Cost

    @property
    def complaint(self) -> str:
        """Why it is not kept, or ""."""
        return complaint(self.target.precision, self.agreement)

    def as_dict(self) -> dict[str, Any]:
        """Returns its object in export.json, but for its path."""
        found = self.agreement
        return {
            "format": self.target.format,
            "precision": self.target.precision,
            "bytes": self.cost.bytes,
            "n": found.n,
            "accuracy": self.accuracy,
            "accuracy_ci95": None if self.accuracy_ci95 is None else list(self.accuracy_ci95),
            "changed": found.changed,
            "only_model_right": found.only_model,
            "only_export_right": found.only_export,
            "mcnemar_p": found.mcnemar_p,
            "max_probability_difference": found.largest,
            "photos_far": found.far,
            "mean_probability_difference": found.mean,
            "images_per_second": _by_name(self.cost.images_per_second),
            "saved_model_per_second": _by_name(self.cost.saved_model_per_second),
            "peak_mib": round(self.cost.peak_bytes / 2**20),
            "verdict": self.complaint or "kept",
        }


def _by_name(speeds: dict[int, float]) -> dict[str, float]:
    return {str(batch): speed for batch, speed in speeds.items()}


@dataclass(frozen=True)
class Measurement:
    """Exports that were measured beside each other.

    Args:
        exports: The exports with their figures; the others' speeds are compared with the first.
        split: Split of the run that the photos are from.
        n: Number of photos.
        accuracy: Accuracy of the run's model on them; None without labels.
        accuracy_ci95: Wilson's interval of it; None without labels.
    """

    exports: list[Measured]
    split: str
    n: int
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None


def measure(
    exports: Sequence[tuple[Target, Path]],
    photos: Photos,
    classes: list[str],
    logits: Callable[[Any], Any],
) -> Measurement:
    """Measures exports beside each other.

    Args:
        exports: The exports, each with its file or folder; the first is the SavedModel in float32.
        photos: Photos that the model has not learned from.
        classes: Names of the classes, in the order of the probabilities.
        logits: Function from images, uint8 [batch, size, size, 3], to the logits of the run's model.

    Returns:
        The exports with their figures, in their order, and the accuracy of the run's model.

    Raises:
        UserError: A runtime fails, or a photo is missing.
    """
    with ExitStack() as stack:
        engines = [stack.enter_context(Engine(target, path)) for target, path in exports]
        expected, answers, batch = _answers(engines, photos, logits)
        speeds = _speeds(engines, batch, photos)
        peaks = [engine.peak_bytes for engine in engines]
    labels = photos.labels(classes)
    found = [
        Measured(
            engine.target,
            engine.path,
            agreement_of(probabilities, expected, labels),
            *accuracy_of(probabilities, labels),
            Cost(bytes_of(engine.path), peak, speed, speeds[0]),
        )
        for engine, probabilities, speed, peak in zip(engines, answers, speeds, peaks, strict=True)
    ]
    return Measurement(found, photos.split, len(photos), *accuracy_of(expected, labels))


def _answers(
    engines: Sequence[Engine], photos: Photos, logits: Callable[[Any], Any]
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """Returns the model's probabilities, those of each export, and the first picture."""
    view = tf.function(photos.spec.for_evaluation, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    model = tf.function(lambda image: tf.nn.softmax(logits(image[tf.newaxis]))[0])
    expected, first = [], None
    answers: list[list[np.ndarray]] = [[] for _ in engines]
    for picture in progress(photos.pictures(), len(photos), "served by each export"):
        image = view(tf.constant(picture))
        expected.append(model(image).numpy())
        for engine, found in zip(engines, answers, strict=True):
            found.append(engine.ask(_input(engine, picture, image.numpy()))[0][0])
        first = picture if first is None else first
    assert first is not None
    return np.stack(expected), [np.stack(found) for found in answers], first


def _input(engine: Engine, picture: np.ndarray, image: np.ndarray) -> np.ndarray:
    return (picture if engine.target.kind.any_size else image)[np.newaxis]


def _speeds(engines: Sequence[Engine], picture: np.ndarray, photos: Photos) -> list[dict[int, float]]:
    """Returns the photos a second of each export by the size of the batch, as medians of rounds in turns.

    A batch is one picture many times: what a network computes does not depend on what is on it.
    """
    image = photos.spec.for_evaluation(tf.constant(picture)).numpy()
    seconds: list[dict[int, list[float]]] = [{batch: [] for batch in BATCHES} for _ in engines]
    for number in progress(range(_ROUNDS), _ROUNDS, "timed in turns", unit="round"):
        for batch in BATCHES:
            for engine, found in zip(engines, seconds, strict=True):
                images = np.repeat(_input(engine, picture, image), batch, axis=0)
                taken = engine.ask(images, _TIMES[batch])[1]
                found[batch] += taken if number else []
    return [{batch: batch / float(np.median(taken)) for batch, taken in found.items()} for found in seconds]


def agreement_of(probabilities: np.ndarray, expected: np.ndarray, labels: np.ndarray | None) -> Agreement:
    """Compares an export's probabilities with the model's.

    Args:
        probabilities: Those of the export, float [n, classes].
        expected: Those of the model.
        labels: int [n], true class of each photo, or None.
    """
    distance = np.abs(probabilities - expected)
    named, wanted = probabilities.argmax(axis=1), expected.argmax(axis=1)
    far = int((distance.max(axis=1) > FAR).sum())
    changed = int((named != wanted).sum())
    found = Agreement(len(expected), float(distance.max()), far, float(distance.mean()), changed)
    if labels is None:
        return found
    only_model = int(((wanted == labels) & (named != labels)).sum())
    only_export = int(((wanted != labels) & (named == labels)).sum())
    p = mcnemar(only_model, only_export)
    return replace(found, only_model=only_model, only_export=only_export, mcnemar_p=p)


def accuracy_of(
    probabilities: np.ndarray, labels: np.ndarray | None
) -> tuple[float | None, tuple[float, float] | None]:
    """Returns the share of photos that are named rightly with Wilson's interval, or None twice without labels."""
    if labels is None:
        return None, None
    right = int((probabilities.argmax(axis=1) == labels).sum())
    return right / len(labels), wilson(right, len(labels))


def bytes_of(path: Path) -> int:
    """Returns the size of a file, or of all files of a folder."""
    files: Iterable[Path] = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
