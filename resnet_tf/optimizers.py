"""The optimizer of He et al. 2015, which Keras lacks, and SGD as a single operation."""

from typing import Any

import keras
from keras import ops

from resnet_tf.sparse_gradients import as_dense


@keras.saving.register_keras_serializable(package="resnet_tf")
class FusedSGD(keras.optimizers.SGD):
    """A `keras.optimizers.SGD` that makes a step with momentum by one TensorFlow operation per variable.

    Keras uses five operations, each of which reads and writes as many numbers. Arguments, variables and steps are the
    same. Keras's own code runs on several replicas, and if there is no momentum or no TensorFlow.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        if not self._fused_applies():
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        gradient = as_dense(gradient, variable)

        velocity = self.momentums[self._get_variable_index(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,  # Keras passes TensorFlow's variable here
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
    """A `keras.optimizers.SGD` with an L2 penalty on all variables, like the solvers of Caffe and torch.

    The gradient of penalty / 2 · |w|² is added to that of the loss and goes through the momentum with it, whereas
    Keras's own `weight_decay` is decoupled from both. As in Caffe, the momentum includes the learning rate of its step:
    v ← m · v − rate · (g + penalty · w), w ← w + v. The reported loss does not include the penalty.

    Args:
        learning_rate: Learning rate, a number or a schedule.
        penalty: Factor of the penalty, the papers' "weight decay".
        kwargs: Further arguments of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any = 0.01, penalty: float = 0.0, **kwargs: Any) -> None:
        super().__init__(learning_rate, **kwargs)
        self.penalty = penalty

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        # In mixed precision, a custom loop's gradients have fewer bits than the variables.
        gradient = ops.cast(as_dense(gradient, variable), variable.dtype)
        super().update_step(gradient + self.penalty * variable, variable, learning_rate)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "penalty": self.penalty}
