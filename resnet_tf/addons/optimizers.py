"""SWA and Lookahead, which wrap another optimizer and keep a second value of each weight."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
from keras import ops

from resnet_tf.errors import UserError


class NoOptimizerError(UserError, TypeError):
    """The error for an inner optimizer that is none; tfa raises TypeError."""


class _SecondWeights(keras.optimizers.Optimizer):
    """Lets an inner optimizer make the steps and keeps a slot beside each weight.

    The inner optimizer does the clipping, weight decay, gradient accumulation and loss scaling.
    """

    slot_name: str

    def __init__(self, optimizer: keras.optimizers.Optimizer | str | dict[str, Any], name: str) -> None:
        try:
            inner = keras.optimizers.get(optimizer)
        except ValueError:
            inner = None
        if not isinstance(inner, keras.optimizers.Optimizer):
            raise NoOptimizerError(f"{name} goes around an optimizer of Keras, received {optimizer!r}")
        super().__init__(learning_rate=0.0, name=name)  # never used, because the inner optimizer has the rate
        self.inner_optimizer = inner

    def build(self, variables: list[keras.Variable]) -> None:
        if self.built:
            return
        self.inner_optimizer.build(variables)
        self._slots = self.add_optimizer_variables(variables, self.slot_name)
        super().build(variables)

    def apply(self, grads: list[Any], trainable_variables: list[keras.Variable] | None = None) -> None:
        if not self.built:
            self.build(list(trainable_variables or ()))
        step = ops.add(self.iterations, 0)  # a copy of the number; a conversion would return TensorFlow's variable
        self._before_step(step)
        self.inner_optimizer.apply(grads, trainable_variables)
        # With gradient accumulation, most calls make no step.
        stepped = ops.not_equal(self.iterations, step)
        self._after_step(step, stepped)

    def _before_step(self, step: Any) -> None:
        """Updates weights and slots before step number `step`, counted from 0."""

    def _after_step(self, step: Any, stepped: Any) -> None:
        """Updates weights and slots after that step; `stepped` is whether the step changed the weights."""
        raise NotImplementedError

    def _update_each(self, update: Callable[..., None], *arguments: Any) -> None:
        """Calls update(weight, slot, *arguments) for every weight; with TensorFlow, on every replica."""
        pairs = list(zip(self._trainable_variables, self._slots, strict=True))
        if keras.backend.backend() != "tensorflow":
            for variable, slot in pairs:
                update(variable, slot, *arguments)
            return
        import tensorflow as tf

        def update_replicas(strategy: Any, *arguments: Any) -> None:
            for variable, slot in pairs:
                # A custom loop may pass TensorFlow's own variables, as it could to tfa.
                of_tensorflow = variable.value if isinstance(variable, keras.Variable) else variable
                strategy.extended.update(of_tensorflow, update, args=(slot.value, *arguments), group=False)

        # Keras's own optimizers do the same: a replica must not assign to a mirrored variable by itself.
        tf.__internal__.distribute.interim.maybe_merge_call(update_replicas, tf.distribute.get_strategy(), *arguments)

    def _assign_where(self, condition: Any, variable: Any, value: Any) -> None:
        # This is not a branch, because TensorFlow cannot reach the other replicas from inside one.
        tensors = (ops.convert_to_tensor(item) for item in (value, variable))
        self.assign(variable, ops.where(condition, *tensors))

    @property
    def variables(self) -> list[keras.Variable]:
        return [*self._variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        self.inner_optimizer.learning_rate = learning_rate

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, var_list: Any = None, var_names: Any = None) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def set_weights(self, weights: list[Any]) -> None:
        own = len(self._variables)
        super().set_weights(weights[:own])
        self.inner_optimizer.set_weights(weights[own:])

    def save_own_variables(self, store: Any) -> None:
        """Saves the slots, but not the inner optimizer's variables.

        Keras finds the inner optimizer as an attribute and saves it separately.
        """
        for index, variable in enumerate(self._variables):
            store[str(index)] = variable.numpy()

    def load_own_variables(self, store: Any) -> None:
        if len(store.keys()) != len(self._variables):
            warnings.warn(
                f"{self.name} is left as it is: the file has {len(store.keys())} variables for it instead of "
                f"{len(self._variables)}",
                stacklevel=2,
            )
            return
        for index, variable in enumerate(self._variables):
            variable.assign(store[str(index)])

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "optimizer": keras.saving.serialize_keras_object(self.inner_optimizer)}


@keras.saving.register_keras_serializable(package="resnet_tf")
class SWA(_SecondWeights):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407), like `tfa.optimizers.SWA`.

    It averages the weights after step `start_averaging` and after every `average_period`-th step from then on.
    Training continues with the weights themselves; `assign_average_vars` replaces them by the averages. The moving
    statistics of batch norms fit the averages only after a pass over the training data in training mode.

    Args:
        optimizer: Inner optimizer that makes the steps, or its name or config.
        start_averaging: Step of the first average, counted from 0.
        average_period: Number of steps from one average to the next, 1 or more.
        name: Name of the optimizer.
    """

    slot_name = "average"

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str | dict[str, Any],
        start_averaging: int = 0,
        average_period: int = 10,
        name: str = "SWA",
    ) -> None:
        super().__init__(optimizer, name)
        if average_period < 1:
            raise UserError(f"average_period must be 1 or more, received {average_period!r}")
        if start_averaging < 0:
            raise UserError(f"start_averaging must be 0 or more, received {start_averaging!r}")
        self.start_averaging = start_averaging
        self.average_period = average_period

    def _after_step(self, step: Any, stepped: Any) -> None:
        since_start = step - self.start_averaging
        due = stepped & (since_start >= 0) & (since_start % self.average_period == 0)
        averaged = ops.cast(since_start // self.average_period, "float32")
        self._update_each(self._average, due, averaged)

    def _average(self, weight: Any, average: Any, due: Any, averaged: Any) -> None:
        averaged = ops.cast(averaged, average.dtype)
        self._assign_where(due, average, (average * averaged + weight) / (averaged + 1.0))

    def assign_average_vars(self, var_list: Iterable[Any]) -> None:
        """Replaces the weights by their averages.

        Args:
            var_list: Variables of Keras or TensorFlow. Those that are not trained have no average and are unchanged.

        Raises:
            UserError: There is no average yet. In this case, tfa sets all weights to zero.
        """
        steps = int(self.iterations)
        if not self.built or steps <= self.start_averaging:
            raise UserError(f"no average yet after {steps} steps: averaging starts with step {self.start_averaging}")
        averages = {id(weight): slot for weight, slot in zip(self._trainable_variables, self._slots, strict=True)}
        for variable in var_list:
            if id(variable) in averages:
                variable.assign(ops.convert_to_tensor(averages[id(variable)]))

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "start_averaging": self.start_averaging,
            "average_period": self.average_period,
        }


@keras.saving.register_keras_serializable(package="resnet_tf")
class Lookahead(_SecondWeights):
    """Lookahead, "k steps forward, 1 step back" (Zhang et al. 2019, arXiv 1907.08610), like `tfa.optimizers.Lookahead`.

    After every `sync_period`-th step, the slow weights move a part of the way towards the weights, and the weights are
    set to the slow ones. Around `RectifiedAdam`, it is known as Ranger.

    Args:
        optimizer: Inner optimizer that makes the steps, or its name or config.
        sync_period: Number of steps from one synchronization to the next.
        slow_step_size: Part of the way that the slow weights move, in 0 … 1.
        name: Name of the optimizer.
    """

    slot_name = "slow"

    def __init__(
        self,
        optimizer: keras.optimizers.Optimizer | str | dict[str, Any],
        sync_period: int = 6,
        slow_step_size: float = 0.5,
        name: str = "Lookahead",
    ) -> None:
        super().__init__(optimizer, name)
        if sync_period < 1:
            raise UserError(f"sync_period must be 1 or more, received {sync_period!r}")
        self.sync_period = sync_period
        self.slow_step_size = slow_step_size

    def _before_step(self, step: Any) -> None:
        # The slots are not filled when they are created, because weights may be loaded before the first step.
        self._update_each(self._start, ops.equal(step, 0))

    def _after_step(self, step: Any, stepped: Any) -> None:
        self._update_each(self._synchronize, stepped & ((step + 1) % self.sync_period == 0))

    def _start(self, weight: Any, slow: Any, first: Any) -> None:
        self._assign_where(first, slow, weight)

    def _synchronize(self, weight: Any, slow: Any, due: Any) -> None:
        there = slow + self.slow_step_size * (weight - slow)
        self._assign_where(due, slow, there)
        self._assign_where(due, weight, there)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sync_period": self.sync_period, "slow_step_size": self.slow_step_size}
