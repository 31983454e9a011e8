"""The data that the steps of one call of finetune share."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from pipelines.console.clock import Stopwatch
from pipelines.console.signals import Interrupts
from pipelines.evaluation.missed import missed_in_words
from pipelines.evaluation.score import Score
from pipelines.recipe.decision import Recipe
from pipelines.runs.directory import Run
from pipelines.training.checkpoint import Checkpoint, Progress, load_start, save_checkpoint
from pipelines.training.history import write_history
from pipelines.training.network import save_model
from pipelines.training.open_end import OpenEnd
from pipelines.training.timed_end import TimedEnd
from pipelines.training.trainer import Trainer
from pipelines.training.validation import validation_logits, validator
from resnet_tf.classifier import HeadChange, head


@dataclass
class TrainingRun:
    """A training and the run directory that it goes to.

    Args:
        run: Run directory.
        trainer: Trainer of the network.
        progress: Progress of the run so far; the steps change it in place.
        interrupts: Signals that are held while layers are trained, and let through between steps once everything is
            saved.
        draw: Function that draws the curves of a progress, and is told whether the training has ended. It must not
            raise errors.
        checkpoint: Checkpoint that the network was restored from, or None.
        stopwatch: Stopwatch of all calls of the run.
    """

    run: Run
    trainer: Trainer
    progress: Progress
    interrupts: Interrupts
    draw: Callable[[Progress, bool], None]
    checkpoint: Checkpoint | None = None
    stopwatch: Stopwatch = field(default_factory=Stopwatch)

    @cached_property
    def validation_logits(self) -> Callable[[], np.ndarray]:
        """Function that returns the logits of the present network for the validation images.

        All workers must call it together.
        """
        return validation_logits(self.trainer)

    @cached_property
    def validate(self) -> Callable[[], Score]:
        """Function that returns the score of the present network on the validation images.

        All workers must call it together.
        """
        return validator(self.trainer, self.validation_logits)

    @cached_property
    def open_end(self) -> OpenEnd | TimedEnd | None:
        """What decides when training ends, or None if the number of epochs is known."""
        return self.trainer.open_end(self.stopwatch)

    def save_checkpoint(self) -> None:
        """Saves the network and the progress. All workers must call this together."""
        self.progress.spent = self.stopwatch.seconds
        save_checkpoint(self.run, self.trainer.model, self.progress)

    def record(self, at_end: bool = False) -> None:
        """Writes history.csv, and then the picture that is made of it, if this process may write there.

        Args:
            at_end: Whether the training has ended.
        """
        if self.run.writable:
            write_history(self.run, self.progress)
            self.draw(self.progress, at_end)

    def save_best(self) -> None:
        """Writes the present network as the best model."""
        save_model(self.trainer, self.run.model, self.head_change)

    def keep_if_better(self, name: str, epoch: int, share: float, score: Score) -> bool:
        """Writes the present network if it is the best so far, and records that.

        Args:
            name: Name of the network, in words.
            epoch: Number of epochs that the network has been trained.
            share: Share of the trained weights in it, see `Progress`.
            score: Score on the validation images.

        Returns:
            Whether it is the best so far.
        """
        plan = self.trainer.plan
        if not self.progress.improves(score, plan.recipe.choose_by):
            return False
        self.save_best()
        self.progress.keep(name, epoch, share, score, plan.classes)
        return True

    @cached_property
    def head_change(self) -> HeadChange | None:
        """Values to add to the present head when it is written; None if there are none.

        The written head is also fitted to the validation images, so that only the labelled images of the test go
        unused. The present head chooses between networks, and has not seen the validation images.

        Raises:
            UserError: The file that contains the values is damaged.
        """
        plan = self.trainer.plan
        if not (plan.recipe.refit_head and plan.devices.workers.chief):
            return None
        start, variables = load_start(self.run), head(self.trainer.model)
        return start["refit_kernel"] - start[variables.kernel.path], start["refit_bias"] - start[variables.bias.path]


def what_is_kept(run: Run, progress: Progress) -> str:
    """Returns a description of the best model so far."""
    if not progress.best:
        return "there is no model yet"
    balanced = progress.best_balanced_accuracy
    figures = f"validation accuracy {progress.best_accuracy:.4f}"
    figures += "" if balanced is None else f", balanced accuracy {balanced:.4f}"
    return f"best model kept: {progress.best}, {figures}, {run.model}"


def what_is_missed(progress: Progress, recipe: Recipe) -> str:
    """Returns a sentence about the classes that the best model (nearly) never recognizes, or "" if there are none.

    Args:
        progress: Progress with the best model so far.
        recipe: Recipe of the training.
    """
    return missed_in_words(progress.best_missed, "validation", asdict(recipe))
