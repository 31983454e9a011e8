"""The optimizer of He et al. 2015, which Keras does not have."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="resnet_tf")
class PenalizedSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` with an L2 penalty of all variables, as Caffe's solver and torch's have it.

    The gradient of penalty / 2 · |w|² is added to that of the loss, and goes through the momentum with it; Keras's own
    `weight_decay` is decoupled from both. Momentum has the rate of its step inside, as Caffe's: v ← m · v − rate · (g +
    penalty · w), w ← w + v. The loss that is reported is without the penalty.

    Args:
        learning_rate: A number or a schedule.
        penalty: The papers' "weight decay".
        kwargs: Those of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any = 0.01, penalty: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        super().update_step(gradient + self.penalty * variable, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "penalty": self.penalty}
