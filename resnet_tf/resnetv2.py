"""ResNet-50, 101 and 152 in the pre-activation form (He et al. 2016, arXiv 1603.05027).

The layers have the names of keras.applications, so that its ImageNet files load.
"""

from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options
from resnet_tf.blocks import BlockSpec, add, batch_norm, block_specs, convolution
from resnet_tf.layers import ChannelPadding
from resnet_tf.resnet import stem_pool


def resnetv2_stages(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds the network without its head: the stem and the stages.

    A stage carries its stride on its last block, as in keras.applications.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: Architecture of the network.
        options: What its blocks share.

    Returns:
        The output of each stage, first to last: "conv2" [batch, height / 8, width / 8, channels] … "conv5"
        [batch, height / 32, width / 32, channels].
    """
    x = stem_pool(convolution(x, row.stem, 7, 2, True, "conv1"), options.stem_pool)
    return preactivated_stages(x, row, options, strided=-1)


def preactivated_stages(x: Any, row: Architecture, options: Options, *, strided: int = 0) -> dict[str, Any]:
    """Builds all blocks, and the batch norm and ReLU after the last one.

    Args:
        x: Output of the stem, [batch, height, width, channels].
        row: Architecture of the network.
        options: What its blocks share.
        strided: Index of the block in each stage that carries the stage's stride: 0 the first, -1 the last.

    Returns:
        The output of each stage, first to last.
    """
    stages = {}
    for spec in block_specs(row, options, strided=strided):
        x = stages[spec.stage] = _preactivated_block(x, spec, row, options)
    stages[spec.stage] = layers.Activation("relu", name="post_relu")(batch_norm(x, row.epsilon, "post"))
    return stages


def _preactivated_block(x: Any, spec: BlockSpec, row: Architecture, options: Options) -> Any:
    """Builds a block with batch norm and ReLU before each convolution, and nothing after the sum."""
    kernels, filters = row.block.kernels, spec.width * row.block.expansion
    strided, last = row.block.stride_index(options.stride_at), len(kernels) - 1
    inputs = x
    x = batch_norm(x, row.epsilon, f"{spec.name}_preact")
    x = activated = layers.Activation("relu", name=f"{spec.name}_preact_relu")(x)
    for index, kernel in enumerate(kernels):
        name = f"{spec.name}_{index + 1}"
        stride = spec.stride if index == strided else 1
        bias = index == last or options.use_bias
        x = convolution(x, filters if index == last else spec.width, kernel, stride, bias, name)
        if index < last:
            x = layers.Activation("relu", name=f"{name}_relu")(batch_norm(x, row.epsilon, name))
    if options.shortcut is None:
        return x
    return add(_shortcut(inputs, activated, filters, spec, options), x, spec.survival, f"{spec.name}_out")


def _shortcut(x: Any, activated: Any, filters: int, spec: BlockSpec, options: Options) -> Any:
    """Returns the input, every stride-th pixel of it, or a projection of its activation where channels change."""
    if options.shortcut == "C" or (options.shortcut == "B" and x.shape[-1] != filters):
        return convolution(activated, filters, 1, spec.stride, True, f"{spec.name}_0")
    if spec.stride == 1 and x.shape[-1] == filters:
        return x
    return ChannelPadding(filters, spec.stride, name=f"{spec.name}_0_pad")(x)
