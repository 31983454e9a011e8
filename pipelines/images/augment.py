"""Random changes of an image, each a pure function of the image and a key, and which of them go together.

A key is an int32 tensor [2], as TensorFlow's stateless operations take it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from pipelines.images.colour import colour_jitter, lighting
from pipelines.images.regions import Region, centre_region, cut, inside, jittered_region, random_region
from pipelines.images.trivial_augment import trivial_augment

# The fill of an erased or padded part: ImageNet's mean colour, which a normalized network sees as about 0.
_MEAN_COLOUR = (124, 116, 104)


def key_of(seed: int, epoch: Any, position: Any) -> Any:
    """The key of one place in one epoch of one run."""
    key = tf.constant([seed, 0], tf.int32)
    key = tf.random.experimental.stateless_fold_in(key, epoch)
    return tf.random.experimental.stateless_fold_in(key, position)


def random_flip(image: Any, key: Any) -> Any:
    """The image or its mirror image, with even chances (Krizhevsky et al. 2012, section 4.1)."""
    return tf.image.stateless_random_flip_left_right(image, seed=key)


def random_erasing(image: Any, key: Any) -> Any:
    """With a probability of 1/4, a rectangle of 2 to 33 % of the area becomes plain (Zhong et al. 2017, "Random
    erasing data augmentation", arXiv 1708.04896; the probability is that of timm's recipes).

    Args:
        image: uint8 [size, size, 3].
        key: What the randomness depends on.
    """
    size = tf.shape(image)[:2]
    area, aspect, chance, top, left = tf.unstack(tf.random.stateless_uniform([5], key))
    area = 0.02 + area * (0.33 - 0.02)
    aspect = tf.exp((2.0 * aspect - 1.0) * tf.math.log(3.3))
    sides = tf.sqrt(tf.stack([area * aspect, area / aspect])) * tf.cast(size, tf.float32)
    sides = tf.minimum(tf.cast(tf.round(sides), tf.int32), size)
    begin = tf.cast(tf.stack([top, left]) * tf.cast(size - sides + 1, tf.float32), tf.int32)
    erased = tf.where(inside(size, begin, begin + sides), tf.constant(_MEAN_COLOUR, tf.uint8), image)
    return tf.where(chance < 0.25, erased, image)


def shifted(image: Any, key: Any) -> Any:
    """The image padded by an eighth of its side all around, and a crop of its size anywhere: He et al. 2015, section
    4.2, where 32×32 pixels get 4 on each side. The padding is 0 behind the normalization, as there.

    Args:
        image: uint8 [size, size, 3].
        key: What the randomness depends on.
    """
    size = tf.shape(image)[:2]
    margin = size // 8
    begin = tf.cast(tf.random.stateless_uniform([2], key) * tf.cast(2 * margin + 1, tf.float32), tf.int32)
    padding = tf.concat([tf.stack([margin, margin], 1), [[0, 0]]], 0)
    crop = cut(tf.pad(image, padding), begin, size)
    return tf.where(inside(size, margin - begin, margin - begin + size), crop, tf.constant(_MEAN_COLOUR, tf.uint8))


@dataclass(frozen=True)
class Augmentation:
    """What training does to each image.

    Args:
        crop: "random" for `random_region`, "jittered" for `jittered_region`, "whole" for the shorter side's square.
        changes: After a random flip, in this order; each takes an image and a key.
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


def choose_region(name: str, shape: Any, key: Any, size: int, min_area: float, interpolation: str) -> Region:
    """The part of a picture that an augmentation takes.

    Args:
        name: Of the augmentation.
        shape: int32 [2], height and width of the upright picture.
        key: What the randomness depends on.
        size: Height and width of the result, in pixels.
        min_area: Smallest random crop, as a share of the image.
        interpolation: Of the jittered crops and of the whole; random ones are bilinear.
    """
    if AUGMENTATIONS[name].crop == "whole":
        return centre_region(shape, size, 1.0, interpolation)
    crop_key = tf.random.experimental.stateless_split(key, 2)[0]
    if AUGMENTATIONS[name].crop == "jittered":
        return jittered_region(shape, crop_key, size, interpolation)
    return random_region(shape, crop_key, size, min_area)


def change(name: str, image: Any, key: Any) -> Any:
    """What an augmentation does after the crop.

    Args:
        name: Of the augmentation.
        image: uint8 [size, size, 3].
        key: The one that the crop had.

    Returns:
        uint8 [size, size, 3].
    """
    image = random_flip(image, tf.random.experimental.stateless_split(key, 2)[1])
    for number, one in enumerate(AUGMENTATIONS[name].changes):
        image = one(image, tf.random.experimental.stateless_fold_in(key, number))
    return image
