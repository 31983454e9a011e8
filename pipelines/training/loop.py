"""Steps of training on the stream: Keras's fit, between any two steps."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from pipelines.images.lost_images import lost_images_named, rows_of_step
from pipelines.images.stream import steps_per_epoch, training_stream
from pipelines.runs.directory import Run
from pipelines.training.callback import Watch
from pipelines.training.checkpoint import Progress
from pipelines.training.trainer import Session
from resnet_tf.keras_mending import mended_keras


class StepBar(keras.callbacks.Callback):
    """A bar of the steps of an epoch, on a terminal only."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        from tqdm import tqdm

        steps = self.params.get("steps")
        self.bar = tqdm(total=steps, desc=f"epoch {epoch + 1}", unit="step", disable=None, leave=False)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.bar.update(1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.bar.close()


def train(
    session: Session,
    callbacks: list[keras.callbacks.Callback],
    position: Callable[[], tuple[int, int]],
    *,
    epochs: int,
    first_epoch: int = 0,
    first_step: int = 0,
) -> None:
    """Trains through a number of epochs, or until a callback stops it. Collective.

    Args:
        session: What is trained.
        callbacks: Of Keras.
        position: Gives the epoch, and the step in it, that comes next, to say which image a step has failed for.
        epochs: How many.
        first_epoch: Epoch to begin with.
        first_step: Step of each of these epochs to begin with. Keras has no fit that begins within an epoch and goes
            on with whole ones, so that with a step there should be one epoch.

    Raises:
        LostImage: An image is gone, or cannot be read any more.
    """
    config, rows, workers = session.config, session.rows["train"], session.workers
    order = {"batch_size": config.batch_size, "seed": config.seed}
    stream = training_stream(
        rows,
        session.root,
        session.classes,
        session.view,
        first_epoch=first_epoch,
        first_step=first_step,
        epochs=epochs,
        part=workers.index,
        parts=workers.count,
        cached=session.cached("train"),
        **order,
    )
    try:
        with nullcontext() if workers.alone else mended_keras():
            session.model.fit(
                workers.distributed(stream, config.batch_size),
                initial_epoch=first_epoch,
                epochs=first_epoch + epochs,
                steps_per_epoch=steps_per_epoch(len(rows), config.batch_size) - first_step,
                callbacks=callbacks,
                verbose=0,
                shuffle=False,  # the stream has its order
            )
    except tf.errors.OpError:
        epoch, step = position()
        with lost_images_named(rows_of_step(rows, session.view, epoch=epoch, step=step, **order), session.root):
            raise


def fit(run: Run, session: Session, progress: Progress, watch: Watch) -> None:
    """Trains through all epochs that are left, or through the rest of one that was cut off: Keras has no fit that
    begins within an epoch and goes on with whole ones.

    Args:
        run: The run.
        session: What is trained.
        progress: Where to begin; changed by `watch`.
        watch: The callback.

    Raises:
        LostImage: An image is gone, or cannot be read any more.
    """
    done, first_step = progress.epochs_done, progress.steps_done
    if first_step == steps_per_epoch(len(session.rows["train"]), session.config.batch_size):  # cut off in validation
        watch.set_model(session.model)
        watch.on_epoch_begin(done)
        watch.on_epoch_end(done, dict(progress.logs))
        return
    callbacks: list[keras.callbacks.Callback] = [watch]
    if run.writable:
        callbacks += [StepBar(), keras.callbacks.TensorBoard(str(run.tensorboard), write_graph=False)]
    train(
        session,
        callbacks,
        lambda: (progress.epochs_done, progress.steps_done),
        epochs=1 if first_step else session.recipe.epochs - done,
        first_epoch=done,
        first_step=first_step,
    )
