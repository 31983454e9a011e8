"""The gradient of each kind of block, compared with central differences in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.architectures import BASIC, BOTTLENECK, Architecture, choose_options
from resnet_tf.blocks import BlockSpec, residual_block
from resnet_tf.networks import stages_of
from tests.conftest import randomize

# In float64, differences with this step are exact to about 1e-9 of the value, unless a ReLU bends within the step.
STEP, TOLERANCE = 1e-6, 1e-6


def tiny(family, block, shortcut):
    """Returns two blocks on 6×6 pixels in float64, the first of them strided.

    Inputs are random, so that no activation is within a step of zero, where ReLU has no gradient.
    """
    row = Architecture("tiny", family, block, (2,), widths=(4,), strides=(2,), stem=4)
    options = choose_options(row, shortcut=shortcut)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        inputs = keras.Input((6, 6, 3), dtype="float64")
        if family == "resnetv2":
            outputs = list(stages_of(inputs, row, options).values())[-1]
        else:
            outputs = inputs
            for number, stride in ((1, 2), (2, 1)):
                outputs = residual_block(
                    outputs, BlockSpec("conv2", f"conv2_block{number}", 4, stride, 1.0), row, options
                )
        model = keras.Model(inputs, outputs)
    finally:
        keras.config.set_dtype_policy(policy)
    randomize(model)
    return model


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("family", "block", "shortcut"),
    [("resnet", BASIC, shortcut) for shortcut in ("A", "B", "C", None)]
    + [("resnet", BOTTLENECK, shortcut) for shortcut in ("A", "B", "C", None)]
    + [("resnetv2", BOTTLENECK, shortcut) for shortcut in ("A", "B", "C", None)],
)
def test_the_gradient_is_that_of_central_differences(family, block, shortcut, training):
    model = tiny(family, block, shortcut)
    random = np.random.default_rng(1)
    x = tf.constant(random.normal(0, 1, (3, 6, 6, 3)))
    weight = tf.constant(random.normal(0, 1, model(x).shape))
    start = [variable.numpy() for variable in model.variables]

    @tf.function
    def loss(inputs):
        for variable, value in zip(model.variables, start, strict=True):
            if variable.name.startswith("moving"):
                variable.assign(value)
        return tf.reduce_sum(model(inputs, training=training) * weight)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = loss(x)
    variables = model.trainable_variables
    gradients = tape.gradient(value, [x, *[variable.value for variable in variables]])
    direction = tf.constant(random.normal(0, 1, x.shape))
    check((loss(x + STEP * direction) - loss(x - STEP * direction)) / (2 * STEP), gradients[0], direction)
    for variable, gradient in zip(variables, gradients[1:], strict=True):
        original, direction = variable.numpy(), random.normal(0, 1, variable.shape)
        values = []
        for sign in (1, -1):
            variable.assign(original + sign * STEP * direction)
            values.append(loss(x))
        variable.assign(original)
        check((values[0] - values[1]) / (2 * STEP), gradient, direction)


def check(difference, gradient, direction):
    expected = float(tf.reduce_sum(gradient * direction))
    assert float(difference) == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
