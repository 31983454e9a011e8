"""Decodes a file's bytes to an upright RGB picture, uint8 [height, width, 3], in a TensorFlow graph.

TensorFlow decodes JPEG and PNG in RGB or gray; Pillow decodes everything else, inside the stream.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from pipelines.data.pillow_decode import decode_in_memory, decode_pillow
from pipelines.data.value_range import UNKNOWN, ValueRange
from pipelines.images.bmp import decode_bmp, is_bmp
from pipelines.images.gif import decode_first_frame, is_gif
from pipelines.images.orientation import exif_orientation, is_reversed, stored_window, upright, upright_shape
from pipelines.images.pixel_limit import refuse_bomb, within_limit
from pipelines.images.png import decode_plain_png, decode_png_over_white, is_png, over_white
from pipelines.images.regions import RATIOS, Region, cut
from pipelines.images.scan_limit import refuse_many_scans
from resnet_tf.errors import UserError

# A function from the height and width of the upright picture, int32 [2], to the wanted part of it.
ChooseRegion = Callable[[Any], Region]

# This inverse DCT gives the same pixels as Pillow; TensorFlow's default is off by one gray level on average.
_ACCURATE = "INTEGER_ACCURATE"
# Pixels decoded beyond the window, so that libjpeg smooths the colours at its edges as it does in the whole picture.
_MARGIN = 1


def rgb_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """Returns a picture that a program has in memory as files are decoded: upright, in RGB, with 8 bits.

    Args:
        image: A PIL image, or an array, uint8 RGB [height, width, 3] or gray [height, width].

    Returns:
        uint8 [height, width, 3].

    Raises:
        UserError: It is neither.
    """
    if isinstance(image, Image.Image):
        return decode_in_memory(image)
    array = np.asarray(image)
    shape = array.shape if array.ndim == 3 else (*array.shape, 3)
    if array.dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3 or not array.size:
        raise UserError(
            "an image must be a path, a PIL image, or an array of uint8 [height, width, 3] or [height, width], "
            f"received {type(image).__name__} {array.dtype} {list(array.shape)}"
        )
    return np.broadcast_to(array if array.ndim == 3 else array[..., None], shape)


def decode_file(path: Any, decoder: Any, orientation: Any, value_range: ValueRange = UNKNOWN) -> Any:
    """Decodes one image of a manifest.

    Args:
        path: Scalar string tensor.
        decoder: Scalar string tensor, "tensorflow" or "pillow".
        orientation: Scalar int32 tensor, EXIF orientation.
        value_range: Stored values that become black and white, where there are more than 8 bits.

    Returns:
        uint8 [height, width, 3], upright.
    """
    content = tf.io.read_file(path)
    return tf.cond(
        decoder == "pillow",
        lambda: _decode_with_pillow(content, value_range),
        lambda: upright(_in_three(_decode_plain(_refuse_costly(content))), orientation),
    )


def decode_scaled(
    path: Any, decoder: Any, orientation: Any, ratio_index: Any, value_range: ValueRange = UNKNOWN
) -> Any:
    """Decodes one image of a manifest at the scale of `RATIOS[ratio_index]`, see `decode_file`.

    Only JPEG files can be decoded at a scale other than the first.
    """

    def smaller() -> Any:
        content = _refuse_costly(tf.io.read_file(path))
        decode = partial(tf.io.decode_jpeg, content, channels=3, dct_method=_ACCURATE)
        return upright(tf.switch_case(ratio_index - 1, [partial(decode, ratio=r) for r in RATIOS[1:]]), orientation)

    return tf.cond(ratio_index == 0, lambda: decode_file(path, decoder, orientation, value_range), smaller)


def decode_region(
    path: Any, with_pillow: Any, orientation: Any, choose: ChooseRegion, value_range: ValueRange = UNKNOWN
) -> Any:
    """Decodes a part of one image of a manifest, at the network's size.

    Of a JPEG file, only the chosen part is decoded, at the scale that it needs.

    Args:
        path: Scalar string tensor.
        with_pillow: Scalar bool tensor, whether Pillow decodes the file because TensorFlow cannot.
        orientation: Scalar int32 tensor, EXIF orientation.
        choose: Function that chooses the part.
        value_range: Stored values that become black and white, where there are more than 8 bits.

    Returns:
        uint8 [size, size, 3].
    """
    content = tf.io.read_file(path)

    def whole() -> Any:
        other = lambda: upright(_decode_not_jpeg(refuse_bomb(content)), orientation)  # noqa: E731
        return tf.cond(with_pillow, lambda: _decode_with_pillow(content, value_range), other)

    return _region(content, tf.io.is_jpeg(content) & ~with_pillow, whole, orientation, choose)


def decode_region_of_bytes(content: Any, choose: ChooseRegion, value_range: ValueRange = UNKNOWN) -> Any:
    """Decodes a part of one encoded image for a served model, upright and over white.

    Args:
        content: Scalar string tensor, the bytes of a JPEG, PNG, GIF, BMP or WebP file.
        choose: Function that chooses the part.
        value_range: Stored values that become black and white, where there are more than 8 bits.

    Returns:
        uint8 [size, size, 3].
    """

    orientation = exif_orientation(content)

    def whole() -> Any:
        picture = tf.cond(
            is_gif(content), lambda: decode_first_frame(content), lambda: _decode_served(content, value_range)
        )
        return upright(picture, orientation)

    return _region(content, tf.io.is_jpeg(content), whole, orientation, choose)


def _decode_served(content: Any, value_range: ValueRange) -> Any:
    """Decodes a PNG, a BMP, or the first frame of a WebP, over white."""
    checked = refuse_bomb(content)

    def webp() -> Any:
        image = tf.io.decode_image(checked, channels=0, expand_animations=False)
        return tf.cond(tf.shape(image)[-1] == 4, lambda: over_white(image), lambda: image)

    kinds = [
        (is_png(content), lambda: _in_three(decode_png_over_white(checked, value_range))),
        (is_bmp(content), lambda: decode_bmp(checked)),
    ]
    return tf.ensure_shape(tf.case(kinds, default=webp), (None, None, 3))


def _refuse_costly(content: Any) -> Any:
    return refuse_many_scans(refuse_bomb(content))


def _decode_with_pillow(content: Any, value_range: ValueRange) -> Any:
    def decode(content: Any) -> np.ndarray:
        """Decodes what TensorFlow passes: bytes in a graph, but an array of one object when eager.

        An array of bytes would lose the zeros at the end of the file.
        """
        found = content if isinstance(content, bytes) else content.item()
        return decode_pillow(io.BytesIO(found), value_range)

    image = tf.numpy_function(decode, [content], tf.uint8, stateful=False)
    return tf.ensure_shape(image, (None, None, 3))


def _region(content: Any, is_jpeg: Any, whole: Callable[[], Any], orientation: Any, choose: ChooseRegion) -> Any:
    """Decodes and renders the chosen region of a picture.

    Where the region's side has less than twice the pixels of the image's side, the result equals the region of the
    whole decoded picture bit for bit. A larger region is decoded at 1/2, 1/4 or 1/8 of its size, but never with fewer
    pixels than the image has.

    The region is chosen and rendered outside the branches, so that the graph contains these operations only once.
    """

    def header_only() -> tuple[Any, Any]:
        stored = tf.io.extract_jpeg_shape(content)[:2]
        stored = within_limit(stored, tf.reduce_prod(tf.cast(stored, tf.int64)))
        return tf.zeros([0, 0, 3], tf.uint8), upright_shape(refuse_many_scans(content, stored), orientation)

    def decoded() -> tuple[Any, Any]:
        image = whole()
        return image, tf.shape(image)[:2]

    picture, shape = tf.cond(is_jpeg, header_only, decoded)
    region = choose(shape)
    index = tf.where(is_jpeg, region.ratio_index(), 0)
    region, ratio, smaller = at_scale(region, shape, index, orientation)
    begin, extent = region.window(smaller, ratio)

    def from_jpeg() -> Any:
        outer = tf.maximum(begin - _MARGIN, 0)
        outer_extent = tf.minimum(begin + extent + _MARGIN, smaller) - outer
        window = tf.concat(stored_window(outer, outer_extent, smaller, orientation), 0)
        stored = tf.switch_case(index, [partial(_decode_window, content, window, ratio) for ratio in RATIOS])
        return cut(upright(stored, orientation), begin - outer, extent)

    pixels = tf.cond(is_jpeg, from_jpeg, lambda: cut(picture, begin, extent))
    return _in_three(region.render(pixels, begin, ratio))


def at_scale(region: Region, shape: Any, ratio_index: Any, orientation: Any) -> tuple[Region, Any, Any]:
    """Adapts a region to a picture that is decoded at the scale of `RATIOS[ratio_index]`.

    If the ratio does not divide a side, libjpeg fills that side up at its end in the stored picture. Where the stored
    end is the beginning of the upright picture, the region moves by the filling.

    Args:
        region: Region of the whole picture.
        shape: int32 [2], height and width of the whole upright picture.
        ratio_index: Scalar int32, index in `RATIOS`.
        orientation: Scalar int32, EXIF orientation.

    Returns:
        The adapted region, the ratio, and the smaller picture's height and width, int32 [2].
    """
    ratio = tf.gather(tf.constant(RATIOS), ratio_index)
    smaller = -(-shape // ratio)
    filling = tf.where(is_reversed(orientation), smaller * ratio - shape, 0)
    return region.moved(filling), ratio, smaller


def _decode_window(content: Any, window: Any, ratio: int) -> Any:
    return tf.raw_ops.DecodeAndCropJpeg(
        contents=content, crop_window=window, channels=3, ratio=ratio, dct_method=_ACCURATE
    )


def _decode_plain(content: Any) -> Any:
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method=_ACCURATE),
        lambda: _decode_not_jpeg(content),
    )


def _decode_not_jpeg(content: Any) -> Any:
    return tf.cond(is_png(content), lambda: decode_plain_png(content), lambda: _decode_other(content))


def _decode_other(content: Any) -> Any:
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _in_three(image: Any) -> Any:
    """Returns an image of one channel or three in three channels, uint8 [height, width, 3]."""
    image_in_three = tf.broadcast_to(image, tf.concat([tf.shape(image)[:2], [3]], 0))
    return tf.ensure_shape(image_in_three, (*image.shape[:2], 3))


def encoded_png(image: np.ndarray) -> bytes:
    """Encodes a picture, uint8 [height, width, 3], as a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
