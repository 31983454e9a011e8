"""Mixes the images of a batch and their labels; each mix is a pure function of the batch and a key."""

from typing import Any

import tensorflow as tf

from pipelines.images.colour import to_uint8
from pipelines.images.regions import inside

_MIXUP_ALPHA = 0.2
_CUTMIX_ALPHA = 1.0


def mixup(images: Any, targets: Any, key: Any) -> tuple[Any, Any]:
    """Blends each image with its neighbour in the batch, which is a random image because the stream is shuffled.

    The method and the value of alpha for ImageNet are those of Zhang et al. 2017 ("mixup: beyond empirical risk
    minimization", arXiv 1710.09412).

    Args:
        images: uint8 [batch, size, size, 3].
        targets: float32 [batch, classes].
        key: int32 [2], the key that determines the randomness.

    Returns:
        Images and targets of the same shapes; a batch of one image is unchanged.
    """
    share = _beta(key, _MIXUP_ALPHA)
    pixels = tf.cast(images, tf.float32)
    return to_uint8(_blend(pixels, share)), _blend(targets, share)


def cutmix(images: Any, targets: Any, key: Any) -> tuple[Any, Any]:
    """Replaces a rectangle of each image by that of its neighbour, and mixes the labels by the rectangle's area.

    The rectangle is the same in all images of the batch (Yun et al. 2019, "CutMix", arXiv 1905.04899, appendix A).
    Args and Returns are those of `mixup`.
    """
    keys = tf.random.experimental.stateless_split(key, 2)
    size = tf.shape(images)[1:3]
    sides = tf.cast(tf.cast(size, tf.float32) * tf.sqrt(1.0 - _beta(keys[0], _CUTMIX_ALPHA)), tf.int32)
    middle = tf.cast(tf.random.stateless_uniform([2], keys[1]) * tf.cast(size, tf.float32), tf.int32)
    begin = tf.maximum(middle - sides // 2, 0)
    end = tf.minimum(middle - sides // 2 + sides, size)
    replaced = inside(size, begin, end)
    kept = 1.0 - tf.reduce_mean(tf.cast(replaced, tf.float32))
    return tf.where(replaced, tf.roll(images, 1, 0), images), _blend(targets, kept)


# The names are those of `pipelines.config.shared.MIXES`.
MIXES = {"mixup": mixup, "cutmix": cutmix}


def _blend(values: Any, share: Any) -> Any:
    return values * share + tf.roll(values, 1, 0) * (1.0 - share)


def _beta(key: Any, alpha: float) -> Any:
    """Draws a number from the distribution Beta(alpha, alpha) by means of two gamma variates."""
    first, second = tf.unstack(tf.random.stateless_gamma([2], key, alpha, dtype=tf.float64))
    return tf.cast(first / (first + second), tf.float32)
