"""ResNet-18, 34, 50, 101 and 152 with the Keras functional API (He et al. 2015, arXiv 1512.03385, table 1)."""

from typing import Any

import keras
from keras import layers

from resnet_tf.architectures import (
    Architecture,
    Shortcut,
    StridePlace,
    check_shortcut,
    check_stride_at,
    find_architecture,
)
from resnet_tf.blocks import BlockOptions, convolution, residual_block
from resnet_tf.errors import UserError
from resnet_tf.weights import load_weights, resolve_weights

CHANNELS = 3


def resnet_stages(x: Any, row: Architecture, options: BlockOptions) -> dict[str, Any]:
    """The network without its head: stem and stages.

    Args:
        x: Normalized images [batch, height, width, 3].
        row: The architecture.
        options: What its blocks share.

    Returns:
        What each stage gives, first to last: "conv2" [batch, height / 4, width / 4, channels] … "conv5"
        [batch, height / 32, width / 32, channels].
    """
    x = convolution(x, 64, 7, 2, options, "conv1")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name="pool1_pool")(x)
    stages = {}
    for number, (repeats, width, stride) in enumerate(zip(row.repeats, row.widths, row.strides, strict=True), start=2):
        for block in range(1, repeats + 1):
            x = residual_block(x, width, stride if block == 1 else 1, options, f"conv{number}_block{block}")
        stages[f"conv{number}"] = x
    return stages


def resnet_head(
    stages: dict[str, Any], classes: int, *, activation: str | None = None, dropout: float = 0.0, head_stages: int = 1
) -> Any:
    """Global average pooling and the classifier, in float32 so that probabilities keep their precision.

    Args:
        stages: From `resnet_stages`.
        classes: Number of outputs.
        activation: None for logits, "softmax" for probabilities.
        dropout: Share of the pooled features that training drops.
        head_stages: How many of the last stages are pooled and concatenated; the paper has 1. A classifier of
            other classes than the weights' gains from more (Evci et al. 2022, "Head2Toe", arXiv 2201.03529).

    Returns:
        Tensor [batch, classes].
    """
    *earlier, (_, last) = list(stages.items())[-head_stages:]
    pooled = [layers.GlobalAveragePooling2D(name=f"{name}_pool")(x) for name, x in earlier]
    x = layers.GlobalAveragePooling2D(name="avg_pool")(last)
    if pooled:
        x = layers.Concatenate(name="features")([*pooled, x])
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(classes, activation=activation, dtype="float32", name="predictions")(x)


def build(
    name: str,
    *,
    classes: int = 1000,
    weights: str | None = None,
    input_shape: tuple[int | None, int | None, int] = (None, None, CHANNELS),
    include_top: bool = True,
    pooling: str | None = None,
    shortcut: Shortcut = "B",
    stride_at: StridePlace = "1x1",
    use_bias: bool | None = None,
    dropout: float = 0.0,
    classifier_activation: str | None = None,
) -> keras.Model:
    """A ResNet by name.

        model = resnet_tf.build("resnet34", classes=30, shortcut="A")

    Args:
        name: One of `resnet_tf.architectures.ARCHITECTURES`.
        classes: Outputs of the head.
        weights: None for random weights, "imagenet", or a file (see `resnet_tf.load_weights`). A head of
            another size than the file's stays random.
        input_shape: Height, width and 3; None where the size is free.
        include_top: Whether to add pooling and the classifier.
        pooling: Without a top: None for feature maps, "avg" or "max" for vectors.
        shortcut: "A", "B", "C", or None for the plain net.
        stride_at: Where a bottleneck has its stride: "1x1" (the paper, Caffe, Keras) or "3x3" (torchvision).
        use_bias: Whether convolutions have a bias; None takes keras.applications' choice.
        dropout: Share of pooled features dropped before the classifier.
        classifier_activation: None for logits, "softmax" for probabilities.

    Returns:
        A flat functional `keras.Model` from normalized images [batch, height, width, 3] to logits
        [batch, classes], or to features where `include_top` is False.

    Raises:
        UserError: An argument is out of its range, or the weights cannot be loaded.
    """
    row = find_architecture(name)
    if len(input_shape) != 3 or input_shape[-1] != CHANNELS:
        raise UserError(f"input_shape must be (height, width, 3), received {tuple(input_shape)}")
    if pooling not in (None, "avg", "max"):
        raise UserError(f"pooling must be None, 'avg' or 'max', received {pooling!r}")
    if classes < 1:
        raise UserError(f"classes must be at least 1, received {classes}")
    options = block_options(row, shortcut=shortcut, stride_at=stride_at, use_bias=use_bias)

    inputs = keras.Input(input_shape)
    stages = resnet_stages(inputs, row, options)
    x = list(stages.values())[-1]
    if include_top:
        x = resnet_head(stages, classes, activation=classifier_activation, dropout=dropout)
    elif pooling is not None:
        pool = {"avg": layers.GlobalAveragePooling2D, "max": layers.GlobalMaxPooling2D}[pooling]
        x = pool(name=f"{pooling}_pool")(x)
    model = keras.Model(inputs, x, name=name)

    if weights is not None:
        load_weights(model, resolve_weights(weights, name, include_top=include_top))
    return model


def block_options(
    row: Architecture, *, shortcut: Shortcut = "B", stride_at: StridePlace = "1x1", use_bias: bool | None = None
) -> BlockOptions:
    """What the blocks of a network share, from its row and the choices that a caller has.

    Raises:
        UserError: `shortcut` or `stride_at` is out of its range.
    """
    return BlockOptions(
        block=row.block,
        shortcut=check_shortcut(shortcut),
        stride_at=check_stride_at(stride_at),
        use_bias=row.use_bias if use_bias is None else use_bias,
        epsilon=row.epsilon,
    )


def ResNet18(**arguments: Any) -> keras.Model:
    """ResNet-18; arguments as for `build`."""
    return build("resnet18", **arguments)


def ResNet34(**arguments: Any) -> keras.Model:
    """ResNet-34; arguments as for `build`."""
    return build("resnet34", **arguments)


def ResNet50(**arguments: Any) -> keras.Model:
    """ResNet-50; arguments as for `build`."""
    return build("resnet50", **arguments)


def ResNet101(**arguments: Any) -> keras.Model:
    """ResNet-101; arguments as for `build`."""
    return build("resnet101", **arguments)


def ResNet152(**arguments: Any) -> keras.Model:
    """ResNet-152; arguments as for `build`."""
    return build("resnet152", **arguments)
