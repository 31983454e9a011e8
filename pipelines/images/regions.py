"""Regions: the part of a picture that becomes an image of the network's size, and the resampling that makes it."""

from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

# libjpeg can decode at 1/1, 1/2, 1/4 and 1/8 of the size, and the smaller scales take less work.
RATIOS = (1, 2, 4, 8)
# TensorFlow's name of each resampling kernel, and half the kernel's width in pixels of the larger of the two grids.
# With antialiasing, TensorFlow's bicubic kernel is Keys's with -0.5, like Pillow's.
_KERNELS = {"bilinear": ("triangle", 1.0), "bicubic": ("keyscubic", 2.0)}
# ImageNet's mean colour, which a normalized network sees as about 0. It fills what lies beyond a picture.
MEAN_COLOUR = (124, 116, 104)
# The share of the resized picture that each of several crops keeps at most: 224 of 256 pixels (Krizhevsky et al. 2012).
FRACTION_OF_CROPS = 0.875
# A random crop of a squeezed picture is chosen on a square of so many pixels, a power of 2 so that nothing is rounded.
_FINE = 4096
# An output pixel is the picture's if its centre lies in it by at least so many output pixels. TensorFlow's kernel
# places the centre in float32, and gives black where that is beyond the edge.
_SURELY_INSIDE = 0.01


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
        picture: float64 [2, 2], the picture's top and left edge, and its bottom and right edge, if the rectangle
            reaches beyond them. `MEAN_COLOUR` is there. None if the rectangle lies in the picture.
    """

    begin: Any
    extent: Any
    size: int
    interpolation: str = "bilinear"
    bounded: bool = True
    picture: Any = None

    def moved(self, distance: Any) -> "Region":
        """Returns the region of a picture that lies lower and more to the right by a distance in pixels, int32 [2]."""
        distance = tf.cast(distance, tf.float64)
        picture = None if self.picture is None else self.picture + distance
        return replace(self, begin=self.begin + distance, picture=picture)

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
        if self.picture is not None:
            return tf.where(self._on_the_picture(), image, tf.constant(MEAN_COLOUR, tf.uint8))
        return tf.ensure_shape(image, (self.size, self.size, pixels.shape[-1]))

    def _on_the_picture(self) -> Any:
        """Returns which pixels of the image show the picture, bool [size, size, 1]."""
        pixel = self.extent / self.size
        centres = self.begin + (tf.range(self.size, dtype=tf.float64)[:, tf.newaxis] + 0.5) * pixel
        margin = _SURELY_INSIDE * pixel
        found = (centres >= self.picture[0] + margin) & (centres <= self.picture[1] - margin)
        return (found[:, tf.newaxis, 0] & found[tf.newaxis, :, 1])[..., tf.newaxis]

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


def evaluation_region(
    shape: Any,
    size: int,
    crop_fraction: float,
    interpolation: str = "bilinear",
    view: str = "crop",
    place: tuple[float, float] | None = None,
) -> Region:
    """Returns what evaluation and serving see of a picture.

    The view "crop" is the central crop after the shorter side is resized to size / crop_fraction pixels, "squeeze" is
    the whole picture, squeezed to a square, and "pad" is the whole picture in its aspect ratio, with `MEAN_COLOUR`
    beside it.

    Args:
        shape: int32 [2], height and width of the picture.
        size: Height and width of the result, in pixels.
        crop_fraction: Share of the resized shorter side that the crop keeps; 0.875 resizes to 256 for a crop of 224.
            The other two views keep everything.
        interpolation: "bilinear" or "bicubic".
        view: "crop", "squeeze" or "pad".
        place: Place of a crop, as shares of the free pixels above and to the left of it, to look at several crops of a
            picture; every view leaves some room then. None is the view itself.
    """
    if place is not None:
        crop_fraction, shares = min(crop_fraction, FRACTION_OF_CROPS), tf.constant(place, tf.float64)
    side = round(size / crop_fraction) if view == "crop" or place is not None else size

    def put(free: Any) -> Any:
        return free // 2 if place is None else tf.cast(tf.round(shares * tf.cast(free, tf.float64)), tf.int32)

    return _crop_of_resized(shape, _resized(shape, tf.constant(side), view), size, put, interpolation)


def jittered_region(shape: Any, key: Any, size: int, interpolation: str = "bilinear", view: str = "crop") -> Region:
    """Returns a random crop of the picture after it is resized to a random length.

    This is the scale jitter of He et al. 2015 (section 3.4, after Simonyan and Zisserman 2014, section 3.1).

    Args:
        shape: int32 [2], height and width of the picture.
        key: int32 [2], the key that determines the randomness.
        size: Height and width of the result, in pixels. The length is 256/224 to 480/224 of it. With the view "crop"
            it is that of the shorter side, and otherwise that of the squeezed or padded square.
        interpolation: "bilinear" or "bicubic".
        view: The evaluation's view, see `evaluation_region`.
    """
    keys = tf.random.experimental.stateless_split(key, 2)
    shortest, longest = round(size * 256 / 224), round(size * 480 / 224)
    side = tf.random.stateless_uniform([], keys[0], shortest, longest + 1, tf.int32)
    share = tf.random.stateless_uniform([2], keys[1], dtype=tf.float64)
    place = lambda free: tf.cast(share * tf.cast(free + 1, tf.float64), tf.int32)  # noqa: E731
    return _crop_of_resized(shape, _resized(shape, side, view), size, place, interpolation)


@dataclass(frozen=True)
class _Resized:
    """A resized picture, with what is beside it.

    Args:
        sides: int32 [2], height and width of the resized picture.
        canvas: int32 [2], height and width with the padding, in the middle of which the picture is.
        padded: Whether there is a padding.
    """

    sides: Any
    canvas: Any
    padded: bool


def _resized(shape: Any, side: Any, view: str) -> _Resized:
    """Resizes the shorter side to `side` pixels, or squeezes or pads the picture to a square of that side."""
    sides = tf.cast(shape, tf.float64)
    square = tf.stack([side, side])
    if view == "squeeze":
        return _Resized(square, square, padded=False)
    fitted = tf.reduce_max(sides) if view == "pad" else tf.reduce_min(sides)
    resized = tf.cast(tf.round(sides * (tf.cast(side, tf.float64) / fitted)), tf.int32)
    if view == "pad":
        return _Resized(tf.clip_by_value(resized, 1, side), square, padded=True)
    resized = tf.maximum(resized, side)
    return _Resized(resized, resized, padded=False)


def _crop_of_resized(shape: Any, resized: _Resized, size: int, place: Any, interpolation: str) -> Region:
    """Returns a crop of size × size pixels of a resized picture.

    Args:
        shape: int32 [2], height and width of the picture.
        resized: The resized picture.
        size: Height and width of the crop, in pixels.
        place: Function from the free pixels beside the crop, int32 [2], to the crop's top and left.
        interpolation: "bilinear" or "bicubic".
    """
    pixel = tf.cast(shape, tf.float64) / tf.cast(resized.sides, tf.float64)
    begin = place(resized.canvas - size)
    if resized.padded:
        begin = _meeting(begin - (resized.canvas - resized.sides) // 2, size, resized.sides)
    return Region(
        tf.cast(begin, tf.float64) * pixel,
        size * pixel,
        size,
        interpolation,
        bounded=False,
        picture=_edges(shape) if resized.padded else None,
    )


def random_region(shape: Any, key: Any, size: int, min_area: float, view: str = "crop") -> Region:
    """Returns a part of the picture of random area and aspect ratio, to be resized.

    The method is that of Szegedy et al. 2014 ("Going deeper with convolutions", section 6). With the view "squeeze" it
    is applied to the squeezed picture, and with "pad" to the padded one, so that training sees pictures distorted and
    padded as evaluation does.

    Args:
        shape: int32 [2], height and width of the picture.
        key: int32 [2], the key that determines the randomness.
        size: Height and width of the result, in pixels.
        min_area: Smallest share of the area; the largest is 1. The aspect ratio is within 3/4 … 4/3.
        view: The evaluation's view, see `evaluation_region`.
    """
    longer = tf.reduce_max(shape)
    frame = {"crop": shape, "squeeze": tf.constant([_FINE, _FINE]), "pad": tf.stack([longer, longer])}[view]
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.concat([frame, [3]], 0),
        bounding_boxes=tf.zeros([1, 0, 4]),
        seed=key,
        area_range=(min_area, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    begin, extent = begin[:2], extent[:2]
    if view == "pad":
        begin = _meeting(begin - (longer - shape) // 2, extent, shape)
    begin, extent = tf.cast(begin, tf.float64), tf.cast(extent, tf.float64)
    if view == "squeeze":
        fine = tf.cast(shape, tf.float64) / _FINE
        begin, extent = begin * fine, extent * fine
    return Region(begin, extent, size, picture=_edges(shape) if view == "pad" else None)


def _meeting(begin: Any, extent: Any, sides: Any) -> Any:
    """Moves a rectangle so that it shows some of a picture: on each axis, half of the shorter of the two.

    Args:
        begin: int32 [2], top and left of the rectangle, seen from the picture's corner.
        extent: int32 [2], height and width of the rectangle; or one number for both.
        sides: int32 [2], height and width of the picture.

    Returns:
        int32 [2], the top and left after the move.
    """
    shown = (tf.minimum(extent, sides) + 1) // 2
    return tf.clip_by_value(begin, shown - extent, sides - shown)


def _edges(shape: Any) -> Any:
    return tf.cast(tf.stack([tf.zeros_like(shape), shape]), tf.float64)
