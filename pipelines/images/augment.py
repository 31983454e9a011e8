"""Random changes of an image, and the named augmentations that combine them.

Each change is a pure function of the image and a key. A key is an int32 tensor [2], the form that TensorFlow's
stateless operations take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipelines.images.colour import colour_jitter, lighting
from pipelines.images.regions import MEAN_COLOUR, Region, cut, evaluation_region, inside, jittered_region, random_region
from pipelines.images.trivial_augment import trivial_augment


def key_of(seed: int, epoch: Any, position: Any) -> Any:
    """Returns the random key of one position in one epoch of one run.

    Args:
        seed: Seed of the run.
        epoch: Number of the epoch, a scalar integer.
        position: Position within the epoch, a scalar integer.

    Returns:
        int32 [2].
    """
    key = tf.constant([seed, 0], tf.int32)
    key = tf.random.experimental.stateless_fold_in(key, epoch)
    return tf.random.experimental.stateless_fold_in(key, position)


def random_flip(image: Any, key: Any) -> Any:
    """Returns the image or its mirror image, with equal probability (Krizhevsky et al. 2012, section 4.1)."""
    return tf.image.stateless_random_flip_left_right(image, seed=key)


def random_erasing(image: Any, key: Any) -> Any:
    """Fills a random rectangle of 2 to 33 % of the image's area with one colour, with a probability of 1/4.

    The method is that of Zhong et al. 2017 ("Random erasing data augmentation", arXiv 1708.04896); the probability is
    that of timm's recipes.

    Args:
        image: uint8 [size, size, 3].
        key: int32 [2], the key that determines the randomness.
    """
    size = tf.shape(image)[:2]
    area, aspect, chance, top, left = tf.unstack(tf.random.stateless_uniform([5], key))
    area = 0.02 + area * (0.33 - 0.02)
    aspect = tf.exp((2.0 * aspect - 1.0) * tf.math.log(3.3))
    sides = tf.sqrt(tf.stack([area * aspect, area / aspect])) * tf.cast(size, tf.float32)
    sides = tf.minimum(tf.cast(tf.round(sides), tf.int32), size)
    begin = tf.cast(tf.stack([top, left]) * tf.cast(size - sides + 1, tf.float32), tf.int32)
    erased = tf.where(inside(size, begin, begin + sides), tf.constant(MEAN_COLOUR, tf.uint8), image)
    return tf.where(chance < 0.25, erased, image)


def shifted(image: Any, key: Any) -> Any:
    """Pads the image by an eighth of its side all around and takes a random crop of the original size.

    He et al. 2015 (section 4.2) do this with images of 32×32 pixels, which they pad by 4 pixels on each side. As in
    the paper, the padding is 0 after normalization.

    Args:
        image: uint8 [size, size, 3].
        key: int32 [2], the key that determines the randomness.
    """
    size = tf.shape(image)[:2]
    margin = size // 8
    begin = tf.cast(tf.random.stateless_uniform([2], key) * tf.cast(2 * margin + 1, tf.float32), tf.int32)
    padding = tf.concat([tf.stack([margin, margin], 1), [[0, 0]]], 0)
    crop = cut(tf.pad(image, padding), begin, size)
    return tf.where(inside(size, margin - begin, margin - begin + size), crop, tf.constant(MEAN_COLOUR, tf.uint8))


@dataclass(frozen=True)
class Augmentation:
    """How training crops and changes each image.

    Args:
        crop: "random" for `random_region`, "jittered" for `jittered_region`, or "whole" for what evaluation sees
            without a margin: the central square whose side is the picture's shorter side, or the squeezed or padded
            picture.
        changes: Functions of an image and a key, applied in this order after a random flip.
    """

    crop: str
    changes: tuple[Callable[[Any, Any], Any], ...] = ()


# The names are those of `pipelines.config.shared.AUGMENTATIONS`.
AUGMENTATIONS = {
    "light": Augmentation("random"),
    "paper": Augmentation("jittered", (lighting,)),  # He et al. 2015, section 3.4
    "cifar": Augmentation("whole", (shifted,)),  # section 4.2
    "colour": Augmentation("random", (colour_jitter,)),
    "trivial": Augmentation("random", (trivial_augment,)),
    "strong": Augmentation("random", (trivial_augment, random_erasing)),
}


def choose_region(
    name: str, shape: Any, key: Any, size: int, min_area: float, interpolation: str, view: str = "crop"
) -> Region:
    """Returns the part of a picture that an augmentation crops.

    Args:
        name: Name of the augmentation.
        shape: int32 [2], height and width of the upright picture.
        key: int32 [2], the key that determines the randomness.
        size: Height and width of the result, in pixels.
        min_area: Area of the smallest random crop, as a share of the image's area.
        interpolation: "bilinear" or "bicubic", for jittered and whole crops; random crops are always bilinear.
        view: The evaluation's view, see `evaluation_region`.
    """
    if AUGMENTATIONS[name].crop == "whole":
        return evaluation_region(shape, size, 1.0, interpolation, view)
    crop_key = tf.random.experimental.stateless_split(key, 2)[0]
    if AUGMENTATIONS[name].crop == "jittered":
        return jittered_region(shape, crop_key, size, interpolation, view)
    return random_region(shape, crop_key, size, min_area, view)


def change(name: str, image: Any, key: Any) -> Any:
    """Applies the changes of an augmentation to an image that is already cropped.

    Args:
        name: Name of the augmentation.
        image: uint8 [size, size, 3].
        key: int32 [2], the same key as for the crop.

    Returns:
        uint8 [size, size, 3].
    """
    image = random_flip(image, tf.random.experimental.stateless_split(key, 2)[1])
    for number, one in enumerate(AUGMENTATIONS[name].changes):
        image = one(image, tf.random.experimental.stateless_fold_in(key, number))
    return image
