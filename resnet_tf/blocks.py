"""The residual block of He et al. 2015, basic or bottleneck, with shortcut options A, B and C, or plain."""

from dataclasses import dataclass
from typing import Any

from keras import layers

from resnet_tf.architectures import Block, Shortcut, StridePlace
from resnet_tf.layers import ChannelPadding, FusedBatchNormalization

# Of the moving statistics: torchvision's. Keras's 0.99 is still far behind after the few hundred steps that a small
# data set gives, and validation then judges another network than the one that was trained.
MOMENTUM = 0.9


@dataclass(frozen=True)
class BlockOptions:
    """What all blocks of one network share.

    Args:
        block: Basic or bottleneck.
        shortcut: "A" identity, padded with zero channels where the shape changes; "B" projection where the
            shape changes; "C" projection everywhere; None no shortcut, which makes the net plain.
        stride_at: "1x1" puts a bottleneck's stride on its first convolution, as in the paper, Caffe and
            Keras; "3x3" on its second, as in torchvision ("v1.5").
        use_bias: Whether convolutions have a bias.
        epsilon: Of the batch norms.
    """

    block: Block
    shortcut: Shortcut = "B"
    stride_at: StridePlace = "1x1"
    use_bias: bool = False
    epsilon: float = 1e-5


def residual_block(x: Any, width: int, stride: int, options: BlockOptions, name: str) -> Any:
    """One block: a branch of two or three convolutions, added to its shortcut, and ReLU.

    Args:
        x: Tensor [batch, height, width, channels].
        width: Channels of the 3×3 convolutions.
        stride: Of the whole block, in height and width.
        options: What the network's blocks share.
        name: Prefix of the layer names, as in keras.applications: "conv2_block1".

    Returns:
        Tensor [batch, height / stride, width / stride, width × expansion].
    """
    kernels, expansion = options.block.kernels, options.block.expansion
    strided = options.block.stride_index(options.stride_at)
    last = len(kernels)
    inputs = x
    for number, kernel in enumerate(kernels, start=1):
        filters = width * expansion if number == last else width
        x = convolution(x, filters, kernel, stride if number == strided + 1 else 1, options, f"{name}_{number}")
        if number < last:
            x = layers.Activation("relu", name=f"{name}_{number}_relu")(x)
    if options.shortcut is not None:
        x = layers.Add(name=f"{name}_add")([shortcut_branch(inputs, width * expansion, stride, options, name), x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def shortcut_branch(x: Any, filters: int, stride: int, options: BlockOptions, name: str) -> Any:
    """What is added to the branch: the input itself, padded (option A) or projected (options B and C)."""
    same_shape = stride == 1 and x.shape[-1] == filters
    if options.shortcut == "C" or (options.shortcut == "B" and not same_shape):
        return convolution(x, filters, 1, stride, options, f"{name}_0")
    if same_shape:
        return x
    return ChannelPadding(filters, stride, name=f"{name}_0_pad")(x)


def convolution(x: Any, filters: int, kernel: int, stride: int, options: BlockOptions, name: str) -> Any:
    """Convolution and batch norm, padded alike on all sides, as Caffe and torch do; Keras's "same" is not
    where there is a stride."""
    padding = "same" if stride == 1 else "valid"
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}_pad")(x)
    x = layers.Conv2D(
        filters,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=options.use_bias,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return FusedBatchNormalization(momentum=MOMENTUM, epsilon=options.epsilon, name=f"{name}_bn")(x)
