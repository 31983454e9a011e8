"""finetune --find-learning-rate: draws the loss over a growing learning rate.

This is the range test of Smith 2017, arXiv 1506.01186.
"""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from pipelines.config.verbs import RangeTestConfig
from pipelines.console.signals import Interrupts
from pipelines.console.terminal import progress_bar, say
from pipelines.recipe.earlier import Earlier, earlier_for_all
from pipelines.report.range_figure import draw_range_test
from pipelines.runs.files import check_place, write_atomically
from pipelines.training.head import fit_head
from pipelines.training.look import informed_trainer
from pipelines.training.loop import train
from pipelines.training.overflow import HOPELESS, Overflows
from pipelines.training.plan import Plan
from pipelines.training.range_curve import BASELINE, Reading, has_diverged, read_curve, steps_of
from pipelines.training.setup import make_plan
from pipelines.training.trainer import Trainer
from resnet_tf.errors import UserError
from resnet_tf.workers import joined


@dataclass(frozen=True)
class Sweep:
    """The learning rates of a range test, from one that changes nothing to one at which no network learns any more.

    Args:
        low: First learning rate.
        high: Last learning rate.
        steps: Number of learning rates, one per step.
    """

    low: float
    high: float
    steps: int


# Adam's steps are about as long as the rate, whatever the gradient. The other optimizers are for training from scratch,
# which needs some 60 steps per decade: with 20 the loss did not fall below that of guessing (docs/ablation.md).
ADAM = Sweep(1e-7, 1e-1, 100)
MOMENTUM = Sweep(1e-4, 1e1, 300)


@dataclass(frozen=True)
class RangeTest:
    """The result of `find_learning_rate`.

    Args:
        rates: Learning rate of each step.
        losses: Training loss of each step's batch.
        reading: Reading of the curve that the rates and losses make.
        chosen: Learning rate that a run would take, the recipe's or the user's.
    """

    rates: list[float]
    losses: list[float]
    reading: Reading
    chosen: float

    @property
    def suggestion(self) -> float | None:
        """Suggested peak learning rate, or None if the loss does not fall."""
        return self.reading.suggestion


def find_learning_rate(config: RangeTestConfig, repeated: Earlier | None = None) -> RangeTest:
    """Trains some hundred steps with an exponentially growing learning rate, and draws the loss over the rate.

    The network is the one that a training would start from. No run is made or changed.

    Args:
        config: Settings of the training, and path of the picture.
        repeated: Run whose decisions are repeated if the settings leave them open, or None.

    Returns:
        The curve and the suggested learning rate, which may be None.

    Raises:
        UserError: Something is wrong that the user can correct; nothing is written.
        KeyboardInterrupt: Ctrl-C was pressed; or SIGTERM was received, which raises `Terminated`.
    """
    training, picture = config.training, Path(config.picture)
    with joined(training.strategy) as workers, Interrupts():
        if workers.chief:
            check_place(picture)
        earlier = earlier_for_all(workers, lambda: repeated)
        plan = make_plan(training, earlier, workers=workers)
        trainer = informed_trainer(plan)
        plan = trainer.plan
        say(str(plan))
        if plan.recipe.head_first:
            fit_head(trainer)
        rates, losses = _train(trainer, ADAM if plan.recipe.optimizer == "adamw" else MOMENTUM)
        reading = read_curve(rates, losses, len(plan.classes))
        found = RangeTest(rates, losses, reading, plan.recipe.learning_rate)
        say(_describe(found, plan))
        if workers.chief:
            title = f"range test: {training.arch}, {plan.recipe.optimizer}, {len(plan.rows['train'])} images"
            write_atomically(picture, lambda path: draw_range_test(rates, losses, reading, found.chosen, path, title))
            say(f"wrote {picture}")
    return found


class _Curve(keras.callbacks.Callback):
    """Records the rate and the loss of each step, until all steps are done or the loss has diverged."""

    def __init__(self, steps: int, classes: int) -> None:
        super().__init__()
        self.steps, self.classes = steps, classes
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.done = 0
        self.overflows = Overflows()

    def on_train_begin(self, logs: Any = None) -> None:
        self.overflows.begin(self.model)
        self.bar = progress_bar(self.steps, "range test", "step")

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.rate = float(self.model.optimizer.learning_rate)
        self.model.reset_metrics()  # so that the loss is that of this batch alone

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.done += 1
        self.bar.update(1)
        if not self.overflows.skipped(self.model):
            assert logs is not None
            self.rates.append(self.rate)
            self.losses.append(float(logs["loss"]))
            self.model.stop_training = has_diverged(self.rates, self.losses, self.classes)
        if self.done == self.steps or self.overflows.in_a_row == HOPELESS:
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        self.bar.close()


def _train(trainer: Trainer, sweep: Sweep) -> tuple[list[float], list[float]]:
    """Trains through the rates of a sweep, and returns the rates and the finite losses of their batches."""
    trainer.model.optimizer.learning_rate = keras.optimizers.schedules.ExponentialDecay(
        sweep.low, sweep.steps - 1, sweep.high / sweep.low
    )
    curve, steps = _Curve(sweep.steps, len(trainer.plan.classes)), trainer.steps
    started = time.monotonic()
    train(trainer, [curve], lambda: divmod(curve.done, steps), epochs=-(-sweep.steps // steps))
    rates, losses = curve.rates, curve.losses
    if losses and not math.isfinite(losses[-1]):
        rates, losses = rates[:-1], losses[:-1]
    if len(losses) < 2 or len(losses) < 2 * steps_of(BASELINE, rates):
        raise UserError(
            f"the loss became infinite in step {curve.done} already, at a learning rate of {curve.rate:.1e}; try "
            "--precision float32"
        )
    images = trainer.plan.config.batch_size
    say(
        f"range test: {len(losses)} steps of {images} images in {time.monotonic() - started:.1f} s, "
        f"learning rate {sweep.low:g} to {rates[-1]:.2g}"
    )
    return rates, losses


def _describe(found: RangeTest, plan: Plan) -> str:
    reading, whose = found.reading, "the recipe's" if plan.config.learning_rate is None else "yours"
    course = f"training loss: from {reading.start:.3f} to {reading.lowest:.3f} at {reading.best_rate:.1e}"
    if reading.rises_from is not None:
        course += f", rising at {reading.rises_from:.1e}"
    if found.suggestion is not None:
        suggested = f"suggested: --learning-rate {found.suggestion:.1e}"
        return f"{course}\n{suggested} ({whose} is {found.chosen:.1e}; at larger ones the loss rises again)"
    why = ", since the head is fitted already" if plan.recipe.head_first else ""
    place = "" if reading.rises_from is None else ", where it does not rise yet"
    if reading.rises_from is not None and found.chosen >= reading.rises_from:
        place = ", where it rises; choose a smaller one"
    flat = f"no suggestion: the loss does not fall by more than {reading.noise:.3f}, which batches differ by{why}"
    return f"{course}\n{flat}; {whose} is {found.chosen:.1e}{place}"
