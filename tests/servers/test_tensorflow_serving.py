"""TensorFlow Serving's protocol: its published messages, the warm-up requests, Predict and Classify."""

import numpy as np
import pytest
import tensorflow as tf

pytest.importorskip("tensorflow_serving.apis", reason="the servers are not installed; make servers")

from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_log_pb2

from pipelines.serving.warmup import WARMUP
from tests.servers.conftest import CLASSES, SIZE, photos
from tests.servers.prediction_service import served


@pytest.fixture(scope="module")
def stub(saved_model):
    with served(saved_model) as found:
        yield found


@pytest.fixture(scope="module")
def logs(saved_model):
    """Returns the warm-up requests, as TensorFlow Serving reads them."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(saved_model / WARMUP))]
    found = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    assert [log.SerializeToString(deterministic=True) for log in found] == records  # no unknown field, nothing lost
    return {log.WhichOneof("log_type") + ":" + request_of(log).model_spec.signature_name: log for log in found}


def request_of(log):
    return getattr(log, log.WhichOneof("log_type")).request


def example(content):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature}))


def test_every_signature_has_a_warm_up_request_that_it_answers(logs, stub):
    assert list(logs) == ["predict_log:serving_default", "predict_log:serve_bytes", "classify_log:classify"]
    for kind, log in logs.items():
        if kind.startswith("classify"):
            (answer,) = stub.Classify(request_of(log)).result.classifications
            assert np.isfinite([each.score for each in answer.classes]).all()
        else:
            outputs = stub.Predict(request_of(log)).outputs
            assert tf.make_ndarray(outputs["status"]).tolist() == [b"ok"]
    pixels = tf.make_ndarray(request_of(logs["predict_log:serving_default"]).inputs["images"])
    assert pixels.shape == (1, SIZE, SIZE, 3)


def test_predict_answers_about_a_batch_with_a_bad_photo(stub, signatures):
    contents = [*photos(2), b"no photo"]
    request = predict_pb2.PredictRequest()
    request.model_spec.signature_name = "serve_bytes"
    request.inputs["encoded"].CopyFrom(tf.make_tensor_proto(contents))
    found = {name: tf.make_ndarray(value) for name, value in stub.Predict(request).outputs.items()}
    expected = signatures["serve_bytes"](encoded=tf.constant(contents))
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.numpy())
    assert found["status"].tolist() == [b"ok", b"ok", b"not an image"]


def test_classify_answers_with_names_and_scores(stub, signatures):
    (content,) = photos(1)
    request = classification_pb2.ClassificationRequest()
    request.model_spec.signature_name = "classify"
    request.input.example_list.examples.extend([example(content), example(b"no photo"), tf.train.Example()])
    good, bad, empty = stub.Classify(request).result.classifications
    assert [each.label for each in good.classes] == CLASSES
    served_bytes = signatures["serve_bytes"](encoded=tf.constant([content]))
    scores = [each.score for each in good.classes]
    np.testing.assert_allclose(scores, served_bytes["probabilities"][0], atol=1e-6)  # a batch of another size
    assert all(np.isnan(each.score) for answer in (bad, empty) for each in answer.classes)
