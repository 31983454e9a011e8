"""Measures exports on the same photos, each in a process that has nothing but its runtime: answers, speed, memory."""

from collections.abc import Callable, Iterable, Iterator, Sequence
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
from resnet_tf.errors import UserError

BATCHES = (1, 32)
# In each round every export serves each batch; the first round warms up.
_ROUNDS = 6
_TIMES = {1: 5, 32: 1}
KEPT = "kept"


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
        split: Split of the run that the photos are from.
        wanted: Whether it is to be kept; otherwise the others are compared with it.
    """

    target: Target
    path: Path
    agreement: Agreement
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    cost: Cost
    split: str
    wanted: bool = True

    @property
    def complaint(self) -> str:
        """Why it is not kept, or ""."""
        return complaint(self.target.precision, self.agreement)

    @property
    def kept(self) -> bool:
        """Whether it is kept."""
        return self.wanted and not self.complaint

    def as_dict(self) -> dict[str, Any]:
        """Returns its figures for export.json, with its place in the run's folder "export" if it is kept."""
        found = self.agreement
        return {
            "format": self.target.format,
            "precision": self.target.precision,
            "path": self.target.place(Path()).as_posix() if self.kept else None,
            "bytes": self.cost.bytes,
            "split": self.split,
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
            "verdict": KEPT if self.kept else self.complaint or "measured for comparison",
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
        failed: Exports that their runtime cannot serve, with the reasons.
    """

    exports: list[Measured]
    split: str
    n: int
    accuracy: float | None
    accuracy_ci95: tuple[float, float] | None
    failed: dict[Target, str]


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
        UserError: The SavedModel cannot be served, or a photo is missing.
    """
    failed: dict[Target, str] = {}
    with ExitStack() as stack:
        engines = [stack.enter_context(Engine(target, path)) for target, path in exports]
        expected, answers, picture = _answers(engines, photos, logits, failed)
        speeds = _speeds(engines, picture, photos, failed)
        peaks = {engine: engine.peak_bytes for engine in engines}
    labels = photos.labels(classes)
    found = [
        Measured(
            engine.target,
            engine.path,
            agreement_of(np.stack(answers[engine]), expected, labels),
            *accuracy_of(np.stack(answers[engine]), labels),
            Cost(bytes_of(engine.path), peaks[engine], speeds[engine], speeds[engines[0]]),
            photos.split,
        )
        for engine in engines  # without those that have failed
    ]
    return Measurement(found, photos.split, len(photos), *accuracy_of(expected, labels), failed)


def _answers(
    engines: list[Engine], photos: Photos, logits: Callable[[Any], Any], failed: dict[Target, str]
) -> tuple[np.ndarray, dict[Engine, list[np.ndarray]], np.ndarray]:
    """Returns the model's probabilities, those of each export, and the first picture."""
    view = tf.function(photos.spec.for_evaluation, input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)])
    model = tf.function(lambda image: tf.nn.softmax(logits(image[tf.newaxis]))[0])
    expected, first = [], None
    answers: dict[Engine, list[np.ndarray]] = {engine: [] for engine in engines}
    for picture in progress(photos.pictures(), len(photos), "served by each export"):
        image = view(tf.constant(picture))
        expected.append(model(image).numpy())
        for engine, (found, _) in _ask_each(engines, picture, image.numpy(), failed):
            answers[engine].append(found[0])
        first = picture if first is None else first
    assert first is not None
    return np.stack(expected), answers, first


def _speeds(
    engines: list[Engine], picture: np.ndarray, photos: Photos, failed: dict[Target, str]
) -> dict[Engine, dict[int, float]]:
    """Returns the photos a second of each export by the size of the batch, as medians of rounds in turns.

    A batch is one picture many times: what a network computes does not depend on what is on it.
    """
    image = photos.spec.for_evaluation(tf.constant(picture)).numpy()
    seconds: dict[Engine, dict[int, list[float]]] = {engine: {batch: [] for batch in BATCHES} for engine in engines}
    for number in progress(range(_ROUNDS), _ROUNDS, "timed in turns", unit="round"):
        for batch in BATCHES:
            for engine, (_, taken) in _ask_each(engines, picture, image, failed, batch, _TIMES[batch]):
                seconds[engine][batch] += taken if number else []
    return {
        engine: {batch: batch / float(np.median(taken)) for batch, taken in seconds[engine].items()}
        for engine in engines
    }


def _ask_each(
    engines: list[Engine],
    picture: np.ndarray,
    image: np.ndarray,
    failed: dict[Target, str],
    batch: int = 1,
    times: int = 1,
) -> Iterator[tuple[Engine, tuple[np.ndarray, list[float]]]]:
    """Yields the answers of each export to a batch of one photo, and the seconds of each time.

    An export that cannot be served is moved from `engines` to `failed`, unless it is the first, which the others are
    compared with.
    """
    for engine in list(engines):
        images = np.repeat((picture if engine.target.kind.any_size else image)[np.newaxis], batch, axis=0)
        try:
            answer = engine.ask(images, times)
        except UserError as error:
            if engine is engines[0]:
                raise
            failed[engine.target] = str(error)
            engines.remove(engine)
        else:
            yield engine, answer


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
