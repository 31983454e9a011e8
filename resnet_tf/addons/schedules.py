"""Learning rates that go up and down in cycles (Smith 2017, arXiv 1506.01186)."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from resnet_tf.errors import UserError


@keras.saving.register_keras_serializable(package="resnet_tf")
class CyclicalLearningRate(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises from low to high and falls back in each cycle, like `tfa.optimizers.CyclicalLearningRate`.

    Args:
        initial_learning_rate: Low learning rate.
        maximal_learning_rate: High learning rate.
        step_size: Length of half a cycle, in training steps.
        scale_fn: Function that gives the factor of the peak's height. Its argument is the cycle, counted from 1, or the
            step, counted from 0. To be saved with a model, it must be a registered Keras serializable.
        scale_mode: Argument of `scale_fn`, "cycle" or "iterations".
        name: Name of the schedule.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_fn: Callable[[Any], Any],
        scale_mode: str = "cycle",
        name: str = "CyclicalLearningRate",
    ) -> None:
        super().__init__()
        if scale_mode not in ("cycle", "iterations"):
            raise UserError(f"scale_mode must be 'cycle' or 'iterations', received {scale_mode!r}")
        self.initial_learning_rate = initial_learning_rate
        self.maximal_learning_rate = maximal_learning_rate
        self.step_size = step_size
        self.scale_fn = scale_fn
        self.scale_mode = scale_mode
        self.name = name

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        cycle = ops.floor(1.0 + step / (2.0 * self.step_size))
        distance = ops.abs(step / self.step_size - 2.0 * cycle + 1.0)
        height = (self.maximal_learning_rate - self.initial_learning_rate) * ops.maximum(0.0, 1.0 - distance)
        return self.initial_learning_rate + height * self.scale_fn(cycle if self.scale_mode == "cycle" else step)

    def get_config(self) -> dict[str, Any]:
        return {**self._cycle_config(), "scale_fn": keras.saving.serialize_keras_object(self.scale_fn)}

    def _cycle_config(self) -> dict[str, Any]:
        return {
            "initial_learning_rate": self.initial_learning_rate,
            "maximal_learning_rate": self.maximal_learning_rate,
            "step_size": self.step_size,
            "scale_mode": self.scale_mode,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "CyclicalLearningRate":
        config = dict(config)
        if "scale_fn" in config:
            config["scale_fn"] = keras.saving.deserialize_keras_object(config["scale_fn"])
        return cls(**config)


@keras.saving.register_keras_serializable(package="resnet_tf")
class TriangularCyclicalLearningRate(CyclicalLearningRate):
    """A cyclical rate whose peaks all have the same height; arguments are those of `CyclicalLearningRate`."""

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "cycle",
        name: str = "TriangularCyclicalLearningRate",
    ) -> None:
        super().__init__(initial_learning_rate, maximal_learning_rate, step_size, lambda x: 1.0, scale_mode, name)

    def get_config(self) -> dict[str, Any]:
        return self._cycle_config()


@keras.saving.register_keras_serializable(package="resnet_tf")
class Triangular2CyclicalLearningRate(CyclicalLearningRate):
    """A cyclical rate whose peaks each have half the height of the one before.

    The arguments are those of `CyclicalLearningRate`.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "cycle",
        name: str = "Triangular2CyclicalLearningRate",
    ) -> None:
        super().__init__(
            initial_learning_rate, maximal_learning_rate, step_size, lambda x: 2.0 ** (1.0 - x), scale_mode, name
        )

    def get_config(self) -> dict[str, Any]:
        return self._cycle_config()


@keras.saving.register_keras_serializable(package="resnet_tf")
class ExponentialCyclicalLearningRate(CyclicalLearningRate):
    """A cyclical rate whose height is multiplied by gamma at every step or every cycle.

    The other arguments are those of `CyclicalLearningRate`.

    Args:
        gamma: Factor of the height.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        maximal_learning_rate: float,
        step_size: float,
        scale_mode: str = "iterations",
        gamma: float = 1.0,
        name: str = "ExponentialCyclicalLearningRate",
    ) -> None:
        super().__init__(initial_learning_rate, maximal_learning_rate, step_size, lambda x: gamma**x, scale_mode, name)
        self.gamma = gamma

    def get_config(self) -> dict[str, Any]:
        return {**self._cycle_config(), "gamma": self.gamma}
