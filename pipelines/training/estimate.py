"""How long a training will take on this machine and how much disk it needs, before it begins."""

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.training.look import MOST_IMAGES
from pipelines.training.network import build_network
from pipelines.training.plan import Plan

# A training step beside an evaluation of the same images: backwards takes twice as long as forwards, but not through
# the frozen stages, which the recipe computes once more without their gradients.
_STEP = 2.7
_BATCH, _LEAST_SECONDS = 16, 1.0
# Float32 copies of the network in a run: two checkpoints with AdamW's two moments, the start, the model, the export.
_COPIES = 2 * 3 + 3
_RESERVE = 20 * 10**6  # pictures, tables, and the graph of the export


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Args:
        seconds: Time, from the look at the pictures to the export.
        disk: Bytes in the run directory.
    """

    seconds: float
    disk: int


def estimate(plan: Plan) -> Estimate:
    """Measures how fast the plan's network is on this machine, and returns what its training will take.

    Args:
        plan: Plan as it is before anybody has looked at the pictures, with the usual numbers of epochs.
    """
    model = build_network(plan).model
    size = plan.recipe.image_size
    per_image = _seconds_per_image(model, size)
    train, val, test = (len(plan.rows[split]) for split in ("train", "val", "test"))
    looked_at = min(MOST_IMAGES, train + val) if plan.wants_look else 0
    once = looked_at + train + 4 * val + test  # the look, the head's features, the three averages, the evaluation
    each = _STEP * train + val
    minutes = plan.config.minutes
    seconds = 60 * minutes if minutes else per_image * (once + plan.recipe.epochs * each)
    parameters = sum(int(np.prod(variable.shape)) for variable in model.variables)
    return Estimate(seconds, 4 * parameters * _COPIES + _RESERVE)


def _seconds_per_image(model: object, size: int) -> float:
    """Returns the time that the network takes for an image, after one batch that nobody counts."""
    answer = tf.function(lambda images: model(images, training=False))  # type: ignore[operator]
    images = tf.zeros((_BATCH, size, size, 3), tf.uint8)
    answer(images)
    began, batches = time.monotonic(), 0
    while time.monotonic() - began < _LEAST_SECONDS or not batches:
        answer(images).numpy()
        batches += 1
    return (time.monotonic() - began) / (batches * _BATCH)
