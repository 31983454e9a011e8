"""A list of ONNX nodes that grows, with short calls for what a graph needs often."""

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper


class OnnxGraph:
    """Nodes and constants of a graph, in their order.

    Args:
        prefix: Beginning of the names of the nodes that `add` names by itself.
    """

    def __init__(self, prefix: str = "") -> None:
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.prefix = prefix

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Adds a node with one output, and returns the output's name.

        Args:
            kind: Operation, as ONNX names it.
            inputs: Names of its inputs.
            name: Name of the node and of its output; "" makes one.
            attributes: Attributes of the operation.
        """
        output = name or f"{self.prefix}{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, value: Any, kind: Any = np.float32, name: str = "") -> str:
        """Adds an array or a number, and returns its name."""
        name = name or f"{self.prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, kind), name))
        return name

    def cast(self, x: str, kind: int) -> str:
        """Returns a tensor in one of the types of `onnx.TensorProto`."""
        return self.add("Cast", x, to=kind)
