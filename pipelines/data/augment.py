"""Random changes of an image, each a pure function of the image and a key.

A key is an int32 tensor [2], as TensorFlow's stateless operations take it.
"""

from typing import Any

import tensorflow as tf

from pipelines.data.decode import resize


def key_of(seed: int, epoch: Any, position: Any) -> Any:
    """The key of one place in one epoch of one run."""
    key = tf.constant([seed, 0], tf.int32)
    key = tf.random.experimental.stateless_fold_in(key, epoch)
    return tf.random.experimental.stateless_fold_in(key, position)


def random_resized_crop(image: Any, key: Any, size: int, min_area: float) -> Any:
    """A part of the image of random area and aspect ratio (Szegedy et al. 2014, "Going deeper with
    convolutions", section 6), resized.

    Args:
        image: uint8 [height, width, 3].
        key: What the randomness depends on.
        size: Height and width of the result, in pixels.
        min_area: Smallest share of the image's area; the largest is 1. The aspect ratio is within 3/4 … 4/3.

    Returns:
        uint8 [size, size, 3].
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.shape(image),
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=key,
        area_range=(min_area, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    crop = tf.slice(image, begin, extent)
    return tf.ensure_shape(resize(crop, size, size), (size, size, 3))


def random_flip(image: Any, key: Any) -> Any:
    """The image or its mirror image, with even chances."""
    return tf.image.stateless_random_flip_left_right(image, seed=key)


def augment(image: Any, key: Any, size: int, min_area: float) -> Any:
    """What training does to each image.

    Returns:
        uint8 [size, size, 3].
    """
    keys = tf.random.experimental.stateless_split(key, 2)
    return random_flip(random_resized_crop(image, keys[0], size, min_area), keys[1])
