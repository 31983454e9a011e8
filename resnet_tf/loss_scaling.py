"""Loss scaling for float16 (Micikevicius et al. 2017, arXiv 1710.03740) over several replicas."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="resnet_tf")
class AgreedLossScaleOptimizer(keras.optimizers.LossScaleOptimizer):
    """A `keras.optimizers.LossScaleOptimizer` for gradients that are not yet summed over the replicas.

    Keras 3.15 checks either each replica's gradients separately, or only those of the first replica for all. An
    overflow on a different replica then reaches the weights, or replicas wait for each other forever. Here, all
    replicas skip a step if one of them has to.
    """

    def check_finite(self, grads: Any) -> Any:
        finite = super().check_finite(grads)
        if keras.backend.backend() != "tensorflow":
            return finite
        import tensorflow as tf

        replica = tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return finite
        overflows = replica.all_reduce(tf.distribute.ReduceOp.SUM, 1.0 - ops.cast(finite, "float32"))
        return ops.equal(overflows, 0.0)
