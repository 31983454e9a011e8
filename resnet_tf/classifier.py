"""The whole classifier: uint8 image in, logits out. Normalization + backbone + head, in one flat model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import keras
import numpy as np

from resnet_tf.architectures import (
    CHANNELS,
    DEFAULT,
    Shortcut,
    StemPool,
    StridePlace,
    check_image_shape,
    choose_options,
    find_architecture,
)
from resnet_tf.heads import classifier_head
from resnet_tf.layers import ImageNormalization
from resnet_tf.networks import stages_of
from resnet_tf.recursion import deep_recursion
from resnet_tf.weights.names import HEAD
from resnet_tf.weights.preprocessing import TORCH, Preprocessing

# What is added to the kernel [channels, classes] and the bias [classes] of the last layer.
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
    """A classifier that normalizes its own input, so that training, evaluation and serving cannot disagree.

    Args:
        architecture: As in `resnet_tf.build`.
        classes: Number of logits.
        image_size: Height and width of the input, in pixels; None where they are free, as in all but a VGG.
        preprocessing: What the weights expect; becomes a layer.
        shortcut: As in `resnet_tf.build`.
        stride_at: As in `resnet_tf.build`; None takes the architecture's.
        stem_pool: As in `resnet_tf.build`.
        use_bias: Whether convolutions before a batch norm have a bias. It is useless there, and `load_weights`
            moves it into the batch norm without changing the function, so that it is left out here.
        head_stages: How many of the last stages the head sees, see `resnet_tf.heads.classifier_head`.
        head_pooling: How each is pooled, "avg" or "avg+max", likewise.
        precision: "float32", or "bfloat16" or "float16" for computation with float32 variables.

    Returns:
        A flat `keras.Model` from uint8 RGB images [batch, image_size, image_size, 3] to float32 logits
        [batch, classes].

    Raises:
        UserError: An argument is out of its range.
    """
    row = find_architecture(architecture)
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
    """The layer that does to images what the weights expect."""
    return ImageNormalization(
        list(preprocessing.mean), list(preprocessing.deviation), preprocessing.channels, name="normalization"
    )


def feature_extractor(model: keras.Model) -> keras.Model:
    """The same network up to what its head sees, [batch, channels]; shares the variables."""
    with deep_recursion():
        return keras.Model(model.input, head(model).input, name=f"{model.name}_features")


def head(model: keras.Model) -> keras.layers.Dense:
    """The classifier's last layer."""
    return model.get_layer(HEAD)


def averaged_features(model: keras.Model) -> int:
    """How many of the features that the head sees, from the first one on, are averages (or a VGG's hidden units);
    the others are maxima."""
    maxima = [layer for layer in model.layers if isinstance(layer, keras.layers.GlobalMaxPooling2D)]
    return int(head(model).input.shape[-1]) - sum(layer.output.shape[-1] for layer in maxima)


@contextmanager
def changed_head(model: keras.Model, change: HeadChange | None) -> Iterator[None]:
    """The classifier with another last layer, for a while; afterwards every bit is as before.

    Args:
        model: With variables that belong to no tf.distribute strategy.
        change: What is added, or None.
    """
    if change is None:
        yield
        return
    before = head(model).get_weights()
    head(model).set_weights([value + more for value, more in zip(before, change, strict=True)])
    try:
        yield
    finally:
        head(model).set_weights(before)


def freeze_batch_norms(model: keras.Model) -> int:
    """Makes all batch norms use their moving statistics in training and keep them, as is usual where the
    statistics were learned on far more images than there are now. Returns their number."""
    batch_norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in batch_norms:
        layer.trainable = False
    return len(batch_norms)


def synchronize_batch_norms(model: keras.Model) -> None:
    """Makes all batch norms use the statistics of the whole batch where replicas have parts of it, so that training
    does not depend on their number. Of no effect on one device, and on frozen batch norms."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def freeze_stages(model: keras.Model, stages: tuple[str, ...]) -> None:
    """Keeps all variables of whole stages as they are, which saves their part of the backward pass.

    Args:
        model: From `build_classifier`.
        stages: Among its architecture's `parts`. They should be the first ones: nothing is saved behind a layer
            that learns.
    """
    for layer in model.layers:
        if layer.name.partition("_")[0] in stages:
            layer.trainable = False


def divide(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """The network in two parts: what nothing changes in training, and the rest.

    Args:
        model: From `build_classifier`, some of its first stages frozen.

    Returns:
        From images to a tensor or a list of them, and from these to the logits; both share the network's variables.
    """
    fixed: dict[int, Any] = {id(model.input): model.input}  # what to pass on, by what it is needed for
    crossing: dict[int, Any] = {}
    for layer in model.layers:
        inputs = keras.tree.flatten(layer.input)
        passed = [fixed[id(tensor)] for tensor in inputs if id(tensor) in fixed]
        if len(passed) < len(inputs) or layer.trainable_variables:
            crossing |= {id(tensor): tensor for tensor in passed}
        else:  # the padded is quickly padded again, and would take as much room once more
            padding = isinstance(layer, keras.layers.ZeroPadding2D)
            fixed[id(layer.output)] = passed[0] if padding else layer.output
    tensors = list(crossing.values())
    with deep_recursion():
        return keras.Model(model.input, tensors), keras.Model(tensors, model.output)


def copy_values(source: keras.Model, target: keras.Model) -> None:
    """Copies all variables between two classifiers of one architecture, whatever their precisions."""
    values: dict[str, Any] = {variable.path: variable for variable in source.variables}
    for variable in target.variables:
        variable.assign(keras.ops.convert_to_numpy(values[variable.path]))
