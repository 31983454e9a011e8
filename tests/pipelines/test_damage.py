"""Audit, training and serving agree about damaged files, and files that would cost very much are refused by all."""

import io
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.data.damage import MAX_SCANS, scans_of, too_many_scans
from pipelines.data.inspect import inspect_image
from pipelines.images.decode import decode_file, decode_region, decode_region_of_bytes
from pipelines.images.scan_limit import refuse_many_scans
from pipelines.images.stream import InputSpec
from tests.campaigns.images import chunks, good_files, in_parts, run

VIEW = InputSpec(32).evaluation_region


def test_a_small_campaign_finds_no_disagreement():
    verdicts, lines = run(96, seed=7)
    assert lines == []
    assert verdicts["readable"] > 20
    assert verdicts["refused"] > 20


@pytest.mark.parametrize("missing", range(1, 13))
@pytest.mark.parametrize("name", ["rgb.png", "palette.png", "alpha.png", "twelve.png"])
def test_a_png_without_its_last_bytes_is_refused(name, missing, tmp_path):
    path = tmp_path / name
    path.write_bytes(good_files(0)[name][:-missing])
    facts = inspect_image(path, tmp_path)
    assert not facts.readable
    assert "a PNG that is cut off" in facts.reason


def changed(content, at, value=1):
    return content[:at] + bytes([content[at] ^ value]) + content[at + 1 :]


def test_a_png_whose_check_sums_are_wrong_is_refused_with_the_part(tmp_path):
    content = good_files(0)["rgb.png"]
    data = content.index(b"IDAT")
    length = int.from_bytes(content[data - 4 : data], "big")
    for at, words in ((data + 4 + length, "check sum of its part 'IDAT'"), (len(content) - 1, "part 'IEND'")):
        (tmp_path / "a.png").write_bytes(changed(content, at))
        facts = inspect_image(tmp_path / "a.png", tmp_path)
        assert not facts.readable
        assert words in facts.reason


def test_a_png_in_parts_and_with_data_behind_its_end_is_read(tmp_path):
    for number, content in enumerate((in_parts(good_files(0)["rgb.png"], 7), good_files(0)["rgb.png"] + b"more")):
        path = tmp_path / f"{number}.png"
        path.write_bytes(content)
        assert inspect_image(path, tmp_path).readable
    assert len(chunks(in_parts(good_files(0)["rgb.png"], 7))) > 100


def with_scans(count, size=(64, 64)):
    """Returns a progressive JPEG whose last scan, which changes nothing more, stands in it many times."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    ordinary = scans_of(content)
    return content[:last] + content[last:-2] * (count - ordinary + 1) + content[-2:]


def refused_everywhere(path):
    facts = inspect_image(path, path.parent)
    assert not facts.readable
    assert "scans, which would take very long" in facts.reason
    content, name = tf.constant(path.read_bytes()), tf.constant(str(path))
    for decode in (
        lambda: decode_region_of_bytes(content, VIEW),
        lambda: decode_region(name, tf.constant(False), tf.constant(1), VIEW),
        lambda: decode_file(name, tf.constant("tensorflow"), tf.constant(1)),
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a JPEG of more than 100 scans"):
            decode()


def test_a_jpeg_of_a_thousand_scans_is_refused_at_once_by_audit_training_and_serving(tmp_path):
    (tmp_path / "a.jpg").write_bytes(with_scans(1000, (600, 600)))
    started = time.perf_counter()
    refused_everywhere(tmp_path / "a.jpg")
    assert time.perf_counter() - started < 4  # decoding it four times takes half a minute


def test_scans_are_counted_where_they_are_and_not_in_thumbnails_or_behind_the_picture(tmp_path):
    ordinary = with_scans(10)
    assert scans_of(ordinary) == 10
    assert scans_of(with_scans(MAX_SCANS)) == MAX_SCANS
    thumbnail = b"\xff\xe1" + (2 + 400).to_bytes(2, "big") + b"\xff\xda" * 200
    decorated = ordinary[:2] + thumbnail + ordinary[2:] + b"\xff\xda" * 500
    assert scans_of(decorated) == 10
    (tmp_path / "a.jpg").write_bytes(decorated)
    assert inspect_image(tmp_path / "a.jpg", tmp_path).readable
    assert refuse_many_scans(tf.constant(decorated)).numpy() == decorated
    with pytest.raises(tf.errors.InvalidArgumentError):
        refuse_many_scans(tf.constant(ordinary[:2] + thumbnail + with_scans(MAX_SCANS + 1)[2:]))


def test_fewer_scans_are_allowed_in_a_very_large_picture():
    content = with_scans(30)
    assert too_many_scans(content, 64 * 64) == ""
    assert "30 scans" in too_many_scans(content, 150_000_000)


PEAK = """
import resource, sys, tensorflow as tf
from pipelines.images.decode import decode_region, decode_region_of_bytes
from pipelines.images.stream import InputSpec
view, path = InputSpec(224).evaluation_region, sys.argv[2]
decode = {
    "serving": tf.function(lambda: decode_region_of_bytes(tf.io.read_file(path), view), autograph=False),
    "training": tf.function(lambda: decode_region(path, tf.constant(False), tf.constant(1), view), autograph=False),
}[sys.argv[1]]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.parametrize("where", ["serving", "training"])
def test_a_large_gray_png_takes_a_few_times_its_pixels_of_memory(where, tmp_path):
    """60 megapixels of one byte; serving took 32 bytes for each of them, 1,900 MiB. It may take 8 now."""
    Image.fromarray(np.zeros((7500, 8000), np.uint8)).save(tmp_path / "large.png")
    command = [sys.executable, "-c", PEAK, where, str(tmp_path / "large.png")]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(found.stdout.split()[-1]) < 460
