"""The stream of batches: uint8 images [batch, height, width, 3] and labels [batch], or [batch, classes] when mixed.

Each image is a pure function of (seed, epoch, position), whatever the parallelism.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.data.value_range import UNKNOWN, ValueRange
from pipelines.images.augment import change, choose_region, key_of
from pipelines.images.balance import balanced_order
from pipelines.images.decode import ChooseRegion, decode_region
from pipelines.images.mix import MIXES
from pipelines.images.regions import Region, evaluation_region

# A function from the number of an image, the choice of its region, and a function that decodes the region from the
# file, to the pixels, uint8 [size, size, 3].
Cached = Callable[[Any, ChooseRegion, Callable[[], Any]], Any]

UNKNOWN_LABEL = -1  # the index that pandas gives to a value it does not find
# The key of a batch has this number in place of an image's position, so that no batch shares its key with an image.
_MIX = -1
# The number of decoders whose graphs are kept. A training has two, and one more for each view and size it looks at.
_DECODERS = 16


@dataclass(frozen=True)
class InputSpec:
    """How images are prepared for the network.

    Args:
        size: Height and width of the images, in pixels.
        crop_fraction: Share of the resized shorter side that the view "crop" keeps, see
            `pipelines.images.regions.evaluation_region`.
        interpolation: "bilinear" or "bicubic", for the evaluation's view.
        min_area: Area of the smallest random crop in training, as a share of the image, see `random_region`.
        augment: Changes that training makes to each image, one of `pipelines.images.augment.AUGMENTATIONS`.
        mix: Mixing that training applies to each batch, "none" or one of `pipelines.images.mix.MIXES`.
        balanced: Whether training sees all classes equally often, see `balanced_order`.
        value_range: Stored values that become black and white, where images have more than 8 bits.
        view: What evaluation sees of a picture, "crop", "squeeze" or "pad"; training's crops follow it.
        place: Place of one of several crops that evaluation looks at, see `evaluation_region`; None is the view itself.
    """

    size: int
    crop_fraction: float = 0.875
    interpolation: str = "bilinear"
    min_area: float = 0.35
    augment: str = "light"
    mix: str = "none"
    balanced: bool = False
    value_range: ValueRange = UNKNOWN
    view: str = "crop"
    place: tuple[float, float] | None = None

    def evaluation_region(self, shape: Any) -> Region:
        """Returns the region that evaluation and serving see of an upright picture.

        Args:
            shape: int32 [2], height and width of the picture.
        """
        return evaluation_region(shape, self.size, self.crop_fraction, self.interpolation, self.view, self.place)

    def training_region(self, key: Any) -> ChooseRegion:
        """Returns the function that chooses the region that training sees of an upright picture.

        Args:
            key: int64 [2], which determines what varies.
        """
        size, view = self.size, self.view
        return lambda shape: choose_region(self.augment, shape, key, size, self.min_area, self.interpolation, view)

    def for_evaluation(self, image: Any) -> Any:
        """Returns an upright image, uint8 [height, width, 3], as evaluation and serving see it.

        Returns:
            uint8 [size, size, 3].
        """
        return self.evaluation_region(tf.shape(image)[:2]).of(image)


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Returns the number of batches in an epoch that shows every image; the last batch is filled up."""
    return -(-images // batch_size)


@dataclass(frozen=True)
class ImageSource:
    """The images of a stream, and where they are taken from.

    Args:
        rows: Rows of a manifest.
        root: Folder that the manifest's paths are relative to.
        classes: Names of the classes, in the order of the labels.
        cached: Function that takes pictures from a cache, see `pipelines.images.cache`; None reads the files. It does
            not affect the pixels.
    """

    rows: pd.DataFrame
    root: Path
    classes: list[str]
    cached: Cached | None = None


@dataclass(frozen=True)
class Order:
    """Which batches a training sees, and which part of each this process reads.

    Args:
        batch_size: Number of images per batch.
        seed: Seed of the order and of the augmentation.
        first_epoch: Epoch to begin with.
        first_step: Batch of that epoch to begin with.
        epochs: Number of epochs.
        part: Number of the wanted part of each batch, from 0. Only its images are read, and they are the same as in
            the whole batch.
        parts: Number of parts, a divisor of batch_size.
    """

    batch_size: int
    seed: int
    first_epoch: int = 0
    first_step: int = 0
    epochs: int = 1
    part: int = 0
    parts: int = 1


def training_stream(
    source: ImageSource, input_spec: InputSpec, order: Order, *, parallel: int | None = None
) -> tf.data.Dataset:
    """Returns full, shuffled, augmented batches for a number of epochs.

    The order of an epoch is the permutation that `index_shuffle` derives from (seed, epoch), without a buffer. The
    last batch of an epoch is filled up from the start of the same permutation, with different crops.

    Args:
        source: The images.
        input_spec: Size, crops and augmentation of the images.
        order: The batches.
        parallel: Number of images decoded at a time; None lets TensorFlow choose. It does not affect the pixels.

    Returns:
        Dataset of (uint8 [batch_size / parts, size, size, 3], int32 [batch_size / parts]). If the input spec mixes
        images, the labels are float32 [batch_size / parts, classes].
    """
    files, batch_size, spec = _Files(source), order.batch_size, input_spec
    decode, changed = _training_decoder(spec), _changer(spec.augment)
    index_at = image_order(source.rows, input_spec, order.seed)
    per_epoch = steps_per_epoch(len(source.rows), batch_size) * batch_size

    def load(number: Any) -> tuple[Any, Any]:
        epoch, position = number // per_epoch, number % per_epoch
        key = key_of(order.seed, epoch, position)

        image, label = files.load(index_at(epoch, position), spec.training_region(key), decode, key)
        return changed(image, key), label

    first = order.first_epoch * per_epoch + order.first_step * batch_size
    last = (order.first_epoch + order.epochs) * per_epoch
    # An image is mixed with the one before it in the batch, which may be in a different part.
    before = 1 if order.parts > 1 and input_spec.mix != "none" else 0
    numbers = _numbers(first, last, order, before)
    batches = _batched(numbers, load, batch_size // order.parts + before, parallel)
    return _mixed(batches, source, input_spec, order.seed, first // batch_size, before).prefetch(2)


def evaluation_stream(
    source: ImageSource, input_spec: InputSpec, batch_size: int, *, parallel: int | None = None
) -> tf.data.Dataset:
    """Returns batches of every image once, in the manifest's order, as evaluation sees it.

    Args:
        source: The images. A label that is not one of its classes becomes `UNKNOWN_LABEL`.
        input_spec: Size and crop of the images.
        batch_size: Number of images per batch; the last one may have fewer.
        parallel: Number of images decoded at a time; None lets TensorFlow choose. It does not affect the pixels.

    Returns:
        Dataset of (uint8 [batch, size, size, 3], int32 [batch]).
    """
    files, decode = _Files(source), _evaluation_decoder(input_spec)

    def load(index: Any) -> tuple[Any, Any]:
        return files.load(index, input_spec.evaluation_region, decode)

    return _batched(tf.data.Dataset.range(len(source.rows)), load, batch_size, parallel).prefetch(2)


def shuffled_index(position: Any, seed: int, epoch: Any, images: int) -> Any:
    """Returns the number of the image at a position of an epoch's random order, computed without a buffer."""
    key = tf.stack([tf.constant(seed, tf.int64), tf.cast(epoch, tf.int64)])
    return tf.random.experimental.index_shuffle(position, key, images - 1)


def image_order(rows: pd.DataFrame, input_spec: InputSpec, seed: int) -> Callable[[Any, Any], Any]:
    """Returns a function from (epoch, position) to the number of the image that training sees there."""
    if input_spec.balanced:
        return balanced_order(rows["label"], seed)
    return lambda epoch, position: shuffled_index(position % len(rows), seed, epoch, len(rows))


class _Files:
    """A manifest's columns as tensors, with a method that loads a part of one image.

    Whole columns become tensors at once. The path of one of a million rows then takes microseconds, and there is no
    Python object for each row.
    """

    def __init__(self, source: ImageSource) -> None:
        rows, root = source.rows, source.root
        numbers = pd.Index(source.classes).get_indexer(pd.Index(rows["label"]))  # UNKNOWN_LABEL if it is not a class
        self.folder = "" if root == Path() else f"{root}/"  # without a root, paths may be absolute
        self.paths = tf.constant(rows["path"].to_numpy(object))
        self.with_pillow = tf.constant((rows["decoder"] == "pillow").to_numpy())
        self.orientations = tf.constant(rows["orientation"].to_numpy(np.int32))
        self.labels = tf.constant(numbers.astype(np.int32))
        self.cached = source.cached

    def load(self, index: Any, choose: ChooseRegion, decode: Callable[..., Any], *chance: Any) -> tuple[Any, Any]:
        """Returns a part of one image, and its label.

        Args:
            index: Number of the image.
            choose: Function that chooses the part.
            decode: Function that decodes this part of a file.
            chance: What the choice depends on besides the image.
        """

        def from_file() -> Any:
            path = tf.strings.join([self.folder, self.paths[index]])
            return decode(path, self.with_pillow[index], self.orientations[index], *chance)

        return self.cached(index, choose, from_file) if self.cached else from_file(), self.labels[index]


def stream_of_files(batches: Callable[[], Any], input_spec: InputSpec, batch_size: int) -> tf.data.Dataset:
    """Returns the images of files that become known one after the other, as evaluation sees them.

    Args:
        batches: Function that returns an iterator over batches of files: paths as bytes, whether Pillow decodes them,
            and EXIF orientations, each an array of at most `batch_size`. It is called in a thread of TensorFlow.
        input_spec: Size and view of the images.
        batch_size: Number of images per batch; the last one may have fewer.

    Returns:
        Dataset of uint8 [batch, size, size, 3].
    """
    facts = tuple(tf.TensorSpec([None], kind) for kind in (tf.string, tf.bool, tf.int32))
    files = tf.data.Dataset.from_generator(batches, output_signature=facts).unbatch()
    return _batched(files, _evaluation_decoder(input_spec), batch_size, None).prefetch(2)


# Building the graph of a decoder takes a second, so that all streams with the same input spec share one.
@lru_cache(maxsize=_DECODERS)
def _evaluation_decoder(spec: InputSpec) -> Callable[..., Any]:
    """Returns a function from path, with_pillow and orientation, see `decode_region`, to what evaluation sees."""

    def decode(path: Any, with_pillow: Any, orientation: Any) -> Any:
        return decode_region(path, with_pillow, orientation, spec.evaluation_region, spec.value_range)

    return tf.function(decode, autograph=False)


@lru_cache(maxsize=_DECODERS)
def _training_decoder(spec: InputSpec) -> Callable[..., Any]:
    """Returns the same for training, from a key as well."""

    def decode(path: Any, with_pillow: Any, orientation: Any, key: Any) -> Any:
        return decode_region(path, with_pillow, orientation, spec.training_region(key), spec.value_range)

    return tf.function(decode, autograph=False)


@lru_cache(maxsize=_DECODERS)
def _changer(augment: str) -> Callable[..., Any]:
    """Returns a function from an image and a key to the image with the changes of training."""
    return tf.function(partial(change, augment), autograph=False)


def _numbers(first: int, last: int, order: Order, before: int) -> tf.data.Dataset:
    """Returns the image numbers of one part of each batch, preceded by the last `before` numbers of the part before it.

    The part before the first one is the last one of the same batch.
    """
    if order.parts == 1:
        return tf.data.Dataset.range(first, last)
    batch_size, share = order.batch_size, order.batch_size // order.parts
    begin, size = order.part * share - before, share + before

    def number(index: Any) -> Any:
        return first + index // size * batch_size + (begin + index % size) % batch_size

    return mapped(tf.data.Dataset.range((last - first) // batch_size * size), number)


def _batched(numbers: tf.data.Dataset, load: Any, batch_size: int, parallel: int | None) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Each process reads the images of its own devices, so TensorFlow must not divide files among the workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return mapped(numbers, load, parallel or tf.data.AUTOTUNE).batch(batch_size).with_options(options)


def _mixed(
    batches: tf.data.Dataset, source: ImageSource, input_spec: InputSpec, seed: int, first: int, before: int
) -> tf.data.Dataset:
    """Mixes each batch as the input spec says.

    A batch's key is its number, which counts through all epochs from `first` on. The `before` images at the beginning
    of a batch serve only to be mixed into the image that follows, and are dropped afterwards.
    """
    if input_spec.mix == "none":
        return batches
    classes = len(source.classes)

    def mix(number: Any, batch: tuple[Any, Any]) -> tuple[Any, Any]:
        images, labels = batch
        images, targets = MIXES[input_spec.mix](images, tf.one_hot(labels, classes), key_of(seed, number, _MIX))
        return images[before:], targets[before:]

    return mapped(batches.enumerate(first), mix, 2)


def mapped(elements: tf.data.Dataset, function: Callable[..., Any], parallel: int | None = None) -> tf.data.Dataset:
    """Returns `elements.map(function)` in order and without autograph.

    Autograph takes seconds to search everything that a function calls for Python's `if` and `for` over tensors, and
    these functions contain none.

    Args:
        elements: Dataset of any elements.
        function: Function of the components of an element.
        parallel: Number of elements processed at a time; None processes one after another.
    """
    plain = tf.autograph.experimental.do_not_convert(function)
    return elements.map(plain, num_parallel_calls=parallel, deterministic=True if parallel else None)
