"""FusedBatchNormalization is compared with Keras's own layer, the other layers with their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.errors import UserError
from resnet_tf.layers import ChannelPadding, ImageNormalization

# float32 numbers are added in different orders; bfloat16 has 8 bits, and the two round at different places.
TOLERANCE = {"float32": 2e-6, "mixed_bfloat16": 2e-2}


def outputs_and_gradients(layer_class, dtype, *, training, trainable, **arguments):
    """Returns outputs, gradients of input, gamma and beta, and the moving statistics after one call in a graph."""
    random = np.random.default_rng(0)
    layer = layer_class(dtype=dtype, epsilon=1e-5, **arguments)
    x = tf.cast(random.normal(1, 2, (8, 5, 6, 16)), layer.compute_dtype)
    weight = tf.cast(random.normal(0, 1, x.shape), layer.compute_dtype)
    layer.build(x.shape)
    for variable in layer.weights:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -1.0
        variable.assign(random.uniform(low, 2.0, variable.shape))
    layer.trainable = trainable
    trained = [variable.value for variable in (layer.gamma, layer.beta) if variable is not None]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, *trained])
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.cast(y * weight, tf.float32))
        return [y, *tape.gradient(loss, [x, *trained])]

    values = [*step(), layer.moving_mean.value, layer.moving_variance.value]
    return [tf.cast(value, tf.float32).numpy() for value in values]


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("training", "trainable"), [(True, True), (False, True), (True, False)], ids=["training", "inference", "frozen"]
)
def test_fused_batch_norm_is_keras_batch_norm(dtype, training, trainable):
    ours = outputs_and_gradients(FusedBatchNormalization, dtype, training=training, trainable=trainable)
    theirs = outputs_and_gradients(keras.layers.BatchNormalization, dtype, training=training, trainable=trainable)
    for name, a, b in zip(("y", "dx", "dgamma", "dbeta", "mean", "variance"), ours, theirs, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE[dtype] * max(1.0, np.abs(b).max()), name


def fine_tuning_step(batch_norm_class, dtype):
    """Makes a step with two convolutions whose batch norms are frozen.

    It returns the outputs, the gradients of the input and of the kernels, and the operations of the graph.
    """
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(1, 2, (4, 9, 8, 3)), tf.float32)
    layers = [
        keras.layers.Conv2D(8, 3, strides=2, padding="valid", use_bias=False, dtype=dtype),
        batch_norm_class(epsilon=1e-5, dtype=dtype),
        keras.layers.Conv2D(8, 3, padding="same", use_bias=False, dtype=dtype),
        batch_norm_class(epsilon=1e-5, dtype=dtype, scale=False),
    ]
    for layer, shape in zip(layers, [x.shape, (4, 4, 3, 8), (4, 4, 3, 8), (4, 4, 3, 8)], strict=True):
        layer.build(shape)
        for variable in layer.weights:
            low = 0.5 if variable.name in ("gamma", "moving_variance") else -1.0
            variable.assign(random.uniform(low, 1.5, variable.shape))
    layers[1].trainable = layers[3].trainable = False
    kernels = [layers[0].kernel.value, layers[2].kernel.value]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, *kernels])
            y = x
            for layer in layers:
                y = layer(y, training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) ** 2)
        return [y, *tape.gradient(loss, [x, *kernels])]

    kinds = [operation.type for operation in step.get_concrete_function().graph.get_operations()]
    return [tf.cast(value, tf.float32).numpy() for value in step()], kinds


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_a_frozen_batch_norm_in_training_is_part_of_the_convolution_before_it(dtype):
    ours, kinds = fine_tuning_step(FusedBatchNormalization, dtype)
    theirs, _ = fine_tuning_step(keras.layers.BatchNormalization, dtype)
    for name, a, b in zip(("y", "dx", "first kernel", "second kernel"), ours, theirs, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE[dtype] * max(1.0, np.abs(b).max()), name
    assert not {"FusedBatchNormV3", "FusedBatchNormGradV3"} & set(kinds)


def test_a_frozen_batch_norm_stays_an_operation_of_its_own_in_float16():
    """A kernel that is multiplied by a small scale loses digits in float16."""
    _, kinds = fine_tuning_step(FusedBatchNormalization, "mixed_float16")
    assert kinds.count("FusedBatchNormV3") == 2


def widening_step(batch_norm_class, dtype, widening):
    """Makes a step with a trainable convolution to more channels and its batch norm.

    It returns outputs, gradients and moving statistics.
    """
    random = np.random.default_rng(0)
    x = tf.constant(np.maximum(random.normal(0.5, 2, (4, 9, 8, 6)), 0), tf.float32)
    convolution = keras.layers.Conv2D(6 * widening, 1, use_bias=False, dtype=dtype)
    batch_norm = batch_norm_class(epsilon=1e-5, momentum=0.8, dtype=dtype)
    convolution.build(x.shape)
    batch_norm.build((*x.shape[:3], 6 * widening))
    for variable in (convolution.kernel, batch_norm.gamma, batch_norm.beta):
        variable.assign(random.uniform(-1.0, 1.5, variable.shape))
    weight = tf.constant(random.normal(0, 1, (4, 9, 8, 6 * widening)), tf.float32)
    trained = [variable.value for variable in (convolution.kernel, batch_norm.gamma, batch_norm.beta)]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch([x, *trained])
            y = batch_norm(convolution(x), training=True)
            loss = tf.reduce_sum(tf.cast(y, tf.float32) * weight)
        return [y, *tape.gradient(loss, [x, *trained])]

    kinds = {operation.type for operation in step.get_concrete_function().graph.get_operations()}
    values = [*step(), batch_norm.moving_mean.value, batch_norm.moving_variance.value]
    return [tf.cast(value, tf.float32).numpy() for value in values], kinds


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(("widening", "joined"), [(4, True), (3, False)])
def test_a_batch_norm_that_learns_is_part_of_a_convolution_to_four_times_the_channels(dtype, widening, joined):
    ours, kinds = widening_step(FusedBatchNormalization, dtype, widening)
    theirs, _ = widening_step(keras.layers.BatchNormalization, "float32", widening)
    for name, a, b in zip(("y", "dx", "kernel", "gamma", "beta", "mean", "variance"), ours, theirs, strict=True):
        assert np.abs(a - b).max() <= TOLERANCE[dtype] * max(1.0, np.abs(b).max()), name
    assert ("FusedBatchNormV3" not in kinds) == joined


def test_a_channel_that_is_the_same_everywhere_has_no_variance_below_zero():
    random = np.random.default_rng(0)
    x = tf.constant(np.repeat(random.normal(1000, 1, (2, 9, 9, 1)), 4, axis=3), tf.float32)
    convolution, batch_norm = keras.layers.Conv2D(16, 1, use_bias=False), FusedBatchNormalization(momentum=0.0)
    convolution.build(x.shape)
    batch_norm.build((*x.shape[:3], 16))
    kernel = random.normal(0, 1, (1, 1, 4, 16))
    convolution.kernel.assign(kernel - kernel.mean(axis=2, keepdims=True))  # it outputs differences of equal channels
    tf.function(lambda: batch_norm(convolution(x), training=True))()
    variance = np.asarray(batch_norm.moving_variance)
    assert (variance >= 0.0).all()
    assert (variance < 1e-4).all()


@pytest.mark.parametrize(
    ("size", "scaled"), [(5, (2, 3, 3, 8)), (33, (3, 3, 3, 8)), (None, (3, 3, 3, 8))], ids=["small", "large", "free"]
)
def test_inference_scales_the_output_or_the_kernel_whichever_has_fewer_numbers(size, scaled):
    """No batch norm remains for TensorFlow to fuse with the convolution, which takes a second for one image."""
    convolution = keras.layers.Conv2D(8, 3, use_bias=False)
    ours, theirs = FusedBatchNormalization(), keras.layers.BatchNormalization()
    random = np.random.default_rng(0)
    for layer in (ours, theirs):
        layer.build((None, None, None, 8))
        layer.set_weights([random.uniform(0.5, 1.5, 8) for _ in layer.weights] if layer is ours else ours.get_weights())
    graph = tf.function(lambda x: ours(convolution(x), training=False))
    concrete = graph.get_concrete_function(tf.TensorSpec((2, size, size, 3)))
    operations = concrete.graph.get_operations()
    assert "FusedBatchNormV3" not in {operation.type for operation in operations}
    products = [tuple(operation.outputs[0].shape) for operation in operations if operation.type == "Mul"]
    assert scaled in products
    images = tf.constant(random.normal(size=(2, size or 7, size or 7, 3)), tf.float32)
    np.testing.assert_allclose(concrete(images), theirs(convolution(images), training=False), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("missing", ["scale", "center"])
def test_fused_batch_norm_without_gamma_or_beta(missing):
    arguments = {"training": True, "trainable": True, missing: False}
    ours = outputs_and_gradients(FusedBatchNormalization, "float32", **arguments)
    theirs = outputs_and_gradients(keras.layers.BatchNormalization, "float32", **arguments)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_fused_batch_norm_is_one_operation_in_the_graph():
    layer = FusedBatchNormalization()
    layer.build((None, 4, 4, 8))
    graph = tf.function(lambda x: layer(x, training=True)).get_concrete_function(tf.TensorSpec((2, 4, 4, 8))).graph
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("FusedBatchNormV3") == 1
    assert "Rsqrt" not in kinds


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [
        ((4, 3, 5, 5), {"axis": 1}),
        ((4, 7), {}),
        ((4, 3, 3, 2), {"dtype": "float64"}),
        ((4, 3, 3, 2), {"renorm": True}),
    ],
    ids=["channels first", "vectors", "float64", "renorm"],
)
def test_batch_norm_falls_back_to_keras(shape, arguments):
    x = np.random.default_rng(0).normal(3, 2, shape)
    ours, theirs = FusedBatchNormalization(**arguments), keras.layers.BatchNormalization(**arguments)
    graph = tf.function(lambda value: ours(value, training=True))
    np.testing.assert_allclose(graph(tf.constant(x, ours.compute_dtype)), theirs(x, training=True), atol=1e-5)
    kinds = {
        op.type for op in graph.get_concrete_function(tf.TensorSpec(shape, ours.compute_dtype)).graph.get_operations()
    }
    assert "FusedBatchNormV3" not in kinds


def test_fused_batch_norm_keeps_the_variables_and_config_of_keras():
    ours, theirs = FusedBatchNormalization(name="bn"), keras.layers.BatchNormalization(name="bn")
    for layer in (ours, theirs):
        layer.build((None, 4, 4, 8))
    assert [v.path for v in ours.variables] == [v.path for v in theirs.variables]
    assert ours.get_config() == theirs.get_config()


def test_channel_padding_takes_every_second_pixel_and_pads_zeros_on_both_sides():
    x = np.arange(1 * 4 * 4 * 2, dtype="float32").reshape(1, 4, 4, 2)
    y = keras.ops.convert_to_numpy(ChannelPadding(6, 2)(x))
    assert y.shape == (1, 2, 2, 6)
    np.testing.assert_array_equal(y[..., 2:4], x[:, ::2, ::2])
    assert not y[..., :2].any()
    assert not y[..., 4:].any()


def test_channel_padding_cannot_take_channels_away():
    with pytest.raises(UserError, match="up to 2, received an input with 4"):
        ChannelPadding(2)(np.zeros((1, 2, 2, 4), "float32"))


def test_image_normalization_in_the_order_of_the_weights():
    image = np.array([[[[10, 20, 30]]]], np.uint8)
    rgb = ImageNormalization([1, 2, 3], [1, 2, 3], "rgb")(image)
    bgr = ImageNormalization([1, 2, 3], [1, 1, 1], "bgr")(image)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(rgb)[0, 0, 0], [9, 9, 9])
    np.testing.assert_allclose(keras.ops.convert_to_numpy(bgr)[0, 0, 0], [29, 18, 7])


def test_image_normalization_agrees_with_keras_applications():
    image = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype(np.uint8)
    from resnet_tf.weights import CAFFE, TORCH

    for preprocessing, mode in ((CAFFE, "caffe"), (TORCH, "torch")):
        layer = ImageNormalization(preprocessing.mean, preprocessing.deviation, preprocessing.channels)
        expected = keras.applications.imagenet_utils.preprocess_input(image.astype("float32"), mode=mode)
        np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(image)), expected, atol=1e-4)
