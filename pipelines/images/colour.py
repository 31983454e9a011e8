"""Random changes of colour, and the deterministic changes they are made of, which match Pillow's ImageEnhance."""

from typing import Any

import tensorflow as tf

from pipelines.images.regions import inside

# The weights of ITU-R BT.601, which Pillow's conversion to gray uses too.
_GRAY = (0.299, 0.587, 0.114)
# Eigenvalues and eigenvectors of the covariance matrix of ImageNet's RGB values in 0 … 1. They are those of the
# authors' cuda-convnet and of Facebook's fb.resnet.torch (datasets/imagenet.lua).
_EIGENVALUES = (0.2175, 0.0188, 0.0045)
_EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
_LIGHTING_DEVIATION = 0.1
_JITTER = 0.4


def lighting(image: Any, key: Any) -> Any:
    """Shifts the colours along the principal components of ImageNet's colours, with a standard deviation of 0.1.

    This is AlexNet's colour augmentation (Krizhevsky et al. 2012, "ImageNet classification with deep convolutional
    neural networks", section 4.1).

    Args:
        image: uint8 [height, width, 3].
        key: int32 [2], the key that determines the randomness.
    """
    shares = tf.random.stateless_normal([3], key, stddev=_LIGHTING_DEVIATION) * tf.constant(_EIGENVALUES)
    shift = 255.0 * tf.linalg.matvec(tf.constant(_EIGENVECTORS), shares)
    return to_uint8(tf.cast(image, tf.float32) + shift)


def colour_jitter(image: Any, key: Any) -> Any:
    """Multiplies brightness, contrast and saturation, in random order, each by a random factor from 0.6 to 1.4.

    The method is that of Howard 2013 ("Some improvements on deep convolutional neural network based image
    classification", arXiv 1312.5402); the factors and the order are those of fb.resnet.torch.

    Args:
        image: uint8 [height, width, 3].
        key: int32 [2], the key that determines the randomness.
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
    """Changes the brightness of a uint8 image: factor 0 gives black, 1 the unchanged image."""
    return to_uint8(tf.cast(image, tf.float32) * factor)


def contrast(image: Any, factor: Any) -> Any:
    """Changes the contrast of a uint8 image: factor 0 gives the image's mean gray, 1 the unchanged image."""
    mean = tf.floor(tf.reduce_mean(_gray(image)) + 0.5)
    return _blend(mean, image, factor)


def saturation(image: Any, factor: Any) -> Any:
    """Changes the saturation of a uint8 image: factor 0 gives the image in gray, 1 the unchanged image."""
    return _blend(_gray(image), image, factor)


def sharpness(image: Any, factor: Any) -> Any:
    """Changes the sharpness of a uint8 image: factor 0 gives the smoothed image, 1 the unchanged image.

    The smoothing kernel has 3 × 3 pixels and leaves the outermost pixels unchanged.
    """
    kernel = tf.constant([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0
    kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], [1, 1, 3, 1])
    pixels = tf.cast(image, tf.float32)
    inner = tf.nn.depthwise_conv2d(pixels[tf.newaxis], kernel, [1, 1, 1, 1], "VALID")[0]
    size = tf.shape(image)[:2]
    is_inner = inside(size, [1, 1], size - 1)
    smooth = tf.where(is_inner, tf.round(tf.pad(inner, [[1, 1], [1, 1], [0, 0]])), pixels)
    return _blend(smooth, image, factor)


def to_uint8(values: Any) -> Any:
    """Rounds values and limits them to 0 … 255."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)


def _gray(image: Any) -> Any:
    """Converts an image to gray: float32 [height, width, 1], rounded to whole numbers."""
    return tf.round(tf.reduce_sum(tf.cast(image, tf.float32) * tf.constant(_GRAY), -1, keepdims=True))


def _blend(other: Any, image: Any, factor: Any) -> Any:
    return to_uint8(other + (tf.cast(image, tf.float32) - other) * factor)
