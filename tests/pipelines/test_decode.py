"""Decoding: what a person sees is what the network sees. Pillow is the judge, eagerly and inside tf.data."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.data.audit import inspect_image
from pipelines.data.decode import (
    decode_bytes,
    decode_file,
    decode_pillow,
    exif_orientation,
    resize_and_center_crop,
    upright,
)


def picture(height=24, width=36):
    """Smooth, so that JPEG changes little, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def with_orientation(orientation, byte_order="little"):
    exif = Image.Exif()
    exif.endian = "<" if byte_order == "little" else ">"
    exif[0x010F] = "a maker whose name comes before the orientation"
    exif[0x0112] = orientation
    return exif


def in_stream(path, facts):
    arguments = (str(path), facts.decoder, np.int32(facts.orientation))
    return next(iter(tf.data.Dataset.from_tensors(arguments).map(decode_file))).numpy()


def eagerly(path, facts):
    return decode_file(tf.constant(str(path)), tf.constant(facts.decoder), tf.constant(facts.orientation)).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_in_stream_and_in_serving(orientation, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture()).save(path, exif=with_orientation(orientation), quality=95)
    facts = inspect_image(path, tmp_path)
    assert facts.orientation == orientation
    assert ("rotated" in facts.problems) is (orientation != 1)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(eagerly(path, facts), expected)
    np.testing.assert_array_equal(in_stream(path, facts), expected)
    np.testing.assert_array_equal(decode_bytes(tf.constant(path.read_bytes())).numpy(), expected)


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_exif_orientation_in_both_byte_orders(byte_order):
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "JPEG", exif=with_orientation(6, byte_order))
    assert int(exif_orientation(tf.constant(buffer.getvalue()))) == 6


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8",
        b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00",
        b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00II*\x00\xff\xff\xff\x7f" + bytes(20),
        b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xff" + bytes(20),
    ],
    ids=["empty", "start only", "no header", "directory outside", "too many entries"],
)
def test_damaged_exif_counts_as_upright(content):
    assert int(exif_orientation(tf.constant(content))) == 1


def test_an_unknown_orientation_changes_nothing():
    image = tf.constant(picture())
    for value in (0, 9, -3):
        np.testing.assert_array_equal(upright(image, tf.constant(value)), image)


def odd_modes():
    rgb = Image.fromarray(picture())
    half = Image.new("L", rgb.size, 255)
    half.paste(0, (0, 0, 18, 24))
    transparent = rgb.copy()
    transparent.putalpha(half)
    gray_alpha = rgb.convert("L")
    gray_alpha.putalpha(half)
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    sixteen = Image.fromarray(picture()[..., 0].astype(np.uint16) * 256)
    return {
        "gray.jpg": rgb.convert("L"),
        "gray.png": rgb.convert("L"),
        "rgb.png": rgb,
        "cmyk.jpg": rgb.convert("CMYK"),
        "palette.png": palette,
        "alpha.png": transparent,
        "gray_alpha.png": gray_alpha,
        "sixteen.png": sixteen,
        "bitmap.png": rgb.convert("1"),
        "still.gif": palette,
        "photo.webp": rgb,
        "photo.bmp": rgb,
        "photo.tif": rgb,
        "photo.avif": rgb,
    }


@pytest.mark.parametrize("name", odd_modes())
def test_every_mode_becomes_three_channels_as_in_pillow(name, tmp_path):
    path = tmp_path / name
    odd_modes()[name].save(path)
    facts = inspect_image(path, tmp_path)
    assert facts.readable
    expected = decode_pillow(path)
    assert expected.shape == (24, 36, 3)
    np.testing.assert_array_equal(eagerly(path, facts), expected)
    np.testing.assert_array_equal(in_stream(path, facts), expected)


def test_transparent_pixels_are_white_in_stream_and_in_serving(tmp_path):
    for name in ("alpha.png", "gray_alpha.png"):
        path = tmp_path / name
        odd_modes()[name].save(path)
        assert decode_pillow(path)[0, 0].tolist() == [255, 255, 255]
        np.testing.assert_array_equal(decode_bytes(tf.constant(path.read_bytes())), decode_pillow(path))


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    odd_modes()["sixteen.png"].save(tmp_path / "sixteen.png")
    np.testing.assert_array_equal(decode_pillow(tmp_path / "sixteen.png")[..., 0], picture()[..., 0])


def test_the_shared_odd_files_decode_as_pillow_does(shared):
    root = shared / "odd"
    decoded = 0
    for path in sorted(root.iterdir()):
        facts = inspect_image(path, root)
        if facts.readable and facts.width * facts.height < 10**7:
            np.testing.assert_array_equal(eagerly(path, facts), decode_pillow(path), err_msg=path.name)
            decoded += 1
    assert decoded > 20


@pytest.mark.parametrize(("height", "width"), [(100, 100), (64, 300), (301, 77), (20, 30), (1, 1)])
def test_the_centre_crop_has_the_asked_size(height, width):
    assert resize_and_center_crop(tf.zeros((height, width, 3), tf.uint8), 56, 0.875).shape == (56, 56, 3)


def test_the_evaluation_view_is_that_of_pillow():
    """Resize the shorter side to 64, crop 56, as torchvision does with Pillow; bilinear, antialiased."""
    image = Image.fromarray(picture(200, 300))
    expected = image.resize((96, 64), Image.Resampling.BILINEAR).crop((20, 4, 76, 60))
    found = resize_and_center_crop(tf.constant(np.asarray(image)), 56, 0.875).numpy().astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 1  # the two round differently
