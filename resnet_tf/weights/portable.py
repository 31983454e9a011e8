"""Networks of Keras's own layers alone, for files that open without this package; and the way back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from resnet_tf.layers import ChannelPadding, ImageNormalization, StochasticDepth
from resnet_tf.recursion import deep_recursion
from resnet_tf.weights.names import variables_of
from resnet_tf.weights.preprocessing import Preprocessing
from resnet_tf.weights.structure import SURVIVAL


@dataclass(frozen=True)
class PortableTwin:
    """A network of Keras's own layers, and how it takes the values of the network that it is the twin of.

    Args:
        model: The twin, whose values are random before it has taken any.
        preprocessing: The normalization that the kernel of the twin's first convolution expects.
        turned: Name of the convolution whose kernel is turned from BGR to RGB, or None.
    """

    model: keras.Model
    preprocessing: Preprocessing
    turned: str | None

    def take_values(self, source: keras.Model) -> None:
        """Copies the present values of the network that `portable_twin` was given, on whatever devices they are."""
        own = variables_of(self.model)
        for name, variable in variables_of(source).items():
            value = keras.ops.convert_to_numpy(variable)
            own[name].assign(value[:, :, ::-1] if name == f"{self.turned}/kernel" else value)


def portable_twin(model: keras.Model, preprocessing: Preprocessing) -> PortableTwin:
    """Builds the same network of Keras's own layers, which takes the values of the model as often as they change.

    Layers with variables keep their names. What training decides is not part of a network, so the twin computes in
    float32, all of its layers are trainable, and it is not compiled.

    Where the network turns RGB images into BGR, the kernel of its first convolution is turned around instead. That
    changes no sum, since images are normalized channel by channel.

    The twin has variables of its own in the memory of the CPU: as many bytes once more as those of the model.

    Args:
        model: A network from `resnet_tf.build` or `resnet_tf.build_classifier`.
        preprocessing: The normalization that the kernel of the model's first convolution expects.
    """
    with keras.device("cpu:0"):
        twin = _cloned(model, _as_stored, _call_portably)
    normalizations = [layer for layer in model.layers if isinstance(layer, ImageNormalization)]
    if not any(layer.channels == "bgr" for layer in normalizations):
        return PortableTwin(twin, preprocessing, None)
    first = next(layer for layer in twin.layers if isinstance(layer, keras.layers.Conv2D))
    return PortableTwin(twin, preprocessing.in_rgb(), first.name)


def with_batch_norms(model: keras.Model, kind: type[keras.layers.BatchNormalization]) -> keras.Model:
    """Builds the same network with another implementation of batch normalization, with the same values.

    Args:
        model: A functional model.
        kind: `keras.layers.BatchNormalization` or `FusedBatchNormalization`.
    """

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        is_batch_norm = isinstance(layer, keras.layers.BatchNormalization)
        return (kind if is_batch_norm else type(layer)).from_config(layer.get_config())

    twin = _cloned(model, clone)
    values = variables_of(model)
    for name, variable in variables_of(twin).items():
        variable.assign(keras.ops.convert_to_numpy(values[name]))
    return twin


def _cloned(
    model: keras.Model,
    clone: Callable[[keras.layers.Layer], keras.layers.Layer],
    call: Callable[..., Any] | None = None,
) -> keras.Model:
    with deep_recursion():
        uncompiled = keras.Model(model.input, model.output, name=model.name)  # a clone is compiled where its model is
        return keras.models.clone_model(uncompiled, clone_function=clone, call_function=call)


def _as_stored(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copies a layer without what the training that it has seen wanted of it."""
    settings = {**layer.get_config(), "dtype": "float32", "trainable": True}
    if isinstance(layer, keras.layers.BatchNormalization):
        return keras.layers.BatchNormalization.from_config({**settings, "synchronized": False})
    return type(layer).from_config(settings)


def _call_portably(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
    """Calls a layer, or those of Keras that together do the same."""
    if isinstance(layer, ImageNormalization):
        return _rescaling(layer)(*args)
    if isinstance(layer, ChannelPadding):
        return _padded(layer, *args)
    if isinstance(layer, StochasticDepth):
        return _added(layer, *args)
    return layer(*args, **kwargs)


def _rescaling(layer: ImageNormalization) -> keras.layers.Layer:
    pairs = list(zip(layer.mean, layer.deviation, strict=True))
    if layer.channels == "bgr":
        pairs.reverse()
    scale, offset = [1.0 / deviation for _, deviation in pairs], [-mean / deviation for mean, deviation in pairs]
    return keras.layers.Rescaling(scale, offset, **_named(layer.name))


def _padded(layer: ChannelPadding, x: Any) -> Any:
    """Pads channels as rows, between two permutations, since Keras has a layer for rows alone."""
    before, after = layer.zeros_around(x.shape[-1])
    if layer.stride > 1:
        x = keras.layers.MaxPooling2D(1, strides=layer.stride, **_named(layer.name))(x)
    if before or after:
        x = keras.layers.Permute((3, 1, 2), **_named(f"{layer.name}_channels_first"))(x)
        rows = ((before, after), (0, 0))
        x = keras.layers.ZeroPadding2D(rows, "channels_last", **_named(f"{layer.name}_zeros"))(x)
        x = keras.layers.Permute((2, 3, 1), **_named(f"{layer.name}_channels_last"))(x)
    return x


def _added(layer: StochasticDepth, inputs: list[Any]) -> Any:
    """Drops the whole residual, which `keras.layers.Dropout` divides by the survival probability where it is kept;
    the product with it gives what Huang et al. 2016 have, in training and in inference."""
    shortcut, residual = inputs
    survival, shape = layer.survival_probability, (1,) * len(residual.shape)
    residual = keras.layers.Dropout(1.0 - survival, shape, layer.seed, **_named(f"{layer.name}_dropout"))(residual)
    residual = keras.layers.Rescaling(survival, **_named(f"{layer.name}{SURVIVAL}"))(residual)
    return keras.layers.Add(**_named(layer.name))([shortcut, residual])


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "dtype": "float32"}
