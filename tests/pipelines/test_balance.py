"""Classes of unequal size: the weights in the loss and the balanced order."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from pipelines.config.verbs import ShowBatchConfig
from pipelines.data.manifest import class_names, make_manifest
from pipelines.finetune import finetune
from pipelines.images.balance import balanced_order, class_weights
from pipelines.images.stream import ImageSource, InputSpec, Order, training_stream
from pipelines.show_batch import caption, show_batch
from resnet_tf.losses import SmoothedCrossentropy
from tests.conftest import small_config

LABELS = pd.Series(["ant"] * 2 + ["bee"] * 12 + ["cow"] * 40)
CLASSES = ["ant", "bee", "cow"]


def epoch_of(order, epoch, length):
    numbers = tf.data.Dataset.range(length).map(lambda position: order(tf.constant(epoch, tf.int64), position))
    return np.array(list(numbers.as_numpy_iterator()))


def test_class_weights_are_those_of_scikit_learn():
    expected = compute_class_weight("balanced", classes=np.array(CLASSES), y=LABELS)
    np.testing.assert_allclose(class_weights(LABELS, CLASSES), expected)


def test_the_balanced_order_has_every_class_equally_often():
    drawn = LABELS[epoch_of(balanced_order(LABELS, 0), 0, 54)]
    assert drawn.value_counts().to_dict() == {"ant": 18, "bee": 18, "cow": 18}
    assert [set(drawn[start : start + 3]) for start in range(0, 54, 3)] == [set(CLASSES)] * 18


def test_a_class_gives_all_its_images_before_one_comes_again():
    drawn = epoch_of(balanced_order(LABELS, 0), 0, 3 * 40)
    for name in CLASSES:
        own = drawn[(LABELS[drawn] == name).to_numpy()]
        size = LABELS.value_counts()[name]
        assert len(set(own[:size])) == size


def test_the_balanced_order_is_a_function_of_seed_epoch_and_position():
    order = balanced_order(LABELS, 0)
    first = epoch_of(order, 0, 54)
    np.testing.assert_array_equal(first, epoch_of(balanced_order(LABELS, 0), 0, 54))
    assert int(order(tf.constant(0, tf.int64), tf.constant(17, tf.int64))) == first[17]
    assert not np.array_equal(first, epoch_of(order, 1, 54))
    assert not np.array_equal(first, epoch_of(balanced_order(LABELS, 1), 0, 54))


def test_shares_that_are_one_hot_give_the_loss_of_integers():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(8, 3)).astype("float32"), random.integers(0, 3, 8)
    for weights in (None, [0.5, 1.0, 3.0]):
        loss = SmoothedCrossentropy(0.1, weights, reduction="none")
        np.testing.assert_allclose(loss(labels, logits), loss(np.eye(3)[labels], logits), rtol=1e-6)


def test_the_loss_of_mixed_labels_is_cross_entropy_with_weights_by_share():
    logits = np.array([[1.0, 0.0, -1.0]], "float32")
    shares = np.array([[0.7, 0.3, 0.0]], "float32")
    log_probabilities = logits - np.log(np.exp(logits).sum())
    expected = -(shares * log_probabilities).sum()
    assert float(SmoothedCrossentropy()(shares, logits)) == pytest.approx(expected, rel=1e-6)
    weighted = SmoothedCrossentropy(class_weights=[2.0, 10.0, 1.0])(shares, logits)
    assert float(weighted) == pytest.approx(expected * (0.7 * 2 + 0.3 * 10), rel=1e-6)


def test_weights_of_integer_labels_are_keras_class_weights():
    logits, labels = np.random.default_rng(1).normal(size=(6, 3)).astype("float32"), np.array([0, 1, 2, 2, 2, 1])
    ours = SmoothedCrossentropy(class_weights=[3.0, 2.0, 0.5])(labels, logits)
    by_keras = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = by_keras(labels, logits, sample_weight=np.array([3.0, 2.0, 0.5, 0.5, 0.5, 2.0]))
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


@pytest.mark.parametrize("settings", [{"mix": "cutmix", "balance": "weights"}, {"augment": "strong", "mix": "mixup"}])
def test_a_run_with_mixing_and_weights_learns(images, tiny, tmp_path, settings):
    settings = {"arch": tiny, "balance": "sampling", **settings}
    run = finetune(small_config(images, tmp_path / "run", **settings))
    assert np.isfinite(pd.read_csv(run.path / "history.csv")["loss"]).all()


def test_a_mixed_stream_can_be_continued_and_has_shares_for_labels(images):
    rows = make_manifest(images, 0.2, 0.0, 0)
    input_spec = InputSpec(32, augment="trivial", mix="mixup", balanced=True)
    arguments = {"batch_size": 8, "seed": 1}
    both = list(training_stream(ImageSource(rows, images, class_names(rows)), input_spec, Order(**arguments, epochs=2)))
    later = list(
        training_stream(
            ImageSource(rows, images, class_names(rows)), input_spec, Order(**arguments, first_epoch=1), parallel=1
        )
    )
    assert both[0][1].shape == (8, 3)
    for (found, labels), (expected, expected_labels) in zip(both[len(later) :], later, strict=True):
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(labels, expected_labels)


@pytest.mark.parametrize("mix", ["none", "cutmix"])
def test_show_batch_draws_what_the_network_sees(images, tmp_path, mix):
    from PIL import Image

    out = show_batch(ShowBatchConfig(str(images), str(tmp_path / "batch.png"), image_size=32, images=10, mix=mix))
    grid = np.asarray(Image.open(out))
    rows = make_manifest(images, 0.2, 0.0, 0)
    input_spec = InputSpec(32, mix=mix)
    seen, _ = next(
        iter(training_stream(ImageSource(rows, images, class_names(rows)), input_spec, Order(batch_size=10, seed=0)))
    )
    np.testing.assert_array_equal(grid[4:36, 4:36], seen[0])
    np.testing.assert_array_equal(grid[4 + 50 : 36 + 50, 4:36], seen[8])


def test_captions_name_the_classes_and_their_shares():
    assert caption(np.array(1), CLASSES) == "bee"
    assert caption(np.array([0.3, 0.7, 0.0]), CLASSES) == "bee 0.70 ant 0.30"
    assert caption(np.array([0.0, 0.0, 1.0]), CLASSES) == "cow"
