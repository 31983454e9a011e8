"""Random changes of colour, and the plain ones that they are made of, which are those of Pillow's ImageEnhance."""

from typing import Any

import tensorflow as tf

from pipelines.images.regions import inside

# ITU-R BT.601, as Pillow's conversion to gray.
_GRAY = (0.299, 0.587, 0.114)
# Eigenvalues and eigenvectors of the covariance of ImageNet's RGB values in 0 … 1, as in the authors' cuda-convnet
# and in Facebook's fb.resnet.torch (datasets/imagenet.lua).
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_LIGHTING_DEVIATION = 0.1
_JITTER = 0.4


def lighting(image: Any, key: Any) -> Any:
    """AlexNet's colour augmentation (Krizhevsky et al. 2012, "ImageNet classification with deep convolutional neural
    networks", section 4.1): along the principal components of ImageNet's colours, with a deviation of 0.1.

    Args:
        image: uint8 [height, width, 3].
        key: What the randomness depends on.
    """
    shares = tf.random.stateless_normal([3], key, stddev=_LIGHTING_DEVIATION) * tf.constant(_EIGENVALUES)
    shift = 255.0 * tf.linalg.matvec(tf.constant(_EIGENVECTORS), shares)
    return to_uint8(tf.cast(image, tf.float32) + shift)


def colour_jitter(image: Any, key: Any) -> Any:
    """Brightness, contrast and saturation, each times a factor from 0.6 to 1.4, in random order (Howard 2013, "Some
    improvements on deep convolutional neural network based image classification", arXiv 1312.5402; the factors and the
    order are fb.resnet.torch's).

    Args:
        image: uint8 [height, width, 3].
        key: What the randomness depends on.
    """
    keys = tf.random.experimental.stateless_split(key, 2)
    factors = tf.random.stateless_uniform([3], keys[0], 1.0 - _JITTER, 1.0 + _JITTER)
    order = tf.random.experimental.stateless_shuffle(tf.range(3), keys[1])
    for place in range(3):
        image = tf.switch_case(
            order[place],
            [
                lambda image=image: brightness(image, factors[0]),
                lambda image=image: contrast(image, factors[1]),
                lambda image=image: saturation(image, factors[2]),
            ],
        )
    return image


def brightness(image: Any, factor: Any) -> Any:
    """0 is black, 1 the image, uint8 in and out; likewise the next ones."""
    return to_uint8(tf.cast(image, tf.float32) * factor)


def contrast(image: Any, factor: Any) -> Any:
    """0 is the mean gray."""
    mean = tf.floor(tf.reduce_mean(_gray(image)) + 0.5)
    return _blend(mean, image, factor)


def saturation(image: Any, factor: Any) -> Any:
    """0 is the image in gray."""
    return _blend(_gray(image), image, factor)


def sharpness(image: Any, factor: Any) -> Any:
    """0 is the image smoothed by a 3 × 3 kernel; its outermost pixels stay."""
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], [1, 1, 3, 1])
    pixels = tf.cast(image, tf.float32)
    inner = tf.nn.depthwise_conv2d(pixels[tf.newaxis], kernel, [1, 1, 1, 1], "VALID")[0]
    size = tf.shape(image)[:2]
    is_inner = inside(size, [1, 1], size - 1)
    smooth = tf.where(is_inner, tf.round(tf.pad(inner, [[1, 1], [1, 1], [0, 0]])), pixels)
    return _blend(smooth, image, factor)


def to_uint8(values: Any) -> Any:
    """Rounded, within 0 … 255."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


def _gray(image: Any) -> Any:
    """float32 [height, width, 1], whole numbers."""
    return tf.round(tf.reduce_sum(tf.cast(image, tf.float32) * tf.constant(_GRAY), -1, keepdims=True))


def _blend(other: Any, image: Any, factor: Any) -> Any:
    return to_uint8(other + (tf.cast(image, tf.float32) - other) * factor)
