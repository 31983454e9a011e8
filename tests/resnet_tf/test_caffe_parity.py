"""Our networks with a .caffemodel's weights compute what Caffe computes."""

import numpy as np
import pytest

import resnet_tf
from resnet_tf.weights import CAFFE, load_weights, read_weights
from tests.conftest import relative_error
from tests.resnet_tf.caffe_reference import WIDTH, CaffeNet

LOGITS = 1e-4  # NumPy and TensorFlow add float32 numbers in different orders


@pytest.mark.parametrize(("name", "size"), [("resnet50", 64), ("resnet101", 67)])
def test_a_caffemodel_computes_what_caffe_computes(name, size, tmp_path):
    net = CaffeNet(name, classes=10)
    path = tmp_path / "net.caffemodel"
    net.write(path)
    file = read_weights(path)
    assert (file.preprocessing, file.structure.stride_at, file.structure.stem_pool) == (CAFFE, "1x1", "caffe")
    images = np.random.default_rng(0).normal(0, 1, (4, size, size, 3)).astype("float32")
    expected = net.logits(images.transpose(0, 3, 1, 2))
    for use_bias in (True, False):
        ours = resnet_tf.build(
            name, classes=10, width=WIDTH, input_shape=(size, size, 3), weights=file, use_bias=use_bias
        )
        found = ours.predict(images, verbose=0)
        assert relative_error(found, expected) < LOGITS
        np.testing.assert_array_equal(np.argsort(-found)[:, :5], np.argsort(-expected)[:, :5])


def test_a_network_that_pools_as_torchvision_is_told_of_caffes_pooling(tmp_path):
    net = CaffeNet("resnet50", classes=10)
    path = tmp_path / "net.caffemodel"
    net.write(path)
    report = load_weights(resnet_tf.ResNet50(classes=10, width=WIDTH), path)
    assert (report.missing, report.left_over) == ([], [])
    assert any("pads its stem's pooling as 'caffe'" in note for note in report.notes)
