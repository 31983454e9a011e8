"""Decodes image files with Pillow, with all the bits that they store.

The audit calls the same functions as the stream, so that the two agree about every file that Pillow decodes.
"""

import io
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps

from pipelines.data.formats import pillow_formats
from pipelines.data.value_range import INTEGER, UNKNOWN, ValueRange, bands, ends_of, scale_of, to_levels
from resnet_tf.errors import UserError

# Pillow's names of 16 bits per channel. It keeps only the upper byte of each, and the lower one where it is told that
# the bytes stand in the other order.
_WIDE = re.compile(r"(RGB|RGBA|RGBX|RGBa|LA|CMYK);16([LBN])")
_OTHER_ORDER = {"L": "B", "B": "L", "N": "B" if np.little_endian else "L"}
# Tags of TIFF 6.0, and the number of colours that belong to each photometric interpretation.
_PHOTOMETRIC, _SAMPLES, _EXTRA_SAMPLES = 262, 277, 338
_COLOURS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3, 9: 3}
_ALPHA = (1, 2, 999)

Reopen = Callable[[], AbstractContextManager[ImageFile.ImageFile]]


def open_image(source: str | Path | io.BytesIO) -> ImageFile.ImageFile:
    """Opens an image and reads its header; only the formats in `pillow_formats` are tried."""
    return Image.open(source, formats=pillow_formats())


def decode_pillow(source: str | Path | io.BytesIO, value_range: ValueRange = UNKNOWN) -> np.ndarray:
    """Decodes an image as a person sees it: the first frame, upright, over white where it is transparent.

    Args:
        source: Path of a file, or its content.
        value_range: Stored values that become black and white, where there are more than 8 bits.

    Returns:
        uint8 [height, width, 3].

    Raises:
        UserError: It has bands that are no colours, or values that are no numbers.
    """

    def reopen() -> ImageFile.ImageFile:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return open_image(source)

    with open_image(source) as file:
        return decode_opened(file, reopen, value_range)[0]


def decode_opened(
    file: ImageFile.ImageFile, reopen: Reopen, value_range: ValueRange = UNKNOWN
) -> tuple[np.ndarray, np.ndarray | None]:
    """Decodes an image that is open but not loaded; see `decode_pillow`.

    Args:
        file: The image.
        reopen: Opens it once more.
        value_range: As in `decode_pillow`.

    Returns:
        uint8 [height, width, 3], and the stored values [height, width, channels] without alpha if they have more than
        8 bits.
    """
    _check_bands(file)
    kind, wide = stored_kind(file), _wide_mode(file)
    if not kind:
        return _over_white(ImageOps.exif_transpose(file)), None
    colours, alpha = _wide_values(file, reopen) if wide else _values(file)
    return _to_rgb(colours, alpha, file.mode, value_range), colours


def decode_in_memory(image: Image.Image) -> np.ndarray:
    """Decodes a PIL image that a program has, as `decode_pillow` does a file."""
    upright = ImageOps.exif_transpose(image)
    if not upright.mode.startswith(("I", "F")):
        return _over_white(upright)
    return _to_rgb(_array(upright)[..., None], None, upright.mode, UNKNOWN)


def stored_kind(file: ImageFile.ImageFile) -> str:
    """Returns "integer" or "float" if an image that is not loaded yet has more than 8 bits, otherwise ""."""
    if file.mode.startswith("F"):
        return "float"
    return INTEGER if file.mode.startswith("I") or _wide_mode(file) else ""


def _wide_mode(file: ImageFile.ImageFile) -> re.Match[str] | None:
    return _WIDE.fullmatch(_raw_mode(file)) if file.tile else None


def _raw_mode(file: ImageFile.ImageFile) -> str:
    arguments = file.tile[0].args
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def _check_bands(file: ImageFile.ImageFile) -> None:
    """Checks that each band of a TIFF is a colour or alpha, because Pillow drops all others without a word."""
    tags = getattr(file, "tag_v2", None)
    if file.format != "TIFF" or tags is None:
        return
    samples, extra = int(tags.get(_SAMPLES, 1)), tuple(tags.get(_EXTRA_SAMPLES, ()))
    colours = _COLOURS.get(tags.get(_PHOTOMETRIC, 1), samples)
    known = colours + 1 if not extra or extra[0] in _ALPHA else colours
    if samples > known:
        raise UserError(
            f"a TIFF of {samples} bands, of which {colours} {'is a colour' if colours == 1 else 'are colours'}; "
            "keep the one or three bands that the network shall see"
        )


def _values(file: ImageFile.ImageFile) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the values of one channel, [height, width, 1], and the alpha, uint8 [height, width, 1] or None."""
    transparent = file.info.get("transparency")
    values = _array(ImageOps.exif_transpose(file))[..., None]
    return values, _alpha_of(values, transparent) if isinstance(transparent, int) else None


def _wide_values(file: ImageFile.ImageFile, reopen: Reopen) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the values of several channels of 16 bits, uint16 [height, width, channels], and the alpha.

    Of gray with alpha, a pixel has four bytes, and is read as if it were RGBA of 8 bits.
    """
    found = _wide_mode(file)
    assert found is not None
    layout, order = found.groups()
    if layout == "RGBa":
        raise UserError("16 bits with premultiplied alpha; save it with plain alpha, or without")
    transparent = file.info.get("transparency")
    if layout == "LA":
        four = _bytes_of(reopen, "RGBA")
        return _joined(four[..., 0:1], four[..., 1:2]), _alpha_levels(_joined(four[..., 2:3], four[..., 3:4]))
    upper = np.asarray(ImageOps.exif_transpose(file))
    values = _joined(upper, _bytes_of(reopen, f"{layout};16{_OTHER_ORDER[order]}"))
    if layout == "RGBA":
        return values[..., :3], _alpha_levels(values[..., 3:])
    return values, _alpha_of(values, transparent) if isinstance(transparent, tuple) else None


def _bytes_of(reopen: Reopen, raw_mode: str) -> np.ndarray:
    with reopen() as file:
        tiles = []
        for tile in file.tile:
            arguments = (raw_mode, *tile.args[1:]) if isinstance(tile.args, tuple) else raw_mode
            tiles.append(tile._replace(args=arguments))
        file.tile = tiles
        return np.asarray(ImageOps.exif_transpose(file))


def _joined(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    values = upper.astype(np.uint16)
    values <<= 8
    values |= lower
    return values


def _alpha_levels(alpha: np.ndarray) -> np.ndarray:
    return to_levels(alpha, scale_of(INTEGER, UNKNOWN.bounds(*ends_of(alpha))))


def _alpha_of(values: np.ndarray, transparent: object) -> np.ndarray:
    """Returns an alpha that is 0 where a pixel has the one value that a file says is transparent."""
    return np.where((values == np.asarray(transparent)).all(-1, keepdims=True), 0, 255).astype(np.uint8)


def _array(image: Image.Image) -> np.ndarray:
    array = np.asarray(image)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _to_rgb(colours: np.ndarray, alpha: np.ndarray | None, mode: str, value_range: ValueRange) -> np.ndarray:
    kind, low, high = ends_of(colours)
    levels = to_levels(colours, scale_of(kind, value_range.bounds(kind, low, high)))
    if mode == "CMYK":
        return np.asarray(Image.fromarray(levels, "CMYK").convert("RGB"))
    rgb = np.repeat(levels, 3, axis=-1) if levels.shape[-1] == 1 else levels
    if alpha is None:
        return rgb
    return _over_white(Image.fromarray(np.concatenate([rgb, alpha], -1), "RGBA"))


def _over_white(image: Image.Image) -> np.ndarray:
    """Returns a picture of 8 bits as RGB, over white; transparency is undone some rows at a time, to save memory."""
    if not image.has_transparency_data:
        return np.asarray(image.convert("RGB"))
    width, height = image.size
    result = np.empty((height, width, 3), np.uint8)
    for rows in bands((height, width, 4)):
        part = image.crop((0, rows.start, width, min(rows.stop, height))).convert("RGBA")
        white = Image.new("RGBA", part.size, "white")
        result[rows] = np.asarray(Image.alpha_composite(white, part).convert("RGB"))
    return result
