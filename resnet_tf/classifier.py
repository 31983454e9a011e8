"""Classifiers from uint8 images to logits: normalization, backbone and head in one flat model."""

from collections.abc import Container
from typing import Any, Literal

import keras
import numpy as np

from resnet_tf.architectures import (
    CHANNELS,
    DEFAULT,
    Shortcut,
    StemPool,
    StridePlace,
    check_classes,
    check_image_shape,
    choose_options,
    find_architecture,
)
from resnet_tf.data_format import check_data_format
from resnet_tf.heads import classifier_head
from resnet_tf.layers import ImageNormalization
from resnet_tf.networks import stages_of
from resnet_tf.recursion import deep_recursion
from resnet_tf.weights.names import HEAD
from resnet_tf.weights.preprocessing import TORCH, Preprocessing

# The numbers that are added to the kernel [channels, classes] and the bias [classes] of the last layer.
HeadChange = tuple[np.ndarray, np.ndarray]


def build_classifier(
    architecture: str,
    classes: int,
    *,
    image_size: int | None = None,
    preprocessing: Preprocessing = TORCH,
    shortcut: Shortcut | Literal["default"] = DEFAULT,
    stride_at: StridePlace | None = None,
    stem_pool: StemPool | None = None,
    use_bias: bool = False,
    head_stages: int = 1,
    head_pooling: str = "avg",
    precision: str = "float32",
) -> keras.Model:
    """Builds a classifier that normalizes its own input, so that training, evaluation and serving cannot disagree.

        model = resnet_tf.build_classifier("resnet50", classes=30)
        resnet_tf.load_weights(model, "resnet50.safetensors")

    Args:
        architecture: Name of the network in `resnet_tf.architectures.ARCHITECTURES`.
        classes: Number of logits.
        image_size: Height and width of the input, in pixels; None leaves them free, which a VGG does not allow.
        preprocessing: Normalization that the weights expect; it becomes a layer.
        shortcut: Option "A", "B" or "C" of the paper, None for the plain net, or "default" for the architecture's.
        stride_at: Place of a bottleneck's stride, "1x1" or "3x3"; None takes the architecture's.
        stem_pool: Padding of the stem's pooling, "centred" or "caffe"; None takes "centred".
        use_bias: Whether convolutions before a batch norm have a bias. It is useless there, and `load_weights`
            moves it into the batch norm without changing the function, so that it is left out here.
        head_stages: Number of the last stages that the head sees, see `resnet_tf.heads.classifier_head`.
        head_pooling: Pooling of each of these stages, "avg" or "avg+max", see `resnet_tf.heads.classifier_head`.
        precision: "float32", or "bfloat16" or "float16" for computation with float32 variables.

    Returns:
        A flat `keras.Model` from uint8 RGB images [batch, image_size, image_size, 3] to float32 logits
        [batch, classes].

    Raises:
        UserError: An argument is out of its range.
    """
    check_data_format()
    row = find_architecture(architecture)
    classes = check_classes(classes)
    check_image_shape(row, (image_size, image_size, CHANNELS))
    options = choose_options(row, shortcut=shortcut, stride_at=stride_at, stem_pool=stem_pool, use_bias=use_bias)
    policy_before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        inputs = keras.Input((image_size, image_size, CHANNELS), dtype="uint8", name="images")
        x = normalization_layer(preprocessing)(inputs)
        stages = stages_of(x, row, options)
        logits = classifier_head(stages, row, classes, head_stages=head_stages, head_pooling=head_pooling)
        with deep_recursion():
            return keras.Model(inputs, logits, name=architecture)
    finally:
        keras.config.set_dtype_policy(policy_before)


def normalization_layer(preprocessing: Preprocessing) -> keras.layers.Layer:
    """Returns the layer that normalizes images as the weights expect them."""
    return ImageNormalization(
        list(preprocessing.mean), list(preprocessing.deviation), preprocessing.channels, name="normalization"
    )


def feature_extractor(model: keras.Model) -> keras.Model:
    """Returns the same network up to what its head sees, [batch, channels], with the same variables."""
    with deep_recursion():
        return keras.Model(model.input, head(model).input, name=f"{model.name}_features")


def head(model: keras.Model) -> keras.layers.Dense:
    """Returns the classifier's last layer."""
    return model.get_layer(HEAD)


def averaged_features(model: keras.Model) -> int:
    """Counts the features that are averages, or hidden units of a VGG. The head sees them before the maxima."""
    maxima = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalMaxPooling2D)]
    return int(head(model).input.shape[-1]) - sum(layer.output.shape[-1] for layer in maxima)


def change_head(model: keras.Model, change: HeadChange) -> None:
    """Adds numbers to the kernel and the bias of a classifier's last layer.

    Args:
        model: Classifier whose variables belong to no tf.distribute strategy.
        change: Numbers that are added.
    """
    last = head(model)
    last.set_weights([value + more for value, more in zip(last.get_weights(), change, strict=True)])


def freeze_batch_norms(model: keras.Model, but: Container[str] = ()) -> int:
    """Makes all batch norms use their moving statistics in training and keep them.

    This is usual where the statistics were learned on far more images than there are now.

    Args:
        model: Classifier from `build_classifier`.
        but: Names of layers that go on learning, such as `LoadReport.random_layers`.

    Returns:
        The number of batch norms.
    """
    batch_norms = [
        layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization) and layer.name not in but
    ]
    for layer in batch_norms:
        layer.trainable = False
    return len(batch_norms)


def synchronize_batch_norms(model: keras.Model) -> None:
    """Makes all batch norms use the statistics of the whole batch where each replica has a part of it.

    Training then does not depend on the number of replicas. On one device, and for frozen batch norms, this changes
    nothing.
    """
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def freeze_stages(model: keras.Model, stages: tuple[str, ...], but: Container[str] = ()) -> None:
    """Keeps training from changing the variables of whole stages, which saves their part of the backward pass.

    Args:
        model: Classifier from `build_classifier`.
        stages: Names among its architecture's `parts`. They should be the first ones, since nothing is saved behind a
            layer that learns.
        but: Names of layers that go on learning, such as `LoadReport.random_layers`.
    """
    for layer in model.layers:
        if layer.name.partition("_")[0] in stages and layer.name not in but:
            layer.trainable = False


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Divides a network into the part that training does not change, and the rest.

    Args:
        model: Classifier from `build_classifier` with some of its first stages frozen.

    Returns:
        A model from images to a tensor or a list of tensors, and a model from these to the logits. Both share the
        network's variables.
    """
    fixed: dict[int, Any] = {id(model.input): model.input}  # the tensor to pass on for each tensor that is fixed
    crossing: dict[int, Any] = {}
    for layer in model.layers:
        inputs = keras.tree.flatten(layer.input)
        passed = [fixed[id(tensor)] for tensor in inputs if id(tensor) in fixed]
        if len(passed) < len(inputs) or layer.trainable_variables:
            crossing |= {id(tensor): tensor for tensor in passed}
        else:  # a padded tensor takes as much room once more, and padding it again takes no time
            padding = isinstance(layer, keras.layers.ZeroPadding2D)
            fixed[id(layer.output)] = passed[0] if padding else layer.output
    tensors = list(crossing.values())
    with deep_recursion():
        return keras.Model(model.input, tensors), keras.Model(tensors, model.output)
