"""Running a network over a stream of images, and the table of its predictions."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.terminal import of_part, progress
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import View, evaluation_stream
from pipelines.runs.directory import Run, load_classes, load_model, read_json
from resnet_tf.distribution import choose_strategy, local_replicas, scope
from resnet_tf.weights import Preprocessing
from resnet_tf.workers import Workers

BATCH_SIZE = 32


def view_of(run: Run) -> View:
    """How a run's model wants images cropped, from its config.json."""
    preprocessing = preprocessing_of(run)
    size = read_json(run.config)["arguments"]["image_size"]
    return View(size, preprocessing.crop_fraction, preprocessing.interpolation)


def preprocessing_of(run: Run) -> Preprocessing:
    """How a run's images are normalized, cropped and resized, from its config.json."""
    return Preprocessing(**read_json(run.config)["preprocessing"])  # that of an earlier version names no interpolation


class Inference:
    """A model's inference as one graph, to be used as often as wanted.

    Args:
        model: From images.
        mirror: As for `logits_of`.
        strategy: tf.distribute strategy in whose scope the model was built, or None.
    """

    def __init__(self, model: keras.Model, mirror: bool = False, strategy: Any = None) -> None:
        self._strategy, self._devices = strategy, local_replicas(strategy)
        compute = logits_of(model, mirror)
        self._on_one = tf.function(compute, reduce_retracing=True)
        self._on_all = tf.function(lambda batches: strategy.run(compute, (batches,)))

    def __call__(self, batch: Any) -> Any:
        """What the model makes of a batch, on one device."""
        return self._on_one(batch)

    def each(self, batches: Iterable[Any]) -> Iterator[Any]:
        """What the model makes of each batch, in order. Each device of this process computes whole batches, so that the
        numbers are those of one device."""
        remaining = iter(batches)
        while group := list(itertools.islice(remaining, self._devices)):
            sizes = {len(tf.nest.flatten(batch)[0]) for batch in group}
            if self._devices > 1 and len(group) == self._devices and len(sizes) == 1:
                yield from self._each_on_its_own(group)
            else:  # the last ones: a graph of all devices for their sizes would take longer to trace
                yield from map(self, group)

    def _each_on_its_own(self, group: list[Any]) -> Iterator[Any]:
        values = self._strategy.experimental_distribute_values_from_function(
            lambda context: group[context.replica_id_in_sync_group % self._devices]
        )
        results = self._on_all(values)
        parts = [self._strategy.experimental_local_results(part) for part in tf.nest.flatten(results)]
        for of_batch in zip(*parts, strict=True):
            yield tf.nest.pack_sequence_as(results, of_batch)


def logits_of(model: Any, mirror: bool) -> Callable[[Any], Any]:
    """A classifier's answer to images [batch, height, width, 3], in a graph or outside.

    Args:
        model: From images to logits.
        mirror: Whether the probabilities are means over each image and its mirror image.

    Returns:
        A function from images to logits.
    """
    if not mirror:
        return lambda images: model(images, training=False)

    def logits(images: Any) -> Any:
        views = images, tf.reverse(images, [2])
        plain, mirrored = (tf.nn.log_softmax(model(view, training=False)) for view in views)
        larger = tf.maximum(plain, mirrored)
        return larger + tf.math.log1p(tf.exp(-tf.abs(plain - mirrored))) - math.log(2.0)

    return logits


def images_of(stream: tf.data.Dataset) -> Iterator[Any]:
    """The batches of a stream without their labels."""
    return (images for images, _ in stream)


def outputs(inference: Inference, batches: Iterable[Any], images: int, batch_size: int, label: str) -> np.ndarray:
    """What a network makes of every image, in order.

    Args:
        inference: Of the network.
        batches: Of images, or of what another part of the network has made of them.
        images: How many there are in all.
        batch_size: How many in a batch, of the last one at most.
        label: What the progress bar says.

    Returns:
        float32 [images, …].
    """
    computed = (values.numpy() for values in inference.each(batches))
    return np.concatenate(list(progress(computed, images, label, size=batch_size))).astype(np.float32)


def probabilities_of(
    rows: pd.DataFrame, root: Path, run: Run, workers: Workers, *, strategy: str, mirror: bool, label: str
) -> np.ndarray:
    """What a run's model says of images. Each worker reads and computes whole batches, which are those of one process,
    and so are the numbers. Collective.

    Args:
        rows: Of a manifest.
        root: Folder of their paths.
        run: A finished one.
        workers: All of them.
        strategy: Which devices compute, as `choose_strategy` names them.
        mirror: As for `logits_of`.
        label: What the progress bar says.

    Returns:
        float64 [images, classes].

    Raises:
        LostImage: One of this worker's images is gone, or cannot be read any more.
    """
    part = workers.part_of(rows, BATCH_SIZE)
    devices = workers.strategy or choose_strategy(strategy)
    with scope(devices):
        inference = Inference(load_model(run), mirror, devices)
    stream = evaluation_stream(part, root, load_classes(run), view_of(run), batch_size=BATCH_SIZE)
    with lost_images_named(part, root):
        logits = outputs(inference, images_of(stream), len(part), BATCH_SIZE, of_part(label, workers.count))
    return softmax(workers.together(logits, len(rows), BATCH_SIZE))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities [n, classes], computed in float64."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def prediction_table(paths: list[str], labels: list[str] | None, probabilities: np.ndarray, classes: list[str]) -> Any:
    """One row per image: path, label where known, predicted, confidence, and one column per class.

    Args:
        paths: Of the images.
        labels: True classes, or None where nobody knows them.
        probabilities: [n, classes].
        classes: Their order.
    """
    winners = probabilities.argmax(axis=1)
    table = pd.DataFrame({"path": paths})
    if labels is not None:
        table["label"] = labels
    table["predicted"] = [classes[winner] for winner in winners]
    table["confidence"] = probabilities.max(axis=1)
    return pd.concat([table, pd.DataFrame(probabilities, columns=classes)], axis=1)
