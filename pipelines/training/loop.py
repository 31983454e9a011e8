"""Trains on the stream with Keras's fit, from any step of an epoch on."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from pipelines.console.terminal import progress_bar
from pipelines.images.lost_images import lost_images_named, rows_of_step
from pipelines.images.stream import ImageSource, Order, training_stream
from pipelines.training.callback import TrainingCallback
from pipelines.training.trainer import Trainer
from pipelines.training.training_run import TrainingRun
from resnet_tf.keras_mending import mended_keras


def fit(training: TrainingRun, callback: TrainingCallback) -> None:
    """Trains through all epochs that are left, or through the rest of an epoch that was cut off.

    Keras has no fit that begins within an epoch and continues with whole ones.

    Args:
        training: Training whose progress says where to begin.
        callback: Callback that changes the progress.

    Raises:
        LostImage: An image is missing or can no longer be read.
    """
    run, trainer, progress = training.run, training.trainer, training.progress
    done, first_step = progress.epochs_done, progress.steps_done
    if first_step == trainer.steps:  # the run was cut off in validation
        callback.set_model(trainer.model)
        callback.on_epoch_begin(done)
        callback.on_epoch_end(done, dict(progress.logs))
        return
    callbacks: list[keras.callbacks.Callback] = [callback]
    if run.writable:
        callbacks += [StepBar(), keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False)]
    train(
        trainer,
        callbacks,
        lambda: (progress.epochs_done, progress.steps_done),
        epochs=1 if first_step else trainer.plan.recipe.epochs - done,
        first_epoch=done,
        first_step=first_step,
    )


class StepBar(keras.callbacks.Callback):
    """Shows a progress bar of the steps of an epoch, on a terminal only."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.bar = progress_bar(self.params.get("steps"), f"epoch {epoch + 1}", "step")

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.bar.close()


def train(
    trainer: Trainer,
    callbacks: list[keras.callbacks.Callback],
    position: Callable[[], tuple[int, int]],
    *,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
) -> None:
    """Trains through a number of epochs, or until a callback stops it.

    All workers must call this together.

    Args:
        trainer: Trainer of the network.
        callbacks: Keras's callbacks.
        position: Function that returns the next epoch and the next step in it. They tell which image made a step fail.
        epochs: Number of epochs.
        first_epoch: Epoch to begin with.
        first_step: Step to begin with in each of these epochs. Above 0 there should be only one epoch, because Keras
            has no fit that begins within an epoch and continues with whole ones.

    Raises:
        LostImage: An image is missing or can no longer be read.
    """
    plan, workers = trainer.plan, trainer.plan.devices.workers
    rows, batch_size, seed = plan.rows["train"], plan.config.batch_size, plan.config.seed
    source = ImageSource(rows, plan.root, plan.classes, trainer.cached("train"))
    order = Order(batch_size, seed, first_epoch, first_step, epochs, part=workers.index, parts=workers.count)
    stream = training_stream(source, plan.input_spec, order)
    try:
        with nullcontext() if workers.alone else mended_keras():
            trainer.model.fit(
                workers.distributed(stream, batch_size),
                initial_epoch=first_epoch,
                epochs=first_epoch + epochs,
                steps_per_epoch=trainer.steps - first_step,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,  # the stream has its own order
            )
    except tf.errors.OpError:
        epoch, step = position()
        lost = rows_of_step(rows, plan.input_spec, batch_size=batch_size, seed=seed, epoch=epoch, step=step)
        with lost_images_named(lost, plan.root, value_range=plan.input_spec.value_range):
            raise
