"""The requests that TensorFlow Serving answers by itself when it has loaded a model, so that no client waits for that.

They are PredictionLog messages (tensorflow_serving/apis/prediction_log.proto) in a TFRecord file. TensorFlow has no
class for them. All the fields that are needed here hold messages or text, of which the wire format is the same.
"""

from pathlib import Path
from typing import Any

import tensorflow as tf

WARMUP = Path("assets.extra") / "tf_serving_warmup_requests"

# Numbers of the fields, in the order in which they are wrapped, with their message.
_PREDICT_LOG, _CLASSIFY_LOG = 6, 2  # PredictionLog
_REQUEST = 1  # PredictLog and ClassifyLog
_MODEL_SPEC, _INPUT = 1, 2  # PredictRequest and ClassificationRequest
_SIGNATURE_NAME = 3  # ModelSpec
_KEY, _VALUE = 1, 2  # an entry of PredictRequest.inputs
_EXAMPLE_LIST, _EXAMPLES = 1, 1  # Input, and ExampleList
_WITH_LENGTH = 2  # the wire type


def predict_log(signature: str, name: str, value: Any) -> bytes:
    """Returns a PredictionLog that asks a signature of one input.

    Args:
        signature: Name of the signature.
        name: Name of its input.
        value: The input, an array or a list of bytes.
    """
    tensor = tf.make_tensor_proto(value).SerializeToString()
    entry = _field(_KEY, name.encode()) + _field(_VALUE, tensor)
    return _field(_PREDICT_LOG, _field(_REQUEST, _model_spec(signature) + _field(_INPUT, entry)))


def classify_log(signature: str, examples: list[Any]) -> bytes:
    """Returns a PredictionLog that asks a classifying signature about tf.train.Example messages."""
    listed = b"".join(_field(_EXAMPLES, example.SerializeToString()) for example in examples)
    request = _model_spec(signature) + _field(_INPUT, _field(_EXAMPLE_LIST, listed))
    return _field(_CLASSIFY_LOG, _field(_REQUEST, request))


def write_warmup(folder: Path, logs: list[bytes]) -> None:
    """Writes the requests into a SavedModel's folder."""
    file = folder / WARMUP
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for log in logs:
            writer.write(log)


def _model_spec(signature: str) -> bytes:
    """Returns a ModelSpec without the model's name, which TensorFlow Serving knows where it reads the file."""
    return _field(_MODEL_SPEC, _field(_SIGNATURE_NAME, signature.encode()))


def _field(number: int, content: bytes) -> bytes:
    """Encodes a field that holds a message or text."""
    length, size = b"", len(content)
    while size >= 128:
        length, size = length + bytes([size % 128 + 128]), size // 128
    return bytes([number << 3 | _WITH_LENGTH]) + length + bytes([size]) + content
