"""A plain network computes what its Keras model does, and its view what evaluation sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import resnet_tf
from pipelines.evaluation.inference import logits_of, softmax
from pipelines.images.regions import MEAN_COLOUR
from pipelines.images.stream import InputSpec
from pipelines.serving.fold import plain_network
from pipelines.serving.keras_file import keras_model
from pipelines.serving.litert_file import _probabilities as litert_probabilities
from pipelines.serving.plain_network import PlainNetwork, View
from resnet_tf.architectures import ARCHITECTURES, BASIC, SINGLE, Architecture
from resnet_tf.weights import CAFFE, TORCH

NETWORKS = {
    "option A": Architecture("a", "cifar", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
    "before activation": Architecture("v2", "resnetv2", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
    "VGG that averages": Architecture(
        "g", "vgg", SINGLE, (1, 2), widths=(4, 8), hidden=(16,), batch_norm=False, shortcut=None
    ),
    "VGG that repeats": Architecture("h", "vgg", SINGLE, (1,) * 5, widths=(4,) * 5, hidden=(16,), shortcut=None),
    "BGR": Architecture("r", "resnet", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
}


@pytest.fixture(params=NETWORKS)
def model(request, monkeypatch) -> keras.Model:
    """Returns a network of each family, with statistics and biases that no fresh network has."""
    row = NETWORKS[request.param]
    monkeypatch.setitem(ARCHITECTURES, row.name, row)
    keras.utils.set_random_seed(0)
    preprocessing = CAFFE if request.param == "BGR" else TORCH
    size = 56 if request.param == "VGG that averages" else 32
    shortcut = {"shortcut": "A"} if request.param == "option A" else {}
    model = resnet_tf.build_classifier(row.name, classes=4, image_size=size, preprocessing=preprocessing, **shortcut)
    random = np.random.default_rng(0)
    for variable in model.variables:
        variable.assign(variable + np.abs(random.normal(0.0, 0.1, variable.shape)))
    return model


def test_every_writer_computes_what_the_model_does(model, tmp_path):
    onnx_file, runtime = pytest.importorskip("pipelines.serving.onnx_file"), pytest.importorskip("onnxruntime")
    size = model.input_shape[1]
    view = View(size, "squeeze", 1.0, "bilinear")  # which leaves images of this size as they are
    images = np.random.default_rng(1).integers(0, 256, (3, size, size, 3), np.uint8)
    for mirror in (False, True):
        plain_network(model, ["a", "b", "c", "d"], view, temperature=2.0, mirror=mirror).save(tmp_path)
        network = PlainNetwork.load(tmp_path)
        assert (network.classes, network.view, network.mirror) == (("a", "b", "c", "d"), view, mirror)
        expected = softmax(np.asarray(logits_of(model, mirror, temperature=2.0)(images)))
        content = onnx_file.onnx_model(network).SerializeToString()
        session = runtime.InferenceSession(content, providers=["CPUExecutionProvider"])
        answers = {
            "Keras": keras_model(network, "float32")(images),
            "LiteRT": litert_probabilities(network, tf.constant(images, tf.float32)),
            "ONNX": session.run(["probabilities"], {"images": images})[0],
        }
        for name, found in answers.items():
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5, err_msg=name)  # sums in another order
        assert session.run(["class_index"], {"images": images})[0].tolist() == expected.argmax(axis=1).tolist()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("view", ["crop", "squeeze", "pad"])
def test_the_view_in_an_onnx_graph_is_that_of_evaluation(view, interpolation):
    onnx = pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from pipelines.serving.onnx_graph import OnnxGraph
    from pipelines.serving.onnx_view import add_view

    size, helper, graph = 64, onnx.helper, OnnxGraph()
    output = add_view(graph, "images", View(size, view, 0.875, interpolation))
    taken = helper.make_tensor_value_info("images", onnx.TensorProto.UINT8, ["batch", "height", "width", 3])
    given = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["batch", 3, size, size])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "view", [taken], [given], graph.constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    spec = InputSpec(size, 0.875, interpolation, view=view)
    random = np.random.default_rng(0)
    for shape in ((31, 77), (300, 200), (1, 1), (3, 400), (64, 64)):
        pictures = random.integers(0, 256, (2, *shape, 3), np.uint8)
        found = session.run(None, {"images": pictures})[0].transpose(0, 2, 3, 1)
        expected = np.stack([spec.for_evaluation(tf.constant(picture)) for picture in pictures]).astype(np.float32)
        # A value half-way between two gray levels may go to the other one, where sums are rounded in another order.
        assert np.abs(found - expected).max() <= 1.0
        assert (found != expected).mean() < 1e-3


def test_the_mean_colour_is_that_of_the_views():
    pytest.importorskip("onnx")
    from pipelines.serving import onnx_view

    assert onnx_view.MEAN_COLOUR == MEAN_COLOUR
