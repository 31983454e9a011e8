"""The callback of a training of all layers.

It saves checkpoints and the best model, writes the history, and stops a training that has collapsed.
"""

import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import keras
import numpy as np

from pipelines.console.clock import as_clock
from pipelines.console.signals import SIGNALS
from pipelines.console.terminal import say
from pipelines.evaluation.score import Score
from pipelines.training.checkpoint import add_metrics
from pipelines.training.overflow import HOPELESS, Overflows
from pipelines.training.remaining import seconds_left
from pipelines.training.timed_end import TimedEnd
from pipelines.training.training_run import TrainingRun


def collapse_reason(losses: Sequence[float], accuracy: float, best_accuracy: float, chance: float) -> str:
    """Returns why training has failed, or "" if it has not.

    Args:
        losses: Losses of the last epoch, on the training images and on the validation images.
        accuracy: Accuracy on the validation images, after the last epoch.
        best_accuracy: Best accuracy on the validation images, after any epoch before.
        chance: Share of the largest class in the validation images.
    """
    if not all(math.isfinite(loss) for loss in losses):
        return "the loss became NaN or infinite"
    if best_accuracy >= 3 * chance and accuracy <= 1.5 * chance:
        return f"validation accuracy fell from {best_accuracy:.3f} to {accuracy:.3f}, the level of chance"
    return ""


class TrainingCallback(keras.callbacks.Callback):
    """Saves a checkpoint after some steps; after each epoch, it validates, saves, and decides whether to continue.

    All workers train, and they stop and save at the same step.

    Args:
        training: Training whose progress is changed in place. Its interrupts are held, and let through between steps
            once everything is saved.
    """

    def __init__(self, training: TrainingRun) -> None:
        super().__init__()
        plan = training.trainer.plan
        self.training, self.run, self.progress = training, training.run, training.progress
        self.interrupts, self.workers, self.recipe = training.interrupts, plan.devices.workers, plan.recipe
        self.seconds = plan.config.checkpoint_seconds
        self.validated = plan.validated
        labels = plan.rows["val" if self.validated else "train"]["label"]
        self.chance = float(labels.value_counts(normalize=True).max())
        self.open_end = training.open_end
        self.timed = self.open_end if isinstance(self.open_end, TimedEnd) else None
        if self.open_end:
            self.open_end.resume(self.progress)
        self.collapsed = ""
        self.started = self.saved = 0.0
        self._half_epoch = training.checkpoint if self.progress.steps_done else None
        self._unsaved = False
        self._measured: list[float] = []  # seconds of the whole epochs of this process
        self._begun_whole = False
        self.overflows = Overflows()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.saved = time.monotonic()
        self.started = self.saved - self.progress.seconds
        self._begun_whole = not self.progress.steps_done
        self.overflows.begin(self.model)
        if self.timed:
            self.timed.mark()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        skipped, number = self.overflows.skipped(self.model), self.progress.epochs_done + 1
        if logs and not math.isfinite(logs["loss"]) and not skipped:
            self._stop_collapsed("the loss became NaN or infinite", number)
            return
        if self.overflows.in_a_row == HOPELESS:
            self._stop_collapsed(f"the gradients overflowed in {HOPELESS} steps in a row", number)
            return
        if self._half_epoch:
            add_metrics(self._half_epoch, self.model)
            self._half_epoch = None
        self.progress.steps_done += 1
        self._unsaved = True
        if self.timed:
            self.timed.step_done()
        chief = self.workers.chief
        saves = chief and time.monotonic() - self.saved >= self.seconds
        saves, plans = self._agree(saves, chief and self.timed is not None and self.timed.is_due())
        if saves:
            self.save()
        self.interrupts.raise_received()
        if self.timed:
            self._follow_clock(self.timed, plans)

    def _agree(self, saves: bool, plans: bool) -> tuple[bool, bool]:
        """Returns whether to save now, because it is time or one of the workers was told to stop; then all stop. Also
        returns whether to plan the end anew.
        """
        if not self.workers.alone:
            asked = [self.interrupts.received == number for number in SIGNALS]
            *asked, saves, plans = self.workers.total(np.array([*asked, saves, plans], np.int64)) > 0
            for number in [number for number, one in zip(SIGNALS, asked, strict=True) if one]:
                self.interrupts.received = number
        return saves or self.interrupts.received is not None, plans

    def _follow_clock(self, timed: TimedEnd, plans: bool) -> None:
        """Ends the epoch where the time is over, and before that plans the end anew if it is time to."""
        words = timed.plan(self.progress, self._step()) if plans else ""
        if words:
            say(words)
        if timed.is_over(self.progress, self._step()):
            self.model.stop_training = True

    def _step(self) -> int:
        """Returns the number of the optimizer's steps so far."""
        return int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))

    def save(self) -> None:
        """Saves a checkpoint between two steps, if there is anything new. It must not be called within a step."""
        if not self._unsaved:
            return
        progress, metrics = self.progress, self.model.get_metrics_result()
        progress.seconds = time.monotonic() - self.started
        progress.logs = {name: float(value) for name, value in metrics.items()}
        self.training.save_checkpoint()
        self._unsaved, self.saved = False, time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.collapsed:
            return
        assert logs is not None
        began = self.training.stopwatch.seconds
        score = self._validate() if self.validated else None
        logs.update(score.columns() if score else {})  # TensorBoard's callback comes next and shows them too
        number, losses = epoch + 1, [logs["loss"], *([score.log_loss] if score else [])]
        accuracy = score.accuracy if score else 0.0  # which says nothing, since there is none to have fallen from
        reason = collapse_reason(losses, accuracy, self.progress.best_accuracy, self.chance)
        if reason:
            self._stop_collapsed(reason, number)
            return
        if self.timed:
            self.timed.validation = self.training.stopwatch.seconds - began
        validated = self.training.stopwatch.seconds
        self._end_epoch(number, logs, score)
        if self.timed:
            self.timed.saving = self.training.stopwatch.seconds - validated

    def _validate(self) -> Score:
        try:
            # A signal interrupts validation at once, because validation changes nothing and may take longer than
            # SIGTERM allows. One of several workers has to wait, because it cannot save without the others.
            with self.interrupts.at_once() if self.workers.alone else nullcontext():
                return self.training.validate()
        except KeyboardInterrupt:
            self.save()
            raise

    def _end_epoch(self, number: int, logs: dict[str, float], score: Score | None) -> None:
        """Records the epoch, keeps the network if it is the best, and decides whether to continue.

        Without validation, no network is better than another, and the training goes on to its last epoch.
        """
        progress = self.progress
        row = {
            "epoch": number,
            "phase": "all layers",
            **{name: logs[name] for name in ("loss", "accuracy")},
            **(score.columns() if score else {}),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": round(time.monotonic() - self.started, 2),
        }
        progress.rows.append(row)
        self._half_epoch = None  # it is still there if only the validation was left
        progress.epochs_done, progress.steps_done, progress.seconds, progress.logs = number, 0, 0.0, {}
        better = score is not None and self.training.keep_if_better(f"epoch {number}", number, 1.0, score)
        if score and number - progress.best_epoch >= self.recipe.patience:
            progress.stopped = f"no better validation for {self.recipe.patience} epochs"
        decision = ""
        if self.open_end and score and not progress.stopped:
            decision = self.open_end.after_epoch(progress, self._step())
        self.model.stop_training = bool(progress.stopped)
        self.training.save_checkpoint()
        self._unsaved = False
        self.training.record()
        known = self.open_end.last_epoch(progress) if self.open_end and score else self.recipe.epochs
        last = f"{'≈' if self.timed and not progress.stopped else ''}{known}" if known else f"≤{self.recipe.epochs}"
        say(
            f"epoch {number}/{last}  loss {row['loss']:.4f}  accuracy {row['accuracy']:.4f}  "
            f"{score.in_words(self.recipe.choose_by) + '  ' if score else ''}"
            f"{row['seconds']:.1f} s{self._what_remains(known)}{'  best' if better else ''}"
        )
        if decision:
            say(decision)

    def _what_remains(self, last_epoch: int | None) -> str:
        """Returns how long the remaining epochs will take, or "" if there are none or none has been measured.

        Args:
            last_epoch: Number of the last epoch, or None while it is not known.
        """
        progress = self.progress
        if self.timed:
            by_plan = None if progress.stopped else self.timed.seconds_left(progress, self._step())
            return "" if by_plan is None else f"; {as_clock(by_plan)} remain"
        if self._begun_whole:
            self._measured.append(time.monotonic() - self.started)
        # An epoch that was cut off is not measured. Until this process has a whole one, those before it count.
        measured = self._measured or [row["seconds"] for row in progress.rows[:-1] if "seconds" in row]
        left = 0 if progress.stopped else (last_epoch or self.recipe.epochs) - progress.epochs_done
        seconds = seconds_left(measured, left)
        if not left or seconds is None:
            return ""
        stays = not self.validated or progress.best_epoch + self.recipe.patience >= (last_epoch or 0)
        to_the_last = last_epoch and stays
        return f"; {'' if to_the_last else 'at most '}{as_clock(seconds)} remain"

    def _stop_collapsed(self, reason: str, epoch: int) -> None:
        self.collapsed = f"{reason} in epoch {epoch}"
        self.model.stop_training = True
