"""Writes a plain network as a LiteRT file: uint8 images of the network's size in, probabilities out.

`export` runs this in a process of its own: python -m pipelines.serving.litert_file NETWORK FILE PRECISION [PHOTOS]. The
converter is TensorFlow's; the file has LiteRT's own operations alone. With int8 all of them compute with integers, the
softmax too: its probabilities are steps of 1/256.
"""

import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipelines.console.escapes import one_line
from pipelines.serving.plain_network import CLASS_INDEX, INPUT, PROBABILITIES, Operation, PlainNetwork

LABELS, METADATA = "labels.txt", "metadata.json"


def litert_model(network: PlainNetwork, precision: str, photos: np.ndarray | None = None) -> bytes:
    """Returns a network as the content of a LiteRT file.

    Its signature `serving_default` has the input `images`, uint8 [batch, size, size, 3], already in the view, and the
    outputs `probabilities`, float32 [batch, classes], and `class_index`, int64 [batch].

    Args:
        network: The network.
        precision: "float32", "float16" for weights of this type, or "int8".
        photos: uint8 [photos, size, size, 3] that the ranges of int8 are taken from.
    """
    size = network.view.size
    dtype = tf.float32 if precision == "int8" else tf.uint8  # the converter makes uint8 of it, with the scale 1

    @tf.function(autograph=False, input_signature=[tf.TensorSpec([None, size, size, 3], dtype, name=INPUT)])
    def serve(images: Any) -> dict[str, Any]:
        probabilities = _probabilities(network, tf.cast(images, tf.float32))
        return {PROBABILITIES: probabilities, CLASS_INDEX: tf.argmax(probabilities, axis=1)}

    module = tf.Module()
    module.serve = serve
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], module)
    if precision != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "int8":
        assert photos is not None
        converter.representative_dataset = lambda: _calibration(photos)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type, converter.inference_output_type = tf.uint8, tf.float32
    return bytes(converter.convert())


def _calibration(photos: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """Yields photos one by one; a black and a white value in a corner make the input's scale 1."""
    for photo in photos[:, None].astype(np.float32):
        photo[0, 0, 0, :2] = 0.0, 255.0
        yield {INPUT: photo}


def _probabilities(network: PlainNetwork, images: Any) -> Any:
    if not network.mirror:
        return tf.nn.softmax(_logits(network, images))
    views = images, tf.reverse(images, [2])
    return tf.add_n([tf.nn.softmax(_logits(network, view)) for view in views]) * 0.5


def _logits(network: PlainNetwork, images: Any) -> Any:
    outputs = {INPUT: images}
    for operation in network.operations:
        inputs = [outputs[name] for name in operation.inputs]
        outputs[operation.name] = _COMPUTED[operation.kind](operation, inputs)
    return outputs[network.operations[-1].name]


def _zeros(operation: Operation, x: Any) -> Any:
    top, left, bottom, right = operation.pads
    return tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]]) if any(operation.pads) else x


def _convolution(operation: Operation, inputs: list[Any]) -> Any:
    kernel = operation.arrays["kernel"]
    if operation.keeps_size:
        x = tf.nn.conv2d(inputs[0], kernel, 1, "SAME")
    else:
        x = tf.nn.conv2d(_zeros(operation, inputs[0]), kernel, operation.stride, "VALID")
    return tf.nn.bias_add(x, operation.arrays["bias"])


def _maximum(operation: Operation, inputs: list[Any]) -> Any:
    """Pads with zeros, which is as good as nothing: only what follows a ReLU is padded, see `fold`."""
    return tf.nn.max_pool2d(_zeros(operation, inputs[0]), operation.size, operation.stride, "VALID")


def _dense(operation: Operation, inputs: list[Any]) -> Any:
    return tf.nn.bias_add(tf.matmul(inputs[0], operation.arrays["kernel"]), operation.arrays["bias"])


_COMPUTED: dict[str, Callable[[Operation, list[Any]], Any]] = {
    "affine": lambda operation, inputs: inputs[0] * operation.arrays["scale"] + operation.arrays["shift"],
    "convolution": _convolution,
    "relu": lambda operation, inputs: tf.nn.relu(inputs[0]),
    "add": lambda operation, inputs: inputs[0] + inputs[1],
    "concatenate": lambda operation, inputs: tf.concat(inputs, axis=-1),
    "flatten": lambda operation, inputs: tf.reshape(inputs[0], [-1, int(np.prod(inputs[0].shape[1:]))]),
    "global_average": lambda operation, inputs: tf.reduce_mean(inputs[0], axis=[1, 2]),
    "global_maximum": lambda operation, inputs: tf.reduce_max(inputs[0], axis=[1, 2]),
    "pad": lambda operation, inputs: _zeros(operation, inputs[0]),
    "maximum": _maximum,
    "average": lambda operation, inputs: tf.nn.avg_pool2d(inputs[0], operation.size, operation.stride, "VALID"),
    "repeat": lambda operation, inputs: tf.tile(inputs[0], [1, *operation.size, 1]),
    "dense": _dense,
}


def add_metadata(file: Path, network: PlainNetwork) -> None:
    """Appends the class names and the metadata to a LiteRT file as a ZIP archive.

    This is where LiteRT's metadata have their associated files: a program that looks for them reads them as from any
    archive, and the runtime does not see them. A line break in a class name is escaped in labels.txt; metadata.json has
    it unchanged.
    """
    labels = "".join(f"{one_line(name)}\n" for name in network.classes)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(LABELS, labels)
        archive.writestr(METADATA, json.dumps(network.facts(), ensure_ascii=False, indent=2))


def main(folder: str, target: str, precision: str, photos: str = "") -> None:
    network = PlainNetwork.load(Path(folder))
    calibration = np.load(photos, allow_pickle=False) if photos else None
    Path(target).write_bytes(litert_model(network, precision, calibration))
    add_metadata(Path(target), network)


if __name__ == "__main__":
    main(*sys.argv[1:])
