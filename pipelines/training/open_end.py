"""Decides after each epoch when a training ends whose number of epochs nobody has set (--epochs auto)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.recipe.decision import Recipe
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.training.checkpoint import Progress

# The number of epochs with warm-up and plateau for each epoch of cool-down. The cool-down is thus a fifth of all;
# Hägele et al. find that 10 to 20 % are enough.
EPOCHS_PER_COOLDOWN_EPOCH = 4


def cooldown_epochs(plateau_epochs: int) -> int:
    """Returns the number of epochs of cool-down after a number of epochs with warm-up and plateau.

    It is a whole number, because validation comes after each epoch.
    """
    return -(-plateau_epochs // EPOCHS_PER_COOLDOWN_EPOCH)


def plateau_reason(log_losses: Sequence[float], warmup_epochs: int, patience: int, most_epochs: int) -> str:
    """Returns why the rate goes down now, or "" if it does not.

    Args:
        log_losses: Log losses on the validation images, or balanced ones if these choose the best model; one after each
            epoch so far.
        warmup_epochs: Number of first epochs that do not count, because their rates are small and batch norms have seen
            little.
        patience: Number of epochs without a better log loss after which the rate goes down.
        most_epochs: Largest number of epochs in all, including the cool-down.
    """
    done, counted = len(log_losses), log_losses[warmup_epochs:]
    if len(counted) and len(counted) - 1 - int(np.argmin(counted)) >= patience:
        return f"validation has not improved for {patience} epochs"
    if done + 1 + cooldown_epochs(done + 1) > most_epochs:
        return f"it ends after {most_epochs} epochs at the latest"
    return ""


def reason_to_cool_down(progress: Progress, recipe: Recipe, steps: int) -> str:
    """Returns why the rate of a training goes down after its last epoch, or "" if it does not, see `plateau_reason`.

    Args:
        progress: Progress that already has the epoch's row.
        recipe: Recipe with the patience, and with the figure that chooses the best model.
        steps: Number of steps per epoch.
    """
    log_losses = [row[f"val_{recipe.choose_by}"] for row in progress.rows if row["epoch"] > 0]
    return plateau_reason(log_losses, recipe.warmup_steps // steps, recipe.plateau_patience, recipe.epochs)


@dataclass(frozen=True)
class OpenEnd:
    """Decides after each epoch whether the rate goes down, and when training ends.

    The decision follows from the validation score, which all workers share. The progress records it, so that a
    continued run has the same rates.

    Args:
        schedule: Schedule of the optimizer's learning rate.
        recipe: Recipe with the patience and the largest number of epochs.
        steps: Number of steps per epoch.
    """

    schedule: PlateauSchedule
    recipe: Recipe
    steps: int

    def resume(self, progress: Progress) -> None:
        """Sets the schedule to the cool-down that the progress records, if there is one."""
        if progress.plateau_epochs:
            self.schedule.cool_down(progress.plateau_steps, self.steps * cooldown_epochs(progress.plateau_epochs))

    def after_epoch(self, progress: Progress, step: int) -> str:
        """Begins the cool-down, or stops the training at its end.

        Args:
            progress: Progress that already has the epoch's row; it is changed in place.
            step: Number of the optimizer's steps so far.

        Returns:
            A message for the user, or "".
        """
        if progress.plateau_epochs:
            if progress.epochs_done == self.last_epoch(progress):
                progress.stopped = f"{progress.epochs_done} epochs, more would not help"
            return ""
        reason = reason_to_cool_down(progress, self.recipe, self.steps)
        if not reason:
            return ""
        progress.plateau_epochs, progress.plateau_steps = progress.epochs_done, step
        self.resume(progress)
        return f"{reason}: the learning rate goes to 0 until epoch {self.last_epoch(progress)}"

    def last_epoch(self, progress: Progress) -> int | None:
        """Returns the number of the last epoch, or None while it is not known."""
        plateau = progress.plateau_epochs
        return plateau + cooldown_epochs(plateau) if plateau else None
