"""Optimizers of tensorflow-addons in other people's loops: gradients of some rows alone, and TensorFlow's variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf import addons

START = np.array([1.0, -2.0, 0.5], "float32")
GRADIENTS = np.random.default_rng(1).normal(0.2, 1, (6, 3)).astype("float32")


# Rows 0, 2 and 0 again, as an Embedding gives them for a batch with a word that occurs twice.
def slices(step):
    values = np.random.default_rng(step).normal(size=(3, 2)).astype("float32")
    return tf.IndexedSlices(tf.constant(values), tf.constant([0, 2, 0]), tf.constant([4, 2]))


@pytest.mark.parametrize("amsgrad", [True, False])
def test_rectified_adam_takes_the_gradients_of_some_rows(amsgrad):
    """It changes these rows alone, by the same steps as for a gradient of all rows."""
    start = np.arange(8, dtype="float32").reshape(4, 2)
    sparse, dense = tf.Variable(start), tf.Variable(start)
    first = addons.RectifiedAdam(0.05, beta_2=0.9, amsgrad=amsgrad)
    second = addons.RectifiedAdam(0.05, beta_2=0.9, amsgrad=amsgrad)
    for step in range(8):
        first.apply_gradients([(slices(step), sparse)])
        second.apply_gradients([(tf.convert_to_tensor(slices(step)), dense)])
    np.testing.assert_allclose(sparse.numpy(), dense.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(sparse.numpy()[[1, 3]], start[[1, 3]])
    first.apply_gradients([(tf.IndexedSlices(tf.constant([[1.0, 1.0]]), tf.constant([1])), sparse)])
    np.testing.assert_allclose(sparse.numpy()[[0, 2]], dense.numpy()[[0, 2]], rtol=1e-6)  # momentum alone moves nothing
    assert (sparse.numpy()[1] < start[1]).all()


MAKE = {
    "radam": lambda: addons.RectifiedAdam(0.05, beta_2=0.9),
    "ranger": lambda: addons.Lookahead(addons.RectifiedAdam(0.05, beta_2=0.9), sync_period=2),
    "swa": lambda: addons.SWA(keras.optimizers.SGD(0.1), start_averaging=0, average_period=2),
}


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_an_embedding_learns(make):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Embedding(5, 3), keras.layers.Flatten()])
    model.compile(make(), "mse")
    before = np.array(model.layers[0].embeddings)
    model.fit(np.array([[1, 2], [3, 1]]), np.full((2, 6), 9.0), epochs=3, verbose=0)
    changed = np.abs(np.array(model.layers[0].embeddings) - before).max(axis=1)
    assert (changed[[1, 2, 3]] > 0.01).all()
    np.testing.assert_array_equal(changed[[0, 4]], 0.0)


@pytest.mark.parametrize("compiled", [True, False], ids=["graph", "eager"])
@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_a_custom_loop_may_have_variables_of_tensorflow(make, compiled):
    def after_steps(variable, function):
        optimizer = make()
        optimizer.build([variable])

        def step(gradient):
            optimizer.apply_gradients([(gradient, variable)])

        step = tf.function(step) if function else step
        for gradient in GRADIENTS:
            step(tf.constant(gradient))
        fast = np.array(variable)
        if isinstance(optimizer, addons.SWA):
            optimizer.assign_average_vars([variable])
        return fast, np.array(variable)

    of_tensorflow = after_steps(tf.Variable(START), compiled)
    of_keras = after_steps(keras.Variable(START), False)
    np.testing.assert_allclose(of_tensorflow, of_keras, rtol=1e-5)
    assert np.abs(of_keras[0] - START).max() > 0.1
