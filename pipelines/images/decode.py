"""Decodes a file's bytes to an upright RGB picture, uint8 [height, width, 3], in a TensorFlow graph.

TensorFlow decodes JPEG and PNG in RGB or gray; Pillow decodes everything else, inside the stream.
"""

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.data.inspect import FORMATS
from pipelines.images.orientation import exif_orientation, is_reversed, stored_window, upright, upright_shape
from pipelines.images.pixel_limit import refuse_bomb, within_limit
from pipelines.images.regions import RATIOS, Region, cut
from resnet_tf.errors import UserError

# A function from the height and width of the upright picture, int32 [2], to the wanted part of it.
ChooseRegion = Callable[[Any], Region]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WHITE = 255.0
# This inverse DCT gives the same pixels as Pillow; TensorFlow's default is off by one gray level on average.
_ACCURATE = "INTEGER_ACCURATE"
# Pixels decoded beyond the window, so that libjpeg smooths the colours at its edges as it does in the whole picture.
_MARGIN = 1


def decode_pillow(source: str | Path | io.BytesIO) -> np.ndarray:
    """Decodes an image as a person sees it.

    The result is the first frame, upright, over white where it is transparent, with 16 bits scaled to 8.

    Args:
        source: Path of a file, or its content.

    Returns:
        uint8 [height, width, 3].
    """
    with Image.open(source, formats=FORMATS) as file:
        return np.asarray(_to_rgb(ImageOps.exif_transpose(file)))


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
        return np.asarray(_to_rgb(ImageOps.exif_transpose(image)))
    array = np.asarray(image)
    shape = array.shape if array.ndim == 3 else (*array.shape, 3)
    if array.dtype != np.uint8 or len(shape) != 3 or shape[-1] != 3 or not array.size:
        raise UserError(
            "an image must be a path, a PIL image, or an array of uint8 [height, width, 3] or [height, width], "
            f"received {type(image).__name__} {array.dtype} {list(array.shape)}"
        )
    return np.broadcast_to(array if array.ndim == 3 else array[..., None], shape)


def _decode_pillow_bytes(content: Any) -> np.ndarray:
    """Decodes content that TensorFlow passes as bytes in a graph, but as an array of one object when eager.

    An array of bytes would lose the zeros at its end.
    """
    return decode_pillow(io.BytesIO(content if isinstance(content, bytes) else content.item()))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit gray, which Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def decode_file(path: Any, decoder: Any, orientation: Any) -> Any:
    """Decodes one image of a manifest.

    Args:
        path: Scalar string tensor.
        decoder: Scalar string tensor, "tensorflow" or "pillow".
        orientation: Scalar int32 tensor, EXIF orientation.

    Returns:
        uint8 [height, width, 3], upright.
    """
    content = tf.io.read_file(path)
    return tf.cond(
        decoder == "pillow",
        lambda: _decode_with_pillow(content),
        lambda: upright(_decode_plain(refuse_bomb(content)), orientation),
    )


def decode_scaled(path: Any, decoder: Any, orientation: Any, ratio_index: Any) -> Any:
    """Decodes one image of a manifest at the scale of `RATIOS[ratio_index]`, see `decode_file`.

    Only JPEG files can be decoded at a scale other than the first.
    """

    def smaller() -> Any:
        content = refuse_bomb(tf.io.read_file(path))
        decode = partial(tf.io.decode_jpeg, content, channels=3, dct_method=_ACCURATE)
        return upright(tf.switch_case(ratio_index - 1, [partial(decode, ratio=r) for r in RATIOS[1:]]), orientation)

    return tf.cond(ratio_index == 0, lambda: decode_file(path, decoder, orientation), smaller)


def decode_region(path: Any, with_pillow: Any, orientation: Any, choose: ChooseRegion) -> Any:
    """Decodes a part of one image of a manifest, at the network's size.

    Of a JPEG file, only the chosen part is decoded, at the scale that it needs.

    Args:
        path: Scalar string tensor.
        with_pillow: Scalar bool tensor, whether Pillow decodes the file because TensorFlow cannot.
        orientation: Scalar int32 tensor, EXIF orientation.
        choose: Function that chooses the part.

    Returns:
        uint8 [size, size, 3].
    """
    content = tf.io.read_file(path)

    def whole() -> Any:
        other = lambda: upright(_decode_other(refuse_bomb(content)), orientation)  # noqa: E731
        return tf.cond(with_pillow, lambda: _decode_with_pillow(content), other)

    return _region(content, tf.io.is_jpeg(content) & ~with_pillow, whole, orientation, choose)


def decode_region_of_bytes(content: Any, choose: ChooseRegion) -> Any:
    """Decodes a part of one encoded image for a served model, upright and over white.

    Args:
        content: Scalar string tensor, the bytes of a JPEG, PNG, GIF, BMP or WebP file.
        choose: Function that chooses the part.

    Returns:
        uint8 [size, size, 3].
    """

    def whole() -> Any:
        is_png = tf.strings.substr(content, 0, len(_PNG_SIGNATURE)) == _PNG_SIGNATURE
        checked = refuse_bomb(content)
        png = lambda: _over_white(tf.io.decode_png(checked, channels=4))  # noqa: E731
        return tf.cond(is_png, png, lambda: _decode_other(checked))

    return _region(content, tf.io.is_jpeg(content), whole, exif_orientation(content), choose)


def _decode_with_pillow(content: Any) -> Any:
    image = tf.numpy_function(_decode_pillow_bytes, [content], tf.uint8, stateful=False)
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
        return tf.zeros([0, 0, 3], tf.uint8), upright_shape(stored, orientation)

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
    return region.render(pixels, begin, ratio)


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
    return replace(region, begin=region.begin + tf.cast(filling, tf.float64)), ratio, smaller


def _decode_window(content: Any, window: Any, ratio: int) -> Any:
    return tf.raw_ops.DecodeAndCropJpeg(
        contents=content, crop_window=window, channels=3, ratio=ratio, dct_method=_ACCURATE
    )


def _decode_plain(content: Any) -> Any:
    return tf.cond(
        tf.io.is_jpeg(content),
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method=_ACCURATE),
        lambda: _decode_other(content),
    )


def _decode_other(content: Any) -> Any:
    image = tf.io.decode_image(content, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _over_white(image: Any) -> Any:
    colours, alpha = tf.cast(image[..., :3], tf.float32), tf.cast(image[..., 3:], tf.float32) / 255.0
    return tf.cast(tf.round(colours * alpha + _WHITE * (1.0 - alpha)), tf.uint8)


def encoded_png(image: np.ndarray) -> bytes:
    """Encodes a picture, uint8 [height, width, 3], as a PNG file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
