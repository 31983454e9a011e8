"""The cache: the network sees the same bits with it as without, and a partial cache is never taken for a whole one."""

import errno
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.cli import main
from pipelines.config.shared import VIEWS
from pipelines.data.manifest import class_names, make_manifest
from pipelines.images import cache as module
from pipelines.images import free_space as room
from pipelines.images.augment import choose_region, key_of
from pipelines.images.cache import open_cache
from pipelines.images.lost_images import LostImage
from pipelines.images.stream import ImageSource, InputSpec, Order, evaluation_stream, training_stream
from resnet_tf.errors import UserError
from tests.pipelines.test_decode import photo, with_orientation

SIZE = 32
VIEW = InputSpec(SIZE)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Returns two classes: JPEG of many sizes in every orientation, and files that are read in other ways."""
    root = tmp_path_factory.mktemp("photos")
    for name in ("a", "b"):
        (root / name).mkdir()
    sides = [(40, 50), (70, 90), (101, 77), (130, 200), (60, 300), (199, 203), (290, 411), (33, 1001)]
    for number, (height, width) in enumerate(sides):
        for group in range(2):
            exif = with_orientation((number + 3 * group) % 8 + 1)
            path = root / "ab"[group] / f"{number}.jpg"
            photo(height, width, 2 * number + group).save(path, exif=exif, subsampling=number % 3)
    photo(80, 120, 91).save(root / "a" / "plain.png")
    photo(120, 80, 92).convert("P").save(root / "a" / "palette.png")
    photo(90, 90, 93).convert("CMYK").save(root / "b" / "cmyk.jpg")
    photo(60, 90, 94).save(root / "b" / "turned.tif", exif=with_orientation(6))
    return root


@pytest.fixture(scope="module")
def rows(photos):
    manifest = make_manifest(photos, 0.25, 0.0, 0)
    return {split: manifest[manifest["split"] == split] for split in ("train", "val")}


def collect(stream):
    pixels, labels = zip(*((x.numpy(), y.numpy()) for x, y in stream), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def training(rows, root, input_spec, cached=None):
    classes = class_names(pd.concat(rows.values()))
    return collect(
        training_stream(
            ImageSource(rows["train"], root, classes, cached), input_spec, Order(batch_size=8, seed=3, epochs=3)
        )
    )


@pytest.mark.parametrize(
    ("where", "augment", "view"),
    [("ram", "light", "crop"), ("disk", "paper", "crop"), ("ram", "light", "pad"), ("ram", "paper", "squeeze")],
)
def test_the_network_sees_the_same_bits_with_the_cache(rows, photos, where, augment, view, tmp_path):
    interpolation = "bicubic" if augment == "paper" else "bilinear"
    input_spec = InputSpec(SIZE, augment=augment, interpolation=interpolation, view=view)
    cache = open_cache(where, tmp_path / "cache", rows, photos, input_spec)
    assert (cache.plan.starts >= 0).sum(axis=0).min() > 0  # all scales occur
    for a, b in zip(
        training(rows, photos, input_spec), training(rows, photos, input_spec, cache.of("train")), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for split in ("train", "val"):
        streams = [
            evaluation_stream(ImageSource(rows[split], photos, class_names(rows["train"]), cached), input_spec, 5)
            for cached in (None, cache.of(split))
        ]
        for a, b in zip(*map(collect, streams), strict=True):
            np.testing.assert_array_equal(a, b)


def test_later_epochs_need_no_file(rows, photos, tmp_path):
    """An exception is a rotated TIFF, for which Pillow reports sometimes the stored and sometimes the upright sides."""
    root = shutil.copytree(photos, tmp_path / "photos")
    turned = rows["train"]["path"].str.endswith("turned.tif")
    parts = {"train": rows["train"][~turned], "val": rows["val"]}
    cache = open_cache("ram", tmp_path / "cache", parts, root, VIEW)
    shutil.rmtree(root)
    for a, b in zip(training(parts, photos, VIEW), training(parts, root, VIEW, cache.of("train")), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("augment", ["light", "paper", "cifar"])
def test_crops_ask_for_no_other_scale_than_those_that_are_kept(augment, view):
    random = np.random.default_rng(0)
    input_spec = InputSpec(SIZE, augment=augment, view=view)

    @tf.function
    def asked(shape, number):
        region = choose_region(augment, shape, key_of(0, 0, number), SIZE, input_spec.min_area, "bilinear", view)
        return region.ratio_index()

    shapes = np.exp(random.uniform(np.log(8), np.log(900), (300, 2))).astype(np.int32)
    kept = module._scales(input_spec, shapes)
    seen = np.zeros_like(kept)
    for number, shape in enumerate(np.repeat(shapes, 3, axis=0)):
        seen[number // 3, int(asked(tf.constant(shape), tf.constant(number, tf.int64)))] = True
    assert not (seen & ~kept).any()
    # Few scales are unused: three crops ask for most of those kept.
    assert kept.sum() < 1.6 * seen.sum()


def test_a_whole_file_is_used_again_and_any_other_is_made_anew(rows, photos, tmp_path, capsys):
    folder = tmp_path / "cache"

    def opened(root=photos, input_spec=VIEW):
        capsys.readouterr()
        open_cache("disk", folder, rows, root, input_spec)
        assert len(list(folder.iterdir())) == 1
        return "already" in capsys.readouterr().out

    assert not opened()
    assert opened()
    (place,) = folder.iterdir()
    content = place.read_bytes()
    place.write_bytes(content[:-1])
    (folder / ".writing-x.pixels").write_bytes(content)
    assert not opened()
    assert place.read_bytes() == content
    assert not opened(input_spec=InputSpec(SIZE, min_area=0.9))
    root = shutil.copytree(photos, tmp_path / "photos")  # keeps the files' times
    assert not opened()
    assert opened(root)
    file = root / rows["train"]["path"].iloc[0]
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    assert not opened(root)


def test_a_lost_or_exchanged_image_is_named(rows, photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "photos")
    path = root / rows["train"]["path"].iloc[2]
    Image.new("RGB", (17, 31)).save(path)
    with pytest.raises(LostImage, match=f"{path.name}' is another picture than when the run began"):
        open_cache("disk", tmp_path / "cache", rows, root, VIEW)
    path.unlink()
    with pytest.raises(LostImage, match=f"{path.name}' is gone"):
        open_cache("disk", tmp_path / "cache", rows, root, VIEW)
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize("where", ["ram", "disk"])
def test_a_cache_that_would_not_fit_is_refused_before_anything_is_decoded(rows, photos, where, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "MARGIN_BYTES", 2**60)
    monkeypatch.setattr(module, "decode_scaled", None)
    with pytest.raises(UserError, match=f"--cache {where} needs .* MB (on the disk of|in memory) .* are free; make"):
        open_cache(where, tmp_path / "cache", rows, photos, VIEW)
    assert not (tmp_path / "cache").exists()


def test_a_disk_that_becomes_full_meanwhile_leaves_nothing(rows, photos, tmp_path, monkeypatch):
    def full(decoded, temporary):
        temporary.write_bytes(next(decoded).tobytes())
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module, "_write", full)
    with pytest.raises(UserError, match="No space left on device"):
        open_cache("disk", tmp_path / "cache", rows, photos, VIEW)
    assert not list((tmp_path / "cache").iterdir())


def test_the_memory_that_is_free_is_less_than_the_machine_has():
    assert 0 < room.available_memory() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_finished_run_keeps_no_cache(images, tmp_path, capsys):
    words = ["finetune", str(images), "--weights", "none", "--arch", "cifar_resnet20", "--image-size", "32"]
    words += ["--epochs", "1", "--batch-size", "8", "--run", str(tmp_path / "run")]
    assert main([*words, "--cache", "disk"]) == 0
    assert "cache: 18 pictures of 18 training images and 6 validation images, 0.1 MB in" in capsys.readouterr().out
    assert not (tmp_path / "run" / "cache").exists()
    assert main([*words, "--cache", "shelf"]) == 2
    assert "--cache must be one of none, ram, disk, received 'shelf'" in capsys.readouterr().err
