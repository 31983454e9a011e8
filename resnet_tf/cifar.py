"""The nets of 6n + 2 layers for CIFAR-10's 32×32 images (He et al. 2015, arXiv 1512.03385, section 4.2)."""

from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options
from resnet_tf.blocks import batch_norm, convolution, residual_stages


def cifar_stages(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds the network without its head: the stem and the stages.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: Architecture of the network.
        options: What its blocks share.

    Returns:
        The output of each stage, first to last: "conv2" [batch, height, width, 16],
        "conv3" [batch, height / 2, width / 2, 32], "conv4" [batch, height / 4, width / 4, 64].
    """
    x = batch_norm(convolution(x, row.stem, 3, 1, options.use_bias, "conv1"), row.epsilon, "conv1")
    return residual_stages(layers.Activation("relu", name="conv1_relu")(x), row, options)
