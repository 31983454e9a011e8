"""The layers that Keras does not have."""

from typing import Any

import keras
from keras import ops

from resnet_tf.errors import UserError


@keras.saving.register_keras_serializable(package="resnet_tf")
class ChannelPadding(keras.layers.Layer):
    """Takes every stride-th pixel, and adds zero channels up to the number of filters: shortcut option A.

    He et al. 2015, section 3.3, do not say where the zeros go. Half of them stand before the channels and half after,
    as in the published CIFAR-10 weights of akamaster/pytorch_resnet_cifar10.

    Args:
        filters: Channels of the output, not fewer than those of the input.
        stride: Step in height and width, in pixels.
    """

    def __init__(self, filters: int, stride: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.filters = filters
        self.stride = stride

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None or channels > self.filters:
            raise UserError(f"option A pads channels up to {self.filters}, received an input with {channels}")

    def zeros_around(self, channels: int) -> tuple[int, int]:
        """Returns how many zero channels come before and after those of an input."""
        before = (self.filters - channels) // 2
        return before, self.filters - channels - before

    def call(self, inputs: Any) -> Any:
        x = inputs[:, :: self.stride, :: self.stride, :]
        return ops.pad(x, ((0, 0), (0, 0), (0, 0), self.zeros_around(inputs.shape[-1])))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "filters": self.filters, "stride": self.stride}


@keras.saving.register_keras_serializable(package="resnet_tf")
class ImageNormalization(keras.layers.Layer):
    """Turns uint8 RGB images into what a set of weights was trained on: (x - mean) / deviation, RGB or BGR.

    It computes in float32 whatever the precision of the network, since 8 bits do not fit into bfloat16.

    Args:
        mean: Mean of each channel, in 0 … 255, in the order of the output channels.
        deviation: Standard deviation of each channel, in the same unit and order.
        channels: Order of the output channels, "rgb" or "bgr".
    """

    def __init__(self, mean: list[float], deviation: list[float], channels: str = "rgb", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if channels not in ("rgb", "bgr"):
            raise UserError(f"channels must be 'rgb' or 'bgr', received {channels!r}")
        self.mean = list(mean)
        self.deviation = list(deviation)
        self.channels = channels

    def call(self, inputs: Any) -> Any:
        x = ops.cast(inputs, "float32")
        if self.channels == "bgr":
            x = ops.flip(x, axis=-1)
        x = (x - ops.convert_to_tensor(self.mean, "float32")) / ops.convert_to_tensor(self.deviation, "float32")
        return ops.cast(x, self.compute_dtype)

    def compute_output_spec(self, inputs: Any) -> keras.KerasTensor:
        return keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "mean": self.mean,
            "deviation": self.deviation,
            "channels": self.channels,
        }


@keras.saving.register_keras_serializable(package="resnet_tf")
class StochasticDepth(keras.layers.Layer):
    """Adds shortcut and residual; training drops the residual of the whole batch at random.

    This is Huang et al. 2016 (arXiv 1603.09382), equations 2 and 5, and `tfa.layers.StochasticDepth`: a training step
    keeps the residual with the survival probability and does not rescale it; inference multiplies it by the
    survival probability. The layer is called on [shortcut, residual], two tensors of one shape.

    Args:
        survival_probability: Probability to keep the residual, in 0 … 1.
        seed: Number that makes the draws repeatable, or None.
    """

    def __init__(self, survival_probability: float = 0.5, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0.0 <= survival_probability <= 1.0:
            raise UserError(f"survival_probability must be in 0 … 1, received {survival_probability!r}")
        self.survival_probability = survival_probability
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
            raise UserError(f"StochasticDepth is called on [shortcut, residual], received {inputs!r}")
        shortcut, residual = inputs
        if not training:
            return shortcut + self.survival_probability * residual
        kept = keras.random.uniform((), dtype="float32", seed=self.seed_generator) < self.survival_probability
        return shortcut + ops.cast(kept, residual.dtype) * residual

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "survival_probability": self.survival_probability, "seed": self.seed}
