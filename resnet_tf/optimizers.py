"""The optimizer of He et al. 2015, which Keras does not have, and SGD as one operation."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="resnet_tf")
class FusedSGD(keras.optimizers.SGD):
    """`keras.optimizers.SGD` whose step with momentum is one TensorFlow operation for each variable instead of five,
    each of which reads and writes as many numbers.

    Same arguments, variables and steps. On several replicas, and where there is no momentum or no TensorFlow, Keras's
    own code runs.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self._fused_applies():
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        velocity = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,  # Keras gives TensorFlow's variable here
            accum=velocity.value.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def _fused_applies(self) -> bool:
        if self.momentum == 0 or keras.backend.backend() != "tensorflow":
            return False
        import tensorflow as tf

        return not tf.distribute.has_strategy()


@keras.saving.register_keras_serializable(package="resnet_tf")
class PenalizedSGD(FusedSGD):
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
