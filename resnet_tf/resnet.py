"""ResNet-18, 34, 50, 101 and 152 (He et al. 2015, arXiv 1512.03385, table 1)."""

from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options, StemPool
from resnet_tf.blocks import batch_norm, convolution, residual_stages


def resnet_stages(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds the network without its head: the stem and the stages.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: Architecture of the network.
        options: What its blocks share.

    Returns:
        The output of each stage, first to last: "conv2" [batch, height / 4, width / 4, channels] … "conv5"
        [batch, height / 32, width / 32, channels].
    """
    x = batch_norm(convolution(x, row.stem, 7, 2, options.use_bias, "conv1"), row.epsilon, "conv1")
    x = layers.Activation("relu", name="conv1_relu")(x)
    return residual_stages(stem_pool(x, options.stem_pool), row, options)


def stem_pool(x: Any, padding: StemPool) -> Any:
    """Takes 3×3 maxima at every second pixel.

    "centred" pads all sides. "caffe" pads below and on the right: Caffe itself pads nothing and rounds the size up, so
    that its last window hangs over the lower right edge, which is the same as zeros there, after a ReLU.
    """
    pixels = ((0, 1), (0, 1)) if padding == "caffe" else ((1, 1), (1, 1))
    x = layers.ZeroPadding2D(pixels, name="pool1_pad")(x)
    return layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
