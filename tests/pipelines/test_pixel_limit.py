"""Small files that claim huge pictures are refused by their headers everywhere, before memory is allocated."""

import io
import resource
import shutil
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.cli import main
from pipelines.data.inspect import inspect_image
from pipelines.data.manifest import load_manifest
from pipelines.images.decode import decode_file, decode_region, decode_region_of_bytes
from pipelines.images.lost_images import LostImage, lost_images_named
from pipelines.images.pixel_limit import MAX_PIXELS, claimed_pixels
from pipelines.images.stream import ImageSource, InputSpec, evaluation_stream

# Each file has at most a few hundred bytes, and the smallest of the pictures would need half a gigabyte.
SPARED_KIB = 256 * 1024


def encoded(kind, size=(8, 8), **options):
    buffer = io.BytesIO()
    Image.new("P" if kind == "GIF" else "RGB", size).save(buffer, kind, **options)
    return buffer.getvalue()


def replaced(content, at, new):
    return content[:at] + new + content[at + len(new) :]


def png(width, height):
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))  # noqa: E731
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def jpeg(width, height):
    content = encoded("JPEG")
    return replaced(content, content.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def gif(width, height, frames=1, screen=None):
    content = encoded("GIF")
    start = content.index(b"\x2c\x00\x00\x00\x00\x08\x00\x08\x00")
    frame = replaced(content[start:-1], 5, struct.pack("<HH", width, height))
    comment = b"\x21\xfe\x03abc\x00"
    head = replaced(content[:start], 6, struct.pack("<HH", *(screen or (width, height))))
    return head + (comment + frame) * frames + b";"


def bmp(width, height):
    return replaced(encoded("BMP"), 18, struct.pack("<ii", width, height))


def webp(width, height):
    return replaced(encoded("WEBP"), 26, struct.pack("<HH", width, height))


def webp_lossless(width, height):
    return replaced(encoded("WEBP", lossless=True), 21, struct.pack("<I", (width - 1) | (height - 1) << 14))


def webp_extended(width, height):
    canvas = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"RIFF\x16\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00" + bytes(4) + canvas


BOMBS = {
    "png": png(60000, 60000),
    "png that TensorFlow would take": png(20000, 20000),
    "jpeg": jpeg(60000, 60000),
    "gif": gif(60000, 60000),
    "gif with a frame beyond its screen": gif(20000, 20000, screen=(8, 8)),
    "gif of many frames": gif(3000, 3000, frames=20),
    "bmp": bmp(60000, 60000),
    "bmp from the top": bmp(60000, -60000),
    "webp": webp(16383, 16383),
    "webp lossless": webp_lossless(16383, 16383),
    "webp extended": webp_extended(60000, 60000),
}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.fixture(scope="module")
def serve():
    """Returns the function by which serve_bytes decodes, as a graph."""
    prepare = lambda content: decode_region_of_bytes(content, InputSpec(32).evaluation_region)  # noqa: E731
    one = tf.function(prepare, input_signature=[tf.TensorSpec([], tf.string)])
    one(tf.constant(encoded("PNG")))
    return one


@pytest.mark.parametrize("name", sorted(set(BOMBS) - {"gif of many frames"}))
def test_serving_refuses_a_bomb_and_says_the_limit(name, serve):
    before = peak()
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MAX_PIXELS} pixels"):
        serve(tf.constant(BOMBS[name]))
    assert peak() - before < SPARED_KIB


def test_serving_decodes_one_frame_of_many(serve):
    before = peak()
    many = encoded("GIF")[:-1] + BOMBS["gif of many frames"][19:]
    assert int(claimed_pixels(tf.constant(many))) > MAX_PIXELS
    assert serve(tf.constant(many)).shape == (32, 32, 3)
    assert peak() - before < SPARED_KIB


@pytest.mark.parametrize("name", ["png", "jpeg", "gif", "webp lossless"])
def test_the_stream_and_the_audit_refuse_a_bomb(name, tmp_path):
    path, before = tmp_path / "bomb", peak()
    path.write_bytes(BOMBS[name])
    facts = inspect_image(path, tmp_path)
    assert not facts.readable
    assert f"exceeds limit of {MAX_PIXELS} pixels" in facts.reason
    for with_pillow in (False, True):
        words = f"limit of {MAX_PIXELS} pixels" if with_pillow else f"more than {MAX_PIXELS} pixels in one"
        with pytest.raises((tf.errors.OpError, Image.DecompressionBombError), match=words):
            decode_region(str(path), tf.constant(with_pillow), tf.constant(1), InputSpec(32).evaluation_region)
        with pytest.raises((tf.errors.OpError, Image.DecompressionBombError), match=words):
            decode_file(str(path), tf.constant("pillow" if with_pillow else "tensorflow"), tf.constant(1))
    assert peak() - before < SPARED_KIB


def test_the_limit_is_that_of_pillow():
    assert MAX_PIXELS == 2 * Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
@pytest.mark.parametrize("options", [{}, {"lossless": True}], ids=["", "lossless"])
def test_the_pixels_of_good_files_are_counted(kind, options):
    assert int(claimed_pixels(tf.constant(encoded(kind, (13, 7), **options)))) == 13 * 7


def test_frames_of_other_colours_and_alpha_are_counted():
    frames = [Image.fromarray(np.full((9, 11, 4), shade, np.uint8)) for shade in (10, 90, 200)]
    for kind, expected in (("GIF", 3 * 99), ("WEBP", 99)):  # TensorFlow decodes only the wanted frame of a WebP
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        assert int(claimed_pixels(tf.constant(buffer.getvalue()))) == expected


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"\x89PNG", b"GIF89a", b"GIF89a" + b"\xff" * 9, b"BM", b"x"])
def test_a_header_that_is_cut_off_is_for_the_decoder_to_refuse(content):
    if content.startswith(b"\xff\xd8\xff"):
        with pytest.raises(tf.errors.InvalidArgumentError):
            claimed_pixels(tf.constant(content))
    else:
        claimed_pixels(tf.constant(content))


def test_predict_leaves_a_bomb_out(finished, images, tmp_path, capsys):
    for name in ("png", "jpeg"):
        (tmp_path / f"bomb.{name}").write_bytes(BOMBS[name])
    good = next(iter(sorted(images.rglob("*.jpg"))))
    before = peak()
    assert main(["predict", str(finished.path), str(good), str(tmp_path)]) == 1
    errors = capsys.readouterr().err
    assert errors.count("exceeds limit of 178956970 pixels") == 2
    assert peak() - before < SPARED_KIB


def test_a_file_that_became_a_bomb_is_named(finished, images, tmp_path, capsys):
    root = shutil.copytree(images, tmp_path / "photos")
    manifest = load_manifest(finished.manifest)
    path = root / manifest.loc[manifest["split"] == "val", "path"].iloc[0]
    path.write_bytes(BOMBS["jpeg"])
    assert main(["evaluate", str(finished.path), "--split", "val", "--data", str(root)]) == 2
    error = capsys.readouterr().err
    assert f"such as '{path.parent.name}/{path.name}': their SHA-256 differ" in error  # before it is decoded
    assert error.count("\n") == 1


@pytest.mark.parametrize("decoder", ["tensorflow", "pillow"])
def test_a_stream_that_meets_a_bomb_names_the_file(decoder, tmp_path):
    """All streams of finetune do so."""
    (tmp_path / "good.png").write_bytes(encoded("PNG"))
    (tmp_path / "bad.png").write_bytes(BOMBS["png"])
    rows = pd.DataFrame({"path": ["good.png", "bad.png"], "label": "a", "decoder": decoder, "orientation": 1})
    message = f"bad.png' cannot be read any more .* {MAX_PIXELS} "
    with pytest.raises(LostImage, match=message), lost_images_named(rows, tmp_path):
        list(evaluation_stream(ImageSource(rows, tmp_path, ["a"]), InputSpec(32), 2))
