"""The loss that training minimizes."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="resnet_tf")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of logits with labels, with optional label smoothing (Szegedy et al. 2015, section 7).

    Labels are integers [batch], or shares of the classes [batch, classes], which MixUp and CutMix produce.

    Args:
        smoothing: Share of the target that is spread evenly over all classes.
        class_weights: Weight of each class, or None for 1. The loss of an image is multiplied by the weight of its
            class; for several classes, by the mean of their weights according to their shares. (Keras's own
            `class_weight` uses only the weight of the class with the largest share.)
        log_prior: Logarithm of each class's share of the training images, which is added to the logits, or None for 0.
            The logits themselves are then those for equally frequent classes (Menon et al. 2021, arXiv 2007.07314).
    """

    def __init__(
        self,
        smoothing: float = 0.0,
        class_weights: Sequence[float] | None = None,
        log_prior: Sequence[float] | None = None,
        name: str = "loss",
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.smoothing = smoothing
        self.class_weights = None if class_weights is None else list(class_weights)
        self.log_prior = None if log_prior is None else list(log_prior)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        classes = y_pred.shape[-1]
        if self.log_prior is not None:
            y_pred = y_pred + ops.convert_to_tensor(self.log_prior, dtype=y_pred.dtype)
        shares = _shares(y_true, classes, y_pred.dtype)
        targets = shares * (1.0 - self.smoothing) + self.smoothing / classes
        losses = ops.categorical_crossentropy(targets, y_pred, from_logits=True)
        if self.class_weights is None:
            return losses
        return losses * ops.sum(shares * ops.convert_to_tensor(self.class_weights, dtype=y_pred.dtype), axis=-1)

    def get_config(self) -> dict[str, Any]:
        settings = {"smoothing": self.smoothing, "class_weights": self.class_weights, "log_prior": self.log_prior}
        return {**super().get_config(), **settings}


def _shares(labels: Any, classes: int, dtype: Any) -> Any:
    """Converts integer labels [batch] or [batch, 1] to one-hot; shares [batch, classes] are only cast."""
    if len(labels.shape) == 2 and labels.shape[-1] == classes:
        return ops.cast(labels, dtype)
    return ops.one_hot(ops.cast(ops.reshape(labels, (-1,)), "int32"), classes, dtype=dtype)
