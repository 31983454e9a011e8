"""Batch normalization that gives what Keras's gives, and computes it in fewer operations."""

from typing import Any

import keras
from keras import ops

FUSED_DTYPES = ("float32", "bfloat16", "float16")


@keras.saving.register_keras_serializable(package="resnet_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Computes `keras.layers.BatchNormalization` by one TensorFlow operation instead of many.

    Arguments, variables, names, outputs, gradients and moving statistics are Keras's. Where the fused operation does
    not apply, Keras's own code runs: with another backend, an input that is not [batch, height, width, channels]
    with channels last, float64, a mask, or renormalization.

    A layer that keeps its statistics and follows a convolution in a graph becomes part of the convolution, see
    `_joined`. A layer that learns does so where the statistics of the convolution's outputs are found faster from its
    inputs, see `_widens`.

    Statistics that are synchronized over replicas are those of the whole batch, whatever part of it each replica has.
    One sum over the replicas does for a layer, where Keras needs three. It is a sum of differences to the moving mean,
    so that no digits are lost in subtracting one large mean square from another.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not self._fused_applies(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        inputs = ops.cast(inputs, self.compute_dtype)
        gamma = self.gamma if self.scale else ops.ones_like(self.moving_mean)
        beta = self.beta if self.center else ops.zeros_like(self.moving_mean)
        convolution = _convolution_before(inputs)
        if not (training and self.trainable):
            statistics = gamma, beta, self.moving_mean, self.moving_variance, self.epsilon
            if convolution is None:
                return _fused(inputs, *statistics)
            return _joined(convolution, *statistics, training=bool(training))
        if self.synchronized and _in_one_of_several_replicas():
            mean, variance = _moments_of_all_replicas(inputs, self.moving_mean)
            outputs = _normalized(inputs, gamma, beta, mean, variance, self.epsilon)
        elif _widens(convolution):
            mean, variance = _moments_by_inputs(convolution)
            outputs = _joined(convolution, gamma, beta, mean, variance, self.epsilon, training=True)
        else:
            outputs, mean, variance = _fused_training(inputs, gamma, beta, self.epsilon)
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1.0 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + variance * (1.0 - self.momentum))
        return outputs

    def _fused_applies(self, inputs: Any, mask: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and mask is None
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and self.compute_dtype in FUSED_DTYPES
            and self.variable_dtype == "float32"
            and not self.renorm
        )


def _convolution_before(x: Any) -> Any:
    """Returns the Conv2D operation that gave x, or None.

    It is None in eager mode, which keeps no operations, where another operation gave x, and in float16, whose small
    range a scaled kernel may leave.
    """
    operation = getattr(x, "op", None)
    is_convolution = operation is not None and operation.type == "Conv2D"
    return operation if is_convolution and x.dtype != "float16" else None


def _joined(
    convolution: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float, *, training: bool
) -> Any:
    """Computes a convolution and the batch norm after it as a convolution, a factor and a bias for each channel.

    The statistics are known: mean and variance are [channels]. In training the factor goes into the kernel. TensorFlow
    then drops the original convolution, whose output nothing uses, and joins this one with its bias, the shortcut and
    ReLU (grappler's remapper). Where the convolution learns, this saves a batch norm's backward pass, which reads two
    whole tensors.

    In inference, where the batch may be one image, the factor goes into whichever has fewer numbers, the kernel or the
    output for one image. The remapper would also join a batch norm with the convolution, which is as fast but for one
    image under oneDNN: there, what it makes of the two takes ten times as long.
    """
    import tensorflow as tf

    x, kernel = convolution.inputs
    output = convolution.outputs[0]
    scale = ops.convert_to_tensor(gamma) * tf.math.rsqrt(ops.convert_to_tensor(variance) + epsilon)
    bias = tf.cast(ops.convert_to_tensor(beta) - ops.convert_to_tensor(mean) * scale, output.dtype)
    per_image = output.shape[1:].num_elements()  # None where the size of the images is free
    if not training and per_image is not None and per_image < kernel.shape.num_elements():
        return tf.nn.bias_add(output * tf.cast(scale, output.dtype), bias)
    scaled = tf.raw_ops.Conv2D(
        input=x,
        filter=tf.cast(tf.cast(kernel, tf.float32) * scale, kernel.dtype),
        **{name: convolution.get_attr(name) for name in ("strides", "explicit_paddings", "dilations")},
        **{name: convolution.get_attr(name).decode() for name in ("padding", "data_format")},
    )
    return tf.nn.bias_add(scaled, bias)


def _widens(convolution: Any) -> bool:
    """Returns whether, on a processor, this is the last convolution of a bottleneck in a ResNet's first stages.

    Such a 1×1 convolution makes at least four channels of one, of images with more pixels than it makes channels. Its
    outputs are the largest tensors of a training step, and batch norm, sum and ReLU each read and write them, waiting
    for the memory.
    """
    import tensorflow as tf

    if convolution is None or tf.config.list_logical_devices("GPU"):
        return False
    x, kernel = convolution.inputs
    height, width, channels, outputs = kernel.shape
    pixels = x.shape[1:3].num_elements()  # None where the size of the images is free
    return (
        (height, width) == (1, 1)
        and set(convolution.get_attr("strides")) == {1}
        and outputs >= 4 * channels
        and pixels is not None
        and pixels >= outputs
    )


def _moments_by_inputs(convolution: Any) -> tuple[Any, Any]:
    """Returns mean and variance [channels] of a 1×1 convolution's outputs w · x.

    They are w · mean and w · covariance · w, with the mean and the covariance of its inputs, in float32 whatever the
    precision of the computation.
    """
    import tensorflow as tf

    x, kernel = convolution.inputs
    mean, covariance = _mean_and_covariance(x)
    kernel = tf.cast(tf.reshape(kernel, kernel.shape[2:]), tf.float32)
    variance = tf.reduce_sum(kernel * (covariance @ kernel), axis=0)
    return tf.linalg.matvec(kernel, mean, transpose_a=True), tf.maximum(variance, 0.0)


def _mean_and_covariance(x: Any) -> tuple[Any, Any]:
    """Returns mean [channels] and covariance [channels, channels] of x [batch, height, width, channels].

    The gradient of x is computed in x's precision, as the gradients of other convolutions are. TensorFlow's own would
    keep x - mean in float32 for it.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def moments(x: Any) -> tuple[tuple[Any, Any], Any]:
        rows = tf.cast(tf.reshape(x, (-1, x.shape[-1])), tf.float32)
        count = tf.cast(tf.shape(rows)[0], tf.float32)
        mean = tf.reduce_mean(rows, axis=0)
        difference = rows - mean

        def gradient(of_mean: Any, of_covariance: Any) -> Any:
            kernel = (of_covariance + tf.transpose(of_covariance)) / count
            bias = of_mean / count - tf.linalg.matvec(kernel, mean)
            product = tf.nn.conv2d(x, tf.cast(kernel, x.dtype)[None, None], 1, "VALID")
            return tf.nn.bias_add(product, tf.cast(bias, x.dtype))

        return (mean, tf.matmul(difference, difference, transpose_a=True) / count), gradient

    return moments(x)


def _fused(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=ops.convert_to_tensor(gamma),
        offset=ops.convert_to_tensor(beta),
        mean=ops.convert_to_tensor(mean),
        variance=ops.convert_to_tensor(variance),
        epsilon=epsilon,
        is_training=False,
    ).y


def _fused_training(x: Any, gamma: Any, beta: Any, epsilon: float) -> tuple[Any, Any, Any]:
    """Returns outputs, batch mean and batch variance, which is a sum divided by n, as in Keras."""
    import tensorflow as tf

    result = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=ops.convert_to_tensor(gamma),
        offset=ops.convert_to_tensor(beta),
        mean=tf.constant([], tf.float32),
        variance=tf.constant([], tf.float32),
        epsilon=epsilon,
        is_training=True,
    )
    # The operation returns the unbiased variance, divided by n - 1; Keras averages the biased one.
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    return result.y, result.batch_mean, result.batch_variance * ((count - 1.0) / count)


def _in_one_of_several_replicas() -> bool:
    import tensorflow as tf

    replica = tf.distribute.get_replica_context()
    return replica is not None and replica.num_replicas_in_sync > 1


def _moments_of_all_replicas(x: Any, centre: Any) -> tuple[Any, Any]:
    """Returns mean and variance [channels] of the batch of all replicas, whose parts may be unequal, or empty.

    Args:
        x: Part of this replica [batch, height, width, channels].
        centre: Numbers near the mean [channels], the same on all replicas.
    """
    import tensorflow as tf

    centre = tf.stop_gradient(ops.convert_to_tensor(centre))
    difference = tf.cast(x, tf.float32) - centre
    count = tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float32)
    local = [tf.reduce_sum(difference, [0, 1, 2]), tf.reduce_sum(difference**2, [0, 1, 2]), count[None]]
    total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tf.concat(local, 0))
    channels = x.shape[-1]
    first, second = total[:channels] / total[-1], total[channels:-1] / total[-1]
    return first + centre, second - first**2


def _normalized(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float) -> Any:
    import tensorflow as tf

    scale = ops.convert_to_tensor(gamma) * tf.math.rsqrt(variance + epsilon)
    return tf.cast((tf.cast(x, tf.float32) - mean) * scale + ops.convert_to_tensor(beta), x.dtype)
