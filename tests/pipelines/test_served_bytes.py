"""`serve_bytes` decodes in the graph what `predict` decodes with Pillow, and says why where it does not."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import ExifTags, Image

from pipelines.data.inspect import inspect_image
from pipelines.images.decode import decode_pillow, decode_region, decode_region_of_bytes
from pipelines.images.stream import InputSpec
from pipelines.serving.attempts import attempted
from pipelines.serving.status import (
    DAMAGED,
    EMPTY,
    NOT_AN_IMAGE,
    OK,
    STATUSES,
    TOO_MANY_PIXELS,
    TOO_MANY_SCANS,
    TRUNCATED,
    UNSUPPORTED,
    reason,
)
from tests.pipelines.test_pixel_limit import BOMBS, SPARED_KIB, peak

SPEC = InputSpec(48)
GREY_LEVELS = 2.0  # of a mean difference: libjpeg shrinks large files in its own way
SIZE = (61, 44)


@pytest.fixture(scope="module")
def served():
    """Returns the function from the bytes of images to their views and statuses, in the graph of `serve_bytes`."""

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None], tf.string)])
    def decode(encoded):
        one = lambda content: decode_region_of_bytes(content, SPEC.evaluation_region)  # noqa: E731
        views, found = attempted(one, encoded, tf.zeros([SPEC.size, SPEC.size, 3], tf.uint8))
        reasons, _ = attempted(reason, encoded, DAMAGED)
        return views, tf.where(found, OK, reasons)

    return lambda contents: [each.numpy() for each in decode(tf.constant(contents, tf.string))]


def photo(mode="RGB", size=SIZE):
    """Returns a picture without symmetry, so that each orientation shows."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    colours = np.stack([rows * 4, columns * 3, (rows + columns) * 2], -1).astype(np.uint8)
    if mode in ("RGBA", "LA"):
        alpha = (columns * 4).astype(np.uint8)[..., None]
        return Image.fromarray(np.concatenate([colours, alpha], -1)).convert(mode)
    return Image.fromarray(colours).convert(mode)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation):
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    return data


def xmp(orientation):
    return b'<x:xmpmeta><rdf:Description tiff:Orientation="%d"/></x:xmpmeta>' % orientation


def frames(mode="RGB"):
    return [photo(mode), photo(mode).rotate(180), photo(mode).rotate(90)]


def bmp(bits, data, masks=(), top_down=False, size=(5, 4), palette=b""):
    header = 40 if len(masks) < 4 else 56
    words = b"".join(struct.pack("<I", mask) for mask in masks)
    offset = 14 + header + (len(words) if header == 40 else 0) + len(palette)
    height = -size[1] if top_down else size[1]
    fields = struct.pack("<IiiHHIIiiII", header, size[0], height, 1, bits, 3 if masks else 0, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + fields + words + palette + data


def old_bmp(bits, data, size=(5, 4), palette=b""):
    offset = 26 + len(palette)
    fields = struct.pack("<IHHHH", 12, *size, 1, bits)
    return b"BM" + struct.pack("<IHHI", offset + len(data), 0, 0, offset) + fields + palette + data


def gif_part(transparency, left=7, top=9):
    """Returns a GIF whose first frame covers a part of its screen."""
    content = encoded(photo("P", (20, 16)), "GIF", **({"transparency": 3} if transparency else {}))
    content = content[:6] + struct.pack("<HH", 40, 30) + content[10:]
    place = content.index(b"\x2c\x00\x00\x00\x00\x14\x00\x10\x00")
    return content[: place + 1] + struct.pack("<HH", left, top) + content[place + 5 :]


def with_scans(content, count):
    """Repeats the scan of a JPEG."""
    start = content.index(b"\xff\xda")
    return content[:start] + content[start:-2] * count + content[-2:]


RANDOM = np.random.default_rng(0)
SOME = RANDOM.integers(0, 256, 4 * 40, np.uint8).tobytes()
WIDE = Image.fromarray(RANDOM.integers(0, 2**16, (40, 50), np.uint16))
CASES = {
    **{f"jpeg orientation {each}": encoded(photo(), "JPEG", quality=95, exif=exif(each)) for each in range(1, 9)},
    **{f"png orientation {each}": encoded(photo(), "PNG", exif=exif(each)) for each in (3, 6)},
    **{f"webp orientation {each}": encoded(photo(), "WEBP", lossless=True, exif=exif(each)) for each in (5, 8)},
    "webp exif with prefix": encoded(photo(), "WEBP", lossless=True, exif=b"Exif\x00\x00" + exif(6).tobytes()[6:]),
    "jpeg xmp": encoded(photo(), "JPEG", xmp=xmp(6)),
    "webp xmp": encoded(photo(), "WEBP", lossless=True, xmp=xmp(3)),
    "jpeg exif before xmp": encoded(photo(), "JPEG", exif=exif(1), xmp=xmp(6)),
    "jpeg cmyk": encoded(photo("CMYK"), "JPEG", quality=95),
    "jpeg gray": encoded(photo("L"), "JPEG"),
    "jpeg progressive": encoded(photo(), "JPEG", progressive=True),
    "png 16 bit": encoded(WIDE, "PNG"),
    "png gray": encoded(photo("L"), "PNG"),
    "png gray and alpha": encoded(photo("LA"), "PNG"),
    "png alpha": encoded(photo("RGBA"), "PNG"),
    "png palette": encoded(photo("P"), "PNG", transparency=5),
    "png one bit": encoded(photo("1"), "PNG"),
    "png animated": encoded(photo(), "PNG", save_all=True, append_images=frames()),
    "webp": encoded(photo(), "WEBP", quality=90),
    "webp alpha": encoded(photo("RGBA"), "WEBP", lossless=True),
    "webp animated": encoded(photo(), "WEBP", save_all=True, append_images=frames(), lossless=True),
    "webp animated alpha": encoded(photo("RGBA"), "WEBP", save_all=True, append_images=frames("RGBA"), lossless=True),
    "gif": encoded(photo("P"), "GIF"),
    "gif interlaced": encoded(photo("P"), "GIF", interlace=1),
    "gif gray": encoded(photo("L"), "GIF"),
    "gif transparent": encoded(photo("P"), "GIF", transparency=7),
    "gif animated": encoded(photo("P"), "GIF", save_all=True, append_images=frames("P")),
    "gif with a part": gif_part(transparency=False),
    "gif with a transparent part": gif_part(transparency=True),
    "gif larger than its screen": gif_part(transparency=False, left=30, top=22),
    "bmp": encoded(photo(), "BMP"),
    "bmp gray": encoded(photo("L"), "BMP"),
    "bmp palette": encoded(photo("P"), "BMP"),
    "bmp one bit": encoded(photo("1"), "BMP"),
    "bmp alpha": encoded(photo("RGBA"), "BMP"),
    "bmp four bits": bmp(4, SOME[:16], palette=SOME[16:80]),
    "bmp from the top": bmp(24, SOME[:64], top_down=True),
    "bmp 16 bits": bmp(16, SOME[:48]),
    "bmp with the oldest header": old_bmp(24, SOME[:64]),
    "bmp with the oldest header and a palette": old_bmp(8, bytes(range(32)), palette=(SOME * 12)[:768]),
    "bmp 565": bmp(16, SOME[:48], (0xF800, 0x7E0, 0x1F)),
    "bmp 32 bits": bmp(32, SOME[:80]),
    "bmp with masks": bmp(32, SOME[:80], (0xFF000000, 0xFF0000, 0xFF00)),
    "bmp with masks and alpha": bmp(32, SOME[:80], (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    **{f"{kind} of one pixel": encoded(photo(size=(1, 1)), kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP")},
}


def expected(content):
    return SPEC.for_evaluation(tf.constant(decode_pillow(io.BytesIO(content)))).numpy().astype(int)


@pytest.fixture(scope="module")
def answers(served):
    return dict(zip(CASES, zip(*served(list(CASES.values())), strict=True), strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_file_is_decoded_as_pillow_does(name, answers):
    view, status = answers[name]
    assert status.decode() == OK
    assert np.abs(view - expected(CASES[name])).mean() <= GREY_LEVELS


HALVED = "jpeg gray", "png alpha", "webp", "gif", "bmp"
REFUSED = {
    "nothing": (b"", EMPTY),
    "text": (b"hello", NOT_AN_IMAGE),
    "one byte": (b"\xff", NOT_AN_IMAGE),
    "tiff": (encoded(photo(), "TIFF"), UNSUPPORTED),
    "avif": (b"\x00\x00\x00\x20ftypavif" + bytes(99), UNSUPPORTED),
    "ppm": (encoded(photo(), "PPM"), UNSUPPORTED),
    "compressed bmp": (bmp(8, SOME[:80])[:30] + b"\x01" + bmp(8, SOME[:80])[31:], UNSUPPORTED),
    **{f"half of a {name}": (CASES[name][: len(CASES[name]) // 2], TRUNCATED) for name in HALVED},
    "jpeg with little behind its start": (b"\xff\xd8\xff\xe0", TRUNCATED),
    "png with a wrong check sum": (CASES["png alpha"].replace(b"IDAT", b"IDAT\x00", 1), DAMAGED),
    "half of a bomb": (BOMBS["gif"][:44], TOO_MANY_PIXELS),
    "jpeg of many scans": (with_scans(CASES["jpeg gray"], 200), TOO_MANY_SCANS),
    "bmp of unknown masks": (bmp(32, SOME[:80], (0x3FF00000, 0xFFC00, 0x3FF)), DAMAGED),
    **{f"bomb: {name}": (BOMBS[name], TOO_MANY_PIXELS) for name in ("png", "jpeg", "gif", "bmp", "webp extended")},
}


def test_what_cannot_be_decoded_has_a_status_by_name_and_leaves_the_others_alone(served, answers):
    good = CASES["png alpha"]
    mixed, before = [content for bad, _ in REFUSED.values() for content in (bad, good)], peak()
    views, statuses = served(mixed)
    assert peak() - before < SPARED_KIB  # no bomb has memory
    said = {name: status.decode() for name, status in zip(REFUSED, statuses[::2], strict=True)}
    assert said == {name: status for name, (_, status) in REFUSED.items()}
    assert set(statuses[1::2]) == {OK.encode()}
    assert (views[1::2] == answers["png alpha"][0]).all()
    assert not views[::2].any()


def test_every_status_is_described():
    assert {status for _, status in REFUSED.values()} | {OK} == set(STATUSES)


def test_a_batch_without_images_has_no_answers(served):
    views, statuses = served([])
    assert views.shape == (0, SPEC.size, SPEC.size, 3)
    assert statuses.shape == (0,)


def test_the_shared_odd_files_are_decoded_as_predict_does(served, shared):
    paths = sorted(path for path in (shared / "odd").iterdir() if path.suffix not in (".csv", ".tif", ".md"))
    views, statuses = served([path.read_bytes() for path in paths])
    for path, view, status in zip(paths, views, statuses, strict=True):
        if path.name == "hopper_rle8.bmp":
            assert status.decode() == UNSUPPORTED
            continue
        facts = inspect_image(path, path.parent)
        assert (status.decode() == OK) == facts.readable, path
        if facts.readable:
            seen = decode_region(
                str(path), tf.constant(facts.decoder == "pillow"), facts.orientation, SPEC.evaluation_region
            )
            assert np.abs(view - seen.numpy().astype(int)).mean() <= GREY_LEVELS, path
