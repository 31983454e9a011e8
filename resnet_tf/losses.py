"""The loss that training minimizes."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="resnet_tf")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with integer labels, label smoothing (Szegedy et al. 2015, section 7) included.

    Args:
        smoothing: Share of the target that is spread evenly over all classes.
    """

    def __init__(self, smoothing: float = 0.0, name: str = "loss", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        labels = ops.cast(ops.reshape(y_true, (-1,)), "int32")
        targets = ops.one_hot(labels, classes, dtype=y_pred.dtype)
        targets = targets * (1.0 - self.smoothing) + self.smoothing / classes
        return ops.categorical_crossentropy(targets, y_pred, from_logits=True)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "smoothing": self.smoothing}
