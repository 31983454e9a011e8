"""The exported SavedModel: its three signatures, bad pictures in a batch, and what servers look for in its folder."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from pipelines.images.stream import InputSpec
from pipelines.serving.saved_model import save_serving_model
from pipelines.serving.warmup import WARMUP
from resnet_tf.architectures import ARCHITECTURES
from resnet_tf.classifier import build_classifier
from resnet_tf.errors import UserError
from tests.conftest import randomize
from tests.networks import TINY
from tests.pipelines.test_pixel_limit import BOMBS

SIZE, CLASSES = 32, ["ant", "bee", "<b>cat</b>\n"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved_model") / "1"
    keras.utils.set_random_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, TINY.name, TINY)
        model = build_classifier(TINY.name, len(CLASSES), image_size=SIZE)
    randomize(model)
    save_serving_model(model, CLASSES, InputSpec(SIZE), folder)
    return folder


@pytest.fixture(scope="module")
def signatures(folder):
    return tf.saved_model.load(str(folder)).signatures


def photo(seed, size=(40, 50)):
    picture = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return picture, tf.io.encode_png(picture).numpy()


def example(content):
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
    return tf.train.Example(features=tf.train.Features(feature={"image/encoded": feature})).SerializeToString()


def numpy_of(answer):
    return {name: value.numpy() for name, value in answer.items()}


def test_a_bad_picture_costs_only_its_own_answer(signatures):
    good = [photo(seed)[1] for seed in range(5)]
    bad = {1: (b"", b"empty"), 3: (BOMBS["jpeg"], b"too many pixels")}
    mixed = [bad[place][0] if place in bad else content for place, content in enumerate(good)]
    whole, found = (numpy_of(signatures["serve_bytes"](encoded=tf.constant(batch))) for batch in (good, mixed))
    for place in range(5):
        if place in bad:
            assert np.isnan(found["probabilities"][place]).all()
            assert (found["class_index"][place], found["class_name"][place]) == (-1, b"")
            assert found["status"][place] == bad[place][1]
        else:
            assert all(np.array_equal(found[name][place], whole[name][place]) for name in whole)  # bit for bit
    assert whole["status"].tolist() == [b"ok"] * 5
    assert [CLASSES[index].encode() for index in whole["class_index"]] == whole["class_name"].tolist()


@pytest.mark.parametrize("name", ["serve_bytes", "serving_default", "classify"])
def test_an_empty_batch_has_empty_answers(name, signatures):
    given = {
        "serve_bytes": {"encoded": tf.constant([], tf.string)},
        "serving_default": {"images": tf.zeros([0, 30, 40, 3], tf.uint8)},
        "classify": {"inputs": tf.constant([], tf.string)},
    }
    answer = numpy_of(signatures[name](**given[name]))
    assert all(len(value) == 0 for value in answer.values())
    scores = answer["scores" if name == "classify" else "probabilities"]
    assert scores.shape == (0, len(CLASSES))


def test_one_pixel_is_a_picture_and_none_is_not(signatures):
    picture, content = photo(0, (1, 1))
    by_pixels = numpy_of(signatures["serving_default"](images=picture[np.newaxis]))
    by_bytes = numpy_of(signatures["serve_bytes"](encoded=tf.constant([content])))
    assert all((by_pixels[name] == by_bytes[name]).all() for name in by_pixels)
    assert by_pixels["status"].tolist() == [b"ok"]
    for shape in ((2, 0, 0, 3), (2, 0, 9, 3)):
        nothing = numpy_of(signatures["serving_default"](images=tf.zeros(shape, tf.uint8)))
        assert nothing["status"].tolist() == [b"empty"] * 2
        assert np.isnan(nothing["probabilities"]).all()


def test_classify_takes_examples(signatures):
    contents = [photo(1)[1], photo(2)[1]]
    expected = numpy_of(signatures["serve_bytes"](encoded=tf.constant(contents + contents)))["probabilities"]
    given = [example(content) for content in contents] + [tf.train.Example().SerializeToString(), b"no message"]
    found = numpy_of(signatures["classify"](inputs=tf.constant(given)))
    np.testing.assert_array_equal(found["scores"][:2], expected[:2])
    assert np.isnan(found["scores"][2:]).all()
    assert found["classes"].tolist() == [[name.encode() for name in CLASSES]] * 4


def test_the_methods_are_those_that_tensorflow_serving_asks_for(folder):
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    methods = {name: graph.signature_def[name].method_name for name in ("serving_default", "serve_bytes", "classify")}
    assert methods == {
        "serving_default": "tensorflow/serving/predict",
        "serve_bytes": "tensorflow/serving/predict",
        "classify": "tensorflow/serving/classify",
    }
    assert tf.saved_model.experimental.read_fingerprint(str(folder)).saved_model_checksum


def test_the_warm_up_has_a_request_for_each_signature(folder):
    """`make servers` reads them with TensorFlow Serving's own messages."""
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(folder / WARMUP))]
    names = b"serving_default", b"serve_bytes", b"classify"
    assert all(name in record for name, record in zip(names, records, strict=True))


def test_the_graph_calls_no_python(folder):
    (graph,) = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
    nodes = [*graph.graph_def.node, *(node for each in graph.graph_def.library.function for node in each.node_def)]
    assert not {node.op for node in nodes} & {"PyFunc", "PyFuncStateless", "EagerPyFunc"}


def test_a_full_disk_is_one_sentence(tmp_path, monkeypatch):
    def full(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "{{node}} /run/part.tempstate1; No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", full)
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.GlobalAveragePooling2D()])
    with pytest.raises(UserError, match=r"^the SavedModel cannot be written: No space left on device; nothing"):
        save_serving_model(model, ["a", "b", "c"], InputSpec(8), tmp_path / "1")
