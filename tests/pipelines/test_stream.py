"""The stream is a pure function of (seed, epoch, position)."""

import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.data.manifest import class_names, make_manifest
from pipelines.images.augment import change, choose_region, key_of
from pipelines.images.lost_images import rows_of_step
from pipelines.images.stream import (
    UNKNOWN_LABEL,
    ImageSource,
    InputSpec,
    Order,
    evaluation_stream,
    steps_per_epoch,
    training_stream,
)

VIEW = InputSpec(32)


@pytest.fixture(scope="module")
def rows(images):
    return make_manifest(images, 0.2, 0.0, 0)


def collect(stream):
    pixels, labels = zip(*((x.numpy(), y.numpy()) for x, y in stream), strict=True)
    return np.concatenate(pixels), np.concatenate(labels)


def train(rows, root, parallel=None, **changes):
    source, order = ImageSource(rows, root, class_names(rows)), Order(**{"batch_size": 8, "seed": 1, **changes})
    return collect(training_stream(source, VIEW, order, parallel=parallel))


def test_one_seed_gives_identical_bytes_whatever_the_parallelism(rows, images):
    first = train(rows, images, epochs=2, parallel=1)
    second = train(rows, images, epochs=2, parallel=7)
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_or_epoch_gives_another_order_and_other_pixels(rows, images):
    pixels, labels = train(rows, images)
    for other in ({"seed": 2}, {"first_epoch": 1}):
        other_pixels, other_labels = train(rows, images, **other)
        assert not np.array_equal(labels, other_labels)
        assert not np.array_equal(pixels, other_pixels)


def test_a_later_epoch_can_be_had_without_those_before(rows, images):
    both = train(rows, images, epochs=2)
    second = train(rows, images, first_epoch=1)
    size = steps_per_epoch(len(rows), 8) * 8
    np.testing.assert_array_equal(both[0][size:], second[0])
    np.testing.assert_array_equal(both[1][size:], second[1])


def test_each_epoch_has_every_image_and_full_batches(rows, images):
    stream = training_stream(ImageSource(rows, images, class_names(rows)), VIEW, Order(batch_size=8, seed=0))
    shapes = [x.shape[0] for x, _ in stream]
    assert shapes == [8] * steps_per_epoch(len(rows), 8)
    _, labels = train(rows, images, batch_size=10)  # 30 images need no filling
    assert np.bincount(labels).tolist() == [10, 10, 10]


def test_batches_are_uint8_images_and_labels_in_class_order(rows, images):
    names = list(reversed(class_names(rows)))
    x, y = next(iter(training_stream(ImageSource(rows, images, names), VIEW, Order(batch_size=4, seed=0))))
    assert (x.dtype, x.shape, y.dtype) == (tf.uint8, (4, 32, 32, 3), tf.int32)
    _, labels = collect(evaluation_stream(ImageSource(rows, images, names), VIEW, 7))
    assert [names[label] for label in labels] == rows["label"].tolist()


def test_evaluation_sees_each_image_once_in_order_with_an_uneven_last_batch(rows, images):
    batches = [len(y) for _, y in evaluation_stream(ImageSource(rows, images, class_names(rows)), VIEW, 7)]
    assert batches == [7, 7, 7, 7, 2]


def test_a_label_that_is_no_class_is_marked(rows, images):
    _, labels = collect(evaluation_stream(ImageSource(rows, images, class_names(rows)[:1]), VIEW, 30))
    assert set(labels[rows["label"] != class_names(rows)[0]]) == {UNKNOWN_LABEL}


def test_one_image_can_be_streamed(rows, images):
    pixels, _ = train(pd.DataFrame(rows.iloc[:1]), images, batch_size=3)
    assert pixels.shape == (3, 32, 32, 3)
    assert not np.array_equal(pixels[0], pixels[1])  # the filling has different crops


def test_crops_have_the_asked_area_and_flips_are_even():
    """The image's two channels are its coordinates, so that a crop shows its position."""
    y, x = np.mgrid[:200, :200]
    image = tf.constant(np.stack([x, y, x], -1).astype(np.uint8))
    areas, mirrored = [], 0
    for number in range(200):
        key = key_of(0, tf.constant(0, tf.int64), tf.constant(number, tf.int64))
        region = choose_region("light", tf.shape(image)[:2], key, 32, 0.5, "bilinear")
        crop = change("light", region.of(image), key).numpy().astype(float)
        width, height = abs(crop[16, -1, 0] - crop[16, 0, 0]), crop[-1, 16, 1] - crop[0, 16, 1]
        areas.append(width * height / 200**2)
        mirrored += crop[16, 0, 0] > crop[16, -1, 0]
    assert 0.40 < min(areas) < 0.6  # half a pixel of 32 is missing on each side
    assert max(areas) > 0.85
    assert 70 < mirrored < 130  # 4 standard deviations around 100


@pytest.mark.parametrize("mix", ["none", "mixup", "cutmix"])
def test_the_parts_of_several_workers_are_the_batches_of_one(mix, rows, images):
    classes, input_spec = class_names(rows), InputSpec(32, mix=mix)
    settings = {"batch_size": 8, "seed": 3, "first_epoch": 1, "first_step": 1, "epochs": 2}
    whole = list(training_stream(ImageSource(rows, images, classes), input_spec, Order(**settings)))
    parts = [
        training_stream(ImageSource(rows, images, classes), input_spec, Order(**settings, part=part, parts=4))
        for part in range(4)
    ]
    batches = list(zip(*parts, strict=True))
    assert len(batches) == len(whole)
    for batch, (pixels, labels) in zip(batches, whole, strict=True):
        np.testing.assert_array_equal(np.concatenate([part[0] for part in batch]), pixels)
        np.testing.assert_array_equal(np.concatenate([part[1] for part in batch]), labels)


def test_a_worker_reads_no_image_of_another(rows, images, tmp_path):
    classes, order = class_names(rows), {"batch_size": 8, "seed": 3}
    mine = rows_of_step(rows, VIEW, epoch=0, step=0, **order)[:4]
    for path in mine["path"]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(images / path, tmp_path / path)
    pixels, _ = next(iter(training_stream(ImageSource(rows, tmp_path, classes), VIEW, Order(**order, part=0, parts=2))))
    assert len(pixels) == 4
    with pytest.raises(tf.errors.OpError):
        next(iter(training_stream(ImageSource(rows, tmp_path, classes), VIEW, Order(**order, part=1, parts=2))))
