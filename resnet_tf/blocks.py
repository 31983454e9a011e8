"""The residual block of He et al. 2015, and the list of blocks that a row of the architectures stands for.

A block is basic or a bottleneck; its shortcut is option A, B or C, or missing in a plain net.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options
from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.layers import ChannelPadding, StochasticDepth

# The momentum of the moving statistics is torchvision's. With Keras's 0.99 they are still far behind after the few
# hundred steps that a small data set gives, and validation judges another network than the one that was trained.
MOMENTUM = 0.9


@dataclass(frozen=True)
class BlockSpec:
    """What one block of a network is built from.

    Args:
        stage: Name of its stage: "conv2", "conv3" …
        name: Prefix of its layers' names, as in keras.applications: "conv2_block1".
        width: Channels of its 3×3 convolutions.
        stride: Step of its strided convolution in height and width, in pixels.
        survival: Probability that a training step keeps its branch, in 0 … 1.
    """

    stage: str
    name: str
    width: int
    stride: int
    survival: float


def block_specs(row: Architecture, options: Options, *, strided: int = 0) -> Iterator[BlockSpec]:
    """Yields all blocks of a network, from the input on.

    Args:
        row: Architecture of the network.
        options: What its blocks share.
        strided: Index of the block in each stage that carries the stage's stride: 0 the first, -1 the last.
    """
    total, done = sum(row.repeats), 0
    for number, (repeats, width, stride) in enumerate(zip(row.repeats, row.widths, row.strides, strict=True), start=2):
        for block in range(repeats):
            done += 1
            yield BlockSpec(
                stage=f"conv{number}",
                name=f"conv{number}_block{block + 1}",
                width=width,
                stride=stride if block == strided % repeats else 1,
                survival=1.0 - options.stochastic_depth * done / total,
            )


def residual_stages(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds all residual blocks.

    Args:
        x: Output of the stem, [batch, height, width, channels].
        row: Architecture of the network.
        options: What its blocks share.

    Returns:
        The output of each stage, first to last: "conv2", "conv3" …
    """
    stages = {}
    for spec in block_specs(row, options):
        x = stages[spec.stage] = residual_block(x, spec, row, options)
    return stages


def residual_block(x: Any, spec: BlockSpec, row: Architecture, options: Options) -> Any:
    """Builds one block: a branch of two or three convolutions, added to its shortcut, and ReLU.

    Args:
        x: Tensor [batch, height, width, channels].
        spec: Name, width and stride of the block.
        row: Architecture of the network.
        options: What the network's blocks share.

    Returns:
        Tensor [batch, height / stride, width / stride, width × expansion].
    """
    kernels, filters = row.block.kernels, spec.width * row.block.expansion
    strided, last = row.block.stride_index(options.stride_at), len(kernels) - 1
    inputs = x
    for index, kernel in enumerate(kernels):
        name = f"{spec.name}_{index + 1}"
        stride = spec.stride if index == strided else 1
        x = convolution(x, filters if index == last else spec.width, kernel, stride, options.use_bias, name)
        zero = options.zero_init and index == last
        x = batch_norm(x, row.epsilon, name, gamma="zeros" if zero else "ones")
        if index < last:
            x = layers.Activation("relu", name=f"{name}_relu")(x)
    if options.shortcut is not None:
        x = add(_shortcut(inputs, filters, spec, row, options), x, spec.survival, f"{spec.name}_add")
    return layers.Activation("relu", name=f"{spec.name}_out")(x)


def _shortcut(x: Any, filters: int, spec: BlockSpec, row: Architecture, options: Options) -> Any:
    """Returns what is added to the branch: the input itself, padded (option A) or projected (options B and C)."""
    same_shape = spec.stride == 1 and x.shape[-1] == filters
    name = f"{spec.name}_0"
    if options.shortcut == "C" or (options.shortcut == "B" and not same_shape):
        return batch_norm(convolution(x, filters, 1, spec.stride, options.use_bias, name), row.epsilon, name)
    if same_shape:
        return x
    return ChannelPadding(filters, spec.stride, name=f"{name}_pad")(x)


def add(shortcut: Any, branch: Any, survival: float, name: str) -> Any:
    """Returns the sum of shortcut and branch; training skips the branch with a probability of 1 - survival."""
    layer = layers.Add(name=name) if survival == 1.0 else StochasticDepth(survival, name=name)
    return layer([shortcut, branch])


def convolution(x: Any, filters: int, kernel: int, stride: int, use_bias: bool, name: str) -> Any:
    """Builds a convolution that is padded alike on all sides, as Caffe and torch do it.

    Keras's "same" pads only below and on the right where there is a stride.
    """
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding="same" if stride == 1 else "valid",
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)


def batch_norm(x: Any, epsilon: float, name: str, gamma: str = "ones") -> Any:
    """Builds a batch norm whose scale starts at "ones" or "zeros"."""
    return FusedBatchNormalization(momentum=MOMENTUM, epsilon=epsilon, gamma_initializer=gamma, name=f"{name}_bn")(x)
