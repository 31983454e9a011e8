"""How long a training will take on this machine and how much disk it needs, before it begins."""

import time
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipelines.recipe.pretrained import EPOCHS_IF_UNCERTAIN
from pipelines.training.look import MOST_IMAGES
from pipelines.training.network import build_network
from pipelines.training.plan import Plan

# A training step beside an evaluation of the same images: backwards takes twice as long as forwards, but not through
# the frozen stages, which the recipe computes once more without their gradients.
_STEP = 2.7
_MOST_LOOKS = 5  # three views, and a larger size, which takes twice as long
_BATCH, _LEAST_SECONDS = 16, 1.0
# Float32 copies of the network in a run: two checkpoints with AdamW's two moments, the start, the model, the export.
_COPIES = 2 * 3 + 3
_RESERVE = 20 * 10**6  # pictures, tables, and the graph of the export


@dataclass(frozen=True)
class Estimate:
    """What a training will take.

    Args:
        seconds: Time, from the look at the pictures to the evaluation, if the look leaves little uncertain.
        most: The same if it leaves much uncertain, so that other views and more epochs are tried.
        disk: Bytes in the run directory.
    """

    seconds: float
    most: float
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
    once = train + 4 * val + test  # the head's features, the three averages, the evaluation
    each, epochs = _STEP * train + val, plan.recipe.epochs
    most_epochs = epochs if plan.decided("epochs") else max(epochs, EPOCHS_IF_UNCERTAIN)
    seconds = per_image * (looked_at + once + epochs * each)
    most = per_image * (_MOST_LOOKS * looked_at + once + most_epochs * each)
    if plan.config.minutes:
        seconds = most = 60 * plan.config.minutes
    parameters = sum(int(np.prod(variable.shape)) for variable in model.variables)
    return Estimate(seconds, most, 4 * parameters * _COPIES + _RESERVE)


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
