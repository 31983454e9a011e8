"""Trains all layers, and averages their weights with those from before."""

import numpy as np

from pipelines.images.lost_images import LostImage
from pipelines.training.callback import TrainingCallback
from pipelines.training.loop import fit
from pipelines.training.timed_end import TimedEnd
from pipelines.training.training_run import TrainingRun, what_is_kept
from resnet_tf.distribution import scope
from resnet_tf.errors import UserError


class Collapsed(UserError):
    """Training failed; the best model before that is kept."""


def train_all_layers(training: TrainingRun) -> None:
    """Trains through the epochs that are left.

    Args:
        training: Training whose progress says where to begin.

    Raises:
        Collapsed: The loss became NaN, or the accuracy fell to chance.
        LostImage: An image is missing or can no longer be read.
    """
    plan, progress, end = training.trainer.plan, training.progress, training.open_end
    callback = TrainingCallback(training)
    _ = training.head_change  # a damaged file is reported before anything is trained
    if isinstance(end, TimedEnd) and not progress.stopped:
        end.begin(progress, training.validate)
    with training.interrupts.held():
        while progress.epochs_done < plan.recipe.epochs and not progress.stopped and not callback.collapsed:
            try:
                fit(training, callback)
            except LostImage:
                if plan.devices.workers.alone:  # the others are in a step that this one cannot do
                    callback.save()
                raise
    if callback.collapsed:
        raise Collapsed(
            f"training failed: {callback.collapsed}; {what_is_kept(training.run, training.progress)}; "
            f"start a new run with --learning-rate {plan.safer_learning_rate():g}"
        )


def assign_average(
    training: TrainingRun, start: dict[str, np.ndarray], end: dict[str, np.ndarray], share: float
) -> None:
    """Gives the network an average of two sets of weights.

    Args:
        training: Training with the network.
        start: Values of the variables before all layers were trained, by path.
        end: Values of the variables afterwards, by path.
        share: Share of the latter, from 0 to 1.
    """
    with scope(training.trainer.plan.devices.strategy):
        for variable in training.trainer.model.variables:
            variable.assign((1.0 - share) * start[variable.path] + share * end[variable.path])
