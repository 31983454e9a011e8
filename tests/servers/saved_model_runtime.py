"""What MLServer needs to serve a SavedModel of this project: a signature for each input, in a thread of its own."""

import asyncio
import base64
from typing import Any

import numpy as np
import tensorflow as tf
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

SIGNATURES = {"encoded": "serve_bytes", "images": "serving_default"}


class SavedModelRuntime(MLModel):
    """Serves `encoded`, the bytes of photos, and `images`, their pixels."""

    async def load(self) -> bool:
        """Loads the model, and answers its own warm-up requests as TensorFlow Serving does."""
        folder = self.settings.parameters.uri
        self._signatures = tf.saved_model.load(folder).signatures
        for record in tf.data.TFRecordDataset(f"{folder}/assets.extra/tf_serving_warmup_requests"):
            request = PredictionLog.FromString(record.numpy()).predict_log.request
            if request.inputs:
                inputs = {name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()}
                self._signatures[request.model_spec.signature_name](**inputs)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        (given,) = payload.inputs
        if given.name == "encoded":
            # JSON has no bytes, so that its texts are base64; gRPC has bytes.
            contents = [base64.b64decode(each) if isinstance(each, str) else bytes(each) for each in given.data]
            value: Any = tf.constant(contents, tf.string)
        else:
            value = tf.constant(NumpyCodec.decode_input(given))
        answer = await asyncio.to_thread(self._signatures[SIGNATURES[given.name]], **{given.name: value})
        outputs = [_encoded(name, values.numpy()) for name, values in answer.items()]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)


def _encoded(name: str, values: np.ndarray) -> Any:
    if values.dtype == object:
        return StringCodec.encode_output(name, [each.decode() for each in values])
    kind = {np.dtype("float32"): "FP32", np.dtype("int64"): "INT64"}[values.dtype]
    # NumpyCodec would make None of NaN, which gRPC cannot carry.
    return ResponseOutput(name=name, shape=list(values.shape), datatype=kind, data=values.ravel().tolist())
