"""Serves an export with its own runtime, in a process that imports nothing else, and says how long that takes.

`export` runs this: python -m pipelines.serving.engine FORMAT PATH. A question is a line of JSON with the shape of a
batch and the number of times to compute it, and the batch's bytes. An answer is a line of JSON with the seconds of each
time, the largest memory of the process so far in bytes and the shape of the probabilities, and their bytes.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.evaluation.runtimes import litert_signature, onnx_session, openvino_model

# A function from images, uint8 [batch, height, width, 3], to probabilities, float32 [batch, classes].
Serve = Callable[[np.ndarray], np.ndarray]


def _saved_model(path: Path) -> Serve:
    import tensorflow as tf

    model = tf.saved_model.load(str(path))
    signature = model.signatures["serving_default"]

    def serve(images: np.ndarray) -> np.ndarray:
        return signature(images=tf.constant(images))["probabilities"].numpy()

    serve.model = model  # type: ignore[attr-defined]  # a signature does not keep its model alive
    return serve


def _onnx(path: Path) -> Serve:
    session = onnx_session(path)
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def _web(path: Path) -> Serve:
    """Loads the network of a web folder; what a browser adds to it is tested in one."""
    return _onnx(path / "model.onnx")


def _openvino(path: Path) -> Serve:
    _, model = openvino_model(path / "model.xml")
    return lambda images: model(images)["probabilities"]


def _litert(path: Path) -> Serve:
    signature = litert_signature(path)
    return lambda images: signature(images=images)["probabilities"]


def _keras(path: Path) -> Serve:
    import keras
    import tensorflow as tf

    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    compute = tf.function(lambda images: model(images, training=False), reduce_retracing=True)
    return lambda images: compute(tf.constant(images)).numpy()


_LOADERS: dict[str, Callable[[Path], Serve]] = {
    "saved_model": _saved_model,
    "onnx": _onnx,
    "openvino": _openvino,
    "web": _web,
    "litert": _litert,
    "keras": _keras,
}


def _peak_bytes() -> int:
    """Returns the largest memory of this process; that of getrusage can be its parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def main(name: str, path: str) -> None:
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a runtime prints is no answer
    serve = _LOADERS[name](Path(path))
    for line in sys.stdin.buffer:
        question = json.loads(line)
        shape = question["shape"]
        images = np.frombuffer(sys.stdin.buffer.read(int(np.prod(shape))), np.uint8).reshape(shape)
        seconds = []
        for _ in range(question["times"]):
            started = time.perf_counter()
            probabilities = serve(images)
            seconds.append(time.perf_counter() - started)
        found: Any = np.ascontiguousarray(probabilities, np.float32)
        answer = {"seconds": seconds, "peak_bytes": _peak_bytes(), "shape": found.shape}
        answers.write(json.dumps(answer).encode() + b"\n" + found.tobytes())
        answers.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
