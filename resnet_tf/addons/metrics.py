"""Metrics of agreement beyond chance, accumulated over batches in a confusion matrix."""

from typing import Any

import keras
from keras import ops

from resnet_tf.errors import UserError

WEIGHTAGES = (None, "linear", "quadratic")


class _ConfusionMatrixMetric(keras.metrics.Metric):
    """Holds the confusion matrix: rows are true classes, columns are predicted classes, entries are sums of weights."""

    def __init__(self, num_classes: int, name: str, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self.num_classes = num_classes
        # The matrix is float32 in any precision, because bfloat16 cannot count beyond 256.
        self.conf_mtx = self.add_weight(
            shape=(num_classes, num_classes), initializer="zeros", dtype="float32", name="conf_mtx"
        )

    def _count(self, true: Any, predicted: Any, sample_weight: Any) -> None:
        true, predicted = (ops.reshape(ops.cast(labels, "int32"), (-1,)) for labels in (true, predicted))
        known = (true >= 0) & (true < self.num_classes) & (predicted >= 0) & (predicted < self.num_classes)
        # tfa raises at an unknown label. A graph cannot do that on every backend, so the result becomes NaN rather than
        # silently wrong.
        weights = ops.where(known, 1.0, float("nan"))
        if sample_weight is not None:
            weights = weights * ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
        rows = ops.one_hot(true, self.num_classes, dtype="float32")
        columns = ops.one_hot(predicted, self.num_classes, dtype="float32") * weights[:, None]
        self.conf_mtx.assign_add(ops.matmul(ops.transpose(rows), columns))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="resnet_tf")
class CohenKappa(_ConfusionMatrixMetric):
    """Cohen's kappa (Cohen 1960; weighted: Cohen 1968), like `tfa.metrics.CohenKappa`.

    A value of 1 is full agreement, 0 is agreement by chance. Without samples the value is 0. If labels and predictions
    are all of one class, chance alone agrees fully and the value is NaN, as in tfa and scikit-learn. An unknown class
    number makes the value NaN, whereas tfa raises an error.

    With two classes, the labels are 0 or 1 and the predictions are class numbers or probabilities above 0.5. With more
    classes, the labels are one-hot, or class numbers if `sparse_labels` is set; the predictions are scores
    [batch, classes] or class numbers [batch].

    Args:
        num_classes: Number of classes, two or more.
        name: Name of the metric.
        weightage: Weight of a disagreement: None for equal weights, "linear" or "quadratic" in the distance of the
            classes.
        sparse_labels: Whether labels are class numbers; only with more than two classes.
        regression: Whether predictions of shape [batch, 1] are class numbers to be rounded.
        dtype: Data type of the result.
    """

    def __init__(
        self,
        num_classes: int,
        name: str = "cohen_kappa",
        weightage: str | None = None,
        sparse_labels: bool = False,
        regression: bool = False,
        dtype: Any = None,
    ) -> None:
        if num_classes < 2:
            raise UserError(f"{name} needs at least two classes, received num_classes={num_classes!r}")
        super().__init__(num_classes, name, dtype)
        if weightage not in WEIGHTAGES:
            raise UserError(f"weightage must be None, 'linear' or 'quadratic', received {weightage!r}")
        self.weightage = weightage
        self.sparse_labels = sparse_labels
        self.regression = regression

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        if self.num_classes == 2:
            self._count(y_true, ops.cast(y_pred, "float32") > 0.5, sample_weight)
            return
        if not self.sparse_labels:
            y_true = ops.argmax(y_true, axis=1)
        if len(y_pred.shape) > 1:
            y_pred = ops.round(ops.abs(y_pred)) if self.regression else ops.argmax(y_pred, axis=-1)
        self._count(y_true, y_pred, sample_weight)

    def result(self) -> Any:
        classes = ops.arange(self.num_classes, dtype="float32")
        distance = ops.abs(classes[:, None] - classes[None, :])
        if self.weightage is None:
            cost = ops.cast(distance > 0, "float32")
        else:
            cost = distance if self.weightage == "linear" else ops.square(distance)
        total = ops.sum(self.conf_mtx)
        observed = self.conf_mtx / total
        expected = ops.sum(observed, axis=1)[:, None] * ops.sum(observed, axis=0)[None, :]
        kappa = 1.0 - ops.sum(cost * observed) / ops.sum(cost * expected)
        return ops.cast(ops.where(total == 0, 0.0, kappa), self.dtype)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weightage": self.weightage,
            "sparse_labels": self.sparse_labels,
            "regression": self.regression,
        }


@keras.saving.register_keras_serializable(package="resnet_tf")
class MatthewsCorrelationCoefficient(_ConfusionMatrixMetric):
    """Matthews correlation coefficient of any number of classes, like `tfa.metrics.MatthewsCorrelationCoefficient`.

    This is R_K of Gorodkin 2004, the correlation of one-hot labels and one-hot predictions. It is undefined if labels
    or predictions are all of one class; the value is then 0, and so it always is with one class.

    Args:
        num_classes: Number of classes, one or more. Labels are one-hot and predictions are scores, both
            [batch, num_classes].
        name: Name of the metric.
        dtype: Data type of the result.
    """

    def __init__(self, num_classes: int, name: str = "MatthewsCorrelationCoefficient", dtype: Any = None) -> None:
        if num_classes < 1:
            raise UserError(f"{name} needs at least one class, received num_classes={num_classes!r}")
        super().__init__(num_classes, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        self._count(ops.argmax(y_true, axis=1), ops.argmax(y_pred, axis=1), sample_weight)

    def result(self) -> Any:
        true, predicted = ops.sum(self.conf_mtx, axis=1), ops.sum(self.conf_mtx, axis=0)
        total = ops.sum(predicted)
        covariance = ops.trace(self.conf_mtx) * total - ops.sum(true * predicted)
        variances = (total**2 - ops.sum(true**2)) * (total**2 - ops.sum(predicted**2))
        mcc = covariance / ops.sqrt(variances)
        return ops.cast(ops.where(variances <= 0, 0.0, mcc), self.dtype)
