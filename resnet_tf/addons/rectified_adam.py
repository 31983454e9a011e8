"""RAdam, which takes plain momentum steps until the variance of Adam's adaptive rate is under control."""

from typing import Any

import keras
from keras import ops

from resnet_tf.sparse_gradients import as_dense, touched_rows


@keras.saving.register_keras_serializable(package="resnet_tf")
class RectifiedAdam(keras.optimizers.Optimizer):
    """RAdam (Liu et al. 2019, arXiv 1908.03265, algorithm 2), like `tfa.optimizers.RectifiedAdam`.

    Where TensorFlow gives the gradients of some rows alone, as for an Embedding, the other rows stay as they are, but
    their means of gradients fall. As in Keras, and unlike in tfa, weight decay reaches all rows.

    Args:
        learning_rate: Learning rate, a number or a schedule.
        beta_1: Decay of the mean of gradients.
        beta_2: Decay of the mean of squared gradients.
        epsilon: Number that is added to the root of the mean of squared gradients.
        weight_decay: Decoupled weight decay, which is multiplied by the learning rate, as in tfa and in Keras.
        amsgrad: Whether to divide by the largest mean of squared gradients so far.
        sma_threshold: Length of the simple moving average from which the rate is adaptive.
        total_steps: Number of steps in which the rate first rises linearly from 0 and then falls linearly to `min_lr`;
            0 for a rate without rise and fall.
        warmup_proportion: Share of `total_steps` in which the rate rises, in 0 … 1.
        min_lr: Learning rate at the end of `total_steps`.
        name: Name of the optimizer.
        **kwargs: Arguments of every Keras optimizer, such as `clipnorm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.0,
        amsgrad: bool = False,
        sma_threshold: float = 5.0,
        total_steps: int = 0,
        warmup_proportion: float = 0.1,
        min_lr: float = 0.0,
        name: str = "RectifiedAdam",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, weight_decay=weight_decay or None, name=name, **kwargs)
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.amsgrad = amsgrad
        self.sma_threshold = sma_threshold
        self.total_steps = total_steps
        self.warmup_proportion = warmup_proportion
        self.min_lr = min_lr

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        super().build(variables)
        self._means, self._squares = self.add_optimizer_variables(variables, ["m", "v"])
        if self.amsgrad:
            self._largest_squares = self.add_optimizer_variables(variables, "vhat")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        rows = touched_rows(gradient, variable)
        gradient = ops.cast(as_dense(gradient, variable), variable.dtype)
        mean, square = self._means[index], self._squares[index]
        self.assign(mean, self.beta_1 * mean + (1.0 - self.beta_1) * gradient)
        self.assign(square, self.beta_2 * square + (1.0 - self.beta_2) * ops.square(gradient))
        if self.amsgrad:
            largest = self._largest_squares[index]
            self.assign(largest, ops.maximum(largest, square))
            square = largest

        step = ops.cast(self.iterations + 1, "float32")
        power_1, power_2 = ops.power(self.beta_1, step), ops.power(self.beta_2, step)
        length_limit = 2.0 / (1.0 - self.beta_2) - 1.0
        length = length_limit - 2.0 * step * power_2 / (1.0 - power_2)
        rectification = ops.sqrt(
            ((length - 4.0) * (length - 2.0) * length_limit) / ((length_limit - 4.0) * (length_limit - 2.0) * length)
        )
        momentum = mean / ops.cast(1.0 - power_1, variable.dtype)
        adaptive = ops.cast(rectification, variable.dtype) * momentum
        adaptive = adaptive / (ops.sqrt(square / ops.cast(1.0 - power_2, variable.dtype)) + self.epsilon)
        update = ops.where(length >= self.sma_threshold, adaptive, momentum)
        if rows is not None:
            update = update * ops.cast(rows, variable.dtype)
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * update)

    def _get_current_learning_rate(self) -> Any:
        """Returns the rate with the rise and fall of `total_steps`, so that weight decay follows them too."""
        rate = super()._get_current_learning_rate()
        if self.total_steps <= 0:
            return rate
        step = ops.cast(self.iterations + 1, "float32")
        rising = self.total_steps * self.warmup_proportion
        falling = max(self.total_steps - rising, 1.0)
        fallen = ops.minimum(step - rising, falling) / falling
        # Without a rise, the first branch is never taken; the maximum avoids its division by zero.
        return ops.where(step <= rising, rate * step / max(rising, 1e-7), rate + (self.min_lr - rate) * fallen)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "sma_threshold": self.sma_threshold,
            "total_steps": self.total_steps,
            "warmup_proportion": self.warmup_proportion,
            "min_lr": self.min_lr,
        }
