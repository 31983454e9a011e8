"""SavedModel folders and TensorFlow checkpoints made by Keras 3 and by hand; tests/oracle has those of Keras 2."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from resnet_tf.errors import UserError
from resnet_tf.weights.tensorflow_files import read_tensorflow


@pytest.fixture(scope="module")
def model():
    """Returns a model inside a model, trained for a step so that it has optimizer slots and metrics to leave out."""
    inner_inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1_conv")(inner_inputs)
    x = keras.layers.BatchNormalization(name="conv1_bn")(x)
    inner = keras.Model(inner_inputs, keras.layers.GlobalAveragePooling2D()(x), name="resnet")
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="predictions")(inner(inputs)))
    model.compile("adam", "mse", metrics=["accuracy"])
    model.fit(np.random.default_rng(0).normal(size=(4, 8, 8, 3)), np.ones((4, 2)), verbose=0)
    return model


@pytest.fixture
def checkpoint(model, tmp_path):
    """Returns the prefix of a checkpoint with the optimizer before the model."""
    return tf.train.Checkpoint(a=model.optimizer, model=model).write(str(tmp_path / "state"))


def expected_tensors(model):
    layers = [*model.get_layer("resnet").layers, *model.layers]
    return {
        f"{layer.name}/{variable.name}": variable.numpy()
        for layer in layers
        if not isinstance(layer, keras.Model)
        for variable in layer.weights
    }


def assert_tensors(found, model):
    expected = expected_tensors(model)
    assert set(expected) <= set(found)
    assert not [name for name in found if any(word in name for word in ("momentum", "velocity", "adam", "learning"))]
    for name, tensor in expected.items():
        np.testing.assert_array_equal(found[name], tensor, err_msg=name)


@pytest.mark.parametrize("named", ["prefix", "index", "folder"])
def test_a_checkpoint_by_prefix_by_file_and_by_folder(model, checkpoint, named):
    path = {"prefix": checkpoint, "index": f"{checkpoint}.index", "folder": checkpoint.removesuffix("/state")}[named]
    assert_tensors(read_tensorflow(path), model)


def test_a_saved_model_folder(model, tmp_path):
    model.export(tmp_path / "exported", verbose=False)
    found = read_tensorflow(tmp_path / "exported")
    assert_tensors(found, model)
    assert set(found) == set(expected_tensors(model))


def test_nothing_of_the_saved_model_is_run(model, tmp_path):
    folder = tmp_path / "exported"
    model.export(folder, verbose=False)
    (folder / "saved_model.pb").write_bytes(b"not a graph")
    assert_tensors(read_tensorflow(folder), model)


def test_slots_of_a_legacy_optimizer_are_left_out(tmp_path):
    """tf.keras.optimizers.legacy counts in `iter` and names its slots after the weights."""
    root, layer, optimizer = tf.train.Checkpoint(), tf.train.Checkpoint(), tf.train.Checkpoint()
    layer.kernel = tf.Variable([1.0, 2.0], name="conv1_conv/kernel")
    optimizer.iter = tf.Variable(3, name="iter")
    optimizer.slot = tf.Variable([9.0, 9.0], name="conv1_conv/kernel/slow")
    optimizer.rate = tf.Variable(0.1, name="Lookahead/learning_rate")
    root.layer, root.optimizer = layer, optimizer
    found = read_tensorflow(root.write(str(tmp_path / "old")))
    assert list(found) == ["conv1_conv/kernel"]
    np.testing.assert_array_equal(found["conv1_conv/kernel"], [1.0, 2.0])


def test_two_variables_of_one_name_are_not_guessed_between(tmp_path):
    root = tf.train.Checkpoint()
    root.a, root.b = tf.train.Checkpoint(), tf.train.Checkpoint()
    root.a.kernel = tf.Variable([1.0], name="conv/kernel")
    root.b.kernel = tf.Variable([2.0], name="conv/kernel")
    with pytest.raises(UserError, match="two different variables with the name 'conv/kernel'"):
        read_tensorflow(root.write(str(tmp_path / "twice")))


def test_a_folder_of_several_checkpoints_asks_for_one(model, tmp_path):
    for name in ("first", "second"):
        tf.train.Checkpoint(model=model).write(str(tmp_path / name))
    with pytest.raises(UserError, match=r"holds 2 checkpoints; name one, such as '.*second'"):
        read_tensorflow(tmp_path)
    assert_tensors(read_tensorflow(tmp_path / "first"), model)


@pytest.mark.parametrize("damage", ["no data", "short data", "changed data", "short index", "text"])
def test_a_damaged_checkpoint_is_one_clear_line(checkpoint, tmp_path, damage):
    data, index = tmp_path / "state.data-00000-of-00001", tmp_path / "state.index"
    if damage == "no data":
        data.unlink()
    elif damage == "short data":
        data.write_bytes(data.read_bytes()[:200])
    elif damage == "changed data":
        content = bytearray(data.read_bytes())
        content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
        data.write_bytes(content)
    elif damage == "short index":
        index.write_bytes(index.read_bytes()[:-30])
    else:
        index.write_text("not an index")
    with pytest.raises(UserError, match="damaged or incomplete") as caught:
        read_tensorflow(checkpoint)
    assert "\n" not in str(caught.value)


def test_a_folder_without_checkpoint(tmp_path):
    with pytest.raises(UserError, match=r"neither a SavedModel folder nor a TensorFlow checkpoint.*no \.index file"):
        read_tensorflow(tmp_path)


def test_a_saved_model_without_variables_folder(model, tmp_path):
    model.export(tmp_path / "exported", verbose=False)
    shutil.rmtree(tmp_path / "exported" / "variables")
    with pytest.raises(UserError, match=r"no \.index file"):
        read_tensorflow(tmp_path / "exported")


def test_a_checkpoint_of_tensorflow_1_is_named_as_such(tmp_path):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        tf.compat.v1.get_variable("resnet/conv1/weights", (2,))
        session.run(tf.compat.v1.global_variables_initializer())
        prefix = tf.compat.v1.train.Saver().save(session, str(tmp_path / "old"), write_meta_graph=False)
    with pytest.raises(UserError, match="TensorFlow 1 checkpoint"):
        read_tensorflow(prefix)


def test_a_checkpoint_without_layers(tmp_path):
    prefix = tf.train.Checkpoint(step=tf.Variable(1, name="step")).write(str(tmp_path / "step"))
    with pytest.raises(UserError, match="hold no variable of a layer"):
        read_tensorflow(prefix)
