"""TrivialAugment applies one of fourteen operations to each image, at a random strength.

The method is that of Müller and Hutter 2021 ("TrivialAugment: tuning-free yet state-of-the-art data augmentation",
arXiv 2103.10158). Operations and strengths are those of the paper's wide space (table 6); each operation matches
Pillow's.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from pipelines.images.colour import brightness, contrast, saturation, sharpness, to_uint8

_STRENGTHS = 31


def trivial_augment(image: Any, key: Any) -> Any:
    """Applies one random operation at one of 31 strengths.

    Args:
        image: uint8 [size, size, 3].
        key: int32 [2], the key that determines the randomness.

    Returns:
        uint8 [size, size, 3].
    """
    keys = tf.random.experimental.stateless_split(key, 3)
    operation = tf.random.stateless_uniform([], keys[0], 0, len(OPERATIONS), tf.int32)
    level = tf.random.stateless_uniform([], keys[1], 0, _STRENGTHS, tf.int32)
    sign = tf.cast(tf.random.stateless_uniform([], keys[2], 0, 2, tf.int32) * 2 - 1, tf.float32)
    strength = tf.cast(level, tf.float32) / (_STRENGTHS - 1)
    branches = [lambda one=one: one(image, strength, sign) for one in OPERATIONS.values()]
    return tf.ensure_shape(tf.switch_case(operation, branches), image.shape)


def _identity(image: Any, strength: Any, sign: Any) -> Any:
    return image


def _shear_x(image: Any, strength: Any, sign: Any) -> Any:
    return _transformed(image, [1.0, sign * strength * 0.99, 0.0, 0.0, 1.0, 0.0])


def _shear_y(image: Any, strength: Any, sign: Any) -> Any:
    return _transformed(image, [1.0, 0.0, 0.0, sign * strength * 0.99, 1.0, 0.0])


def _translate_x(image: Any, strength: Any, sign: Any) -> Any:
    return _transformed(image, [1.0, 0.0, sign * _shift(image, strength), 0.0, 1.0, 0.0])


def _translate_y(image: Any, strength: Any, sign: Any) -> Any:
    return _transformed(image, [1.0, 0.0, 0.0, 0.0, 1.0, sign * _shift(image, strength)])


def _rotate(image: Any, strength: Any, sign: Any) -> Any:
    angle = sign * strength * (135.0 / 180.0 * 3.14159265)
    cosine, sine = tf.cos(angle), tf.sin(angle)
    middle = (tf.cast(tf.shape(image)[:2], tf.float32) - 1.0) / 2.0
    across = middle[1] - cosine * middle[1] + sine * middle[0]
    down = middle[0] - sine * middle[1] - cosine * middle[0]
    return _transformed(image, [cosine, -sine, across, sine, cosine, down])


def _posterize(image: Any, strength: Any, sign: Any) -> Any:
    """Keeps the 8 to 2 highest bits of each value."""
    dropped = tf.cast(tf.round(strength * 6.0), tf.uint8)
    return tf.bitwise.left_shift(tf.bitwise.right_shift(image, dropped), dropped)


def _solarize(image: Any, strength: Any, sign: Any) -> Any:
    """Inverts values at or above a threshold, which falls from 255 to 0 as the strength grows."""
    return tf.where(tf.cast(image, tf.float32) < 255.0 * (1.0 - strength), image, 255 - image)


def _autocontrast(image: Any, strength: Any, sign: Any) -> Any:
    """Stretches each channel to 0 … 255."""
    pixels = tf.cast(image, tf.float32)
    low, high = tf.reduce_min(pixels, [0, 1]), tf.reduce_max(pixels, [0, 1])
    stretched = (pixels - low) * 255.0 / tf.maximum(high - low, 1.0)
    return tf.where(high > low, tf.cast(tf.floor(stretched + 1e-4), tf.uint8), image)


def _equalize(image: Any, strength: Any, sign: Any) -> Any:
    """Gives each channel a flat histogram, as Pillow's `ImageOps.equalize` does."""
    return tf.stack([_equalize_channel(image[..., channel]) for channel in range(3)], -1)


def _equalize_channel(channel: Any) -> Any:
    values = tf.cast(channel, tf.int32)
    counts = tf.math.bincount(tf.reshape(values, [-1]), minlength=256, maxlength=256)
    last = counts[tf.reduce_max(values)]
    step = (tf.size(values) - last) // 255
    table = (step // 2 + tf.cumsum(counts, exclusive=True)) // tf.maximum(step, 1)
    table = tf.where(step > 0, tf.minimum(table, 255), tf.range(256))
    return tf.cast(tf.gather(table, values), tf.uint8)


def _enhanced(enhance: Callable[[Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    return lambda image, strength, sign: enhance(image, 1.0 + sign * strength * 0.99)


def _shift(image: Any, strength: Any) -> Any:
    """Returns the number of pixels to shift, up to 32 for an image of 224 pixels."""
    return tf.round(strength * 32.0 / 224.0 * tf.cast(tf.shape(image)[0], tf.float32))


def _transformed(image: Any, matrix: list[Any]) -> Any:
    """Transforms an image by the matrix (a, b, c, d, e, f), with bilinear interpolation and black beyond the edges.

    Output pixel (x, y) is input pixel (a·x + b·y + c, d·x + e·y + f).
    """
    row = tf.stack([*(tf.cast(value, tf.float32) for value in matrix), 0.0, 0.0])
    pixels = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(image, tf.float32)[tf.newaxis],
        transforms=row[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return to_uint8(pixels[0])


OPERATIONS = {
    "identity": _identity,
    "shear_x": _shear_x,
    "shear_y": _shear_y,
    "translate_x": _translate_x,
    "translate_y": _translate_y,
    "rotate": _rotate,
    "brightness": _enhanced(brightness),
    "saturation": _enhanced(saturation),
    "contrast": _enhanced(contrast),
    "sharpness": _enhanced(sharpness),
    "posterize": _posterize,
    "solarize": _solarize,
    "autocontrast": _autocontrast,
    "equalize": _equalize,
}
