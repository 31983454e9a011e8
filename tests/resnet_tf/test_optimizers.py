"""He et al.'s optimizer takes the steps of Caffe's solver, and SGD as one operation takes the steps of Keras.

Both do so on one device and on several.
"""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.optimizers import FusedSGD, PenalizedSGD

RATE, PENALTY, MOMENTUM = 0.1, 0.01, 0.9
START = {"gamma": 3.0, "kernel": 2.0}
# The gradient of the loss does not depend on the weights, so that the steps can be computed by hand.
GRADIENT = 0.5


def by_hand(weight, rates):
    """Returns the weight after steps of v ← m · v − rate · (g + penalty · w), w ← w + v."""
    velocity = 0.0
    for rate in rates:
        velocity = MOMENTUM * velocity - rate * (GRADIENT + PENALTY * weight)
        weight += velocity
    return weight


def after(steps, rate, strategy=None):
    with scope(strategy):
        optimizer = PenalizedSGD(rate, penalty=PENALTY, momentum=MOMENTUM)
        variables = [keras.Variable(value, name=name) for name, value in START.items()]
        optimizer.build(variables)

    def step():
        replicas = strategy.num_replicas_in_sync if strategy else 1
        gradients = [tf.constant(GRADIENT / replicas)] * len(variables)  # summed over the replicas
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for _ in range(steps):
        strategy.run(tf.function(step)) if strategy else step()
    return [float(keras.ops.convert_to_numpy(variable)) for variable in variables]


def test_the_penalty_goes_through_the_momentum_and_reaches_every_variable():
    rates = [RATE, RATE, RATE / 10, RATE / 10]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [RATE, RATE / 10])
    assert after(4, schedule) == pytest.approx([by_hand(value, rates) for value in START.values()], rel=1e-6)
    without = by_hand(START["kernel"], rates) + 4 * RATE * PENALTY  # more than rounding
    assert abs(after(4, schedule)[1] - without) > 1e-4


def test_replicas_apply_the_penalty_once():
    assert after(3, RATE, choose_strategy("mirrored")) == pytest.approx(after(3, RATE), rel=1e-6)


def test_it_is_saved_with_its_penalty():
    optimizer = PenalizedSGD(RATE, penalty=PENALTY, momentum=MOMENTUM)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(loaded, PenalizedSGD)
    np.testing.assert_allclose([loaded.penalty, loaded.momentum], [PENALTY, MOMENTUM])


def sgd(optimizer_class, strategy=None, **arguments):
    """Returns all variables after five steps with changing gradient and rate, and the operations of a step's graph."""
    with scope(strategy):
        variables = [keras.Variable([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), keras.Variable(7.0)]
        optimizer = optimizer_class(keras.optimizers.schedules.CosineDecay(0.1, 10), **arguments)
        optimizer.build(variables)

    def on_one(scale):
        optimizer.apply([tf.fill((2, 3), scale), 2.0 * scale], variables)

    step = tf.function(lambda scale: strategy.run(on_one, [scale]) if strategy else on_one(scale))
    for scale in tf.range(5.0):
        step(scale)
    kinds = [operation.type for operation in step.get_concrete_function(tf.TensorSpec(())).graph.get_operations()]
    return [keras.ops.convert_to_numpy(variable) for variable in (*variables, *optimizer.variables)], kinds


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"nesterov": True, "weight_decay": 0.1},
        {"use_ema": True},
        {"gradient_accumulation_steps": 2},
        {"clipnorm": 1},
    ],
    ids=str,
)
def test_sgd_as_one_operation_takes_the_steps_of_keras(arguments):
    ours, kinds = sgd(FusedSGD, momentum=0.9, **arguments)
    theirs, _ = sgd(keras.optimizers.SGD, momentum=0.9, **arguments)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    if "gradient_accumulation_steps" not in arguments:  # with which it is in a branch of the graph
        assert kinds.count("ResourceApplyKerasMomentum") == 2


@pytest.mark.parametrize(("momentum", "strategy"), [(0.0, None), (0.9, "mirrored")])
def test_sgd_without_momentum_or_on_replicas_is_that_of_keras(momentum, strategy):
    chosen = choose_strategy(strategy) if strategy else None
    ours, kinds = sgd(FusedSGD, chosen, momentum=momentum)
    theirs, _ = sgd(keras.optimizers.SGD, chosen, momentum=momentum)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)
    assert "ResourceApplyKerasMomentum" not in kinds


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32"])
def test_the_penalty_takes_gradients_of_any_precision(kind):
    optimizer, weight = PenalizedSGD(RATE, penalty=PENALTY, momentum=MOMENTUM), keras.Variable(START["kernel"])
    optimizer.apply([tf.constant(GRADIENT, kind)], [weight])  # a half has few enough digits for all of them
    assert float(weight.numpy()) == pytest.approx(by_hand(START["kernel"], [RATE]), rel=1e-6)


@pytest.mark.parametrize(
    "make", [lambda: PenalizedSGD(RATE, PENALTY, momentum=0.9), lambda: FusedSGD(RATE, momentum=0.9)]
)
def test_the_gradients_of_some_rows_make_the_steps_of_those_of_all(make):
    variables = [tf.Variable(np.ones((3, 2), "float32")) for _ in range(2)]
    sparse, dense = make(), make()
    for _ in range(3):
        slices = tf.IndexedSlices(tf.constant([[1.0, 2.0], [3.0, 4.0]]), tf.constant([2, 2]), tf.constant([3, 2]))
        sparse.apply_gradients([(slices, variables[0])])
        dense.apply_gradients([(tf.convert_to_tensor(slices), variables[1])])
    np.testing.assert_array_equal(variables[0].numpy(), variables[1].numpy())
