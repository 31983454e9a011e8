"""A stand-in for TensorFlow Serving, whose program cannot be installed from PyPI.

Its messages and its gRPC service are the published ones (tensorflow-serving-api), and the SavedModel runs in a session
of TensorFlow's C++ runtime, as it does there. How requests become inputs follows tensorflow/serving: predict_util.cc
and classifier.cc.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

PREDICT, CLASSIFY = "tensorflow/serving/predict", "tensorflow/serving/classify"


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers Predict and Classify with one SavedModel."""

    def __init__(self, saved_model: Path) -> None:
        self._session = tf.compat.v1.Session(graph=tf.Graph())
        with self._session.graph.as_default():
            meta = tf.compat.v1.saved_model.load(self._session, [tf.saved_model.SERVING], str(saved_model))
        self._signatures = meta.signature_def

    def Predict(self, request: Any, context: Any) -> Any:
        signature = self._signature(request, PREDICT)
        assert set(request.inputs) == set(signature.inputs)
        inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
        outputs = {name: tf.make_tensor_proto(value) for name, value in self._run(signature, inputs).items()}
        return predict_pb2.PredictResponse(model_spec=request.model_spec, outputs=outputs)

    def Classify(self, request: Any, context: Any) -> Any:
        signature = self._signature(request, CLASSIFY)
        assert list(signature.inputs) == ["inputs"]
        assert set(signature.outputs) == {"classes", "scores"}
        examples = [example.SerializeToString() for example in request.input.example_list.examples]
        answer = self._run(signature, {"inputs": examples})
        response = classification_pb2.ClassificationResponse(model_spec=request.model_spec)
        for classes, scores in zip(answer["classes"], answer["scores"], strict=True):
            listed = response.result.classifications.add()
            for name, score in zip(classes, scores, strict=True):
                listed.classes.add(label=name, score=score)
        return response

    def _signature(self, request: Any, method: str) -> Any:
        signature = self._signatures[request.model_spec.signature_name or "serving_default"]
        assert signature.method_name == method
        return signature

    def _run(self, signature: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        fetched = {name: output.name for name, output in signature.outputs.items()}
        return self._session.run(fetched, {signature.inputs[name].name: value for name, value in inputs.items()})


@contextmanager
def served(saved_model: Path) -> Iterator[Any]:
    """Yields a stub of a service on the loopback."""
    server = grpc.server(ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(saved_model), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield prediction_service_pb2_grpc.PredictionServiceStub(channel)
    finally:
        server.stop(None)
