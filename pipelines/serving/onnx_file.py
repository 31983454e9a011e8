"""Writes a plain network as an ONNX file, with its view inside: uint8 pictures of any size in, probabilities out.

`export` runs this in a process of its own: python -m pipelines.serving.onnx_file NETWORK FILE PRECISION [PHOTOS]. It
needs the packages onnx and, for int8, nncf and onnxruntime, and no TensorFlow.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from pipelines.serving.onnx_graph import OnnxGraph
from pipelines.serving.onnx_view import add_view
from pipelines.serving.plain_network import CLASS_INDEX, INPUT, PROBABILITIES, Operation, PlainNetwork

VIEW = "view/"  # the beginning of the names of the view's nodes
# What OpenVINO, onnxruntime-web and TensorRT read, too.
_OPSET, _IR_VERSION = 17, 8


def onnx_model(network: PlainNetwork, half: bool = False) -> onnx.ModelProto:
    """Returns a network as an ONNX model.

    Its input is `images`, uint8 [batch, height, width, 3], with any height and width. Its outputs are `probabilities`,
    float32 [batch, classes], and `class_index`, int64 [batch]. The metadata have `classes` (a JSON list), `view`,
    `image_size`, `temperature` and `mirror`.

    Args:
        network: The network.
        half: Whether weights are stored in float16. They are computed with in float32.
    """
    view, graph = OnnxGraph(VIEW), OnnxGraph()
    images = add_view(view, INPUT, network.view)
    if network.mirror:
        images = view.add("Concat", images, _mirrored(view, images), axis=0)
    outputs = {INPUT: images}
    for operation in network.operations:
        inputs = [outputs[name] for name in operation.inputs]
        outputs[operation.name] = _WRITERS[operation.kind](graph, operation, inputs)
    found = graph.add("Softmax", outputs[network.operations[-1].name], axis=1, name=_softmax_name(network))
    if network.mirror:
        halves = graph.add("Reshape", found, graph.constant([2, -1, len(network.classes)], np.int64))
        graph.add("ReduceMean", halves, axes=[0], keepdims=0, name=PROBABILITIES)
    graph.add("ArgMax", PROBABILITIES, axis=1, keepdims=0, name=CLASS_INDEX)
    if half:
        _store_in_half(graph)
    model = helper.make_model(
        helper.make_graph(
            [*view.nodes, *graph.nodes],
            "resnet_tf",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["batch", "height", "width", 3])],
            [
                helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", len(network.classes)]),
                helper.make_tensor_value_info(CLASS_INDEX, TensorProto.INT64, ["batch"]),
            ],
            [*view.constants, *graph.constants],
        ),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name="resnet_tf",
    )
    helper.set_model_props(model, network.metadata())
    onnx.checker.check_model(model, full_check=True)
    return model


def _softmax_name(network: PlainNetwork) -> str:
    return "softmax" if network.mirror else PROBABILITIES


def _mirrored(graph: OnnxGraph, images: str) -> str:
    """Returns images [batch, 3, height, width] from right to left."""
    start, end, axis, step = (graph.constant([value], np.int64) for value in (-1, np.iinfo(np.int64).min + 1, 3, -1))
    return graph.add("Slice", images, start, end, axis, step)


def _affine(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    scale, shift = (
        graph.constant(operation.arrays[name].reshape(1, -1, 1, 1), name=f"{operation.name}/{name}")
        for name in ("scale", "shift")
    )
    return graph.add(
        "Add", graph.add("Mul", inputs[0], scale, name=f"{operation.name}/scaled"), shift, name=operation.name
    )


def _convolution(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    kernel = operation.arrays["kernel"].transpose(3, 2, 0, 1)
    weights = graph.constant(kernel, name=f"{operation.name}/kernel")
    bias = graph.constant(operation.arrays["bias"], name=f"{operation.name}/bias")
    attributes = {"kernel_shape": kernel.shape[2:], "strides": operation.stride, "pads": operation.pads}
    return graph.add("Conv", inputs[0], weights, bias, name=operation.name, **attributes)


def _dense(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    arrays = [graph.constant(operation.arrays[name], name=f"{operation.name}/{name}") for name in ("kernel", "bias")]
    return graph.add("Gemm", inputs[0], *arrays, name=operation.name)


def _pad(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    top, left, bottom, right = operation.pads
    pads = graph.constant([0, 0, top, left, 0, 0, bottom, right], np.int64)
    return graph.add("Pad", inputs[0], pads, name=operation.name)


def _maximum(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    attributes = {"kernel_shape": operation.size, "strides": operation.stride, "pads": operation.pads}
    return graph.add("MaxPool", inputs[0], name=operation.name, **attributes)


def _repeat(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    """Repeats a single pixel, the only case that the networks have, see `resnet_tf.vgg`."""
    repeats = graph.constant([1, 1, *operation.size], np.int64)
    return graph.add("Tile", inputs[0], repeats, name=operation.name)


def _average(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    attributes = {"kernel_shape": operation.size, "strides": operation.stride}
    return graph.add("AveragePool", inputs[0], name=operation.name, **attributes)


def _flatten(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
    """Flattens [batch, channels, height, width] in the order of [batch, height, width, channels]."""
    return graph.add("Flatten", graph.add("Transpose", inputs[0], perm=[0, 2, 3, 1]), name=operation.name)


def _global(kind: str) -> Callable[[OnnxGraph, Operation, list[str]], str]:
    def write(graph: OnnxGraph, operation: Operation, inputs: list[str]) -> str:
        return graph.add("Flatten", graph.add(kind, inputs[0], name=f"{operation.name}/pooled"), name=operation.name)

    return write


def _same(kind: str, **attributes: int) -> Callable[[OnnxGraph, Operation, list[str]], str]:
    return lambda graph, operation, inputs: graph.add(kind, *inputs, name=operation.name, **attributes)


_WRITERS: dict[str, Callable[[OnnxGraph, Operation, list[str]], str]] = {
    "affine": _affine,
    "convolution": _convolution,
    "relu": _same("Relu"),
    "add": _same("Add"),
    "concatenate": _same("Concat", axis=1),
    "flatten": _flatten,
    "global_average": _global("GlobalAveragePool"),
    "global_maximum": _global("GlobalMaxPool"),
    "pad": _pad,
    "maximum": _maximum,
    "average": _average,
    "repeat": _repeat,
    "dense": _dense,
}


def _store_in_half(graph: OnnxGraph) -> None:
    """Stores the weights of convolutions and dense layers in float16, each with a cast that runtimes do once."""
    casts = []
    for constant in graph.constants:
        if constant.name.endswith("/kernel"):
            value, name = onnx.numpy_helper.to_array(constant), constant.name
            constant.CopyFrom(onnx.numpy_helper.from_array(value.astype(np.float16), f"{name}/half"))
            casts.append(helper.make_node("Cast", [constant.name], [name], name=f"{name}/cast", to=TensorProto.FLOAT))
    graph.nodes[:0] = casts


def main(folder: str, target: str, precision: str, photos: str = "") -> None:
    network = PlainNetwork.load(Path(folder))
    model = onnx_model(network, half=precision == "float16")
    if precision == "int8":
        from pipelines.serving.int8 import quantized

        model = quantized(model, Path(photos))
        helper.set_model_props(model, network.metadata())
    onnx.save(model, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
