"""Builds a plain network of Keras's own layers, so that a file of it opens without this package."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers

from pipelines.serving.plain_network import INPUT, Operation, PlainNetwork
from resnet_tf.recursion import deep_recursion


def keras_network(network: PlainNetwork, precision: str = "float32") -> keras.Model:
    """Returns a network as a functional Keras model from images of its own size to logits.

    Args:
        network: The network; whether it averages over mirror images is left to the caller.
        precision: "float32", or "bfloat16" for computation with float32 variables.

    Returns:
        A model from uint8 images [batch, size, size, 3] to float32 logits [batch, classes], not compiled.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if precision == "float32" else f"mixed_{precision}")
    try:
        size = network.view.size
        images = keras.Input((size, size, 3), dtype="uint8", name=INPUT)
        outputs = {INPUT: images}
        for operation in network.operations:
            inputs = [outputs[name] for name in operation.inputs]
            outputs[operation.name] = _LAYERS[operation.kind](operation, inputs)
        with deep_recursion():
            return keras.Model(images, outputs[network.operations[-1].name], name="resnet_tf")
    finally:
        keras.config.set_dtype_policy(before)


def _weighted(layer: Any, x: Any, *arrays: np.ndarray) -> Any:
    found = layer(x)
    layer.set_weights(list(arrays))
    return found


def _affine(operation: Operation, inputs: list[Any]) -> Any:
    """Writes factors and shifts as a rescaling of the images in float32, and as a depthwise 1×1 convolution later."""
    scale, shift = operation.arrays["scale"], operation.arrays["shift"]
    if operation.inputs == (INPUT,):
        return layers.Rescaling(scale.tolist(), shift.tolist(), dtype="float32", name=operation.name)(inputs[0])
    return _weighted(layers.DepthwiseConv2D(1, name=operation.name), inputs[0], scale[None, None, :, None], shift)


def _convolution(operation: Operation, inputs: list[Any]) -> Any:
    kernel, same = operation.arrays["kernel"], operation.keeps_size
    x = inputs[0] if same else _padded(operation, inputs)
    layer = layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[:2],
        strides=operation.stride,
        padding="same" if same else "valid",
        name=operation.name,
    )
    return _weighted(layer, x, kernel, operation.arrays["bias"])


def _maximum(operation: Operation, inputs: list[Any]) -> Any:
    """Pads with zeros, which is as good as nothing: only what follows a ReLU is padded, see `fold`."""
    x = _padded(operation, inputs)
    return layers.MaxPooling2D(operation.size, strides=operation.stride, name=operation.name)(x)


def _padded(operation: Operation, inputs: list[Any]) -> Any:
    """Returns what an operation takes, with the zeros around it that it has."""
    return _pad(operation, inputs, f"{operation.name}_zeros") if any(operation.pads) else inputs[0]


def _pad(operation: Operation, inputs: list[Any], name: str = "") -> Any:
    top, left, bottom, right = operation.pads
    return layers.ZeroPadding2D(((top, bottom), (left, right)), name=name or operation.name)(inputs[0])


def _dense(operation: Operation, inputs: list[Any]) -> Any:
    kernel, bias = operation.arrays["kernel"], operation.arrays["bias"]
    layer = layers.Dense(kernel.shape[-1], dtype="float32", name=operation.name)
    return _weighted(layer, inputs[0], kernel, bias)


def _same(layer: Any, **arguments: Any) -> Callable[[Operation, list[Any]], Any]:
    def build(operation: Operation, inputs: list[Any]) -> Any:
        return layer(name=operation.name, **arguments)(inputs[0] if len(inputs) == 1 else inputs)

    return build


_LAYERS: dict[str, Callable[[Operation, list[Any]], Any]] = {
    "affine": _affine,
    "convolution": _convolution,
    "relu": _same(layers.ReLU),
    "add": _same(layers.Add),
    "concatenate": _same(layers.Concatenate),
    "flatten": _same(layers.Flatten),
    "global_average": _same(layers.GlobalAveragePooling2D),
    "global_maximum": _same(layers.GlobalMaxPooling2D),
    "pad": _pad,
    "maximum": _maximum,
    "average": lambda operation, inputs: layers.AveragePooling2D(operation.size, name=operation.name)(inputs[0]),
    "repeat": lambda operation, inputs: layers.UpSampling2D(operation.size, name=operation.name)(inputs[0]),
    "dense": _dense,
}
