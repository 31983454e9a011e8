"""Keras's files from before 3.6 do not name their layers: a variable is found by the class and the number of its
layer, such as layers/conv2d_3/vars/0."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import BATCH_NORM, KERNEL_AND_BIAS

# Nothing else begins so.
_MARK = "#"
# Of the layers of a model, in Keras 3 and in Keras 2.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


def position(parts: list[str]) -> str:
    """The key of a tensor whose path is …/conv2d_3/vars/0: "#…/conv2d_3/0"."""
    return f"{_MARK}{'/'.join(part for part in parts[:-2] if part not in _CONTAINERS)}/{parts[-1]}"


def has_positions(tensors: Iterable[str]) -> bool:
    """Whether some tensors still want their layers' names."""
    return any(name.startswith(_MARK) for name in tensors)


def positions_in_config(config: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """(place, layer name) of every layer in a model's config, nested models included."""
    layers = [(layer["class_name"], layer["config"].get("name", "")) for layer in config["config"]["layers"]]
    for (found, name), layer in zip(positions(layers, place), config["config"]["layers"], strict=True):
        if "layers" in layer["config"]:
            yield from positions_in_config(layer, f"{found}/")
        yield found, name


def positions(layers: Iterable[tuple[str, str]], place: str = "") -> Iterator[tuple[str, str]]:
    """(place, layer name) of layers that are given as (class name, layer name), in their order."""
    seen: Counter[str] = Counter()
    for kind, name in layers:
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        yield f"{place}{snake}_{seen[snake]}" if seen[snake] else f"{place}{snake}", name
        seen[snake] += 1


def name_positions(tensors: dict[str, np.ndarray], layers: Iterable[tuple[str, str]]) -> dict[str, np.ndarray]:
    """The tensors under their layers' names.

    Args:
        tensors: With keys from `position`; those that are names already stay.
        layers: (place, layer name), from `positions` or `positions_in_config`.
    """
    names = dict(layers)
    counts = Counter(key.rpartition("/")[0] for key in tensors if key.startswith(_MARK))
    named = {}
    for key, tensor in tensors.items():
        place, _, index = key.removeprefix(_MARK).rpartition("/")
        if key.startswith(_MARK) and place in names and index.isdecimal():
            variables = BATCH_NORM if counts[f"{_MARK}{place}"] == len(BATCH_NORM) else KERNEL_AND_BIAS
            if int(index) < len(variables):
                named[f"{names[place]}/{variables[int(index)]}"] = tensor
                continue
        named[key] = tensor
    return named


def check_names(tensors: Iterable[str], source: str) -> None:
    """
    Raises:
        UserError: Layers have no names, and only a model of the same layers could give them theirs.
    """
    if has_positions(tensors):
        raise UserError(
            f"{source!r} does not name its layers, as files .weights.h5 of Keras before 3.6 do not; "
            "save the model as .keras or .h5 there"
        )
