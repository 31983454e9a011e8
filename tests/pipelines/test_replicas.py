"""Training on several replicas gives the losses and metrics of one device, however few or uneven the images are.

This covers Keras issues 19280 (metrics that are sums over the replicas) and 21467 (metrics that become NaN). The tests
use two logical CPU devices, see conftest.py.
"""

import shutil

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.console.signals import Interrupts
from pipelines.data.manifest import class_names, make_manifest
from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import Inference
from pipelines.finetune import finetune
from pipelines.images.stream import ImageSource, InputSpec, Order, training_stream
from pipelines.runs.directory import Run
from pipelines.training.callback import TrainingCallback
from pipelines.training.checkpoint import Progress
from pipelines.training.loop import fit
from pipelines.training.network import build_trainer
from pipelines.training.plan import plan_of
from pipelines.training.training_run import TrainingRun
from resnet_tf.distribution import choose_strategy
from tests.conftest import small_config

FIGURES = ("loss", "accuracy", "val_accuracy", "val_log_loss")


@pytest.fixture(scope="module")
def manifest(images):
    """Returns the manifest of all images in the order of their classes, ten of each class."""
    return make_manifest(images, 0.2, 0.0, 0).sort_values("path", ignore_index=True)


def parts(manifest, train, val):
    """Returns the manifest with the first images of each class for training, and the next ones for validation.

    Args:
        manifest: Manifest of all images.
        train: Numbers of images of each class for training.
        val: Numbers of images of each class for validation.
    """
    rows = manifest.assign(split="")
    for label, first, second in zip(class_names(manifest), train, val, strict=True):
        places = rows.index[rows["label"] == label]
        rows.loc[places[:first], "split"] = "train"
        rows.loc[places[first : first + second], "split"] = "val"
    return rows


def trained(manifest, images, folder, strategy, **settings):
    """Trains a run; returns the figures of each epoch from its history, and the model's variables."""
    config = small_config(images, folder, strategy=strategy, precision="float32", **settings)
    trainer = build_trainer(plan_of(config, manifest))
    with Interrupts() as interrupts:
        training = Unsaved(Run(folder), trainer, Progress(), interrupts, lambda *_: None)
        callback = TrainingCallback(training)
        callback.chance = 1.0  # nothing counts as collapsed
        fit(training, callback)
    return [[row[name] for name in FIGURES] for row in training.progress.rows], trainer.model.get_weights()


class Unsaved(TrainingRun):
    """A training whose model nobody needs."""

    def save_best(self):
        pass


class Place(keras.layers.Layer):
    """A layer that returns the number of the replica that computes each image."""

    def call(self, images):
        place = tf.distribute.get_replica_context().replica_id_in_sync_group
        return tf.fill([tf.shape(images)[0], 1], place)


def labels_of_replicas(manifest, images, batch_size):
    """Returns the set of labels that each of two replicas has of the first batch."""
    rows = manifest[manifest["split"] == "train"]
    stream = training_stream(
        ImageSource(rows, images, class_names(manifest)), InputSpec(32), Order(batch_size=batch_size, seed=0)
    )
    return [set(labels) for labels in np.split(next(iter(stream))[1].numpy(), 2)]


CASES = {
    "an uneven last batch": ((3, 3, 3), (2, 1, 2), {"batch_size": 4}),
    "fewer images than replicas": ((1, 0, 0), (1, 0, 0), {"batch_size": 2}),
    "a class that one replica never sees": ((1, 2, 1), (3, 0, 1), {"batch_size": 4, "balance": "weights"}),
}


@pytest.mark.parametrize("case", CASES)
def test_replicas_report_what_one_device_reports(case, manifest, images, tiny, tmp_path):
    train, val, settings = CASES[case]
    settings = {**settings, "arch": tiny}
    rows = parts(manifest, train, val)
    if case == "a class that one replica never sees":
        first, second = labels_of_replicas(rows, images, settings["batch_size"])
        assert first != second
    found, variables = trained(rows, images, tmp_path / "mirrored", "mirrored", **settings)
    expected, alone = trained(rows, images, tmp_path / "one", "one", **settings)
    assert np.isfinite(expected).all()
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # sums are rounded differently, and steps amplify that
    for a, b in zip(variables, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * max(1.0, np.abs(b).max()))


def test_replicas_that_are_cut_off_within_an_epoch_go_on_with_its_metrics(images, tiny, tmp_path, monkeypatch):
    settings = {"arch": tiny, "strategy": "mirrored", "precision": "float32", "checkpoint_seconds": 0.0}
    whole = finetune(small_config(images, tmp_path / "whole", **settings))
    original = TrainingCallback.on_train_batch_end

    def cut(self, batch, logs=None):
        original(self, batch, logs)
        if batch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrainingCallback, "on_train_batch_end", cut)
    with pytest.raises(KeyboardInterrupt):
        finetune(small_config(images, tmp_path / "cut", **settings))
    monkeypatch.setattr(TrainingCallback, "on_train_batch_end", original)
    continued = finetune(small_config(images, tmp_path / "cut", **settings))
    histories = [pd.read_csv(run.history)[list(FIGURES)] for run in (whole, continued)]
    np.testing.assert_allclose(*histories, rtol=1e-3)


def test_each_device_computes_whole_batches_and_the_last_ones_follow_on_one():
    inference = Inference(keras.Sequential([Place()]), strategy=choose_strategy("mirrored"))
    batches = [np.zeros((images, 8, 8, 3), "uint8") for images in (4, 4, 4, 4, 4, 3)]
    for given, places in ((batches, [0, 1, 0, 1, 0, 0]), (batches[:3], [0, 1, 0]), (batches[:1], [0]), ([], [])):
        found = [values.numpy().ravel().tolist() for values in inference.each(given)]
        assert found == [[place] * len(batch) for place, batch in zip(places, given, strict=True)]


def test_several_outputs_and_inputs_stay_with_their_batch():
    """The frozen stages of a network and the remaining ones have several outputs and inputs."""
    inputs = [keras.Input((2,)), keras.Input((3,))]
    model = keras.Model(inputs, [keras.layers.Rescaling(2.0)(inputs[1]), keras.layers.Rescaling(1.0, 1.0)(inputs[0])])
    batches = [[np.full((2, 2), number, "float32"), np.full((2, 3), -number, "float32")] for number in range(4)]
    for strategy in (None, choose_strategy("mirrored")):
        found = list(Inference(model, strategy=strategy).each(batches))
        for number, (first, second) in enumerate(found):
            np.testing.assert_array_equal(first, np.full((2, 3), -2.0 * number))
            np.testing.assert_array_equal(second, np.full((2, 2), number + 1.0))


def test_evaluation_on_several_devices_writes_the_table_of_one(images, small, small_weights, tmp_path, monkeypatch):
    config = small_config(images, tmp_path / "one", arch=small, weights=str(small_weights), epochs=0)
    one = finetune(config)
    mirrored = Run(shutil.copytree(one.path, tmp_path / "mirrored"))
    monkeypatch.setattr("pipelines.evaluation.predictions.BATCH_SIZE", 2)
    tables = []
    for run in (one, mirrored):
        evaluate(run, "train", strategy=run.path.name, mirror=True)
        tables.append((run.evaluation("train") / "predictions.csv").read_bytes())
    assert tables[0] == tables[1]
