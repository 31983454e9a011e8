"""Replicas that share a batch take the step of one device, on two logical CPU devices, see conftest.py."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.classifier import synchronize_batch_norms
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.loss_scaling import AgreedLossScaleOptimizer
from resnet_tf.losses import SmoothedCrossentropy

BATCH, CLASSES = 32, 3


@pytest.fixture(scope="module")
def mirrored():
    return choose_strategy("mirrored")


@pytest.fixture(scope="module")
def batch():
    """Returns a batch sorted by class: the first replica never sees the last class, nor the second one the first."""
    random = np.random.default_rng(0)
    return random.normal(size=(BATCH, 8, 8, 3)).astype("float32"), np.arange(BATCH) * CLASSES // BATCH


def small_network(optimizer, dtype="float32"):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    x = inputs
    for _ in range(3):
        x = keras.layers.Conv2D(8, 3, use_bias=False, dtype=dtype)(x)
        x = keras.layers.ReLU(dtype=dtype)(FusedBatchNormalization(dtype=dtype)(x))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES, dtype="float32")(x))
    model.compile(optimizer, SmoothedCrossentropy(0.1, [1.0, 2.0, 4.0]), metrics=["accuracy"], jit_compile=False)
    return model


def after_a_step(strategy, batch, synchronized):
    with scope(strategy):
        model = small_network(keras.optimizers.SGD(0.1))
        if synchronized:
            synchronize_batch_norms(model)
        history = model.fit(tf.data.Dataset.from_tensors(batch), verbose=0).history
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables], history


def largest_difference(found, expected):
    return max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))


def test_two_replicas_take_the_step_of_one_device(mirrored, batch):
    (found, history), (expected, alone) = after_a_step(mirrored, batch, True), after_a_step(None, batch, False)
    assert largest_difference(found, expected) < 1e-5
    assert history["loss"][0] == pytest.approx(alone["loss"][0], abs=1e-5)
    assert history["accuracy"] == alone["accuracy"]


def test_metrics_of_many_steps_are_those_of_one_device(mirrored):
    """In Keras issue 21467, a sum counts every replica again at each step, so it doubles and overflows after 128."""
    random = np.random.default_rng(0)
    batches = [(random.normal(size=(4, 8, 8, 3)).astype("float32"), np.arange(4) % CLASSES) for _ in range(10)]
    stream = tf.data.Dataset.from_tensor_slices(tuple(map(np.stack, zip(*batches, strict=True)))).repeat(15)
    figures = []
    for strategy in (mirrored, None):
        with scope(strategy):
            model = small_network(keras.optimizers.SGD(1e-4))
            synchronize_batch_norms(model)
        figures.append(model.fit(stream, verbose=0).history)
    assert figures[0]["loss"] == pytest.approx(figures[1]["loss"], rel=1e-4)
    assert figures[0]["accuracy"] == pytest.approx(figures[1]["accuracy"], abs=0.01)  # an argmax may change
    assert figures[0]["accuracy"][0] <= 1.0  # issue 19280


def test_without_synchronized_batch_norm_the_step_is_another(mirrored, batch):
    found, expected = after_a_step(mirrored, batch, False)[0], after_a_step(None, batch, False)[0]
    assert 1e-3 < largest_difference(found, expected) < 1.0  # 100 times the tolerance of synchronized replicas


def test_statistics_of_unequal_parts_are_those_of_the_whole(mirrored):
    images = np.random.default_rng(0).normal(5.0, 2.0, (5, 4, 4, 2)).astype("float32")
    with mirrored.scope():
        layer = FusedBatchNormalization(momentum=0.0, synchronized=True)
        layer.build(images.shape)

    def parts(context):
        return tf.constant(images[:4] if context.replica_id_in_sync_group == 0 else images[4:])

    outputs = mirrored.run(
        tf.function(lambda part: layer(part, training=True)),
        (mirrored.experimental_distribute_values_from_function(parts),),
    )
    whole = np.concatenate([part.numpy() for part in mirrored.experimental_local_results(outputs)])
    mean, variance = images.mean((0, 1, 2)), images.var((0, 1, 2))
    np.testing.assert_allclose(layer.moving_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variance, rtol=1e-5)
    np.testing.assert_allclose(whole, (images - mean) / np.sqrt(variance + 1e-3), atol=1e-5)


def test_float16_learns_on_replicas_as_on_one_device(mirrored, batch):
    losses = []
    for strategy in (mirrored, None):
        with scope(strategy):
            model = small_network(AgreedLossScaleOptimizer(keras.optimizers.SGD(0.05)), "mixed_float16")
            synchronize_batch_norms(model)
            losses.append(model.fit(tf.data.Dataset.from_tensors(batch).repeat(4), verbose=0, epochs=1).history["loss"])
        assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-2)  # three digits of float16


@pytest.mark.parametrize("replica", [0, 1])
def test_an_overflow_on_one_replica_skips_the_step_of_all(mirrored, batch, replica):
    images, labels = batch
    images = images.copy()
    images[replica * BATCH // 2] = np.inf
    with mirrored.scope():
        model = small_network(AgreedLossScaleOptimizer(keras.optimizers.SGD(0.1)))
        before = [keras.ops.convert_to_numpy(variable) for variable in model.trainable_variables]
        model.fit(tf.data.Dataset.from_tensors((images, labels)), verbose=0)
    for old, variable in zip(before, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(variable))
    assert keras.ops.convert_to_numpy(model.optimizer.iterations) == 0
    assert keras.ops.convert_to_numpy(model.optimizer.dynamic_scale) == 2.0**14


def test_a_process_can_train_networks_of_other_shapes_one_after_another():
    for units in (3, 5):
        with scope(choose_strategy("mirrored")):
            model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])
            model.compile("sgd", "mse", jit_compile=False)
        assert np.isfinite(model.fit(np.ones((8, 4)), np.ones((8, units)), verbose=0).history["loss"])
