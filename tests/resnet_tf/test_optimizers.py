"""He et al.'s optimizer: its steps are those that Caffe's solver writes down, on one device and on several."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.distribution import choose_strategy, scope
from resnet_tf.optimizers import PenalizedSGD

RATE, PENALTY, MOMENTUM = 0.1, 0.01, 0.9
START = {"gamma": 3.0, "kernel": 2.0}
# Of the loss, gradients that do not depend on the weights, so that the steps can be written by hand.
GRADIENT = 0.5


def by_hand(weight, rates):
    """v ← m · v − rate · (g + penalty · w), w ← w + v"""
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
        gradients = [tf.constant(GRADIENT / replicas)] * len(variables)  # they are summed over the replicas
        optimizer.apply_gradients(zip(gradients, variables, strict=True))

    for _ in range(steps):
        strategy.run(tf.function(step)) if strategy else step()
    return [float(keras.ops.convert_to_numpy(variable)) for variable in variables]


def test_the_penalty_goes_through_the_momentum_and_reaches_every_variable():
    rates = [RATE, RATE, RATE / 10, RATE / 10]
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [RATE, RATE / 10])
    assert after(4, schedule) == pytest.approx([by_hand(value, rates) for value in START.values()], rel=1e-6)
    without = by_hand(START["kernel"], rates) + 4 * RATE * PENALTY  # it is no rounding
    assert abs(after(4, schedule)[1] - without) > 1e-4


def test_replicas_apply_the_penalty_once():
    assert after(3, RATE, choose_strategy("mirrored")) == pytest.approx(after(3, RATE), rel=1e-6)


def test_it_is_saved_with_its_penalty():
    optimizer = PenalizedSGD(RATE, penalty=PENALTY, momentum=MOMENTUM)
    loaded = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(loaded, PenalizedSGD)
    np.testing.assert_allclose([loaded.penalty, loaded.momentum], [PENALTY, MOMENTUM])
