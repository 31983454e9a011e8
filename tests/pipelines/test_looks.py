"""Several looks at an image at the test, and out-of-fold predictions for wrong labels."""

import numpy as np
import pytest
import tensorflow as tf

from pipelines.evaluation.label_issues import label_issues
from pipelines.evaluation.looks import Looks, check_looks
from pipelines.images.stream import InputSpec
from pipelines.training.out_of_fold import out_of_fold_probabilities
from resnet_tf.errors import UserError

PICTURE = (
    np.random.default_rng(0).integers(0, 256, (40, 37, 3)).astype("uint8")
)  # 37 is what 32 pixels are cropped from


@pytest.mark.parametrize(
    ("place", "top", "left"), [((0.0, 0.0), 0, 0), ((0.0, 1.0), 0, 5), ((1.0, 0.0), 8, 0), ((0.5, 0.5), 4, 2)]
)
def test_crops_are_at_the_corners_and_in_the_centre(place, top, left):
    found = InputSpec(32, place=place).for_evaluation(tf.constant(PICTURE)).numpy()
    np.testing.assert_array_equal(found, PICTURE[top : top + 32, left : left + 32])


def test_the_whole_picture_has_crops_too_where_it_is_squeezed():
    square = PICTURE[:37]
    found = InputSpec(32, view="squeeze", place=(1.0, 1.0)).for_evaluation(tf.constant(square)).numpy()
    np.testing.assert_array_equal(found, square[5:, 5:])


def test_a_network_of_one_size_refuses_scales():
    check_looks(Looks(scales=(224, 256)), (None, None, None, 3))
    with pytest.raises(UserError, match="takes 224 pixels"):
        check_looks(Looks(scales=(224, 256)), (None, 224, 224, 3))


def test_looks_are_said():
    assert Looks().in_words() == ""
    assert Looks(crops=10).in_words() == ", 10 crops"
    assert Looks(True, 1, (32, 64)).in_words() == (", shorter sides of 32, 64 pixels, mirror images beside the images")


def blobs(images: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Returns features of five classes that are easy to tell apart, and the true classes."""
    random = np.random.default_rng(0)
    truth = np.arange(images) % 5
    return (3.0 * random.normal(size=(5, 20)))[truth] + random.normal(size=(images, 20)), truth


def test_wrong_labels_are_found_by_heads_that_have_not_learned_them():
    features, truth = blobs()
    given = truth.copy()
    given[:20] = (truth[:20] + 2) % 5
    found = out_of_fold_probabilities(features, given, 5, np.arange(300), strength=0.1)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    issues = {issue.image for issue in label_issues(given, found)}
    assert len(issues & set(range(20))) >= 18
    assert len(issues - set(range(20))) <= 3


def test_copies_of_a_picture_do_not_defend_its_wrong_label():
    features, truth = blobs()
    features[290:] = features[0] + 20.0  # a picture like no other, ten times, with one wrong label
    given = truth.copy()
    given[290:] = 4
    apart = out_of_fold_probabilities(features, given, 5, np.arange(300), strength=1.0)
    units = np.where(np.arange(300) >= 290, 290, np.arange(300))
    together = out_of_fold_probabilities(features, given, 5, units, strength=1.0)
    assert apart[290:, 4].min() > 0.9
    assert together[290:, 4].max() < 0.6


def test_a_class_with_one_image_has_no_probability_out_of_its_fold():
    features, truth = blobs(50)
    truth = np.append(truth, 5)
    found = out_of_fold_probabilities(np.append(features, [features[0]], axis=0), truth, 6, np.arange(51), strength=0.1)
    assert found[50, 5] == 0.0


@pytest.mark.parametrize(
    ("labels", "units"),
    [
        (np.arange(30) % 10, np.arange(30)),  # three photos a class
        (np.repeat([0, 1], [27, 3]), np.arange(30)),
        (np.arange(30) % 2, np.arange(30) % 3),  # three shops
        (np.arange(30) % 2, np.zeros(30, int)),
    ],
)
def test_labels_are_looked_at_with_few_images_of_a_class_and_few_groups(labels, units, recwarn):
    features = np.random.default_rng(0).normal(size=(30, 8))
    found = out_of_fold_probabilities(features, labels, 10, units, strength=0.1)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert not recwarn.list
