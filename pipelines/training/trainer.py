"""What one training works with: the network on its devices, the recipe, the images of each split."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from pipelines.config.finetune import FinetuneConfig
from pipelines.console.terminal import of_part
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.images.balance import class_weights
from pipelines.images.cache import Cache
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import Cached, View, evaluation_stream, steps_per_epoch
from pipelines.recipe.decide import Recipe, decide
from pipelines.recipe.earlier import Earlier, repeated_precision, repeated_recipe
from pipelines.recipe.explain import explain
from pipelines.recipe.schedule import PlateauSchedule, make_schedule
from pipelines.runs.files import write_atomically
from pipelines.training.open_end import OpenEnd
from resnet_tf.architectures import find_architecture
from resnet_tf.classifier import (
    HeadChange,
    build_classifier,
    changed_head,
    copy_values,
    freeze_batch_norms,
    freeze_stages,
    synchronize_batch_norms,
)
from resnet_tf.distribution import choose_precision, choose_strategy, replicas, scope
from resnet_tf.errors import UserError
from resnet_tf.loss_scaling import AgreedLossScaleOptimizer
from resnet_tf.losses import SmoothedCrossentropy
from resnet_tf.networks import structure_for
from resnet_tf.optimizers import FusedSGD, PenalizedSGD
from resnet_tf.weights import TORCH, Preprocessing, Structure, WeightFile, load_weights, write_weights
from resnet_tf.workers import Workers


@dataclass(frozen=True)
class Session:
    """Made by `build_session`.

    Args:
        config: What the user asked for.
        recipe: What was decided from it and the data.
        classes: Order of the logits.
        root: Folder of the images.
        rows: The manifest's rows of "train" and "val".
        view: How images are cropped.
        preprocessing: How they are normalized.
        structure: What the weights say of their network, and the user's choice before that.
        precision: Of the computation.
        strategy: tf.distribute strategy, or None.
        workers: Those that train together.
        schedule: Of the optimizer's learning rate.
        model: Compiled, in the strategy's scope.
        cache: Where pictures are taken from before the files, or None.
        source: The config.json whose decisions are repeated, or "".
    """

    config: FinetuneConfig
    recipe: Recipe
    classes: list[str]
    root: Path
    rows: dict[str, pd.DataFrame]
    view: View
    preprocessing: Preprocessing
    structure: Structure
    precision: str
    strategy: Any
    workers: Workers
    schedule: keras.optimizers.schedules.LearningRateSchedule
    model: keras.Model
    cache: Cache | None = None
    source: str = ""
    _streams: dict[str, tf.data.Dataset] = field(default_factory=dict, init=False, repr=False)

    def open_end(self) -> OpenEnd | None:
        """What decides when training ends, where nobody has said it."""
        if not isinstance(self.schedule, PlateauSchedule):
            return None
        return OpenEnd(self.schedule, self.recipe, steps_per_epoch(len(self.rows["train"]), self.config.batch_size))

    def cached(self, split: str) -> Cached | None:
        """How a stream of "train" or "val" takes its images from the cache."""
        return self.cache.of(split) if self.cache else None

    def stream(self, split: str) -> tf.data.Dataset:
        """The images of "train" or "val" as evaluation sees them, those that this worker computes."""
        if split not in self._streams:  # its graph takes a second to build, its next pass none
            self._streams[split] = evaluation_stream(
                self._part(split),
                self.root,
                self.classes,
                self.view,
                batch_size=self._batch_size,
                cached=self.cached(split),
            )
        return self._streams[split]

    def outputs(self, inference: Inference, split: str, label: str, batches: Iterable[Any] | None = None) -> np.ndarray:
        """`pipelines.evaluation.inference.outputs` over the images of "train" or "val", which all workers have then.

        Args:
            inference: Of the network, or of a part of it.
            split: "train" or "val".
            label: What the progress bar says.
            batches: What is made of those of `stream` already, None for these themselves.

        Raises:
            LostImage: One of them is gone, or cannot be read any more.
        """
        part = self._part(split)
        label = of_part(label, self.workers.count)
        with self.lost_images_named(split):
            batches = images_of(self.stream(split)) if batches is None else batches
            values = outputs(inference, batches, len(part), self._batch_size, label)
        return self.workers.together(values, len(self.rows[split]))

    def lost_images_named(self, split: str) -> AbstractContextManager[None]:
        """Within it, a `stream` that fails says which image is to blame.

        Raises:
            LostImage: An image is gone, or cannot be read any more.
        """
        return lost_images_named(self._part(split), self.root)

    @property
    def _batch_size(self) -> int:
        """Of evaluation on one worker."""
        return self.config.batch_size // self.workers.count

    def _part(self, split: str) -> pd.DataFrame:
        return self.workers.part_of(self.rows[split])

    def save(self, path: Path, head_change: HeadChange | None = None) -> None:
        """Writes the present model, always in float32, so that evaluation and export compute alike everywhere. Only
        the chief of several workers does.

        Args:
            path: Of the file.
            head_change: What the file's head has more than the present one.
        """
        if not self.workers.chief:
            return
        model = self.model
        if self.precision != "float32" or self.strategy is not None:
            model = _build(
                self.config,
                self.recipe,
                len(self.classes),
                self.preprocessing,
                self.structure,
                "float32",
            )
            copy_values(self.model, model)
        with changed_head(model, head_change):
            size, classes, preprocessing = self.config.image_size, self.classes, self.preprocessing
            write_atomically(
                path, lambda file: write_weights(model, file, preprocessing, image_size=size, classes=classes)
            )

    def devices(self) -> dict[str, int]:
        """What config.json says of them: the batch and the peak learning rate are those of a step over all devices of
        all workers together, however many these are."""
        count = replicas(self.strategy)
        return {
            "workers": self.workers.count,
            "devices": count,
            "images_per_step": self.config.batch_size,
            "images_per_step_and_device": self.config.batch_size // count,
        }

    def describe(self) -> str:
        """What is trained, and the decisions with their reasons."""
        images = ", ".join(f"{len(rows)} {split}" for split, rows in self.rows.items())
        return (
            f"{self.config.arch} at {self.config.image_size} pixels, {len(self.classes)} classes, images: {images}; "
            f"{self.precision} on {replicas(self.strategy)} device(s)\n"
            + explain(self.recipe, self.config, len(self.rows["train"]), self.source)
        )


def build_session(
    config: FinetuneConfig,
    manifest: pd.DataFrame,
    classes: list[str],
    root: Path,
    weights: WeightFile | None,
    workers: Workers,
    earlier: Earlier | None = None,
) -> Session:
    """Builds, fills and compiles the network on the chosen devices, as an earlier run decided where there is one.

    Raises:
        UserError: The weights do not fit, or a batch cannot be divided among the devices.
    """
    rows = {split: manifest[manifest["split"] == split] for split in ("train", "val")}
    recipe = decide(config, len(rows["train"]), repeated_recipe(earlier, config))
    preprocessing = weights.preprocessing if weights else TORCH
    structure = structure_for(find_architecture(config.arch), weights, config.shortcut, config.stride_at)
    strategy = workers.strategy or choose_strategy(config.strategy)
    precision = workers.from_chief(lambda: choose_precision(repeated_precision(earlier, config)))
    if config.batch_size % replicas(strategy):
        raise UserError(f"--batch-size {config.batch_size} cannot be divided among {replicas(strategy)} devices")
    with scope(strategy):
        model = _build(config, recipe, len(classes), preprocessing, structure, precision)
        if weights:
            load_weights(model, weights)
        freeze_stages(model, recipe.frozen_stages)
        if recipe.freeze_batch_norms:
            freeze_batch_norms(model)
        if strategy is not None:
            synchronize_batch_norms(model)
        weighted = class_weights(rows["train"]["label"], classes) if config.balance == "weights" else None
        schedule = make_schedule(recipe)
        _compile(model, recipe, schedule, precision, weighted)
    return Session(
        config=config,
        recipe=recipe,
        classes=classes,
        root=root,
        rows=rows,
        view=View(
            config.image_size,
            preprocessing.crop_fraction,
            preprocessing.interpolation,
            recipe.min_area,
            augment=recipe.augment,
            mix=recipe.mix,
            balanced=config.balance == "sampling",
        ),
        preprocessing=preprocessing,
        structure=structure,
        precision=precision,
        strategy=strategy,
        workers=workers,
        schedule=schedule,
        model=model,
        source=earlier.source if earlier else "",
    )


def _build(
    config: FinetuneConfig,
    recipe: Recipe,
    classes: int,
    preprocessing: Preprocessing,
    structure: Structure,
    precision: str,
) -> keras.Model:
    return build_classifier(
        config.arch,
        classes,
        image_size=config.image_size if find_architecture(config.arch).hidden else None,
        preprocessing=preprocessing,
        shortcut=structure.shortcut,
        stride_at=structure.stride_at,
        stem_pool=structure.stem_pool,
        head_stages=recipe.head_stages,
        head_pooling=recipe.head_pooling,
        precision=precision,
    )


def _compile(
    model: keras.Model,
    recipe: Recipe,
    schedule: keras.optimizers.schedules.LearningRateSchedule,
    precision: str,
    class_weights: list[float] | None,
) -> None:
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, name="optimizer")
    elif recipe.optimizer == "momentum":
        optimizer = PenalizedSGD(schedule, penalty=recipe.weight_decay, momentum=0.9, name="optimizer")
    else:
        optimizer = FusedSGD(schedule, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay, name="optimizer")
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    if precision == "float16":
        optimizer = AgreedLossScaleOptimizer(optimizer)
    mixed = recipe.mix != "none"
    accuracy = keras.metrics.CategoricalAccuracy if mixed else keras.metrics.SparseCategoricalAccuracy
    model.compile(
        optimizer,
        SmoothedCrossentropy(recipe.label_smoothing, class_weights),
        metrics=[accuracy(name="accuracy")],
    )
    optimizer.build(model.trainable_variables)
