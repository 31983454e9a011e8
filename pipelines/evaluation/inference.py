"""Runs a network over a stream of images."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.terminal import progress
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream
from resnet_tf.distribution import local_replicas

# From so many shapes of batches on, one graph for all of them is faster.
MOST_SHAPES = 8


class Inference:
    """A model's inference as one graph that can be used repeatedly.

    Args:
        model: Model that takes batches of images.
        mirror: Whether the probabilities are averaged over each image and its mirror image, see `logits_of`.
        strategy: tf.distribute strategy in whose scope the model was built, or None.
        temperature: Number that logits are divided by.
    """

    def __init__(
        self, model: keras.Model, mirror: bool = False, strategy: Any = None, temperature: float = 1.0
    ) -> None:
        self._strategy, self._devices = strategy, local_replicas(strategy)
        self._compute = compute = logits_of(model, mirror, temperature)
        self._graphs: dict[Any, Any] = {}
        self._of_any_shape = tf.function(compute, reduce_retracing=True)
        self._on_all = tf.function(lambda batches: strategy.run(compute, (batches,)))

    def __call__(self, batch: Any) -> Any:
        """Returns the model's output for a batch, computed on one device."""
        tensors = tf.nest.map_structure(tf.convert_to_tensor, batch)
        if len(self._graphs) >= MOST_SHAPES:  # pictures that keep their aspect ratios
            return self._of_any_shape(tensors)
        key = tuple((tuple(each.shape), each.dtype) for each in tf.nest.flatten(tensors))
        if key not in self._graphs:
            # A graph for each shape: TensorFlow counts calls of a function that trace, over all models of a process,
            # and would warn of too many, though none of these graphs is made twice.
            specs = tf.nest.map_structure(lambda each: tf.TensorSpec(each.shape, each.dtype), tensors)
            self._graphs[key] = tf.function(self._compute).get_concrete_function(specs)
        return self._graphs[key](tensors)

    def each(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Yields the model's output for each batch, in order.

        Each device of this process computes whole batches, which keeps the numbers equal to those of one device.
        """
        remaining = iter(batches)
        while group := list(itertools.islice(remaining, self._devices)):
            sizes = {len(tf.nest.flatten(batch)[0]) for batch in group}
            if self._devices > 1 and len(group) == self._devices and len(sizes) == 1:
                yield from self._each_on_its_own(group)
            else:  # the last batches: tracing a graph of all devices for their sizes would take longer
                yield from map(self, group)

    def _each_on_its_own(self, group: list[Any]) -> Iterator[Any]:
        values = self._strategy.experimental_distribute_values_from_function(
            lambda context: group[context.replica_id_in_sync_group % self._devices]
        )
        results = self._on_all(values)
        parts = [self._strategy.experimental_local_results(part) for part in tf.nest.flatten(results)]
        for of_batch in zip(*parts, strict=True):
            yield tf.nest.pack_sequence_as(results, of_batch)


def logits_of(model: Any, mirror: bool, temperature: float = 1.0) -> Callable[[Any], Any]:
    """Returns the function that computes a classifier's logits, in a graph or outside.

    Args:
        model: Model from images to logits.
        mirror: Whether the probabilities are averaged over each image and its mirror image.
        temperature: Number that the model's own logits are divided by; 1 leaves every bit of them as it is.

    Returns:
        A function from images [batch, height, width, 3] to logits [batch, classes].
    """

    def of(images: Any) -> Any:
        found = model(images, training=False)
        return found if temperature == 1.0 else found / temperature

    if not mirror:
        return of

    def logits(images: Any) -> Any:
        views = images, tf.reverse(images, [2])
        plain, mirrored = (tf.nn.log_softmax(of(view)) for view in views)
        larger = tf.maximum(plain, mirrored)
        return larger + tf.math.log1p(tf.exp(-tf.abs(plain - mirrored))) - math.log(2.0)

    return logits


def images_of(stream: tf.data.Dataset) -> Iterator[Any]:
    """Returns the batches of a stream without their labels."""
    return (images for images, _ in stream)


def named_images_of(rows: pd.DataFrame, root: Path, spec: InputSpec, batch_size: int) -> Iterator[Any]:
    """Yields the images of some rows as evaluation sees them, uint8 tensors [batch, size, size, 3].

    Args:
        rows: Rows of a manifest.
        root: Folder that their paths are relative to.
        spec: Size and view of the images.
        batch_size: Number of images in a batch; the last batch may have fewer.

    Raises:
        LostImage: One of the images is missing or can no longer be read.
    """
    stream = evaluation_stream(ImageSource(rows, root, []), spec, batch_size)
    with lost_images_named(rows, root, batch_size, spec.value_range) as watched:
        yield from watched(images_of(stream))


def outputs(inference: Inference, batches: Iterable[Any], images: int, batch_size: int, label: str) -> np.ndarray:
    """Returns a network's outputs for all images, in order.

    Args:
        inference: Inference of the network, or of a part of it.
        batches: Batches of images, or of another part's outputs for them.
        images: Number of images in all.
        batch_size: Number of images in a batch; the last batch may have fewer.
        label: Label of the progress bar.

    Returns:
        float32 [images, …].
    """
    computed = (values.numpy() for values in inference.each(batches))
    return np.concatenate(list(progress(computed, images, label, size=batch_size))).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits, float64 [images, classes]."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
