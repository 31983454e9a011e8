"""Computes how good the present model is on the validation images."""

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference, images_of, softmax
from pipelines.evaluation.score import Score, score_from, score_of
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import divide

# The memory of each worker for the frozen stages' outputs for the validation images. In float32, it has room for 330
# images of a ResNet-50, or for 1,300 images of a ResNet-18.
MOST_BYTES = 1 << 30


def validator(trainer: Trainer, compute_logits: Callable[[], np.ndarray] | None = None) -> Callable[[], Score]:
    """Returns a function that computes the score of the present model on the validation images.

    Keras's own validation is not used. It fails if a strategy's replicas get parts of unequal size (it averages the
    images themselves, `_maybe_symbolic_build`), and its figures depend on how batches are divided.
    """
    plan = trainer.plan
    labels = label_numbers(plan.rows["val"], plan.classes)
    compute_logits = compute_logits or validation_logits(trainer)

    def validate() -> Score:
        logits = compute_logits()
        overflow = not np.isfinite(logits).all()
        probabilities = np.full_like(logits, np.nan) if overflow else softmax(logits)
        # Machines may round a loss in different ways, but they must agree on which model is best.
        score = plan.devices.workers.from_chief(lambda: asdict(score_of(labels, logits.argmax(axis=1), probabilities)))
        return score_from(score)

    return validate


def validation_logits(trainer: Trainer) -> Callable[[], np.ndarray]:
    """Returns a function that computes the logits of the present model, float32 [images, classes], for the validation
    images. All workers must call it together.

    The outputs of frozen stages for these images never change in a training; they are computed once if there is room.
    """
    return _frozen_once(trainer) if trainer.plan.recipe.frozen_stages else _anew(trainer)


def _anew(trainer: Trainer) -> Callable[[], np.ndarray]:
    inference = Inference(trainer.model, strategy=trainer.plan.devices.strategy)
    return lambda: trainer.outputs(inference, "val", "")


def _frozen_once(trainer: Trainer) -> Callable[[], np.ndarray]:
    plan = trainer.plan
    frozen, rest = divide(trainer.model)
    needed = len(plan.rows["val"]) * _bytes_of(frozen, plan.recipe.image_size)
    if needed > MOST_BYTES * plan.devices.workers.count:
        return _anew(trainer)
    through_frozen, through_rest = (Inference(part, strategy=plan.devices.strategy) for part in (frozen, rest))
    kept: list[Any] = []  # the frozen stages' outputs for each batch: one array, or a list of them

    def compute_logits() -> np.ndarray:
        if not kept:
            with trainer.lost_images_named("val") as watched:
                activations = through_frozen.each(watched(images_of(trainer.stream("val"))))
                kept.extend(keras.tree.map_structure(lambda part: part.numpy(), parts) for parts in activations)
        return trainer.outputs(through_rest, "val", "", kept)

    return compute_logits


def _bytes_of(network: keras.Model, image_size: int) -> int:
    """Returns the size of all outputs of a network for one image, in bytes."""
    image = keras.KerasTensor((1, image_size, image_size, 3), "uint8")
    outputs = keras.tree.flatten(network.compute_output_spec(image))
    return sum(math.prod(part.shape) * tf.as_dtype(part.dtype).size for part in outputs)
