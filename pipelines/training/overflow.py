"""Counts the steps that loss scaling leaves out because gradients overflowed in float16.

Such steps are not a collapse, unless there is no end to them.
"""

from typing import Any

import keras
import numpy as np

# So many steps in a row lead from the first scale, 2^15, down to one that no network needs that still learns.
HOPELESS = 30


class Overflows:
    """Watches the steps of one `fit`. Only an optimizer that scales the loss leaves steps out."""

    def __init__(self) -> None:
        self.in_a_row = 0
        self._applied: int | None = None
        self._metrics: list[np.ndarray] | None = None

    def begin(self, model: keras.Model) -> None:
        """Begins an epoch. It must be called before each epoch, after Keras has set the metrics to 0."""
        if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
            self._applied, self._metrics = _applied(model), None

    def skipped(self, model: keras.Model) -> bool:
        """Returns whether a step was left out. It must be called after each step.

        A step that was left out counts in no metric, because its loss may be infinite, and a mean would keep that for
        the rest of the epoch.
        """
        if self._applied is None:
            return False
        before, self._applied = self._applied, _applied(model)
        if self._applied > before:
            self.in_a_row = 0
            self._metrics = [keras.ops.convert_to_numpy(variable) for variable in model.metrics_variables]
            return False
        self.in_a_row += 1
        if self._metrics is None:
            model.reset_metrics()
        else:
            for variable, value in zip(model.metrics_variables, self._metrics, strict=True):
                variable.assign(value)
        return True


def _applied(model: Any) -> int:
    return int(keras.ops.convert_to_numpy(model.optimizer.iterations))
