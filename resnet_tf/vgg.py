"""VGG-16 and VGG-19 (Simonyan and Zisserman 2014, arXiv 1409.1556, table 1, D and E), the baseline of ResNet.

The layers have the names of keras.applications, so that its ImageNet files load.
"""

from typing import Any

from keras import layers

from resnet_tf.architectures import Architecture, Options
from resnet_tf.batch_normalization import FusedBatchNormalization
from resnet_tf.blocks import MOMENTUM

# The hidden layers of the head see 7×7 pixels, at any size of the image, as in torchvision.
POOLED_SIZE = 7


def vgg_stages(x: Any, row: Architecture, options: Options) -> dict[str, Any]:
    """Builds the network without its head.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: Architecture of the network.
        options: What its blocks share; only `use_bias` matters, and only where there are batch norms.

    Returns:
        The output of each block after its pooling, first to last: "block1" [batch, height / 2, width / 2, 64] …
        "block5" [batch, height / 32, width / 32, 512].
    """
    stages = {}
    for number, (repeats, width) in enumerate(zip(row.repeats, row.widths, strict=True), start=1):
        for convolution in range(1, repeats + 1):
            x = layers.Conv2D(
                width,
                row.block.kernels[0],
                padding="same",
                use_bias=options.use_bias or not row.batch_norm,
                kernel_initializer="he_normal",
                name=f"block{number}_conv{convolution}",
            )(x)
            if row.batch_norm:
                name = f"block{number}_bn{convolution}"
                x = FusedBatchNormalization(momentum=MOMENTUM, epsilon=row.epsilon, name=name)(x)
            x = layers.Activation("relu", name=f"block{number}_relu{convolution}")(x)
        x = stages[f"block{number}"] = layers.MaxPooling2D(2, strides=2, name=f"block{number}_pool")(x)
    return stages


def _pooled(x: Any) -> Any:
    """Averages any number of pixels to 7×7, as torch.nn.AdaptiveAvgPool2d does."""
    repeats = tuple(POOLED_SIZE if size == 1 else 1 for size in x.shape[1:3])
    if repeats != (1, 1):  # Keras 3.15's layer fails where there is one pixel only
        x = layers.UpSampling2D(repeats, name="repeat_7x7")(x)
    if tuple(x.shape[1:3]) != (POOLED_SIZE, POOLED_SIZE):
        x = layers.AdaptiveAveragePooling2D(POOLED_SIZE, name="pool_7x7")(x)
    return x


def hidden_layers(x: Any, row: Architecture, dropout: float) -> Any:
    """Builds the fully connected layers before the classifier.

    Args:
        x: Output of the last block [batch, height, width, channels]; height and width must be known.
        row: Architecture of the network.
        dropout: Share of the units that training drops after each layer, in 0 … 1; the paper has 0.5.

    Returns:
        Tensor [batch, 4096].
    """
    x = _pooled(x)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate(row.hidden, start=1):
        x = layers.Dense(units, activation="relu", kernel_initializer="he_normal", name=f"fc{number}")(x)
        if dropout:
            x = layers.Dropout(dropout, name=f"dropout{number}")(x)
    return x
