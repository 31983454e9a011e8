"""When a training ends whose number of epochs nobody has said: with --epochs auto, after each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.recipe.decision import Recipe
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.training.checkpoint import Progress

# For so many epochs with warm-up and plateau one of cool-down, which is a fifth of all then: Hägele et al. find that 10
# to 20 % are enough.
EPOCHS_PER_COOLDOWN_EPOCH = 4


def cooldown_epochs(plateau_epochs: int) -> int:
    """How many follow on so many with warm-up and plateau; whole ones, since validation comes after each."""
    return -(-plateau_epochs // EPOCHS_PER_COOLDOWN_EPOCH)


def plateau_reason(log_losses: Sequence[float], warmup_epochs: int, patience: int, most_epochs: int) -> str:
    """Why the rate goes down now, or "" where it does not.

    Args:
        log_losses: On the validation part, after each epoch so far.
        warmup_epochs: So many of the first ones do not count: small rates, and batch norms that have seen little.
        patience: Epochs without a better one.
        most_epochs: In all, the cool-down included.
    """
    done, counted = len(log_losses), log_losses[warmup_epochs:]
    if len(counted) and len(counted) - 1 - int(np.argmin(counted)) >= patience:
        return f"validation has not improved for {patience} epochs"
    if done + 1 + cooldown_epochs(done + 1) > most_epochs:
        return f"it ends after {most_epochs} epochs at the latest"
    return ""


@dataclass(frozen=True)
class OpenEnd:
    """Decides after each epoch whether the rate goes down, and when training ends. That follows from the validation
    score, which all workers share, and stands in the progress, so that a continued run has the same rates.

    Args:
        schedule: Of the optimizer.
        recipe: Has the patience, and the largest number of epochs.
        steps: Of an epoch.
    """

    schedule: PlateauSchedule
    recipe: Recipe
    steps: int

    def resume(self, progress: Progress) -> None:
        """Sets the schedule as it was."""
        if progress.plateau_epochs:
            self.schedule.cool_down(progress.plateau_steps, self.steps * cooldown_epochs(progress.plateau_epochs))

    def after_epoch(self, progress: Progress, step: int) -> str:
        """Begins the cool-down, or stops the training at its end.

        Args:
            progress: Changed in place; has the epoch's row already.
            step: Of the optimizer, so far.

        Returns:
            What there is to say of it, or "".
        """
        if progress.plateau_epochs:
            if progress.epochs_done == self.last_epoch(progress):
                progress.stopped = f"{progress.epochs_done} epochs, more would not help"
            return ""
        log_losses = [row["val_log_loss"] for row in progress.rows if row["epoch"] > 0]
        warmup_epochs = self.recipe.warmup_steps // self.steps
        reason = plateau_reason(log_losses, warmup_epochs, self.recipe.plateau_patience, self.recipe.epochs)
        if not reason:
            return ""
        progress.plateau_epochs, progress.plateau_steps = progress.epochs_done, step
        self.resume(progress)
        return f"{reason}: the learning rate goes to 0 until epoch {self.last_epoch(progress)}"

    def last_epoch(self, progress: Progress) -> int | None:
        """Which it is, None while that is not known."""
        plateau = progress.plateau_epochs
        return plateau + cooldown_epochs(plateau) if plateau else None
