"""The weights of trainings, at the moments at which they were kept, in one file for each network.

The file is an .npz whose arrays are called moment/variable, such as "end/conv1_conv/kernel". The moments are "start",
"end", and numbers of iterations.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.runs.files import write_atomically
from resnet_tf.errors import UserError

Weights = dict[str, np.ndarray]


def weights_of(network: Any, values: Iterable[Any]) -> Weights:
    """Returns kernels in float16 and the vectors of the batch norms in float32, by the variables' paths.

    Args:
        network: Keras model.
        values: Values of its trainable variables, then those of the others.
    """
    variables = (*network.trainable_variables, *network.non_trainable_variables)
    arrays = {v.path: np.asarray(value) for v, value in zip(variables, values, strict=True)}
    return {name: array.astype("float16") if array.ndim > 1 else array for name, array in arrays.items()}


def state_of(network: Any, weights: Weights) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """Returns the state of a trainer with these weights and no momentum.

    Raises:
        UserError: The weights are those of another network.
    """
    for variable in network.variables:
        if variable.path not in weights or weights[variable.path].shape != tuple(variable.shape):
            raise UserError(
                f"the weights have no {variable.path} of {tuple(variable.shape)}; they are of another network"
            )
    trainable, others = (
        [weights[v.path].astype("float32") for v in group]
        for group in (network.trainable_variables, network.non_trainable_variables)
    )
    return trainable, others, [np.zeros_like(value) for value in trainable]


def write_moments(path: Path, kept: dict[str, Weights]) -> None:
    """Writes the weights of all moments."""
    arrays = {f"{moment}/{name}": array for moment, weights in kept.items() for name, array in weights.items()}
    write_atomically(path, lambda partial: np.savez(partial, **arrays))  # type: ignore[arg-type]


def read_moments(path: Path) -> dict[str, Weights]:
    """Returns the weights of all moments, from the start of the training on.

    Raises:
        UserError: The file is missing or is no .npz of arrays.
    """
    kept: dict[str, Weights] = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            for key in arrays.files:
                moment, _, name = key.partition("/")
                kept.setdefault(moment, {})[name] = arrays[key]
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise UserError(f"{str(path)!r} has no weights of a training: {error}") from error
    return dict(sorted(kept.items(), key=lambda item: _place(item[0])))


def _place(moment: str) -> tuple[int, int]:
    return {"start": (0, 0), "end": (2, 0)}.get(moment) or (1, int(moment) if moment.isdecimal() else 0)
