"""The cost of a network: its layers, parameters and multiply-adds."""

from dataclasses import dataclass
from math import prod
from typing import Any

import keras


@dataclass(frozen=True)
class LayerCost:
    """What one layer of a network costs.

    Args:
        name: Name of the layer.
        kind: Name of its class.
        output_shape: Shape of its output without the batch; None where a size is free.
        parameters: Number of values that training changes.
        multiply_adds: Multiplications with their additions for one image, which the papers count in convolutions and
            dense layers alone.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    multiply_adds: int


def layer_costs(model: keras.Model) -> list[LayerCost]:
    """Returns the cost of every layer, from the input on.

    Args:
        model: Network that is built for a fixed input shape.
    """
    return [
        LayerCost(
            layer.name,
            type(layer).__name__,
            tuple(layer.output.shape[1:]),
            sum(prod(variable.shape) for variable in layer.trainable_variables),
            _multiply_adds(layer),
        )
        for layer in model.layers
    ]


def parameters(model: keras.Model) -> int:
    """Counts the values that training changes, to which the moving statistics of batch norms do not belong."""
    return sum(prod(variable.shape) for variable in model.trainable_variables)


def multiply_adds(model: keras.Model) -> int:
    """Counts the multiplications, each with its addition, for one image, in convolutions and dense layers.

    He et al. 2015, table 1, call them FLOPs.

    Args:
        model: Network that is built for a fixed input shape.
    """
    return sum(_multiply_adds(layer) for layer in model.layers)


def _multiply_adds(layer: Any) -> int:
    if isinstance(layer, keras.layers.Conv2D):
        return prod(layer.kernel.shape) * prod(layer.output.shape[1:3])
    return prod(layer.kernel.shape) if isinstance(layer, keras.layers.Dense) else 0
