"""More than 8 bits: one scale for all images of a run, in training as in serving, and nothing is lost in silence."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, TiffImagePlugin

from pipelines.cli import main
from pipelines.data.inspect import inspect_image
from pipelines.data.manifest import load_manifest, make_manifest
from pipelines.data.value_range import UNKNOWN, ValueRange, decide_range, range_of_config, values_of
from pipelines.images.decode import decode_file, decode_pillow, decode_region_of_bytes
from pipelines.images.regions import Region
from tests.campaigns.images import sixteen_bit_png

TWELVE_BITS = ValueRange(integers=(0.0, 4095.0))


def ramp(top, shape=(24, 36)):
    """Returns values from 0 to `top` in equal steps."""
    return np.linspace(0, top, shape[0] * shape[1]).reshape(shape)


def gray(path, array):
    Image.fromarray(array).save(path)
    return path


def in_training(path, value_range=UNKNOWN):
    facts = inspect_image(path, None)
    assert facts.readable, facts.reason
    arguments = tf.constant(str(path)), tf.constant(facts.decoder), tf.constant(facts.orientation)
    return decode_file(*arguments, value_range).numpy()


def served(path, value_range=UNKNOWN):
    choose = lambda shape: Region(tf.zeros(2, tf.float64), tf.constant([24.0, 24.0], tf.float64), 24)  # noqa: E731
    return decode_region_of_bytes(tf.constant(path.read_bytes()), choose, value_range).numpy()


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_the_upper_8_bits_of_any_usual_depth_are_seen(bits, name, tmp_path):
    array = ramp(2**bits - 1).astype(np.uint16)
    path = gray(tmp_path / name, array)
    expected = (array >> (bits - 8)).astype(np.uint8)
    np.testing.assert_array_equal(in_training(path)[..., 1], expected)
    if name.endswith("png"):
        np.testing.assert_array_equal(served(path)[..., 1], expected[:24, :24])


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_in_colour_and_with_alpha_are_seen_alike_in_training_and_serving(bits, channels, tmp_path):
    path, top = tmp_path / "a.png", 2**bits - 1
    array = np.random.default_rng(bits).integers(0, top + 1, (24, 36, channels), np.uint16)
    if channels in (2, 4):
        array[..., -1] = np.where(ramp(1) < 0.5, 0, top)
    path.write_bytes(sixteen_bit_png(array))
    found = in_training(path)
    colours = (array[..., : channels - 1 + channels % 2] >> (bits - 8)).astype(np.uint8)
    opaque = array[..., -1:] > 0 if channels in (2, 4) else np.array(True)
    np.testing.assert_array_equal(found, np.broadcast_to(np.where(opaque, colours, 255), (24, 36, 3)))
    np.testing.assert_array_equal(served(path), found[:24, :24])


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_of_12_bits_in_three_colours_is_seen_whole(order, compression, tmp_path):
    array = np.random.default_rng(0).integers(0, 4096, (24, 36, 3), np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(array.astype(f"{order}u2")))
    if compression:  # Pillow writes no 16 bits in colour, so that only gray is compressed
        Image.fromarray(array[..., 0]).save(path, compression=compression)
        array = np.repeat(array[..., :1], 3, -1)
    np.testing.assert_array_equal(in_training(path), (array >> 4).astype(np.uint8))


def tiff(array, photometric=None, extra=()):
    """Encodes [height, width, bands] as an uncompressed TIFF of any type and any number of bands."""
    height, width, bands = array.shape
    order = ">" if array.dtype.byteorder == ">" else "<"
    kind = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    ifd = TiffImagePlugin.ImageFileDirectory_v2(b"MM\x00*\0\0\0\x08" if order == ">" else b"II*\0\x08\0\0\0")
    ifd[256], ifd[257], ifd[259], ifd[277], ifd[278] = width, height, 1, bands, height
    ifd[262] = photometric if photometric is not None else (2 if bands >= 3 else 1)
    ifd[258], ifd[339] = (array.dtype.itemsize * 8,) * bands, (kind,) * bands
    if extra:
        ifd[338] = tuple(extra)
    ifd[279], ifd[273] = array.nbytes, 0
    head = b"MM\x00*\0\0\0\x08" if order == ">" else b"II*\0\x08\0\0\0"
    return head + ifd.tobytes(8) + array.tobytes()


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (ramp(1).astype(np.float32), ramp(255)),
        (ramp(255).astype(np.float32), ramp(255)),
        (ramp(2).astype(np.float32) - 1, ramp(255)),
        (ramp(60000).astype(np.float32), ramp(255)),
        (ramp(4095).astype(np.int32), ramp(255)),
        (ramp(65535).astype(np.int32), ramp(255)),
        (ramp(1_000_000).astype(np.int32), ramp(255)),
        (ramp(4000).astype(np.int32) - 1000, ramp(255)),
    ],
    ids=["0 to 1", "0 to 255", "-1 to 1", "60000", "12 bits", "16 bits", "a million", "negative"],
)
def test_numbers_of_32_bits_keep_their_differences(array, expected, tmp_path):
    """The tolerance is a gray level: depths cut bits off, and other ranges round."""
    found = in_training(gray(tmp_path / "a.tif", array))
    assert np.abs(found[..., 0].astype(float) - expected).max() <= 1.01
    assert len(np.unique(found)) == 256


def test_values_that_are_no_numbers_are_refused_with_their_count(tmp_path):
    array = ramp(1).astype(np.float32)
    array[3, 4:6] = np.nan, np.inf
    facts = inspect_image(gray(tmp_path / "a.tif", array), None)
    assert not facts.readable
    assert facts.reason == "2 of its 864 values are NaN or infinite; replace them by numbers"


@pytest.mark.parametrize(
    ("bands", "kind", "extra"), [(4, np.uint8, (0,)), (5, np.uint8, (0, 0)), (6, np.uint8, (1, 0, 0)), (4, ">u2", (0,))]
)
def test_bands_that_are_no_colours_are_refused_and_never_dropped(bands, kind, extra, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((40, 40, bands), kind), extra=extra))
    facts = inspect_image(tmp_path / "a.tif", None)
    assert not facts.readable
    assert f"a TIFF of {bands} bands, of which 3 are colours; keep" in facts.reason


@pytest.mark.parametrize(("bands", "kind"), [(2, "<f4"), (3, "<f4"), (8, "<u2"), (1, "<f2")])
def test_a_tiff_that_pillow_cannot_read_is_described(bands, kind, tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(np.zeros((40, 40, bands), kind)))
    facts = inspect_image(tmp_path / "a.tif", None)
    bits = np.dtype(kind).itemsize * 8
    assert not facts.readable
    assert facts.reason.startswith(f"a TIFF of {bands} band{'s' if bands > 1 else ''} of {bits} bits")


def test_a_four_band_tiff_with_alpha_is_read(tmp_path):
    array = np.full((40, 40, 4), 200, np.uint8)
    (tmp_path / "a.tif").write_bytes(tiff(array, extra=(2,)))
    assert in_training(tmp_path / "a.tif").shape == (40, 40, 3)


def facts_of(tmp_path, *arrays):
    return [
        inspect_image(gray(tmp_path / f"{number}.tif", array), None).stored_values
        for number, array in enumerate(arrays)
    ]


@pytest.mark.parametrize(
    ("tops", "expected"),
    [
        ((200, 3000), (0, 4095)),
        ((900, 950), (0, 1023)),
        ((12, 15), (0, 15)),
        ((15, 200), (0, 255)),
        ((5000, 60000), (0, 65535)),
    ],
)
def test_one_depth_holds_the_values_of_all_images(tops, expected, tmp_path):
    found = facts_of(tmp_path, *(ramp(top).astype(np.uint16) for top in tops))
    assert decide_range("auto", [*found, ""]).integers == expected


def test_brightness_between_pictures_of_one_camera_is_kept(tmp_path):
    paths = [gray(tmp_path / f"{top}.png", ramp(top).astype(np.uint16)) for top in (1000, 4000)]
    value_range = decide_range("auto", [inspect_image(path, None).stored_values for path in paths])
    dark, bright = (in_training(path, value_range).mean() for path in paths)
    assert bright / dark == pytest.approx(4, rel=0.02)  # bits that are cut off take half a level of 31
    for path in paths:
        np.testing.assert_array_equal(served(path, value_range), in_training(path, value_range)[:24, :24])


def test_each_rule_states_its_range(tmp_path):
    found = facts_of(tmp_path, ramp(3000).astype(np.uint16), ramp(200).astype(np.float32))
    assert decide_range("auto", found) == ValueRange((0, 4095), (0, 255))
    assert decide_range("type", found) == ValueRange((0, 65535), (0, 1))
    low, high = decide_range("percentiles", found).integers
    assert (low, high) == pytest.approx((3, 2997), abs=1)
    assert decide_range("auto", ["", ""]) == UNKNOWN


def test_values_and_ranges_are_read_as_they_were_written(tmp_path):
    (text,) = facts_of(tmp_path, ramp(1 / 3).astype(np.float32))
    assert str(values_of(text)) == text
    assert values_of(text).high == np.float32(1 / 3)
    for value_range in (UNKNOWN, TWELVE_BITS, ValueRange((0, 15), (-1.5, 2.25))):
        content = {"value_range": {"integers": value_range.integers, "floats": value_range.floats}}
        assert range_of_config(json.loads(json.dumps(content))) == value_range
    assert range_of_config({}) == UNKNOWN


@pytest.fixture
def camera(tmp_path):
    """Returns a folder of two classes of 12 bits in 16, with a dark picture among them."""
    rng = np.random.default_rng(0)
    for label, level in (("dim", 900), ("lit", 3000)):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for number in range(10):
            array = np.clip(rng.normal(level, 300, (40, 40)), 0, 4095).astype(np.uint16)
            Image.fromarray(array).save(tmp_path / "photos" / label / f"{number}.png")
    Image.fromarray((ramp(90, (40, 40))).astype(np.uint16)).save(tmp_path / "photos" / "dim" / "night.png")
    return tmp_path / "photos"


def test_the_audit_says_the_range_and_which_picture_is_hardly_seen(camera, tmp_path, capsys):
    main(["audit", str(camera), "--json", str(tmp_path / "a.json")])
    said = capsys.readouterr().out
    assert "21 images have more than 8 bits: integers 0 … 4095 become black … white (--range auto)" in said
    assert "night.png (16-bit, the network sees 6 of 256 levels: values 0 … 90 in the range 0 … 4095)" in said
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["value_range"]["integers"] == [0, 4095]
    lost = [image["path"] for image in report["images"] if "lost_values" in image["problems"]]
    assert lost == ["dim/night.png"]
    main(["audit", str(camera), "--range", "type"])
    assert "lost_values" in capsys.readouterr().out


def test_a_mask_of_8_bits_that_looks_black_is_named(tmp_path):
    mask = np.random.default_rng(0).integers(0, 5, (64, 64)).astype(np.uint8)
    facts = inspect_image(gray(tmp_path / "mask.png", mask), None)
    assert facts.problems == ("dark",)
    assert "nearly black: no brighter than" in facts.reason


def test_a_manifest_keeps_the_values(camera, tmp_path):
    manifest = make_manifest(camera, 0.2, 0.2, 0)
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    read = load_manifest(tmp_path / "manifest.csv")
    assert read["stored_values"].tolist() == manifest["stored_values"].tolist()
    assert decide_range("auto", read["stored_values"]) == TWELVE_BITS


def test_dark_pictures_of_more_than_8_bits_are_not_all_alike(camera):
    manifest = make_manifest(camera, 0.2, 0.2, 0)
    assert (manifest["similar"] == 0).all()


def test_ordinary_pictures_are_never_scaled(tmp_path):
    array = ramp(60).astype(np.uint8)
    path = gray(tmp_path / "a.png", array)
    assert inspect_image(path, None).stored_values == ""
    np.testing.assert_array_equal(in_training(path, TWELVE_BITS)[..., 0], array)
    np.testing.assert_array_equal(served(path, TWELVE_BITS)[..., 0], array[:24, :24])
    np.testing.assert_array_equal(decode_pillow(path, TWELVE_BITS)[..., 0], array)


def test_a_run_trains_exports_and_predicts_with_its_range(camera, tmp_path, tiny, capsys):
    run = tmp_path / "run"
    words = ["--arch", tiny, "--weights", "none", "--epochs", "1", "--image-size", "32", "--batch-size", "4"]
    assert main(["finetune", str(camera), "--run", str(run), *words]) == 0
    assert "integers 0 … 4095 become black … white" in capsys.readouterr().out
    assert json.loads((run / "config.json").read_text())["value_range"]["integers"] == [0, 4095]
    assert main(["export", str(run)]) == 0
    bright = gray(tmp_path / "bright.png", ramp(65535, (40, 40)).astype(np.uint16))
    good = camera / "lit" / "0.png"
    assert main(["predict", str(run), str(good), str(bright), "--out", str(tmp_path / "p.csv")]) == 0
    assert "bright.png: the network sees what is beyond as black or white" in capsys.readouterr().err
    serve = tf.saved_model.load(str(run / "export" / "saved_model" / "1")).signatures["serve_bytes"]
    answer = serve(encoded=tf.constant([good.read_bytes()]))["probabilities"].numpy()[0]
    rows = (tmp_path / "p.csv").read_text().splitlines()
    predicted = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    columns = [name for name in predicted if name.removeprefix("p:") in ("dim", "lit")]
    np.testing.assert_allclose([float(predicted[name]) for name in columns], answer, atol=1e-4)
