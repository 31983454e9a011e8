"""Reads weights from SavedModel folders and TensorFlow checkpoints, by the names of their layers.

Only numbers are read, from the checkpoint that both contain. No graph or function of the file is loaded or run.
"""

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np

from resnet_tf.errors import UserError

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
    except Exception as error:  # TensorFlow, protobuf and NumPy raise their own errors for damaged bytes
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
    import tensorflow as tf
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    reader = tf.train.load_checkpoint(str(prefix))
    if not reader.has_tensor(_GRAPH):
        raise UserError(f"{str(prefix)!r} is a TensorFlow 1 checkpoint: it does not say of which layer a variable is")
    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH)).nodes
    tensors: dict[str, np.ndarray] = {}
    for attribute in _model_attributes(nodes):
        parts = attribute.full_name.split("/")
        if attribute.name != _VALUE or len(parts) < 2:  # counters and metrics have no layer
            continue
        name = "/".join(parts[-2:])
        value = reader.get_tensor(attribute.checkpoint_key)
        kept = tensors.setdefault(name, value)
        if kept is not value and not np.array_equal(kept, value):
            raise UserError(f"{str(prefix)!r} has two different variables with the name {name!r}")
    return tensors


def _model_attributes(nodes: Any) -> Any:
    """Yields the attributes of the graph's objects in breadth-first order, without optimizers and everything below."""
    waiting, seen = deque([0]), {0}
    while waiting:
        node = nodes[waiting.popleft()]
        if _STEP_COUNTERS & {child.local_name for child in node.children}:
            continue
        yield from node.attributes
        for child in node.children:
            if child.node_id not in seen:
                seen.add(child.node_id)
                waiting.append(child.node_id)
