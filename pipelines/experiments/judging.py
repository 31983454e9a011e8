"""What is measured of a training after an epoch, which is one row of results.csv."""

from typing import Any

import numpy as np

TESTS = 40  # number of times that a training is judged


def row_of(
    trainer: Any,
    state: Any,
    training: tuple[str, int],
    *,
    done: int,
    epochs: int,
    means: tuple[float, float],
    last: bool,
) -> dict[str, Any]:
    """Returns the row of an epoch. Not every epoch has a test error, and only the last one a training error at rest.

    Args:
        trainer: Trainer of the network.
        state: State of the trainer after the epoch.
        training: Short name of the network, and seed.
        done: Number of epochs that are done.
        epochs: Number of epochs that are planned.
        means: Training loss and training error over the epoch.
        last: Whether the training ends here.
    """
    iteration, total = done * trainer.steps, epochs * trainer.steps
    row = {
        "network": training[0],
        "seed": training[1],
        "iteration": iteration,
        "iterations": total,
        "rate": float(trainer.recipe.rate_at(iteration - 1, total, np)),
        "training_loss": means[0],
        "training_error": means[1],
    }
    if last or done % max(1, epochs // TESTS) == 0:
        row["test_error"] = trainer.errors(state, True)
    if last:
        row["training_error_at_rest"] = trainer.errors(state, False)
    return row
