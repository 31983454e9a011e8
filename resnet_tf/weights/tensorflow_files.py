"""Reads weights from SavedModel folders and TensorFlow checkpoints, by the names of their layers.

Only numbers are read, from the checkpoint that both contain. No graph or function of the file is loaded or run, and
TensorFlow does not see the file.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from resnet_tf.errors import UserError
from resnet_tf.weights.files import check_size
from resnet_tf.weights.tensor_bundle import TensorBundle
from resnet_tf.weights.wire import bytes_of, fields, int_of

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
# The step counters, which only an optimizer has: the first in Keras 3 and in Keras 2 since 2.11, the second in
# tf.keras.optimizers.legacy.
_STEP_COUNTERS = {"_iterations", "iter"}


def read_tensorflow(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the weights of a Keras model, without those of its optimizer.

    Args:
        path: Path of a SavedModel folder, of a prefix that was given to `save_weights` or `tf.train.Checkpoint.write`,
            of a checkpoint's .index file, or of a folder with one checkpoint; written by Keras 2 or Keras 3.

    Returns:
        Dictionary from "layer/variable" to an array.

    Raises:
        UserError: There is no checkpoint, it is damaged, or it lacks the names of its variables' layers, like those of
            TensorFlow 1.
    """
    prefix = _find_checkpoint(Path(path))
    try:
        tensors = _read_layers(prefix)
    except UserError:
        raise
    except (ValueError, LookupError, OSError, MemoryError) as error:  # damaged bytes, or a file that lacks its shards
        raise UserError(
            f"the TensorFlow weights {str(path)!r} are damaged or incomplete: {type(error).__name__}"
        ) from error
    if not tensors:
        raise UserError(f"the TensorFlow weights {str(path)!r} hold no variable of a layer")
    return tensors


def _find_checkpoint(path: Path) -> Path:
    """Returns the prefix of the checkpoint that a path refers to, which is what TensorFlow expects."""
    for prefix in (path / "variables" / "variables", path):
        if Path(f"{prefix}.index").is_file():
            return prefix
    if path.suffix == ".index" and path.is_file():
        return path.with_suffix("")
    found = sorted(path.glob("*.index")) if path.is_dir() else []
    if not found:
        raise UserError(
            f"{str(path)!r} is neither a SavedModel folder nor a TensorFlow checkpoint: there is no .index file"
        )
    if len(found) > 1:
        raise UserError(
            f"{str(path)!r} holds {len(found)} checkpoints; name one, such as {str(found[-1].with_suffix(''))!r}"
        )
    return found[0].with_suffix("")


def _read_layers(prefix: Path) -> dict[str, np.ndarray]:
    bundle = TensorBundle(prefix)
    if _GRAPH not in bundle.names:
        raise UserError(f"{str(prefix)!r} is a TensorFlow 1 checkpoint: it does not say of which layer a variable is")
    found: dict[str, list[str]] = {}
    for name, full_name, key in _model_attributes(_nodes(bundle.text(_GRAPH))):
        parts = full_name.split("/")
        if name == _VALUE and len(parts) >= 2:  # counters and metrics have no layer
            found.setdefault("/".join(parts[-2:]), []).append(key)
    size = sum(bundle.entry(key).size for several in found.values() for key in set(several))
    check_size(size, prefix, stored=bundle.stored_bytes())
    tensors: dict[str, np.ndarray] = {}
    for name, several in found.items():
        for key in dict.fromkeys(several):
            value = bundle.numbers(key)
            if not np.array_equal(tensors.setdefault(name, value), value, equal_nan=value.dtype.kind == "f"):
                raise UserError(f"{str(prefix)!r} has two different variables with the name {name!r}")
    return tensors


@dataclass
class _Node:
    """An object of the graph: its children (number, name), and its attributes (name, full name, key of the tensor)."""

    children: list[tuple[int, str]] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)


def _nodes(graph: bytes) -> list[_Node]:
    """Returns the objects of a TrackableObjectGraph (tensorflow/core/protobuf/trackable_object_graph.proto)."""
    nodes = []
    for number, message in fields(graph):
        if number != 1:
            continue
        node = _Node()
        for part, value in fields(bytes_of(message)):
            if part == 1:
                child = dict(fields(bytes_of(value)))
                node.children.append((int_of(child.get(1, 0)), _text(child.get(2, b""))))
            elif part == 2:
                attribute = dict(fields(bytes_of(value)))
                name, full_name, key = (_text(attribute.get(index, b"")) for index in (1, 2, 3))
                node.attributes.append((name, full_name, key))
        nodes.append(node)
    return nodes


def _text(value: Any) -> str:
    return bytes_of(value).decode()


def _model_attributes(nodes: list[_Node]) -> Iterator[tuple[str, str, str]]:
    """Yields the attributes of the graph's objects in breadth-first order, without optimizers and everything below."""
    waiting, seen = deque([0]), {0}
    while waiting:
        node = nodes[waiting.popleft()]
        if _STEP_COUNTERS & {name for _, name in node.children}:
            continue
        yield from node.attributes
        for number, _ in node.children:
            if number not in seen:
                seen.add(number)
                waiting.append(number)
