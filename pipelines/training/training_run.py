"""One call of finetune: what its steps share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from pipelines.console.signals import Interrupts
from pipelines.runs.directory import Run
from pipelines.training.checkpoint import Checkpoint, Progress, load_start
from pipelines.training.network import save_model
from pipelines.training.trainer import Trainer
from pipelines.training.validation import validator
from resnet_tf.classifier import HeadChange, head


@dataclass
class TrainingRun:
    """A training and the run directory that it goes to.

    Args:
        run: The run directory.
        trainer: What is trained.
        progress: What has been earned so far; the steps change it in place.
        interrupts: Held while layers are trained, and let through between steps, when all is saved.
        checkpoint: What the network was restored from, or None.
    """

    run: Run
    trainer: Trainer
    progress: Progress
    interrupts: Interrupts
    checkpoint: Checkpoint | None = None

    @cached_property
    def validate(self) -> Callable[[], tuple[float, float]]:
        """Gives accuracy and log loss of the present network on the validation images. Collective."""
        return validator(self.trainer)

    def save_best(self) -> None:
        """Writes the present network as the best model."""
        save_model(self.trainer, self.run.model, self.head_change)

    def keep_if_better(self, name: str, epoch: int, score: tuple[float, float]) -> bool:
        """Writes the present network where it is the best so far, and remembers that.

        Args:
            name: What the network is, in words.
            epoch: Epoch after which it stands.
            score: Accuracy and log loss on the validation images.

        Returns:
            Whether it was the best.
        """
        progress, (accuracy, log_loss) = self.progress, score
        if not progress.improves(log_loss):
            return False
        self.save_best()
        progress.best, progress.best_epoch = name, epoch
        progress.best_accuracy, progress.best_log_loss = accuracy, log_loss
        return True

    @cached_property
    def head_change(self) -> HeadChange | None:
        """What the written head has more than the present one, where it is fitted to the validation images as well: no
        labelled image but the test's goes unused then, and what chooses between networks has not seen them.

        Raises:
            UserError: The file that keeps it is damaged.
        """
        plan = self.trainer.plan
        if not (plan.recipe.refit_head and plan.devices.workers.chief):
            return None
        start, variables = load_start(self.run), head(self.trainer.model)
        return start["refit_kernel"] - start[variables.kernel.path], start["refit_bias"] - start[variables.bias.path]


def what_is_kept(run: Run, progress: Progress) -> str:
    """The best model so far, in words."""
    if not progress.best:
        return "there is no model yet"
    return f"best model kept: {progress.best}, validation accuracy {progress.best_accuracy:.4f}, {run.model}"
