"""A plain network computes what its Keras model does, and its view what evaluation sees."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import resnet_tf
from pipelines.images.regions import MEAN_COLOUR
from pipelines.images.stream import InputSpec
from pipelines.serving.fold import plain_network
from pipelines.serving.plain_keras import keras_network
from pipelines.serving.plain_network import PlainNetwork, View
from resnet_tf.architectures import ARCHITECTURES, BASIC, Architecture

NETWORKS = {
    "option A": Architecture("a", "cifar", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
    "before activation": Architecture("v2", "resnetv2", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
    "BGR": Architecture("r", "resnet", BASIC, (1, 1), widths=(8, 16), strides=(1, 2), stem=8),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_plain_network_computes_what_its_model_does(name, monkeypatch, tmp_path):
    monkeypatch.setitem(ARCHITECTURES, NETWORKS[name].name, NETWORKS[name])
    keras.utils.set_random_seed(0)
    bgr = resnet_tf.weights.CAFFE if name == "BGR" else resnet_tf.weights.TORCH
    shortcut = "A" if name == "option A" else "B"
    model = resnet_tf.build_classifier(
        NETWORKS[name].name, classes=4, image_size=32, preprocessing=bgr, shortcut=shortcut
    )
    for variable in model.variables:  # statistics and biases that no fresh network has
        variable.assign(variable + np.abs(np.random.default_rng(0).normal(0.0, 0.1, variable.shape)))
    view = View(32, "squeeze", 1.0, "bilinear")
    plain_network(model, ["a", "b", "c", "d"], view, temperature=2.0).save(tmp_path)
    network = PlainNetwork.load(tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    found, expected = keras_network(network)(images), model(images, training=False) / 2.0
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # sums in another order
    assert network.classes == ("a", "b", "c", "d")
    assert network.view == view


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
