"""Augmentations are pure functions of image and key, eagerly and in a stream; their parts match Pillow's."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from pipelines.config.shared import AUGMENTATIONS as NAMES
from pipelines.config.shared import MIXES as MIX_NAMES
from pipelines.images.augment import AUGMENTATIONS, change, choose_region, key_of, random_erasing, shifted
from pipelines.images.colour import brightness, contrast, lighting, saturation, sharpness
from pipelines.images.mix import MIXES, cutmix, mixup
from pipelines.images.regions import jittered_region
from pipelines.images.trivial_augment import OPERATIONS


def picture(height=50, width=70, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def key(number, seed=0):
    return key_of(seed, tf.constant(0, tf.int64), tf.cast(number, tf.int64))


def augmented(name, image, number):
    region = choose_region(name, tf.shape(image)[:2], key(number), 32, 0.35, "bilinear")
    return change(name, region.of(image), key(number))


def test_the_names_of_the_settings_are_those_of_the_functions():
    assert set(NAMES) == set(AUGMENTATIONS)
    assert set(MIX_NAMES) == {"none", *MIXES}


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_is_the_same_eagerly_and_in_a_stream_and_differs_between_keys(name):
    image = tf.constant(picture())
    stream = tf.data.Dataset.range(8).map(lambda number: augmented(name, image, number), num_parallel_calls=3)
    in_stream = np.stack(list(stream.as_numpy_iterator()))
    eagerly = np.stack([augmented(name, image, number) for number in range(8)])
    assert in_stream.shape == (8, 32, 32, 3)
    # Graphs without XLA may fuse a product and a sum, which can change a rounded value by one level.
    assert np.abs(in_stream.astype(int) - eagerly).max() <= (0 if name == "light" else 1)
    np.testing.assert_array_equal(in_stream, np.stack(list(stream.as_numpy_iterator())))
    assert len({image.tobytes() for image in in_stream}) == 8


@pytest.mark.parametrize(
    ("ours", "pillows"),
    [
        (brightness, ImageEnhance.Brightness),
        (contrast, ImageEnhance.Contrast),
        (saturation, ImageEnhance.Color),
        (sharpness, ImageEnhance.Sharpness),
    ],
)
@pytest.mark.parametrize("factor", [0.0, 0.6, 1.0, 1.7])
def test_changes_of_colour_are_those_of_pillow(ours, pillows, factor):
    found = ours(tf.constant(picture()), factor).numpy().astype(int)
    expected = np.asarray(pillows(Image.fromarray(picture())).enhance(factor))
    assert np.abs(found - expected).max() <= 1  # Pillow truncates where we round


@pytest.mark.parametrize(
    ("name", "strength", "expected"),
    [
        ("posterize", 0.5, lambda image: ImageOps.posterize(image, 5)),
        ("solarize", 0.5, lambda image: ImageOps.solarize(image, 128)),
        ("autocontrast", 0.5, ImageOps.autocontrast),
        ("equalize", 0.5, ImageOps.equalize),
    ],
)
def test_operations_of_trivial_augment_are_those_of_pillow(name, strength, expected):
    dull = (picture() // 2 + 40).astype(np.uint8)
    found = OPERATIONS[name](tf.constant(dull), tf.constant(strength), tf.constant(1.0)).numpy().astype(int)
    assert np.abs(found - np.asarray(expected(Image.fromarray(dull)))).max() <= 1


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_geometry_of_trivial_augment_moves_by_the_strength(name):
    """The geometric operations change nothing at strength 0, and change the image at strength 1."""
    image = tf.constant(picture(48, 48))
    zero = OPERATIONS[name](image, tf.constant(0.0), tf.constant(1.0))
    assert zero.dtype == tf.uint8
    if name.startswith(("shear", "translate", "rotate")):
        np.testing.assert_array_equal(zero, image)
        assert not np.array_equal(OPERATIONS[name](image, tf.constant(1.0), tf.constant(1.0)), image)


def test_a_rotation_turns_around_the_middle():
    image = tf.constant(picture(49, 49))
    quarter = OPERATIONS["rotate"](image, tf.constant(90 / 135), tf.constant(1.0)).numpy().astype(int)
    turned = np.rot90(picture(49, 49), 1)
    assert min(np.abs(quarter - turned).max(), np.abs(quarter - turned[::-1, ::-1]).max()) <= 1


def test_lighting_shifts_all_pixels_alike_with_the_papers_deviation():
    gray = tf.fill((4, 4, 3), tf.constant(128, tf.uint8))
    shifts = np.stack([lighting(gray, key(number)).numpy()[0, 0].astype(float) - 128 for number in range(400)])
    # 255 × 0.1 × the square root of Σ (eigenvalue × component)², which is about 3.2 for each colour
    np.testing.assert_allclose(shifts.std(0), 3.2, atol=0.5)
    assert len(np.unique(lighting(gray, key(3)).numpy().reshape(-1, 3), axis=0)) == 1


def test_erasing_hits_a_quarter_of_the_images_with_2_to_33_percent():
    white = tf.fill((64, 64, 3), tf.constant(255, tf.uint8))
    shares = np.array([(random_erasing(white, key(n)).numpy()[..., 0] != 255).mean() for n in range(400)])
    hit = shares[shares > 0]
    assert 65 < len(hit) < 135  # 4 standard deviations around 100
    assert hit.min() > 0.01
    assert hit.max() < 0.36  # sides are rounded to whole pixels


def test_scale_jitter_has_the_papers_range_of_scales():
    shape = tf.constant([500, 400])
    regions = [jittered_region(shape, key(number), 224) for number in range(100)]
    scales = np.array([224 / float(region.extent[1]) * 400 for region in regions])  # lengths of the shorter side
    assert scales.min() >= 255.9
    assert scales.max() <= 480.1
    assert np.ptp(scales) > 200
    for region in regions:
        assert np.all(region.begin >= 0)
        assert np.all(region.begin + region.extent <= [500.001, 400.001])


def test_a_shift_is_the_papers_for_cifar():
    """The central square is padded by 4 of 32 pixels, and a crop of 32 pixels is taken anywhere."""
    image = tf.constant(picture(32, 32))
    padded = np.full((40, 40, 3), (124, 116, 104), np.uint8)
    padded[4:36, 4:36] = image
    crops = {(top, left): padded[top : top + 32, left : left + 32] for top in range(9) for left in range(9)}
    seen = set()
    for number in range(200):
        shift = shifted(image, key(number)).numpy()
        found = [place for place, crop in crops.items() if np.array_equal(crop, shift)]
        assert len(found) == 1
        seen |= set(found)
    assert {top for top, _ in seen} == {left for _, left in seen} == set(range(9))
    whole = choose_region("cifar", tf.constant([50, 70]), key(0), 32, 0.35, "bilinear")
    np.testing.assert_allclose((*whole.begin, *whole.extent), (0, 10, 50, 50), atol=0.8)  # whole pixels of the crop


def batch():
    images = np.stack([picture(16, 16, seed) for seed in range(6)])
    return tf.constant(images), tf.one_hot([0, 1, 2, 0, 1, 2], 3)


@pytest.mark.parametrize("name", MIXES)
def test_mixing_is_the_same_eagerly_and_in_a_stream(name):
    images, targets = batch()
    stream = tf.data.Dataset.range(5).map(lambda number: MIXES[name](images, targets, key(number)))
    for number, (found, labels) in enumerate(stream):
        expected, expected_labels = MIXES[name](images, targets, key(number))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(labels, expected_labels, atol=1e-6)  # products and sums may be fused
        assert (found.dtype, found.shape) == (tf.uint8, images.shape)
        np.testing.assert_allclose(tf.reduce_sum(labels, 1), 1.0, atol=1e-6)


def test_mixup_blends_images_by_the_share_of_their_labels():
    images, targets = batch()
    for number in range(20):
        mixed, labels = mixup(images, targets, key(number))
        share = float(labels[0, 0])  # the neighbour's class differs
        expected = share * images.numpy()[0] + (1 - share) * images.numpy()[-1]
        assert np.abs(mixed.numpy()[0] - expected).max() <= 0.51


def test_cutmix_takes_the_share_of_the_labels_from_the_area():
    images, targets = batch()
    shares = []
    for number in range(30):
        mixed, labels = cutmix(images, targets, key(number))
        from_neighbour = np.all(mixed.numpy()[0] == images.numpy()[-1], -1)
        from_itself = np.all(mixed.numpy()[0] == images.numpy()[0], -1)
        assert np.all(from_neighbour | from_itself)
        assert np.isclose(from_neighbour.mean(), 1 - float(labels[0, 0]))
        shares.append(float(labels[0, 0]))
    assert min(shares) < 0.5
    assert max(shares) > 0.9
