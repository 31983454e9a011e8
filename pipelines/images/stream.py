"""The stream: uint8 images [batch, height, width, 3] and labels [batch], or [batch, classes] where they are mixed; a
pure function of (seed, epoch, position), whatever the parallelism."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.images.augment import change, choose_region, key_of
from pipelines.images.balance import balanced_order
from pipelines.images.decode import ChooseRegion, decode_region
from pipelines.images.mix import MIXES
from pipelines.images.regions import Region, centre_region

# From the number of an image, the wanted part of it, and how that is decoded from its file, to uint8 [size, size, 3].
Cached = Callable[[Any, ChooseRegion, Callable[[], Any]], Any]

UNKNOWN_LABEL = -1  # as pandas has it
# Where images have their position, so that no batch has the key of an image.
_MIX = -1


@dataclass(frozen=True)
class View:
    """How images are brought to the network.

    Args:
        size: Height and width, in pixels.
        crop_fraction: Of the evaluation's view, see `centre_region`.
        interpolation: Likewise.
        min_area: Of the training's random crops, see `random_region`.
        augment: What training does to each image, one of `pipelines.images.augment.AUGMENTATIONS`.
        mix: What it does to each batch, "none" or one of `pipelines.images.mix.MIXES`.
        balanced: Whether training sees all classes equally often, see `balanced_order`.
    """

    size: int
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    min_area: float = 0.35
    augment: str = "light"
    mix: str = "none"
    balanced: bool = False

    def evaluation_region(self, shape: Any) -> Region:
        """What evaluation and serving see of an upright picture of this height and width, int32 [2]."""
        return centre_region(shape, self.size, self.crop_fraction, self.interpolation)

    def for_evaluation(self, image: Any) -> Any:
        """An upright image [height, width, 3] as evaluation and serving see it, uint8 [size, size, 3]."""
        return self.evaluation_region(tf.shape(image)[:2]).of(image)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Every image is seen; the last batch is filled up."""
    return -(-images // batch_size)


def training_stream(
    rows: pd.DataFrame,
    root: Path,
    classes: list[str],
    view: View,
    *,
    batch_size: int,
    seed: int,
    first_epoch: int = 0,
    first_step: int = 0,
    epochs: int = 1,
    part: int = 0,
    parts: int = 1,
    parallel: int | None = None,
    cached: Cached | None = None,
) -> tf.data.Dataset:
    """Shuffled, augmented batches for a number of epochs, all of them full.

    The order of an epoch is the permutation that `index_shuffle` makes of (seed, epoch), without a buffer. The
    last batch of an epoch is completed from the start of the same permutation, with other crops.

    Args:
        rows: Of a manifest.
        root: Folder of its paths.
        classes: Order of the labels.
        view: Size and crops.
        batch_size: Images per batch.
        seed: Of order and augmentation.
        first_epoch: Epoch to begin with.
        first_step: Batch of that epoch to begin with.
        epochs: How many.
        part: Which part of each batch is wanted, from 0; only its images are read, and are what they are in the whole.
        parts: How many there are; batch_size is a multiple.
        parallel: Images decoded at a time; None lets TensorFlow choose. It changes no pixel.
        cached: Where pictures are taken from before the files, see `pipelines.images.cache`. Nor does this.

    Returns:
        Dataset of (uint8 [batch_size / parts, size, size, 3], int32 [batch_size / parts]); where the view mixes,
        labels are float32 [batch_size / parts, classes].
    """
    files = _Files(rows, root, classes, cached)
    index_at = image_order(rows, view, seed)
    per_epoch = steps_per_epoch(len(rows), batch_size) * batch_size

    def load(number: Any) -> tuple[Any, Any]:
        epoch, position = number // per_epoch, number % per_epoch
        key = key_of(seed, epoch, position)

        def choose(shape: Any) -> Region:
            return choose_region(view.augment, shape, key, view.size, view.min_area, view.interpolation)

        image, label = files.load(index_at(epoch, position), choose)
        return change(view.augment, image, key), label

    first, last = first_epoch * per_epoch + first_step * batch_size, (first_epoch + epochs) * per_epoch
    # Mixing an image takes the one before it in the batch, which may be in another part.
    before = 1 if parts > 1 and view.mix != "none" else 0
    numbers = _numbers(first, last, batch_size, part, parts, before)
    batches = _batched(numbers, load, batch_size // parts + before, parallel)
    return _mixed(batches, view, len(classes), seed, first // batch_size, before).prefetch(2)


def evaluation_stream(
    rows: pd.DataFrame,
    root: Path,
    classes: list[str],
    view: View,
    *,
    batch_size: int,
    parallel: int | None = None,
    cached: Cached | None = None,
) -> tf.data.Dataset:
    """Every image once, in the manifest's order, resized and cropped at its centre.

    Args and Returns are as for `training_stream`; the last batch may be smaller, and a label that is not
    among the classes is `UNKNOWN_LABEL`.
    """
    files = _Files(rows, root, classes, cached)

    def load(index: Any) -> tuple[Any, Any]:
        return files.load(index, view.evaluation_region)

    return _batched(tf.data.Dataset.range(len(rows)), load, batch_size, parallel).prefetch(2)


def shuffled_index(position: Any, seed: int, epoch: Any, images: int) -> Any:
    """The image at a place of an epoch's order. Without a buffer: one number in, one number out."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.index_shuffle(position, key, images - 1)


def image_order(rows: pd.DataFrame, view: View, seed: int) -> Callable[[Any, Any], Any]:
    """A function from (epoch, position) to the number of the image that training sees there."""
    if view.balanced:
        return balanced_order(rows["label"], seed)
    return lambda epoch, position: shuffled_index(position % len(rows), seed, epoch, len(rows))


class _Files:
    """A manifest's columns as tensors, and how a part of one image of it is loaded.

    Whole columns become tensors at once: a path of a million rows takes microseconds then, not a Python object each.
    """

    def __init__(self, rows: pd.DataFrame, root: Path, classes: list[str], cached: Cached | None) -> None:
        numbers = pd.Index(classes).get_indexer(pd.Index(rows["label"]))  # UNKNOWN_LABEL for a label that is no class
        self.folder = "" if root == Path() else f"{root}/"  # files may be anywhere where they are relative to nothing
        self.paths = tf.constant(rows["path"].to_numpy(object))
        self.with_pillow = tf.constant((rows["decoder"] == "pillow").to_numpy())
        self.orientations = tf.constant(rows["orientation"].to_numpy(np.int32))
        self.labels = tf.constant(numbers.astype(np.int32))
        self.cached = cached

    def load(self, index: Any, choose: Callable[[Any], Region]) -> tuple[Any, Any]:
        def decode() -> Any:
            path = tf.strings.join([self.folder, self.paths[index]])
            return decode_region(path, self.with_pillow[index], self.orientations[index], choose)

        return self.cached(index, choose, decode) if self.cached else decode(), self.labels[index]


def _numbers(first: int, last: int, batch_size: int, part: int, parts: int, before: int) -> tf.data.Dataset:
    """Of each batch the numbers of one part, and some before them, which for the first part are the last ones."""
    if parts == 1:
        return tf.data.Dataset.range(first, last)
    begin, size = part * (batch_size // parts) - before, batch_size // parts + before

    def number(index: Any) -> Any:
        return first + index // size * batch_size + (begin + index % size) % batch_size

    return mapped(tf.data.Dataset.range((last - first) // batch_size * size), number)


def _batched(numbers: tf.data.Dataset, load: Any, batch_size: int, parallel: int | None) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # One process reads for all of its devices; there are no files to divide among workers by name.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return mapped(numbers, load, parallel or tf.data.AUTOTUNE).batch(batch_size).with_options(options)


def _mixed(batches: tf.data.Dataset, view: View, classes: int, seed: int, first: int, before: int) -> tf.data.Dataset:
    """Batches are numbered through all epochs, from `first` on, and keyed by that. Images that only stand before the
    wanted ones are left out behind it."""
    if view.mix == "none":
        return batches

    def mix(number: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        images, labels = batch
        images, targets = MIXES[view.mix](images, tf.one_hot(labels, classes), key_of(seed, number, _MIX))
        return images[before:], targets[before:]

    return mapped(batches.enumerate(first), mix, 2)


def mapped(elements: tf.data.Dataset, function: Callable[..., Any], parallel: int | None = None) -> tf.data.Dataset:
    """`elements.map(function)` in order, without autograph: that takes seconds to look for Python's `if` and `for` over
    tensors in all that a function calls, and in ours there are none.

    Args:
        elements: Any dataset.
        function: Of the parts of an element.
        parallel: Elements at a time, None for one after another.
    """
    plain = tf.autograph.experimental.do_not_convert(function)
    return elements.map(plain, num_parallel_calls=parallel, deterministic=True if parallel else None)
