"""resnet_tf.addons against scikit-learn and NumPy written here; tests/oracle compares it with tensorflow-addons."""

import os
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import cohen_kappa_score, matthews_corrcoef

from resnet_tf import addons
from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.errors import UserError

START = np.array([1.0, -2.0, 0.5], "float32")
GRADIENTS = np.random.default_rng(1).normal(0.2, 1, (15, 3)).astype("float32")


def labels_and_scores(classes, samples=60):
    random = np.random.default_rng(classes)
    true = random.integers(0, classes, samples)
    scores = np.eye(classes)[true] + random.uniform(0, 1.6, (samples, classes))
    return true, scores.astype("float32"), random.uniform(0.1, 3, samples).astype("float32")


# Metrics


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
@pytest.mark.parametrize("weightage", [None, "linear", "quadratic"])
def test_cohen_kappa_over_batches_is_that_of_scikit_learn(weightage, weighted):
    true, scores, weights = labels_and_scores(5)
    metric = addons.CohenKappa(5, weightage=weightage, sparse_labels=True)
    for batch in (slice(0, 7), slice(7, 8), slice(8, 60)):
        metric.update_state(true[batch], scores[batch], sample_weight=weights[batch] if weighted else None)
    expected = cohen_kappa_score(true, scores.argmax(1), weights=weightage, sample_weight=weights if weighted else None)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-5)
    assert 0.2 < expected < 0.9


def test_cohen_kappa_takes_one_hot_labels_class_numbers_and_rounded_regressions():
    true, scores, _ = labels_and_scores(4)
    predicted = scores.argmax(1)
    expected = cohen_kappa_score(true, predicted)
    noise = np.random.default_rng(0).uniform(-0.4, 0.4, len(true))
    for labels, predictions, arguments in (
        (np.eye(4)[true], scores, {}),
        (true[:, None], predicted, {"sparse_labels": True}),
        (true, (predicted + noise)[:, None], {"sparse_labels": True, "regression": True}),
    ):
        metric = addons.CohenKappa(4, **arguments)
        metric.update_state(labels, predictions)
        assert float(metric.result()) == pytest.approx(expected, abs=1e-5)


def test_two_classes_are_divided_at_one_half():
    metric = addons.CohenKappa(2)
    metric.update_state([[0], [1], [1], [0]], [[0.5], [0.51], [0.2], [0.9]])
    assert float(metric.result()) == pytest.approx(cohen_kappa_score([0, 1, 1, 0], [0, 1, 0, 1]), abs=1e-6)


@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
@pytest.mark.parametrize("classes", [2, 7])
def test_matthews_correlation_coefficient_is_that_of_scikit_learn(classes, weighted):
    true, scores, weights = labels_and_scores(classes)
    metric = addons.MatthewsCorrelationCoefficient(classes)
    for batch in (slice(0, 11), slice(11, 60)):
        weight = weights[batch] if weighted else None
        metric.update_state(np.eye(classes)[true[batch]], scores[batch], sample_weight=weight)
    expected = matthews_corrcoef(true, scores.argmax(1), sample_weight=weights if weighted else None)
    assert float(metric.result()) == pytest.approx(expected, abs=1e-5)
    assert expected > 0.2


@pytest.mark.parametrize("kind", ["int32", "int64", "float32", "bool"])
def test_two_classes_may_be_class_numbers(kind):
    true, predicted = np.array([0, 1, 1, 0, 1], kind), np.array([0, 1, 0, 0, 1], kind)
    metric = addons.CohenKappa(2)
    metric.update_state(true, predicted)
    assert float(metric.result()) == pytest.approx(cohen_kappa_score(true, predicted), abs=1e-6)


def test_one_class_alone_has_no_correlation():
    metric = addons.MatthewsCorrelationCoefficient(1)
    metric.update_state(np.ones((4, 1)), np.ones((4, 1)))
    assert float(metric.result()) == 0.0
    with pytest.raises(UserError, match="at least one class, received num_classes=0"):
        addons.MatthewsCorrelationCoefficient(0)


def test_predictions_of_one_class_only_have_no_correlation():
    metric = addons.MatthewsCorrelationCoefficient(3)
    metric.update_state(np.eye(3)[[0, 1, 2, 2]], np.eye(3)[[1, 1, 1, 1]])
    assert float(metric.result()) == 0.0


def test_kappa_without_samples_is_zero_and_of_one_class_only_undefined():
    metric = addons.CohenKappa(3, sparse_labels=True)
    assert float(metric.result()) == 0.0
    metric.update_state([1, 1], [1, 1])
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize("weights", [None, [1, 2, 3]])
def test_a_label_of_an_unknown_class_is_not_overlooked(weights):
    metric = addons.CohenKappa(3, sparse_labels=True)
    metric.update_state([0, 1, 3], [0, 1, 2], sample_weight=weights)
    assert np.isnan(float(metric.result()))


@pytest.mark.parametrize(("classes", "message"), [(1, "at least two classes"), (3, "weightage must be")])
def test_wrong_arguments_of_kappa(classes, message):
    with pytest.raises(UserError, match=message):
        addons.CohenKappa(classes, weightage="cubic")


# Schedules


def test_triangular_rates_go_up_and_down():
    schedule = addons.TriangularCyclicalLearningRate(0.1, 0.5, step_size=4)
    rates = [float(schedule(step)) for step in range(13)]
    expected = [0.1, 0.2, 0.3, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.2, 0.3, 0.4, 0.5]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


def test_peaks_are_halved_each_cycle_or_shrink_each_step():
    halved = addons.Triangular2CyclicalLearningRate(0.0, 0.8, step_size=5)
    shrinking = addons.ExponentialCyclicalLearningRate(0.0, 0.8, step_size=5, gamma=0.9)
    for cycle in range(3):
        peak = 5 + 10 * cycle
        assert float(halved(peak)) == pytest.approx(0.8 / 2**cycle, rel=1e-5)
        assert float(shrinking(peak)) == pytest.approx(0.8 * 0.9**peak, rel=1e-5)


@keras.saving.register_keras_serializable(package="tests")
def third(x):
    return 1.0 / 3.0


@pytest.mark.parametrize(
    "schedule",
    [
        addons.CyclicalLearningRate(0.1, 0.4, 3, scale_fn=third, scale_mode="iterations"),
        addons.TriangularCyclicalLearningRate(0.1, 0.4, 3),
        addons.Triangular2CyclicalLearningRate(0.1, 0.4, 3, name="mine"),
        addons.ExponentialCyclicalLearningRate(0.1, 0.4, 3, gamma=0.7),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_schedule_is_saved_with_its_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule)
    copy = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(copy._learning_rate) is type(schedule)
    assert copy._learning_rate.get_config() == schedule.get_config()
    assert copy._learning_rate.name == schedule.name
    for step in (0, 2, 3, 9, 14):
        assert float(copy._learning_rate(step)) == float(schedule(step))


# Optimizers


def path_of(optimizer, gradients=GRADIENTS):
    """Returns the weight after each step."""
    weight = keras.Variable(START, name="weight")
    path = []
    for gradient in gradients:
        optimizer.apply([gradient], [weight])
        path.append(weight.numpy().copy())
    return np.stack(path), weight


def test_swa_averages_the_weights_of_every_kth_step():
    optimizer = addons.SWA(keras.optimizers.SGD(0.1), start_averaging=5, average_period=4)
    path, weight = path_of(optimizer)
    np.testing.assert_allclose(path, START - 0.1 * np.cumsum(GRADIENTS, axis=0), atol=1e-5)
    other = keras.Variable([7.0, 7.0])
    optimizer.assign_average_vars([other, weight])
    np.testing.assert_allclose(weight.numpy(), path[[5, 9, 13]].mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(other.numpy(), [7.0, 7.0])


def test_swa_without_an_average_does_not_touch_the_weights():
    optimizer = addons.SWA("sgd", start_averaging=15)
    path, weight = path_of(optimizer)
    with pytest.raises(UserError, match="no average yet after 15 steps"):
        optimizer.assign_average_vars([weight])
    np.testing.assert_array_equal(weight.numpy(), path[-1])


def numpy_lookahead(rate, period, step_size):
    fast, slow, path = START.astype("float64"), START.astype("float64"), []
    for number, gradient in enumerate(GRADIENTS, 1):
        fast = fast - rate * gradient
        if number % period == 0:
            fast = slow = slow + step_size * (fast - slow)
        path.append(fast)
    return np.stack(path)


def test_lookahead_steps_back_to_the_slow_weights():
    path, _ = path_of(addons.Lookahead(keras.optimizers.SGD(0.1), sync_period=4, slow_step_size=0.3))
    np.testing.assert_allclose(path, numpy_lookahead(0.1, 4, 0.3), atol=1e-6)


def test_slow_weights_start_from_what_was_loaded_after_the_optimizer_was_built():
    weight = keras.Variable(np.full(3, 1000.0, "float32"), name="weight")
    optimizer = addons.Lookahead(keras.optimizers.SGD(0.1), sync_period=1, slow_step_size=0.5)
    optimizer.build([weight])
    weight.assign(START)
    optimizer.apply([GRADIENTS[0]])
    np.testing.assert_allclose(weight.numpy(), START - 0.05 * GRADIENTS[0], atol=1e-6)


@pytest.mark.parametrize("around", [lambda o: addons.Lookahead(o, 2), lambda o: addons.SWA(o, 1, 2)])
def test_accumulated_gradients_make_one_step(around):
    accumulated = around(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2))
    path, _ = path_of(accumulated, GRADIENTS[:12])
    plain = around(keras.optimizers.SGD(0.1))
    expected, _ = path_of(plain, GRADIENTS[:12].reshape(6, 2, 3).mean(axis=1))
    np.testing.assert_allclose(path[1::2], expected, atol=1e-6)
    np.testing.assert_array_equal(path[2::2], path[1:-1:2])
    np.testing.assert_allclose(slot_of(accumulated), slot_of(plain), atol=1e-6)


def slot_of(optimizer):
    return next(v.numpy() for v in optimizer.variables if v.name.endswith(("weight_slow", "weight_average")))


def test_weight_decay_clipping_and_learning_rate_are_those_of_the_inner_optimizer():
    inner = keras.optimizers.SGD(0.1, weight_decay=0.5, clipvalue=0.01)
    optimizer = addons.Lookahead(inner, sync_period=100)
    optimizer.learning_rate = 0.2
    path, _ = path_of(optimizer, GRADIENTS[:1])
    expected = START * (1 - 0.2 * 0.5) - 0.2 * np.clip(GRADIENTS[0], -0.01, 0.01)
    np.testing.assert_allclose(path[0], expected, atol=1e-6)

    spared = addons.SWA(keras.optimizers.SGD(0.1, weight_decay=0.5))
    spared.exclude_from_weight_decay(var_names=["weight"])
    path, _ = path_of(spared, GRADIENTS[:1])
    np.testing.assert_allclose(path[0], START - 0.1 * GRADIENTS[0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: addons.SWA("sgd", average_period=0), "average_period must be 1 or more, received 0"),
        (lambda: addons.SWA("sgd", start_averaging=-1), "start_averaging must be 0 or more, received -1"),
        (lambda: addons.Lookahead("sgd", sync_period=0), "sync_period must be 1 or more, received 0"),
        (lambda: addons.StochasticDepth(1.5), "received 1.5"),
        (lambda: addons.TriangularCyclicalLearningRate(0, 1, 5, scale_mode="x"), "received 'x'"),
    ],
)
def test_an_impossible_argument_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()


def numpy_radam(rate, beta_1, beta_2, decay):
    """Returns the steps of algorithm 2 of Liu et al. 2019, with the threshold 5 of the reference implementation."""
    weight, mean, square, path = START.astype("float64"), 0.0, 0.0, []
    limit = 2 / (1 - beta_2) - 1
    for t, gradient in enumerate(GRADIENTS, 1):
        mean = beta_1 * mean + (1 - beta_1) * gradient
        square = beta_2 * square + (1 - beta_2) * gradient**2
        length = limit - 2 * t * beta_2**t / (1 - beta_2**t)
        update = mean / (1 - beta_1**t)
        if length >= 5:
            r = np.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
            update = update * r / (np.sqrt(square / (1 - beta_2**t)) + 1e-7)
        weight = weight - rate * (update + decay * weight)
        path.append(weight)
    return np.stack(path)


@pytest.mark.parametrize(("beta_2", "decay"), [(0.9, 0.0), (0.99, 0.1)])
def test_rectified_adam_is_algorithm_2(beta_2, decay):
    path, _ = path_of(addons.RectifiedAdam(0.05, beta_2=beta_2, weight_decay=decay))
    # 1 - beta_2 ** step loses some digits in float32 at the first steps.
    np.testing.assert_allclose(path, numpy_radam(0.05, 0.9, beta_2, decay), atol=2e-5)


def test_rectified_adam_warms_up_and_cools_down():
    optimizer = addons.RectifiedAdam(1.0, total_steps=10, warmup_proportion=0.4, min_lr=0.1)
    rates = []
    weight = keras.Variable(START, name="weight")
    for gradient in GRADIENTS[:12]:
        rates.append(float(optimizer.learning_rate))
        optimizer.apply([gradient], [weight])
    expected = [0.25, 0.5, 0.75, 1, 0.85, 0.7, 0.55, 0.4, 0.25, 0.1, 0.1, 0.1]
    np.testing.assert_allclose(rates, expected, rtol=1e-5)


@pytest.mark.parametrize("wrapper", [addons.SWA, addons.Lookahead])
@pytest.mark.parametrize(
    "inner",
    [None, 3, "no_such_optimizer", object()],
    ids=lambda inner: "object" if type(inner) is object else str(inner),
)
def test_what_is_no_optimizer_is_a_type_error_as_in_tfa(wrapper, inner):
    with pytest.raises(TypeError, match="goes around an optimizer of Keras, received") as caught:
        wrapper(inner)
    assert isinstance(caught.value, UserError)


def make_ranger():
    return addons.Lookahead(addons.RectifiedAdam(0.05, beta_2=0.9, amsgrad=True), sync_period=3)


def make_swa():
    return addons.SWA(keras.optimizers.SGD(0.1, momentum=0.9), start_averaging=1, average_period=2)


def small_model(optimizer, **compiled):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(optimizer, keras.losses.CategoricalCrossentropy(from_logits=True), **compiled)
    return model


def train(model, epochs):
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 4)).astype("float32"), np.eye(3)[random.integers(0, 3, 40)]
    return model.fit(x, y, batch_size=10, epochs=epochs, shuffle=False, verbose=0).history


@pytest.mark.parametrize("make", [make_ranger, make_swa])
def test_training_goes_on_after_a_reload_as_if_it_had_not_stopped(make, tmp_path):
    whole = small_model(make())
    train(whole, 4)
    half = small_model(make())
    train(half, 2)
    half.save(tmp_path / "half.keras")
    loaded = keras.saving.load_model(tmp_path / "half.keras")
    assert loaded.optimizer.get_config() == half.optimizer.get_config()
    train(loaded, 2)
    for found, expected in zip(loaded.optimizer.variables, whole.optimizer.variables, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6, err_msg=expected.path)
    for found, expected in zip(loaded.weights, whole.weights, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-6)


def test_a_saved_file_holds_each_variable_once(tmp_path):
    model = small_model(make_ranger())
    train(model, 1)
    model.save_weights(tmp_path / "x.weights.h5")
    sizes = []
    with h5py.File(tmp_path / "x.weights.h5") as file:
        file["optimizer"].visititems(
            lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
        )
    assert sum(sizes) == sum(int(np.prod(variable.shape)) for variable in model.optimizer.variables)


def test_state_of_another_optimizer_is_refused_with_a_warning():
    model = small_model(make_swa())
    model.optimizer.build(model.trainable_variables)
    with pytest.warns(UserWarning, match="SWA is left as it is"):
        model.optimizer.load_own_variables({})


@pytest.mark.parametrize("make", [make_ranger, make_swa])
def test_a_tensorflow_checkpoint_and_set_weights_carry_the_state(make, tmp_path):
    model = small_model(make())
    train(model, 2)
    path = tf.train.Checkpoint(optimizer=model.optimizer).write(str(tmp_path / "state"))
    restored, assigned = small_model(make()), small_model(make())
    for other in (restored, assigned):
        other.optimizer.build(other.trainable_variables)
    tf.train.Checkpoint(optimizer=restored.optimizer).read(path).expect_partial()
    assigned.optimizer.set_weights([variable.numpy() for variable in model.optimizer.variables])
    for other in (restored, assigned):
        for found, expected in zip(other.optimizer.variables, model.optimizer.variables, strict=True):
            np.testing.assert_array_equal(found.numpy(), expected.numpy(), err_msg=expected.path)


@pytest.mark.parametrize("make", [make_ranger, make_swa])
def test_two_replicas_and_xla_train_as_one_device_does(make):
    one, compiled = small_model(make()), small_model(make(), jit_compile=True)
    with scope(choose_strategy("mirrored")):
        two = small_model(make())
    losses = [train(model, 2)["loss"] for model in (one, compiled, two)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    np.testing.assert_allclose(losses[2], losses[0], rtol=1e-5)
    for found, expected in zip(two.optimizer.variables, one.optimizer.variables, strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5, err_msg=expected.path)


def test_loss_scaling_for_float16_goes_around_it():
    optimizer = keras.optimizers.LossScaleOptimizer(make_ranger(), initial_scale=2.0**10)
    scaled, plain = small_model(optimizer), small_model(make_ranger())
    np.testing.assert_allclose(train(scaled, 2)["loss"], train(plain, 2)["loss"], rtol=1e-5)


# Training with fit


def test_metrics_schedule_and_optimizer_under_fit():
    rate = addons.TriangularCyclicalLearningRate(0.01, 0.5, step_size=4)
    metrics = [addons.CohenKappa(3), addons.MatthewsCorrelationCoefficient(3, name="mcc")]
    model = small_model(addons.SWA(keras.optimizers.SGD(rate)), metrics=metrics)
    history = train(model, 3)
    assert history["loss"][-1] < history["loss"][0]
    random = np.random.default_rng(0)
    x, true = random.normal(size=(40, 4)).astype("float32"), random.integers(0, 3, 40)
    found = model.evaluate(x, np.eye(3)[true], batch_size=7, return_dict=True, verbose=0)
    predicted = model.predict(x, verbose=0).argmax(1)
    assert found["cohen_kappa"] == pytest.approx(cohen_kappa_score(true, predicted), abs=1e-5)
    assert found["mcc"] == pytest.approx(matthews_corrcoef(true, predicted), abs=1e-5)


def test_a_model_is_saved_with_metrics_and_stochastic_depth(tmp_path):
    inputs = keras.Input((4,))
    outputs = addons.StochasticDepth(0.25, seed=3)([inputs, keras.layers.Dense(4)(inputs)])
    model = keras.Model(inputs, outputs)
    model.compile("sgd", "mse", metrics=[addons.CohenKappa(4, weightage="linear", regression=True)])
    model.save(tmp_path / "x.keras")
    loaded = keras.saving.load_model(tmp_path / "x.keras")
    x = np.ones((2, 4), "float32")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.layers[-1].get_config() == model.layers[-1].get_config()
    kappa = addons.CohenKappa(4, weightage="linear", regression=True)
    assert addons.CohenKappa.from_config(kappa.get_config()).get_config() == kappa.get_config()


# Stochastic depth


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_stochastic_depth_drops_the_residual_of_the_whole_batch(dtype):
    layer = addons.StochasticDepth(0.3, seed=0, dtype=dtype)
    shortcut, residual = tf.ones((2, 3), layer.compute_dtype), tf.fill((2, 3), tf.cast(4.0, layer.compute_dtype))
    step = tf.function(lambda: layer([shortcut, residual], training=True))
    drawn = np.stack([tf.cast(step(), tf.float32).numpy() for _ in range(400)])
    assert set(np.unique(drawn)) == {1.0, 5.0}
    assert np.ptp(drawn, axis=(1, 2)).max() == 0
    assert (drawn[:, 0, 0] == 5.0).mean() == pytest.approx(0.3, abs=0.08)  # 3.5 standard deviations
    inference = layer([shortcut, residual])
    assert inference.dtype == layer.compute_dtype
    np.testing.assert_allclose(tf.cast(inference, tf.float32), 1 + 0.3 * 4, rtol=1e-2)  # bfloat16 has 8 bits


def test_a_dropped_residual_gets_no_gradient():
    layer = addons.StochasticDepth(0.0)
    residual = tf.Variable(tf.ones((2, 3)))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(layer([tf.ones((2, 3)), residual], training=True))
    np.testing.assert_array_equal(tape.gradient(total, residual), np.zeros((2, 3)))


def test_stochastic_depth_wants_a_shortcut_and_a_residual():
    with pytest.raises(ValueError, match=r"\[shortcut, residual\]"):
        addons.StochasticDepth()(np.ones((2, 3), "float32"))


# Callback


@pytest.mark.parametrize(("seconds", "epochs"), [(0, 1), (3600, 3)])
def test_training_ends_with_the_epoch_in_which_time_is_over(seconds, epochs, capsys):
    stop = addons.TimeStopping(seconds, verbose=1)
    history = small_model("sgd").fit(np.ones((4, 4)), np.ones((4, 3)), epochs=3, verbose=0, callbacks=[stop])
    assert len(history.epoch) == epochs
    assert stop.stopped_epoch == (0 if seconds == 0 else None)
    assert ("Timed stopping at epoch 1 after training for 0:00:00\n" in capsys.readouterr().out) == (seconds == 0)


# Another backend

SCRIPT = """
import sys
import keras, numpy as np
from resnet_tf import addons
assert keras.backend.backend() == sys.argv[2]
random = np.random.default_rng(0)
x, y = random.normal(size=(40, 4)).astype("float32"), np.eye(3)[random.integers(0, 3, 40)]
rate = addons.ExponentialCyclicalLearningRate(0.01, 0.1, step_size=3, gamma=0.95)
found = []
for optimizer in (
    addons.Lookahead(addons.RectifiedAdam(rate, beta_2=0.9), sync_period=3),
    addons.SWA(keras.optimizers.SGD(rate), start_averaging=1, average_period=2),
):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, kernel_initializer="ones")])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=[addons.CohenKappa(3), addons.MatthewsCorrelationCoefficient(3)])
    history = model.fit(x, y, batch_size=10, epochs=3, shuffle=False, verbose=0).history
    found += [value for values in history.values() for value in values]
    if isinstance(optimizer, addons.SWA):
        optimizer.assign_average_vars(model.variables)
    found += list(np.asarray(model.weights[0]).ravel())
np.save(sys.argv[1], found)
"""


def test_the_same_results_on_jax(tmp_path):

    results = []
    for backend in ("jax", "tensorflow"):
        environment = {**os.environ, "KERAS_BACKEND": backend, "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / f"{backend}.npy"), backend]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        results.append(np.load(tmp_path / f"{backend}.npy"))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-4, atol=1e-5)
