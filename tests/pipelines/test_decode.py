"""Decoding: the network sees what a person sees. Pillow is the reference, eagerly and inside tf.data."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from pipelines.data.inspect import inspect_image
from pipelines.images.decode import decode_file, decode_pillow, decode_region, decode_region_of_bytes
from pipelines.images.orientation import exif_orientation, upright
from pipelines.images.regions import Region
from pipelines.images.stream import InputSpec


def picture(height=24, width=36):
    """Returns a picture that is smooth, so that JPEG changes little, and different in every corner."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (height + width)], -1).astype(np.uint8)


def with_orientation(orientation, byte_order="little"):
    exif = Image.Exif()
    exif.endian = "<" if byte_order == "little" else ">"
    exif[0x010F] = "a maker whose name comes before the orientation"
    exif[0x0112] = orientation
    return exif


def whole(shape):
    """Returns the region of the central square of the picture, at its own size."""
    return Region(tf.zeros(2, tf.float64), tf.constant([24.0, 24.0], tf.float64), 24)


def served(path):
    return decode_region_of_bytes(tf.constant(path.read_bytes()), whole).numpy()


def in_stream(path, facts):
    return next(in_one_stream([path], [facts]))


def in_one_stream(paths, facts):
    """Returns the pictures of some files one after the other, as a stream decodes them."""
    columns = [str(path) for path in paths], [each.decoder for each in facts], [each.orientation for each in facts]
    rows = tf.data.Dataset.from_tensor_slices((*columns[:2], np.array(columns[2], np.int32)))
    return (picture.numpy() for picture in rows.map(decode_file))


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
    np.testing.assert_array_equal(served(path), expected[:24, :24])


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
        "photo.jp2": rgb,
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


@pytest.mark.parametrize("name", ["moving.gif", "moving.png", "moving.webp"])
def test_the_first_frame_counts(name, tmp_path):
    first, second = Image.fromarray(picture()), Image.new("RGB", (36, 24), "red")
    first.save(tmp_path / name, save_all=True, append_images=[second], lossless=True)
    facts = inspect_image(tmp_path / name, tmp_path)
    assert "animated" in facts.problems
    first.save(tmp_path / f"still_{name}", lossless=True)
    np.testing.assert_array_equal(in_stream(tmp_path / name, facts), decode_pillow(tmp_path / f"still_{name}"))


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 2, "restart_marker_rows": 1}])
def test_every_kind_of_jpeg_is_what_pillow_makes_of_it(options, tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(picture()).save(path, **options)
    facts = inspect_image(path, tmp_path)
    assert facts.decoder == "tensorflow"
    np.testing.assert_array_equal(in_stream(path, facts), decode_pillow(path))


def test_ycck_is_not_taken_for_cmyk(tmp_path):
    """Photoshop writes four channels as YCCK or CMYK, and a byte of its marker says which."""
    pixels = []
    for transform, name in ((0, "cmyk.jpg"), (2, "ycck.jpg")):
        path = tmp_path / name
        Image.fromarray(picture()).convert("CMYK").save(path)
        content = path.read_bytes()
        flag = content.index(b"Adobe\0") + len(b"Adobe\0") + 5
        path.write_bytes(content[:flag] + bytes([transform]) + content[flag + 1 :])
        facts = inspect_image(path, tmp_path)
        assert facts.decoder == "pillow"
        pixels.append(in_stream(path, facts))
        np.testing.assert_array_equal(pixels[-1], decode_pillow(path))
    assert np.abs(pixels[0].astype(int) - pixels[1]).mean() > 10


def test_transparent_pixels_are_white_in_stream_and_in_serving(tmp_path):
    for name in ("alpha.png", "gray_alpha.png"):
        path = tmp_path / name
        odd_modes()[name].save(path)
        assert decode_pillow(path)[0, 0].tolist() == [255, 255, 255]
        np.testing.assert_array_equal(served(path), decode_pillow(path)[:24, :24])


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    odd_modes()["sixteen.png"].save(tmp_path / "sixteen.png")
    np.testing.assert_array_equal(decode_pillow(tmp_path / "sixteen.png")[..., 0], picture()[..., 0])


def test_the_shared_odd_files_decode_as_pillow_does(shared):
    """They are equal bit for bit, whatever is odd about them.

    JPEG is equal because TensorFlow is told to use Pillow's inverse DCT, PNG in RGB and gray because it is lossless,
    and everything else because Pillow decodes it. docs/decoding.md has the table.
    """
    root = shared / "odd"
    inspected = [(path, inspect_image(path, root)) for path in sorted(root.iterdir())]
    # The largest takes seconds and is in the table.
    readable = [(path, facts) for path, facts in inspected if facts.readable and facts.width * facts.height < 10**7]
    paths, facts = zip(*readable, strict=True)
    for path, fact, found in zip(paths, facts, in_one_stream(paths, facts), strict=True):
        with Image.open(path) as file:
            plain = np.asarray(ImageOps.exif_transpose(file).convert("RGB"))
        expected = plain if fact.decoder == "tensorflow" else decode_pillow(path)
        np.testing.assert_array_equal(found, expected, err_msg=path.name)
    decoders = [fact.decoder for fact in facts]
    assert decoders.count("tensorflow") >= 10
    assert decoders.count("pillow") >= 10


@pytest.mark.parametrize(("height", "width"), [(100, 100), (64, 300), (301, 77), (20, 30), (1, 1)])
def test_the_centre_crop_has_the_asked_size(height, width):
    assert InputSpec(56).for_evaluation(tf.zeros((height, width, 3), tf.uint8)).shape == (56, 56, 3)


def test_the_evaluation_view_is_that_of_pillow():
    """It resizes the shorter side to 64 and crops 56, bilinear and antialiased, as torchvision does with Pillow."""
    image = Image.fromarray(picture(200, 300))
    expected = image.resize((96, 64), Image.Resampling.BILINEAR).crop((20, 4, 76, 60))
    found = InputSpec(56).for_evaluation(tf.constant(np.asarray(image))).numpy().astype(int)
    assert np.abs(found - np.asarray(expected)).max() <= 1  # the two round differently


def photo(height, width, seed=0):
    """Returns a picture with detail at all scales, so that a wrong window or scale is noticed."""
    random = np.random.default_rng(seed)
    layers = [Image.fromarray(random.integers(0, 256, (n, n, 3)).astype(np.uint8)) for n in (3, 9, 30, 90)]
    scaled = [np.asarray(layer.resize((width, height), Image.Resampling.BICUBIC), float) for layer in layers]
    return Image.fromarray(np.average(scaled, 0, [8, 4, 2, 1]).astype(np.uint8))


def region_at(top, left, height, width, size, bounded=True):
    numbers = lambda *values: tf.constant(values, tf.float64)  # noqa: E731
    return lambda shape: Region(numbers(top, left), numbers(height, width), size, bounded=bounded)


def of_file(path, facts, choose):
    arguments = tf.constant(str(path)), tf.constant(False), tf.constant(facts.orientation)
    return decode_region(*arguments, choose).numpy()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("subsampling", [0, 1, 2], ids=["4:4:4", "4:2:2", "4:2:0"])
def test_a_decoded_window_is_bit_for_bit_the_whole_pictures(orientation, subsampling, tmp_path):
    path = tmp_path / "photo.jpg"
    exif = with_orientation(orientation)
    photo(150, 210).save(path, exif=exif, subsampling=subsampling, progressive=orientation % 2 == 0)
    facts = inspect_image(path, tmp_path)
    picture_itself = tf.constant(decode_pillow(path))
    for window in ((0, 0, 80, 70), (33, 17, 60, 90), (81, 80, 69, 70), (48, 64, 64, 64)):
        for bounded in (True, False):
            choose = region_at(*window, 48, bounded)
            expected = choose(None).of(picture_itself)
            np.testing.assert_array_equal(of_file(path, facts, choose), expected)
            encoded = tf.constant(path.read_bytes())
            np.testing.assert_array_equal(decode_region_of_bytes(encoded, choose), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_a_scaled_window_shows_what_the_unscaled_one_shows(orientation, ratio, tmp_path):
    """The tolerance is a mean difference of 1.5 gray levels.

    It covers the difference between the low-pass of libjpeg's smaller inverse DCT and that of the resampling, on this
    detailed picture. A window that is off by one pixel of the smaller picture would differ by 3 or more.
    """
    path = tmp_path / "photo.jpg"
    photo(801, 1203).save(path, exif=with_orientation(orientation), quality=95)
    facts = inspect_image(path, tmp_path)
    size = 640 // ratio
    choose = region_at(67.0, 123.0, 640.0, 650.0, size)
    assert int(choose(None).ratio_index()) == {2: 1, 4: 2, 8: 3}[ratio]
    expected = choose(None).of(tf.constant(decode_pillow(path))).numpy().astype(int)
    assert np.abs(of_file(path, facts, choose) - expected).mean() < 1.5


@pytest.mark.parametrize(("extent", "ratio"), [(447, 1), (448, 2), (895, 2), (896, 4), (1792, 8), (9999, 8), (60, 1)])
def test_a_region_is_never_decoded_smaller_than_the_image(extent, ratio):
    index = int(region_at(0, 0, extent, 9999, 224)(None).ratio_index())
    assert (1, 2, 4, 8)[index] == ratio


def test_stream_and_serving_see_large_photos_alike(tmp_path):
    path = tmp_path / "photo.jpg"
    photo(900, 1300).save(path, exif=with_orientation(6))
    facts, input_spec = inspect_image(path, tmp_path), InputSpec(64)
    np.testing.assert_array_equal(
        of_file(path, facts, input_spec.evaluation_region),
        decode_region_of_bytes(tf.constant(path.read_bytes()), input_spec.evaluation_region),
    )
