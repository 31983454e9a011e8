"""Regions: the part of a picture that becomes an image of the network's size, and the resampling that makes it."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# libjpeg can decode at 1/1, 1/2, 1/4 and 1/8 of the size, and the smaller scales take less work.
RATIOS = (1, 2, 4, 8)
# TensorFlow's name of each resampling kernel, and half the kernel's width in pixels of the larger of the two grids.
# With antialiasing, TensorFlow's bicubic kernel is Keys's with -0.5, like Pillow's.
_KERNELS = {"bilinear": ("triangle", 1.0), "bicubic": ("keyscubic", 2.0)}


@dataclass(frozen=True)
class Region:
    """A rectangle of an upright picture that becomes an image of size × size pixels.

    Args:
        begin: float64 [2], top and left edge of the rectangle, in pixels of the whole picture.
        extent: float64 [2], height and width of the rectangle, in pixels of the whole picture.
        size: Height and width of the image, in pixels.
        interpolation: "bilinear" or "bicubic".
        bounded: Whether pixels beyond the rectangle's edges have no influence, as when a crop is resized. Otherwise
            the image is a crop of the resized picture.
    """

    begin: Any
    extent: Any
    size: int
    interpolation: str = "bilinear"
    bounded: bool = True

    def ratio_index(self) -> Any:
        """Returns the index in `RATIOS` of the smallest scale that has a pixel for each pixel of the image.

        Returns:
            Scalar int32.
        """
        fitting = tf.reduce_min(self.extent) / tf.constant(RATIOS, tf.float64) >= self.size
        return tf.maximum(tf.reduce_sum(tf.cast(fitting, tf.int32)) - 1, 0)

    def window(self, smaller: Any, ratio: Any) -> tuple[Any, Any]:
        """Returns the window of pixels that the image depends on.

        Args:
            smaller: int32 [2], height and width of the whole picture at the scale of decoding.
            ratio: Scalar int32, the factor by which it is smaller than the original.

        Returns:
            begin and extent of the window, int32 [2] each, in pixels of the smaller picture.
        """
        ratio = tf.cast(ratio, tf.float64)
        support = tf.constant(0.0, tf.float64)
        if not self.bounded:
            support = _KERNELS[self.interpolation][1] * tf.maximum(self.extent / ratio / self.size, 1.0)
        begin = tf.floor(self.begin / ratio - support)
        end = tf.math.ceil((self.begin + self.extent) / ratio + support)
        begin = tf.maximum(tf.cast(begin, tf.int32), 0)
        end = tf.minimum(tf.cast(end, tf.int32), smaller)
        return begin, end - begin

    def render(self, pixels: Any, begin: Any, ratio: Any) -> Any:
        """Resamples the window to the image, with antialiasing where it shrinks, as Pillow does.

        Args:
            pixels: uint8 [height, width, channels], the window.
            begin: int32 [2], top and left of the window, in pixels of the smaller picture.
            ratio: Scalar int32, the factor by which that picture is smaller than the original.

        Returns:
            uint8 [size, size, channels].
        """
        ratio = tf.cast(ratio, tf.float64)
        scale = self.size * ratio / self.extent
        translation = (tf.cast(begin, tf.float64) - self.begin / ratio) * scale
        height, width, channels = tf.unstack(tf.shape(pixels))
        # Each axis is resampled by itself, with the other axis in the channels. TensorFlow's kernel computes the same
        # sums when it does both axes, but is four times slower along rows of three channels.
        image = self._resample(tf.reshape(pixels, [height, width * channels]), scale[0], translation[0])
        image = self._resample(tf.reshape(tf.transpose(image), [width, channels * self.size]), scale[1], translation[1])
        image = tf.reshape(image, [self.size * channels, self.size])
        if self.interpolation == "bicubic":  # a kernel with negative parts can overshoot
            image = tf.clip_by_value(image, 0.0, 255.0)
        image = tf.transpose(tf.cast(tf.round(image), tf.uint8))
        image = tf.reshape(image, [self.size, self.size, channels])
        return tf.ensure_shape(image, (self.size, self.size, pixels.shape[-1]))

    def _resample(self, lines: Any, scale: Any, translation: Any) -> Any:
        """Resamples [lines, any] to float32 [size, any]; `scale` and `translation` are scalars."""
        return tf.raw_ops.ScaleAndTranslate(
            images=lines[tf.newaxis, :, tf.newaxis],
            size=[self.size, 1],
            scale=tf.stack([tf.cast(scale, tf.float32), 1.0]),
            translation=tf.stack([tf.cast(translation, tf.float32), 0.0]),
            kernel_type=_KERNELS[self.interpolation][0],
            antialias=True,
        )[0, :, 0]

    def of(self, image: Any) -> Any:
        """Returns the region of a picture that is already decoded.

        Args:
            image: uint8 [height, width, 3].

        Returns:
            uint8 [size, size, 3].
        """
        begin, extent = self.window(tf.shape(image)[:2], 1)
        return self.render(cut(image, begin, extent), begin, 1)


def cut(image: Any, begin: Any, extent: Any) -> Any:
    """Cuts a window out of an image; begin and extent are int32 [2]."""
    return tf.slice(image, tf.concat([begin, [0]], 0), tf.concat([extent, tf.shape(image)[2:]], 0))


def inside(size: Any, begin: Any, end: Any) -> Any:
    """Returns which pixels of an image lie in a rectangle.

    Args:
        size: int32 [2], height and width of the image.
        begin: int32 [2], top and left of the rectangle.
        end: int32 [2], bottom and right of the rectangle, exclusive.

    Returns:
        bool [height, width, 1].
    """
    rows, columns = tf.range(size[0])[:, tf.newaxis], tf.range(size[1])[tf.newaxis]
    found = (rows >= begin[0]) & (rows < end[0]) & (columns >= begin[1]) & (columns < end[1])
    return found[..., tf.newaxis]


def centre_region(shape: Any, size: int, crop_fraction: float, interpolation: str = "bilinear") -> Region:
    """Returns the evaluation's view: the central crop after the shorter side is resized to size / crop_fraction pixels.

    Args:
        shape: int32 [2], height and width of the picture.
        size: Height and width of the result, in pixels.
        crop_fraction: Share of the resized shorter side that the crop keeps; 0.875 resizes to 256 for a crop of 224.
        interpolation: "bilinear" or "bicubic".
    """
    shorter = round(size / crop_fraction)
    return _crop_of_resized(shape, tf.constant(shorter), size, lambda free: free // 2, interpolation)


def jittered_region(shape: Any, key: Any, size: int, interpolation: str = "bilinear") -> Region:
    """Returns a random crop of the picture after its shorter side is resized to a random length.

    This is the scale jitter of He et al. 2015 (section 3.4, after Simonyan and Zisserman 2014, section 3.1).

    Args:
        shape: int32 [2], height and width of the picture.
        key: int32 [2], the key that determines the randomness.
        size: Height and width of the result, in pixels; the shorter side is 256/224 to 480/224 of it.
        interpolation: "bilinear" or "bicubic".
    """
    keys = tf.random.experimental.stateless_split(key, 2)
    shortest, longest = round(size * 256 / 224), round(size * 480 / 224)
    shorter = tf.random.stateless_uniform([], keys[0], shortest, longest + 1, tf.int32)
    share = tf.random.stateless_uniform([2], keys[1], dtype=tf.float64)
    place = lambda free: tf.cast(share * tf.cast(free + 1, tf.float64), tf.int32)  # noqa: E731
    return _crop_of_resized(shape, shorter, size, place, interpolation)


def _crop_of_resized(shape: Any, shorter: Any, size: int, place: Any, interpolation: str) -> Region:
    """Returns a crop of size × size pixels after the shorter side is resized to `shorter` pixels.

    Args:
        shape: int32 [2], height and width of the picture.
        shorter: Scalar int32, length of the resized shorter side.
        size: Height and width of the crop, in pixels.
        place: Function from the free pixels beside the crop, int32 [2], to the crop's top and left.
        interpolation: "bilinear" or "bicubic".
    """
    sides = tf.cast(shape, tf.float64)
    scale = tf.cast(shorter, tf.float64) / tf.reduce_min(sides)
    resized = tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), shorter)
    pixel = sides / tf.cast(resized, tf.float64)
    begin = tf.cast(place(resized - size), tf.float64) * pixel
    return Region(begin, size * pixel, size, interpolation, bounded=False)


def random_region(shape: Any, key: Any, size: int, min_area: float) -> Region:
    """Returns a part of the picture of random area and aspect ratio, to be resized.

    The method is that of Szegedy et al. 2014 ("Going deeper with convolutions", section 6).

    Args:
        shape: int32 [2], height and width of the picture.
        key: int32 [2], the key that determines the randomness.
        size: Height and width of the result, in pixels.
        min_area: Smallest share of the picture's area; the largest is 1. The aspect ratio is within 3/4 … 4/3.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([shape, [3]], 0),
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=key,
        area_range=(min_area, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    return Region(tf.cast(begin[:2], tf.float64), tf.cast(extent[:2], tf.float64), size)
