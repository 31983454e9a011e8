"""Which part of a picture becomes an image of the network's size, and the resampling that makes it."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

# libjpeg decodes at 1/1, 1/2, 1/4 and 1/8 of the size, for less work than the whole.
RATIOS = (1, 2, 4, 8)
# Half the width of a resampling kernel, in pixels of the larger of both grids. TensorFlow's bicubic kernel with
# antialiasing is Keys's with -0.5, as Pillow's.
_KERNELS = {"bilinear": ("triangle", 1.0), "bicubic": ("keyscubic", 2.0)}


@dataclass(frozen=True)
class Region:
    """A rectangle of an upright picture, to become an image of size × size pixels.

    Args:
        begin: float64 [2], its top and left edge, in pixels of the whole picture.
        extent: float64 [2], its height and width, likewise.
        size: Of the image, in pixels.
        interpolation: "bilinear" or "bicubic".
        bounded: Whether pixels beyond its edges count for nothing, as where a crop is resized; else it is a crop of
            the resized picture.
    """

    begin: Any
    extent: Any
    size: int
    interpolation: str = "bilinear"
    bounded: bool = True

    def ratio_index(self) -> Any:
        """Place in `RATIOS` of the smallest scale that has a pixel for each one of the image; scalar int32."""
        fitting = tf.reduce_min(self.extent) / tf.constant(RATIOS, tf.float64) >= self.size
        return tf.maximum(tf.reduce_sum(tf.cast(fitting, tf.int32)) - 1, 0)

    def window(self, smaller: Any, ratio: Any) -> tuple[Any, Any]:
        """The pixels that count.

        Args:
            smaller: int32 [2], height and width of the whole picture as it is decoded.
            ratio: Scalar int32, how many times smaller that is.

        Returns:
            begin and extent, int32 [2] each, in pixels of the smaller picture.
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
        """Resamples, with antialiasing where it shrinks, as Pillow does.

        Args:
            pixels: uint8 [height, width, 3], the window.
            begin: int32 [2], where that begins.
            ratio: Scalar int32, how many times smaller than the whole picture it is.

        Returns:
            uint8 [size, size, 3].
        """
        ratio = tf.cast(ratio, tf.float64)
        scale = self.size * ratio / self.extent
        translation = (tf.cast(begin, tf.float64) - self.begin / ratio) * scale
        height, width = tf.unstack(tf.shape(pixels)[:2])
        # An axis at a time, the other one lying in the channels: TensorFlow's kernel does the same sums for both
        # axes, but is four times slower at those along rows of three channels.
        image = self._resample(tf.reshape(pixels, [height, width * 3]), scale[0], translation[0])
        image = self._resample(tf.reshape(tf.transpose(image), [width, 3 * self.size]), scale[1], translation[1])
        image = tf.reshape(image, [self.size * 3, self.size])
        if self.interpolation == "bicubic":  # its kernel has negative parts
            image = tf.clip_by_value(image, 0.0, 255.0)
        image = tf.transpose(tf.cast(tf.round(image), tf.uint8))
        return tf.reshape(image, [self.size, self.size, 3])

    def _resample(self, lines: Any, scale: Any, translation: Any) -> Any:
        """[lines, any] to float32 [size, any]; `scale` and `translation` are scalars."""
        return tf.raw_ops.ScaleAndTranslate(
            images=lines[tf.newaxis, :, tf.newaxis],
            size=[self.size, 1],
            scale=tf.stack([tf.cast(scale, tf.float32), 1.0]),
            translation=tf.stack([tf.cast(translation, tf.float32), 0.0]),
            kernel_type=_KERNELS[self.interpolation][0],
            antialias=True,
        )[0, :, 0]

    def of(self, image: Any) -> Any:
        """The region of a picture that is decoded already.

        Args:
            image: uint8 [height, width, 3].

        Returns:
            uint8 [size, size, 3].
        """
        begin, extent = self.window(tf.shape(image)[:2], 1)
        return self.render(cut(image, begin, extent), begin, 1)


def cut(image: Any, begin: Any, extent: Any) -> Any:
    """A window of an image; begin and extent are int32 [2]."""
    return tf.slice(image, tf.concat([begin, [0]], 0), tf.concat([extent, [3]], 0))


def inside(size: Any, begin: Any, end: Any) -> Any:
    """Which pixels of an image lie in a rectangle, bool [height, width, 1]; all arguments are int32 [2]."""
    rows, columns = tf.range(size[0])[:, tf.newaxis], tf.range(size[1])[tf.newaxis]
    found = (rows >= begin[0]) & (rows < end[0]) & (columns >= begin[1]) & (columns < end[1])
    return found[..., tf.newaxis]


def centre_region(shape: Any, size: int, crop_fraction: float, interpolation: str = "bilinear") -> Region:
    """The evaluation's view: the shorter side resized to size / crop_fraction pixels, then the centre.

    Args:
        shape: int32 [2], height and width of the picture.
        size: Height and width of the result, in pixels.
        crop_fraction: 0.875 resizes to 256 before a crop of 224.
        interpolation: "bilinear" or "bicubic".
    """
    shorter = round(size / crop_fraction)
    return _crop_of_resized(shape, tf.constant(shorter), size, lambda free: free // 2, interpolation)


def jittered_region(shape: Any, key: Any, size: int, interpolation: str = "bilinear") -> Region:
    """He et al. 2015's scale jitter (section 3.4, after Simonyan and Zisserman 2014, section 3.1): the shorter side
    resized to a random length, then a crop anywhere.

    Args:
        shape: int32 [2], height and width of the picture.
        key: What the randomness depends on.
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
    """A crop of size × size where the shorter side has been resized, at `place` of the free pixels."""
    sides = tf.cast(shape, tf.float64)
    scale = tf.cast(shorter, tf.float64) / tf.reduce_min(sides)
    resized = tf.maximum(tf.cast(tf.round(sides * scale), tf.int32), shorter)
    pixel = sides / tf.cast(resized, tf.float64)
    begin = tf.cast(place(resized - size), tf.float64) * pixel
    return Region(begin, size * pixel, size, interpolation, bounded=False)


def random_region(shape: Any, key: Any, size: int, min_area: float) -> Region:
    """A part of the image of random area and aspect ratio (Szegedy et al. 2014, "Going deeper with
    convolutions", section 6), resized.

    Args:
        shape: int32 [2], height and width of the picture.
        key: What the randomness depends on.
        size: Height and width of the result, in pixels.
        min_area: Smallest share of the image's area; the largest is 1. The aspect ratio is within 3/4 … 4/3.
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
