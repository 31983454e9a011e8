"""Loads files of ONNX, OpenVINO and LiteRT with their runtimes, on the processor.

Nothing else is imported, so that a process that serves an export has its runtime alone.
"""

import os
from pathlib import Path
from typing import Any

from pipelines.console.no_telemetry import send_nothing


def onnx_session(file: Path) -> Any:
    """Returns an ONNX file as an `onnxruntime.InferenceSession`.

    Raises:
        ImportError: ONNX Runtime is not installed. What else it raises is of its own kinds.
    """
    import onnxruntime

    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def openvino_model(file: Path) -> tuple[Any, Any]:
    """Returns an OpenVINO model as an `openvino.Model`, which has its metadata, and compiled.

    Without the hint it would compute in bfloat16 where the processor can.

    Raises:
        ImportError: OpenVINO is not installed. What else it raises is of its own kinds.
    """
    send_nothing()
    import openvino

    core = openvino.Core()
    model = core.read_model(file)
    return model, core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def litert_signature(file: Path) -> Any:
    """Returns the only signature of a LiteRT file, which is called with its inputs by their names.

    Raises:
        ImportError: LiteRT is not installed. What else it raises is of many kinds.
    """
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(model_path=str(file), num_threads=len(os.sched_getaffinity(0))).get_signature_runner()
