"""The trainer has a plan's network on its devices, and the images of each split as the network sees them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.console.clock import Stopwatch
from pipelines.console.terminal import of_part
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.images.cache import Cache, open_cache
from pipelines.images.lost_images import Watched, lost_images_named
from pipelines.images.stream import Cached, ImageSource, evaluation_stream, steps_per_epoch
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.training.open_end import OpenEnd
from pipelines.training.plan import Plan
from pipelines.training.timed_end import TimedEnd
from resnet_tf.errors import UserError
from resnet_tf.weights import KerasWriter


@dataclass(frozen=True)
class Trainer:
    """A plan's network and images, as `pipelines.training.network.build_trainer` returns them.

    Args:
        plan: Plan of the training.
        schedule: Schedule of the optimizer's learning rate.
        model: Network, compiled in the strategy's scope.
        cache: Cache that is asked for pictures before the files are read, or None.
    """

    plan: Plan
    schedule: keras.optimizers.schedules.LearningRateSchedule
    model: keras.Model
    cache: Cache | None = None
    _streams: dict[str, tf.data.Dataset] = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def writer(self) -> KerasWriter:
        """Writer of the network's file. It is made at the first save, and has a second copy of all variables since."""
        plan = self.plan
        return KerasWriter(self.model, plan.preprocessing, image_size=plan.recipe.image_size, classes=plan.classes)

    @property
    def steps(self) -> int:
        """Number of steps per epoch."""
        return steps_per_epoch(len(self.plan.rows["train"]), self.plan.config.batch_size)

    def open_end(self, stopwatch: Stopwatch) -> OpenEnd | TimedEnd | None:
        """Returns the object that decides when training ends, or None if the number of epochs is known.

        Args:
            stopwatch: Stopwatch of all calls of the run, for --minutes.
        """
        if not isinstance(self.schedule, PlateauSchedule):
            return None
        if self.plan.recipe.minutes is not None:
            return TimedEnd(self.schedule, self.plan.recipe, self.steps, stopwatch, self.plan.devices.workers)
        return OpenEnd(self.schedule, self.plan.recipe, self.steps)

    def with_cache(self, folder: Path) -> "Trainer":
        """Returns the same trainer with a cache of decoded pictures, if the user asks for one.

        Args:
            folder: Folder for the cache's file, in a run's directory.

        Raises:
            UserError: Several workers train together, or there is no room for the pictures.
        """
        plan, where = self.plan, self.plan.config.cache
        if where == "none":
            return self
        if not plan.devices.workers.alone:
            raise UserError(f"--cache {where} is for one process; leave it out where several workers train together")
        rows = {split: plan.rows[split] for split in ("train", "val")}
        return replace(self, cache=open_cache(where, folder, rows, plan.root, plan.input_spec))

    def cached(self, split: str) -> Cached | None:
        """Returns the function by which a stream of "train" or "val" takes its images from the cache, or None."""
        return self.cache.of(split) if self.cache else None

    def stream(self, split: str) -> tf.data.Dataset:
        """Returns the images of a split that this worker computes, as evaluation sees them."""
        if split not in self._streams:  # building its graph takes a second, the next pass takes none
            self._streams[split] = evaluation_stream(
                ImageSource(self._part(split), self.plan.root, self.plan.classes, self.cached(split)),
                self.plan.input_spec,
                self._batch_size,
            )
        return self._streams[split]

    def outputs(self, inference: Inference, split: str, label: str, batches: Iterable[Any] | None = None) -> np.ndarray:
        """Returns a network's outputs for all images of a split, on all workers.

        All workers must call this together.

        Args:
            inference: Inference of the network, or of a part of it.
            split: Name of the split, "train", "val" or "test".
            label: Label of the progress bar.
            batches: Outputs of an earlier part of the network for the batches of `stream`; None takes these batches.

        Returns:
            float32 [images, …].

        Raises:
            LostImage: One of the images is missing or can no longer be read.
        """
        part, workers = self._part(split), self.plan.devices.workers
        label = of_part(label, workers.count)
        with self.lost_images_named(split) as watched:
            batches = watched(images_of(self.stream(split))) if batches is None else batches
            values = outputs(inference, batches, len(part), self._batch_size, label)
        return workers.together(values, len(self.plan.rows[split]))

    def lost_images_named(self, split: str) -> AbstractContextManager[Watched]:
        """Within it, a `stream` that fails says which image is to blame. The function that it yields passes the
        stream's batches on, so that only the images of the batch that failed are opened again.

        Raises:
            LostImage: An image is missing or can no longer be read.
        """
        value_range = self.plan.input_spec.value_range
        return lost_images_named(self._part(split), self.plan.root, self._batch_size, value_range)

    @property
    def _batch_size(self) -> int:
        """Number of images in a batch of evaluation on one worker."""
        return self.plan.config.batch_size // self.plan.devices.workers.count

    def _part(self, split: str) -> pd.DataFrame:
        return self.plan.devices.workers.part_of(self.plan.rows[split])
