"""The loss along two random directions around a network's weights.

Li et al. 2018 ("Visualizing the loss landscape of neural nets", arXiv 1712.09913), section 4.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipelines.experiments.cifar10 import Images

_BATCH = 256


@dataclass(frozen=True)
class Grid:
    """How finely the loss is measured.

    Args:
        points: Number of points along each direction, from -1 to 1; odd, so that one is in the middle.
        images: Number of training images of the loss.
    """

    points: int
    images: int


def loss_surface(trainer: Any, state: Any, images: Images, grid: Grid) -> np.ndarray:
    """Returns the mean loss at each point of a grid, float [second direction, first direction].

    Batch norms use their moving statistics.

    Args:
        trainer: Trainer of the network.
        state: State whose weights are in the middle.
        images: Images of the loss, of which the grid says how many count.
        grid: Points and images.
    """
    random, weights = np.random.default_rng(0), [np.asarray(value, "float32") for value in state[0]]
    first, second = ([_direction(weight, random) for weight in weights] for _ in range(2))
    few = images.first(grid.images)
    parts = [few.part(at, at + _BATCH) for at in range(0, len(few.labels), _BATCH)]
    batches = [(trainer.normalized(part.pixels), part.labels.astype(int)) for part in parts]
    variables = trainer.network.trainable_variables
    for variable, value in zip(trainer.network.non_trainable_variables, state[1], strict=True):
        variable.assign(value)
    side, losses = np.linspace(-1.0, 1.0, grid.points), np.empty((grid.points,) * 2)
    for row, y in enumerate(side):
        for column, x in enumerate(side):
            for variable, weight, one, two in zip(variables, weights, first, second, strict=True):
                variable.assign(weight + x * one + y * two)
            losses[row, column] = _mean_loss(trainer.network, batches)
    return losses


def share_of_negative_curvature(losses: np.ndarray) -> float:
    """Returns the share of a surface's points at which it bends down in some direction by more than it bends up by ten.

    Li et al. 2018, figure 7, map the same ratio of the smallest to the largest eigenvalue of the Hessian; here it is
    the Hessian in the plane of the two directions, of differences between neighbours.

    Args:
        losses: float [points, points].
    """
    middle = losses[1:-1, 1:-1]
    by_rows = losses[2:, 1:-1] - 2 * middle + losses[:-2, 1:-1]
    by_columns = losses[1:-1, 2:] - 2 * middle + losses[1:-1, :-2]
    mixed = (losses[2:, 2:] - losses[2:, :-2] - losses[:-2, 2:] + losses[:-2, :-2]) / 4
    centre, radius = (by_rows + by_columns) / 2, np.hypot((by_rows - by_columns) / 2, mixed)
    smallest, largest = centre - radius, centre + radius
    return float(np.mean(-smallest > 0.1 * np.abs(largest)))


def _direction(weight: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Returns a random direction of which each filter has the length of the weight's; vectors get none."""
    if weight.ndim < 2:
        return np.zeros_like(weight)
    drawn = random.standard_normal(weight.shape, "float32")
    axes = tuple(range(weight.ndim - 1))
    lengths = [np.sqrt((each**2).sum(axis=axes, keepdims=True)) for each in (weight, drawn)]
    return np.asarray(drawn * lengths[0] / (lengths[1] + 1e-12), "float32")


def _mean_loss(network: Any, batches: list[tuple[np.ndarray, np.ndarray]]) -> float:
    total, count = 0.0, 0
    for images, labels in batches:
        logits = np.asarray(network.predict_on_batch(images), "float64")
        shifted = logits - logits.max(axis=1, keepdims=True)
        total -= (shifted[np.arange(len(labels)), labels] - np.log(np.exp(shifted).sum(axis=1))).sum()
        count += len(labels)
    return total / count
