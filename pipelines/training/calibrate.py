"""Calibrates the best model of a run on the validation images, as it is without having learned from them."""

import keras
import numpy as np

from pipelines.console.terminal import say
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.run_calibration import (
    copied_calibration,
    fit_calibration,
    load_calibration,
    save_calibration,
)
from pipelines.evaluation.score import BALANCED_LOG_LOSS
from pipelines.runs.directory import Run, load_model
from pipelines.training.checkpoint import values_of
from pipelines.training.training_run import TrainingRun
from resnet_tf.classifier import change_head
from resnet_tf.distribution import scope


def calibrate(training: TrainingRun) -> None:
    """Fits the temperature of the best model and writes calibration.json. All workers must call this together.

    The head of model.keras has been fitted to the validation images as well. What that has added to it is taken away
    before the validation images are looked at, so that their predictions are like those of new images. The trainer's
    network has the best model's weights afterwards.

    Args:
        training: Training that has kept a best model.
    """
    plan = training.trainer.plan
    _take_best(training)
    labels, logits = label_numbers(plan.rows["val"], plan.classes), training.validation_logits()
    if not training.run.writable:
        return
    balanced = plan.recipe.choose_by == BALANCED_LOG_LOSS
    calibration = fit_calibration(labels, logits, "validation", balanced=balanced)
    save_calibration(training.run, calibration)
    say(calibration.in_words())


def take_calibration(run: Run, chosen_by: Run) -> None:
    """Gives a training on all images the calibration of the run that it repeats, if that has one.

    No labelled images are left on which it could have one of its own.

    Args:
        run: Run of the training on all images.
        chosen_by: Finished run that it repeats.
    """
    calibration = load_calibration(chosen_by)
    if calibration is not None and run.writable:
        save_calibration(run, copied_calibration(calibration, chosen_by))


def _take_best(training: TrainingRun) -> None:
    """Gives the trainer's network the weights of model.keras, less what the head has learned from validation."""
    plan, model = training.trainer.plan, training.trainer.model

    def best() -> dict[str, np.ndarray]:
        kept: keras.Model = load_model(training.run)
        if training.head_change is not None:
            kernel, bias = training.head_change
            change_head(kept, (-kernel, -bias))
        return values_of(kept)

    values = plan.devices.workers.arrays_from_chief(best)
    with scope(plan.devices.strategy):
        for variable in model.variables:
            variable.assign(values[variable.path])
