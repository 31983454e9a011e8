"""Finds the layers of files that do not name them, as Keras's files from before 3.6 do not.

Such a file has a tensor under the class and the number of its layer, such as layers/conv2d_3/vars/0. Until a list of
a network's layers says how conv2d_3 is called, the tensor has an `unnamed_key`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.names import BATCH_NORM, KERNEL_AND_BIAS

# The name of no layer begins with it.
_MARK = "#"
# Keras 3 and Keras 2 keep the layers of a model under these names.
_CONTAINERS = ("layers", "_layer_checkpoint_dependencies")


def unnamed_key(parts: list[str]) -> str:
    """Returns the key of a tensor whose path is …/conv2d_3/vars/0: "#…/conv2d_3/0"."""
    return f"{_MARK}{'/'.join(part for part in parts[:-2] if part not in _CONTAINERS)}/{parts[-1]}"


def has_unnamed_layers(tensors: Iterable[str]) -> bool:
    """Returns whether some tensors still have an `unnamed_key`."""
    return any(name.startswith(_MARK) for name in tensors)


def layer_names_in_config(config: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields (class and number, name) of every layer in a model's config, nested models included."""
    layers = [(layer["class_name"], layer["config"].get("name", "")) for layer in config["config"]["layers"]]
    for (number, name), layer in zip(layer_names_by_number(layers, prefix), config["config"]["layers"], strict=True):
        if "layers" in layer["config"]:
            yield from layer_names_in_config(layer, f"{number}/")
        yield number, name


def layer_names_by_number(layers: Iterable[tuple[str, str]], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yields (class and number, name) of layers, such as ("conv2d_3", "conv2_block1_1_conv").

    Args:
        layers: (class name, layer name) of each, in the order of the model.
        prefix: Class and number of the model that they are part of, with a slash behind, or nothing.
    """
    seen: Counter[str] = Counter()
    for kind, name in layers:
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", kind)).lower()
        yield f"{prefix}{snake}_{seen[snake]}" if seen[snake] else f"{prefix}{snake}", name
        seen[snake] += 1


def with_layer_names(tensors: dict[str, np.ndarray], layers: Iterable[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Returns the tensors under their layers' names; those that have a name already keep it.

    Args:
        tensors: Arrays under names or under an `unnamed_key`.
        layers: (class and number, name), from `layer_names_by_number` or `layer_names_in_config`.
    """
    names = dict(layers)
    counts = Counter(key.rpartition("/")[0] for key in tensors if key.startswith(_MARK))
    named = {}
    for key, tensor in tensors.items():
        number, _, index = key.removeprefix(_MARK).rpartition("/")
        if key.startswith(_MARK) and number in names and index.isdecimal():
            variables = BATCH_NORM if counts[f"{_MARK}{number}"] == len(BATCH_NORM) else KERNEL_AND_BIAS
            if int(index) < len(variables):
                named[f"{names[number]}/{variables[int(index)]}"] = tensor
                continue
        named[key] = tensor
    return named


def check_layer_names(tensors: Iterable[str], source: str) -> None:
    """Checks that every layer of a file has its name.

    Raises:
        UserError: Layers have no names, and only a model of the same layers could give them theirs.
    """
    if has_unnamed_layers(tensors):
        raise UserError(
            f"{source!r} does not name its layers, as files .weights.h5 of Keras before 3.6 do not; "
            "save the model as .keras or .h5 there"
        )
