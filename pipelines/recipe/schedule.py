"""The learning rate from step to step, also for a training whose number of epochs nobody has set.

A cosine needs a known end. Without one, the rate stays at its peak for as long as validation improves, and then falls
to 0 over a fifth of all steps. This is called warmup–stable–decay, and is on a par with a cosine that knows the end
(Hägele et al. 2024, arXiv 2405.18392).
"""

from typing import Any

import keras
from keras import ops

from pipelines.recipe.decision import Recipe

_NEVER = 1e30


class PlateauSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that rises linearly from 0 to the peak, stays there, and falls to 0 after a call of `cool_down`.

    In the cool-down, the rate is peak × (1 - √share of the cool-down), the shape that Hägele et al. found best. A
    variable holds the steps of the cool-down, because a function that is already traced must see them too. The variable
    is not saved; the run's progress contains the same numbers.

    Args:
        peak: Peak of the learning rate.
        warmup_steps: Number of steps until the peak is reached.
    """

    def __init__(self, peak: float, warmup_steps: int) -> None:
        super().__init__()
        self.peak, self.warmup_steps = peak, warmup_steps
        self.cooldown = keras.Variable([_NEVER, 1.0], trainable=False, dtype="float32", name="cooldown")

    def cool_down(self, first_step: int, steps: int) -> None:
        """Makes the rate fall to 0 within a number of steps.

        Args:
            first_step: First step of the cool-down, as the optimizer counts them.
            steps: Number of steps of the cool-down.
        """
        self.cooldown.assign([first_step, steps])

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps}

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        warmed = ops.minimum(1.0, step / self.warmup_steps) if self.warmup_steps else 1.0
        first, steps = self.cooldown[0], self.cooldown[1]
        return self.peak * warmed * (1.0 - ops.sqrt(ops.clip((step - first) / steps, 0.0, 1.0)))


def make_schedule(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    """Returns the schedule of a recipe. It must be called in the scope of the strategy."""
    makers = {"cosine": _cosine, "steps": _steps, "plateau": _plateau}
    return makers[recipe.schedule](recipe)


def _cosine(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if recipe.warmup_steps else recipe.learning_rate,
        decay_steps=max(1, recipe.total_steps - recipe.warmup_steps),
        warmup_target=recipe.learning_rate if recipe.warmup_steps else None,
        warmup_steps=recipe.warmup_steps,
    )


def _steps(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    rates = [recipe.learning_rate / 10**drops for drops in range(len(recipe.drop_steps) + 1)]
    ends = list(recipe.drop_steps)
    if recipe.warmup_steps:
        rates, ends = [recipe.learning_rate / 10, *rates], [recipe.warmup_steps, *ends]
    # Each rate holds up to and including the step of its boundary; steps count from 0.
    return keras.optimizers.schedules.PiecewiseConstantDecay([end - 1 for end in ends], rates)


def _plateau(recipe: Recipe) -> keras.optimizers.schedules.LearningRateSchedule:
    return PlateauSchedule(recipe.learning_rate, recipe.warmup_steps)
