"""Decides when a training ends that has a number of minutes (--minutes), from its measured speed."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipelines.console.clock import Stopwatch, as_clock, in_minutes
from pipelines.console.terminal import say
from pipelines.recipe.decision import Recipe
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.training.checkpoint import Progress
from pipelines.training.open_end import reason_to_cool_down
from resnet_tf.workers import Workers

# The rate falls in one of this many steps. Hägele et al. 2024 (arXiv 2405.18392) find that a longer cool-down is never
# worse, and with few epochs a fifth of them would be short.
STEPS_PER_COOLDOWN_STEP = 3
# TensorFlow makes its graphs in the first steps of a process, which are not measured. After the measured ones, the end
# is planned.
UNMEASURED, MEASURED = 2, 6
MOST_MEASURED = 200  # the speed is that of the last steps
PLANS = 100  # the plan is made anew after each such part of the time, to follow the speed
SMALLEST_PART = 0.1  # of an epoch; a shorter rest after a whole epoch is not worth its validation
AVERAGES = 3  # validations of averaged weights come after the last epoch, see pipelines.finetune
CALIBRATIONS = 1  # and then the best model is calibrated, see pipelines.training.calibrate


@dataclass(frozen=True)
class Speed:
    """The measured speed of a training.

    Args:
        step: Seconds of a training step.
        epoch_end: Seconds of what comes after each epoch: the validation and the saving.
    """

    step: float
    epoch_end: float

    def seconds(self, number: int, steps: int, steps_done: int) -> float:
        """Returns how long a number of steps takes, with the ends of their epochs.

        Args:
            number: Number of steps.
            steps: Number of steps per epoch.
            steps_done: Number of steps of the present epoch that are done.
        """
        return number * self.step + math.ceil((steps_done + number) / steps) * self.epoch_end if number else 0.0


def steps_that_fit(seconds: float, speed: Speed, steps: int, steps_done: int = 0) -> int:
    """Returns how many steps fit into a time, with the end of each epoch that they begin.

    Args:
        seconds: Time that is left, in seconds.
        speed: Measured speed.
        steps: Number of steps per epoch.
        steps_done: Number of steps of the present epoch that are done.
    """
    rest = steps - steps_done
    left = seconds - speed.epoch_end - rest * speed.step
    if left < 0:
        return max(0, int((seconds - speed.epoch_end) / speed.step))
    whole = int(left / (steps * speed.step + speed.epoch_end))
    left -= whole * (steps * speed.step + speed.epoch_end)
    part = max(0, int((left - speed.epoch_end) / speed.step))
    return rest + whole * steps + (part if part >= SMALLEST_PART * steps else 0)


def first_cooldown_step(step: int, last_step: int, steps: int) -> int:
    """Returns the step from which on the rate falls: for a third of all steps, and for at least one epoch.

    Args:
        step: Number of steps so far; the rate cannot fall before.
        last_step: Number of the last step.
        steps: Number of steps per epoch.
    """
    cooldown = max(math.ceil(last_step / STEPS_PER_COOLDOWN_STEP), min(steps, last_step))
    return max(step, last_step - cooldown)


class TimedEnd:
    """Plans from the measured speed when the rate leaves its plateau and when training ends, again and again.

    The chief's clock decides for all workers. A method marked "Collective" must be called by all of them together. The
    progress records the plan; a continued run follows it until it has measured its own speed.

    Args:
        schedule: Schedule of the optimizer's learning rate.
        recipe: Recipe with the minutes and the patience.
        steps: Number of steps per epoch.
        stopwatch: Stopwatch of all calls of the run.
        workers: Processes that train together.
    """

    def __init__(
        self, schedule: PlateauSchedule, recipe: Recipe, steps: int, stopwatch: Stopwatch, workers: Workers
    ) -> None:
        assert recipe.minutes is not None
        self.schedule, self.recipe, self.steps = schedule, recipe, steps
        self.stopwatch, self.workers = stopwatch, workers
        self.minutes = recipe.minutes
        self.validation = self.saving = 0.0  # seconds, as last measured
        self._durations: deque[float] = deque(maxlen=max(MEASURED, min(steps, MOST_MEASURED)))
        self._unmeasured = UNMEASURED
        self._marked = stopwatch.seconds
        self._planned: float | None = None
        self._said_falling = False

    def begin(self, progress: Progress, validate: Callable[[], Any]) -> None:
        """Measures a validation, and stops a training that has a model if no time is left. Collective."""
        self.resume(progress)
        if (self._nothing_left() or not self._measured_validation(validate)) and progress.best:
            spent = as_clock(self.workers.from_chief(lambda: self.stopwatch.seconds))
            say(f"{spent} of {in_minutes(self.minutes)} are spent, which leaves no time to train all layers")
            progress.stopped = f"no time was left after {progress.epochs_done} epochs"

    def resume(self, progress: Progress) -> None:
        """Sets the schedule to the plan that the progress records, if there is one."""
        if progress.last_step:
            self.schedule.cool_down(progress.plateau_steps, max(1, progress.last_step - progress.plateau_steps))

    def mark(self) -> None:
        """Notes that the next step begins now."""
        self._marked = self.stopwatch.seconds

    def step_done(self) -> None:
        """Measures the step that has just ended; it begins where the one before ended, or at `mark`."""
        now = self.stopwatch.seconds
        if self._unmeasured:
            self._unmeasured -= 1
        else:
            self._durations.append(now - self._marked)
        self._marked = now

    def is_due(self) -> bool:
        """Returns whether it is time to plan, by this process's clock."""
        if len(self._durations) < MEASURED:
            return False
        return self._planned is None or self.stopwatch.seconds - self._planned >= 60 * self.minutes / PLANS

    def plan(self, progress: Progress, step: int) -> str:
        """Plans the end anew, and puts it into the progress and the schedule. Collective.

        Args:
            progress: Progress, which is changed in place.
            step: Number of the optimizer's steps so far.

        Returns:
            The plan in words if it is the first one of this process, or "".
        """
        first = self._planned is None
        last, spent, step_seconds = self.workers.from_chief(lambda: self._last_step(progress, step))
        if progress.latest_step:
            last = max(step, min(last, progress.latest_step))
        if not progress.last_step or step <= progress.plateau_steps:  # the rate has not begun to fall
            progress.plateau_steps = first_cooldown_step(step, last, self.steps)
        progress.last_step = last
        self.resume(progress)
        self._planned = self.stopwatch.seconds
        return self._in_words(progress, spent, step_seconds) if first else ""

    def is_over(self, progress: Progress, step: int) -> bool:
        """Returns whether training ends after this step."""
        return bool(progress.last_step) and step >= progress.last_step

    def after_epoch(self, progress: Progress, step: int) -> str:
        """Plans anew, and stops the training at its end. Collective.

        Args:
            progress: Progress that already has the epoch's row; it is changed in place.
            step: Number of the optimizer's steps so far.

        Returns:
            A message for the user, or "".
        """
        words, reason = "", ""
        if not self.is_over(progress, step):
            if not progress.latest_step and (not progress.last_step or step <= progress.plateau_steps):
                reason = reason_to_cool_down(progress, self.recipe, self.steps)
                progress.latest_step = step + self.steps * math.ceil(progress.epochs_done / 2) if reason else 0
            words = self.plan(progress, step) if self._durations else ""
        if self.is_over(progress, step):
            helps = not 0 < progress.latest_step <= step
            why = f"all that fit into {in_minutes(self.minutes)}" if helps else "more would not help"
            progress.stopped = f"{_epochs(step / self.steps)}, {why}"
            return words
        if not progress.last_step:
            return words
        if not self._said_falling and (reason or step + self.steps > progress.plateau_steps):
            self._said_falling = True
            why = reason or f"of {in_minutes(self.minutes)} {as_clock(self._left(progress, step))} remain"
            words += f"{words and chr(10)}{why}: the learning rate goes to 0 until epoch {self.last_epoch(progress)}"
        return words

    def last_epoch(self, progress: Progress) -> int | None:
        """Returns the number of the last epoch by the present plan, or None while there is none."""
        return math.ceil(progress.last_step / self.steps) if progress.last_step else None

    def seconds_left(self, progress: Progress, step: int) -> float | None:
        """Returns how long the rest takes by the present plan and this process's measurements, or None."""
        return self._left(progress, step) if self._durations and progress.last_step else None

    def has_time_for_average(self) -> bool:
        """Returns whether one more validation ends before a twentieth over the time. Collective."""
        latest = 60 * self.minutes * 1.05
        return self.workers.from_chief(lambda: self.stopwatch.seconds + self.validation + self.saving <= latest)

    def _measured_validation(self, validate: Callable[[], Any]) -> bool:
        """Measures a validation, and returns whether time is left after it."""
        started = self.stopwatch.seconds
        validate()
        self.validation = self.stopwatch.seconds - started
        return not self._nothing_left()

    def _nothing_left(self) -> bool:
        return self.workers.from_chief(lambda: self.stopwatch.seconds + self._afterwards >= 60 * self.minutes)

    @property
    def _afterwards(self) -> float:
        """Seconds of what comes after the last epoch."""
        averages = AVERAGES if self.recipe.head_first else 0
        return (averages + CALIBRATIONS) * self.validation + self.saving

    @property
    def _speed(self) -> Speed:
        step = sum(self._durations) / len(self._durations) if self._durations else 0.0
        return Speed(max(step, 1e-6), self.validation + self.saving)

    def _last_step(self, progress: Progress, step: int) -> list[float]:
        """Returns the last step by this process's clock, the seconds spent, and those of an epoch."""
        spent, speed = self.stopwatch.seconds, self._speed
        saving = 0.0 if progress.steps_done else self.saving  # after an epoch, it still has to be saved
        fit = steps_that_fit(
            60 * self.minutes - spent - saving - self._afterwards, speed, self.steps, progress.steps_done
        )
        return [step + fit, spent, self.steps * speed.step + speed.epoch_end]

    def _left(self, progress: Progress, step: int) -> float:
        return self._speed.seconds(progress.last_step - step, self.steps, progress.steps_done) + self._afterwards

    def _in_words(self, progress: Progress, spent: float, epoch_seconds: float) -> str:
        full, falling = progress.plateau_steps, progress.last_step - progress.plateau_steps
        time, clock = in_minutes(self.minutes), f"{as_clock(spent)} are spent"
        length = f"{epoch_seconds:.3g} s" if epoch_seconds < 100 else as_clock(epoch_seconds)
        all_epochs = _epochs(progress.last_step / self.steps)
        if progress.last_step < self.steps:
            return f"an epoch of {length} does not fit into {time} ({clock}): {all_epochs} with a falling rate"
        whole = " with those that are done" if progress.epochs_done else ""
        fits = "fits" if all_epochs == _epochs(1.0) else "fit"
        plan = f"about {all_epochs} of {length}{whole} {fits} into {time} ({clock})"
        if not full:
            return f"{plan}, with a falling rate"
        parts = _number(full / self.steps), _number(falling / self.steps)
        return f"{plan}: {parts[0]} at the full rate, then {parts[1]} with a falling one"


def _number(epochs: float) -> str:
    return f"{epochs:.2f}" if epochs < 0.95 else f"{epochs:.1f}".removesuffix(".0")


def _epochs(epochs: float) -> str:
    return "1 epoch" if _number(epochs) == "1" else f"{_number(epochs)} epochs"
