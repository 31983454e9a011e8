"""Makes a plain network of a Keras classifier: batch norms become part of their convolutions, and what inference does
not need goes.
"""

from dataclasses import replace
from typing import Any

import keras
import numpy as np

from pipelines.serving.plain_network import INPUT, Operation, PlainNetwork, View, same_pads
from resnet_tf.errors import UserError
from resnet_tf.layers import ChannelPadding, ImageNormalization, StochasticDepth
from resnet_tf.weights import TORCH
from resnet_tf.weights.portable import portable_twin

# A kind of operations that goes as soon as the others know what it passes on.
_UNCHANGED = "unchanged"


def plain_network(
    model: keras.Model, classes: list[str], view: View, temperature: float = 1.0, mirror: bool = False
) -> PlainNetwork:
    """Returns a classifier as a list of operations.

    Args:
        model: Flat classifier from uint8 images to logits, as `resnet_tf.build_classifier` builds it.
        classes: Names of the classes, in the order of the logits.
        view: What the network sees of a picture.
        temperature: Number that logits are divided by.
        mirror: Whether the probabilities are averaged over each image and its mirror image.

    Raises:
        UserError: Its head averages unequal windows, which not every format can.
        TypeError: The model has a layer that no network of this project has.
    """
    operations = [found for layer in _portable(model).layers for found in _operations_of(layer)]
    operations = _without_pads(_without_batch_norms(_without_unchanged(operations)))
    last = operations[-1]
    cooled = {name: (value / temperature).astype(np.float32) for name, value in last.arrays.items()}
    operations[-1] = replace(last, arrays=cooled)
    return PlainNetwork(tuple(operations), tuple(classes), view, temperature, mirror)


def _portable(model: keras.Model) -> keras.Model:
    """Returns the network in Keras's own layers, which files have but those of early versions."""
    if not any(isinstance(layer, ImageNormalization | ChannelPadding | StochasticDepth) for layer in model.layers):
        return model
    twin = portable_twin(model, TORCH)  # the preprocessing is passed on, and not needed here
    twin.take_values(model)
    return twin.model


def _operations_of(layer: Any) -> list[Operation]:
    """Returns the operations of one layer; an input has none."""
    if isinstance(layer, keras.layers.InputLayer):
        return []
    make = next((make for kind, make in _MAKERS.items() if isinstance(layer, kind)), None)
    if make is None:
        raise TypeError(f"an export does not know the layer {layer.name!r} of the type {type(layer).__name__}")
    inputs = tuple(_name_of(tensor) for tensor in keras.tree.flatten(layer.input))
    return make(layer, inputs)


def _name_of(tensor: Any) -> str:
    source = tensor._keras_history.operation
    return INPUT if isinstance(source, keras.layers.InputLayer) else str(source.name)


def _weights(layer: Any) -> list[np.ndarray]:
    return [np.asarray(value, np.float32) for value in layer.get_weights()]


def _rescaling(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    channels = layer.output.shape[-1]
    arrays = {"scale": np.broadcast_to(layer.scale, channels), "shift": np.broadcast_to(layer.offset, channels)}
    return [Operation("affine", layer.name, inputs, {name: value.astype(np.float32) for name, value in arrays.items()})]


def _convolution(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    kernel, *bias = _weights(layer)
    rows, columns = layer.kernel_size
    if layer.padding == "same":  # of stride 1 only, see `resnet_tf.blocks.convolution`
        assert layer.strides == (1, 1), layer.name
        pads = same_pads(rows, columns)
    else:
        pads = (0, 0, 0, 0)
    arrays = {"kernel": kernel, "bias": bias[0] if bias else np.zeros(kernel.shape[-1], np.float32)}
    return [Operation("convolution", layer.name, inputs, arrays, layer.strides, layer.kernel_size, pads)]


def _batch_norm(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    mean, variance = (np.asarray(value, np.float64) for value in (layer.moving_mean, layer.moving_variance))
    gamma = np.asarray(layer.gamma, np.float64) if layer.scale else np.ones_like(mean)
    beta = np.asarray(layer.beta, np.float64) if layer.center else np.zeros_like(mean)
    scale = gamma / np.sqrt(variance + layer.epsilon)
    arrays = {"scale": scale.astype(np.float32), "shift": (beta - mean * scale).astype(np.float32)}
    return [Operation("affine", layer.name, inputs, arrays)]


def _activation(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    assert layer.activation is keras.activations.relu, layer.name
    return [Operation("relu", layer.name, inputs)]


def _padding(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    """Writes zeros around the pixels; zero channels of shortcut option A become a 1×1 convolution that copies channels.

    Keras has zeros for rows alone, so that the channels are rows between two `Permute` layers, see
    `resnet_tf.weights.portable`.
    """
    (top, bottom), (left, right) = layer.padding
    if not isinstance(layer.input._keras_history.operation, keras.layers.Permute):
        return [Operation("pad", layer.name, inputs, pads=(top, left, bottom, right))]
    kernel = np.pad(np.eye(layer.input.shape[1], dtype=np.float32), ((0, 0), (top, bottom)))[None, None]
    arrays = {"kernel": kernel, "bias": np.zeros(kernel.shape[-1], np.float32)}
    return [Operation("convolution", layer.name, inputs, arrays)]


def _maximum(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    assert layer.padding == "valid", layer.name
    return [Operation("maximum", layer.name, inputs, stride=layer.strides, size=layer.pool_size)]


def _dense(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    kernel, bias = _weights(layer)
    dense = Operation("dense", layer.name, inputs, {"kernel": kernel, "bias": bias})
    if layer.activation is keras.activations.linear:
        return [dense]
    assert layer.activation is keras.activations.relu, layer.name
    inner = replace(dense, name=f"{layer.name}_sum")
    return [inner, Operation("relu", layer.name, (inner.name,))]


def _average(layer: Any, inputs: tuple[str, ...]) -> list[Operation]:
    pixels, wanted = layer.input.shape[1:3], layer.output.shape[1:3]
    if any(side % smaller for side, smaller in zip(pixels, wanted, strict=True)):
        raise UserError(
            f"images of this size cannot be exported but as a SavedModel: its head averages {pixels[0]}×{pixels[1]} "
            f"pixels to {wanted[0]}×{wanted[1]}, which do not divide them"
        )
    size = pixels[0] // wanted[0], pixels[1] // wanted[1]
    return [Operation("average", layer.name, inputs, stride=size, size=size)]


def _same(kind: str) -> Any:
    return lambda layer, inputs: [Operation(kind, layer.name, inputs)]


_MAKERS: dict[Any, Any] = {
    keras.layers.Rescaling: _rescaling,
    keras.layers.Conv2D: _convolution,
    keras.layers.BatchNormalization: _batch_norm,
    keras.layers.Activation: _activation,
    keras.layers.ZeroPadding2D: _padding,
    keras.layers.MaxPooling2D: _maximum,
    keras.layers.Dense: _dense,
    keras.layers.AdaptiveAveragePooling2D: _average,
    keras.layers.UpSampling2D: lambda layer, inputs: [Operation("repeat", layer.name, inputs, size=layer.size)],
    keras.layers.Add: _same("add"),
    keras.layers.Concatenate: _same("concatenate"),
    keras.layers.Flatten: _same("flatten"),
    keras.layers.GlobalAveragePooling2D: _same("global_average"),
    keras.layers.GlobalMaxPooling2D: _same("global_maximum"),
    keras.layers.Dropout: _same(_UNCHANGED),
    keras.layers.Permute: _same(_UNCHANGED),
}


def _without_unchanged(operations: list[Operation]) -> list[Operation]:
    """Connects operations with what they see, past those that pass it on."""
    passed, found = dict[str, str](), []
    for each in operations:
        inputs = tuple(passed.get(name, name) for name in each.inputs)
        if each.kind == _UNCHANGED:
            passed[each.name] = inputs[0]
        else:
            found.append(replace(each, inputs=inputs))
    return found


def _without_batch_norms(operations: list[Operation]) -> list[Operation]:
    """Puts the factors and shifts of channels into the convolution that they follow, if nothing else sees its output.

    A batch norm that comes before a convolution stays: zeros beyond the edges are added after it.
    """
    found, renamed = dict[str, Operation](), dict[str, str]()
    uses = _uses(operations)
    for each in operations:
        each = replace(each, inputs=tuple(renamed.get(name, name) for name in each.inputs))
        before = found.get(each.inputs[0])
        if each.kind == "affine" and before is not None and before.kind == "convolution" and uses[before.name] == 1:
            scale, shift = (each.arrays[name].astype(np.float64) for name in ("scale", "shift"))
            arrays = {"kernel": before.arrays["kernel"] * scale, "bias": before.arrays["bias"] * scale + shift}
            arrays = {name: value.astype(np.float32) for name, value in arrays.items()}
            found[before.name] = replace(before, arrays=arrays)
            renamed[each.name] = before.name
            uses[before.name] = uses[each.name]
        else:
            found[each.name] = each
    return list(found.values())


def _without_pads(operations: list[Operation]) -> list[Operation]:
    """Lets convolutions pad their own input, and maxima of what follows a ReLU, where nothing is below 0."""
    by_name = {each.name: each for each in operations}
    found = []
    for each in operations:
        pad = by_name.get(each.inputs[0])
        if pad is not None and pad.kind == "pad":
            before = by_name.get(pad.inputs[0])
            after_relu = before is not None and before.kind == "relu"
            if each.kind == "convolution" or (each.kind == "maximum" and after_relu):
                each = replace(each, inputs=pad.inputs, pads=pad.pads)
        found.append(each)
    uses = _uses(found)
    return [each for each in found if each.kind != "pad" or uses[each.name]]


def _uses(operations: list[Operation]) -> dict[str, int]:
    """Returns how many operations take each output."""
    uses = {each.name: 0 for each in operations}
    for each in operations:
        for name in each.inputs:
            uses[name] = uses.get(name, 0) + 1
    return uses
