"""What residual networks repeat: the block of He et al. 2015, basic or bottleneck, with shortcut options A, B and C,
or plain; and where each block of a network stands."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options
from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.layers import ChannelPadding, StochasticDepth

# Of the moving statistics: torchvision's. Keras's 0.99 is still far behind after the few hundred steps that a small
# data set gives, and validation then judges another network than the one that was trained.
MOMENTUM = 0.9


@dataclass(frozen=True)
class BlockSpec:
    """Where a block stands.

    Args:
        stage: "conv2" …
        name: Prefix of its layers' names, as in keras.applications: "conv2_block1".
        width: Channels of its 3×3 convolutions.
        stride: In height and width.
        survival: Chance that a step of training keeps its branch.
    """

    stage: str
    name: str
    width: int
    stride: int
    survival: float


def block_specs(row: Architecture, options: Options, *, strided: int = 0) -> Iterator[BlockSpec]:
    """All blocks of a network, from the input on.

    Args:
        row: The architecture.
        options: What its blocks share.
        strided: Which block of a stage carries the stage's stride: 0 the first, -1 the last.
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
    """All residual blocks.

    Args:
        x: What the stem gives, [batch, height, width, channels].
        row: The architecture.
        options: What its blocks share.

    Returns:
        What each stage gives, first to last: "conv2", "conv3" …
    """
    stages = {}
    for spec in block_specs(row, options):
        x = stages[spec.stage] = residual_block(x, spec, row, options)
    return stages


def residual_block(x: Any, spec: BlockSpec, row: Architecture, options: Options) -> Any:
    """One block: a branch of two or three convolutions, added to its shortcut, and ReLU.

    Args:
        x: Tensor [batch, height, width, channels].
        spec: Width, stride and name.
        row: The architecture.
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
    """What is added to the branch: the input itself, padded (option A) or projected (options B and C)."""
    same_shape = spec.stride == 1 and x.shape[-1] == filters
    name = f"{spec.name}_0"
    if options.shortcut == "C" or (options.shortcut == "B" and not same_shape):
        return batch_norm(convolution(x, filters, 1, spec.stride, options.use_bias, name), row.epsilon, name)
    if same_shape:
        return x
    return ChannelPadding(filters, spec.stride, name=f"{name}_pad")(x)


def add(shortcut: Any, branch: Any, survival: float, name: str) -> Any:
    """The sum of shortcut and branch; in training, the branch is skipped with a chance of 1 - survival."""
    layer = layers.Add(name=name) if survival == 1.0 else StochasticDepth(survival, name=name)
    return layer([shortcut, branch])


def convolution(x: Any, filters: int, kernel: int, stride: int, use_bias: bool, name: str) -> Any:
    """A convolution that is padded alike on all sides, as in Caffe and torch; Keras's "same" is not where there is
    a stride."""
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
    """A batch norm, its scale initialized to "ones" or "zeros"."""
    return FusedBatchNormalization(momentum=MOMENTUM, epsilon=epsilon, gamma_initializer=gamma, name=f"{name}_bn")(x)
