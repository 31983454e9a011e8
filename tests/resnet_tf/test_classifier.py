"""The classifier is a flat model from uint8 images to logits; tests of it and of what fine-tuning does to it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.architectures import ARCHITECTURES, find_architecture
from resnet_tf.classifier import (
    build_classifier,
    divide,
    feature_extractor,
    freeze_batch_norms,
    freeze_stages,
    head,
)
from resnet_tf.distribution import choose_precision, choose_strategy, replicas, scope
from resnet_tf.errors import UserError
from resnet_tf.losses import SmoothedCrossentropy
from resnet_tf.networks import build
from tests.conftest import randomize, relative_error, without_values


def pictures(size=32, count=4):
    return np.random.default_rng(3).integers(0, 256, (count, size, size, 3)).astype(np.uint8)


def test_the_classifier_is_normalization_and_backbone_and_head():
    classifier = build_classifier("resnet18", 5, image_size=32)
    network = build("resnet18", classes=5, input_shape=(32, 32, 3))
    randomize(network)
    classifier.set_weights(network.get_weights())
    images = pictures()
    normalized = keras.applications.imagenet_utils.preprocess_input(images.astype("float32"), mode="torch")
    found, expected = (
        np.asarray(model(x, training=False)) for model, x in ((classifier, images), (network, normalized))
    )
    assert relative_error(found, expected) < 1e-5


def test_the_classifier_is_flat_so_that_layers_can_be_found_by_name():
    with without_values():
        model = build_classifier("resnet50", 5, image_size=32)
    assert model.get_layer("conv4_block6_3_conv").filters == 1024
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.input.dtype == "uint8"


def test_a_bfloat16_classifier_has_float32_variables_and_logits():
    model = build_classifier("resnet18", 5, image_size=32, precision="bfloat16")
    assert {variable.dtype for variable in model.variables} == {"float32"}
    assert model.get_layer("conv2_block1_1_conv").compute_dtype == "bfloat16"
    assert model(pictures()).dtype == tf.float32
    assert keras.config.dtype_policy().name == "float32"  # the caller's policy is unchanged


def test_frozen_batch_norms_keep_their_statistics_while_convolutions_learn():
    model = build_classifier("resnet18", 3, image_size=32)
    assert freeze_batch_norms(model) == 20
    model.compile(keras.optimizers.SGD(0.1), SmoothedCrossentropy())
    before = {variable.path: np.asarray(variable) for variable in model.variables}
    model.train_on_batch(pictures(), np.array([0, 1, 2, 0]))
    changed = {v.path for v in model.variables if not np.array_equal(before[v.path], np.asarray(v))}
    assert "conv1_conv/kernel" in changed
    assert not any("_bn/" in path for path in changed)


def test_the_feature_extractor_shares_the_variables_and_stops_before_the_head():
    model = build_classifier("resnet18", 3, image_size=32)
    features = feature_extractor(model)(pictures())
    logits = features @ head(model).kernel + head(model).bias
    np.testing.assert_allclose(logits, model(pictures()), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("arch", "frozen"), [("resnet18", 4), ("resnet50v2", 2), ("vgg16_bn", 3)])
def test_a_network_is_divided_where_something_learns(arch, frozen, monkeypatch):
    row = find_architecture(arch).widened(1 / 16)
    monkeypatch.setitem(ARCHITECTURES, arch, row)
    model = build_classifier(arch, 4, image_size=32, head_stages=3 if arch == "resnet18" else 1)
    freeze_stages(model, row.parts[:frozen])
    freeze_batch_norms(model)
    first, rest = divide(model)
    assert not first.trainable_variables
    assert {v.path for v in rest.trainable_variables} == {v.path for v in model.trainable_variables}
    assert set(row.parts[:frozen]) <= {layer.name.partition("_")[0] for layer in first.layers}
    assert len(first.outputs) == (3 if arch == "resnet18" else 1)  # the map, and the averages of two stages
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype("uint8")
    np.testing.assert_array_equal(rest(first(images)), model(images))


def test_smoothed_crossentropy_is_that_of_keras():
    logits = np.random.default_rng(0).normal(0, 2, (6, 4)).astype("float32")
    labels = np.array([0, 1, 2, 3, 0, 1])
    ours = SmoothedCrossentropy(0.1)(labels, logits)
    theirs = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1)(np.eye(4)[labels], logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_strategies():
    assert choose_strategy("auto") is None  # no GPU here
    assert choose_strategy("one") is None
    assert replicas(None) == 1
    mirrored = choose_strategy("mirrored")
    assert replicas(mirrored) == 2
    with scope(mirrored):
        assert tf.distribute.get_strategy() is mirrored
    with pytest.raises(UserError, match="received 'ring'"):
        choose_strategy("ring")


def test_precision_auto_follows_the_processor(monkeypatch):
    from resnet_tf import distribution

    monkeypatch.setattr(distribution, "_cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert choose_precision("auto") == "bfloat16"
    monkeypatch.setattr(distribution, "_cpu_flags", lambda: {"avx2"})
    assert choose_precision("auto") == "float32"
    assert choose_precision("float16") == "float16"


def test_the_package_imports_neither_keras_nor_tensorflow_by_itself():
    import subprocess
    import sys

    script = "import sys, resnet_tf, pipelines.cli; print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
