"""Writes an ONNX model of a plain network as OpenVINO's model.xml and model.bin.

`export` runs this in a process of its own: python -m pipelines.serving.openvino_model NETWORK FOLDER PRECISION, and an
archive of photos for int8.
"""

import sys
from pathlib import Path

from pipelines.console.no_telemetry import send_nothing

send_nothing()

import openvino  # noqa: E402

from pipelines.serving.onnx_file import onnx_model  # noqa: E402
from pipelines.serving.plain_network import PlainNetwork  # noqa: E402

MODEL = "model.xml"
# Where the metadata of the network are in the model's rt_info.
SECTION = "resnet_tf"


def openvino_model(network: PlainNetwork) -> openvino.Model:
    """Returns a network as an OpenVINO model with the inputs, outputs and metadata of its ONNX model."""
    return openvino.Core().read_model(onnx_model(network).SerializeToString(), b"")


def describe(model: openvino.Model, network: PlainNetwork, precision: str) -> None:
    """Puts the metadata into a model's rt_info, under "resnet_tf"."""
    for name, text in {**network.metadata(), "precision": precision}.items():
        model.set_rt_info(text, [SECTION, name])


def main(folder: str, target: str, precision: str, photos: str = "") -> None:
    network = PlainNetwork.load(Path(folder))
    model = openvino_model(network)
    if precision == "int8":
        from pipelines.serving.int8 import quantized

        model = quantized(model, Path(photos))
    describe(model, network, precision)
    Path(target).mkdir()
    openvino.save_model(model, Path(target) / MODEL, compress_to_fp16=precision == "float16")


if __name__ == "__main__":
    main(*sys.argv[1:])
