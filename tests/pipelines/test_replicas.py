"""Training on several replicas gives the losses and metrics of one device, however few or uneven the images are: what
Keras issues 19280 (metrics that are sums over the replicas) and 21467 (metrics that become NaN) are about.

Two logical CPU devices, see conftest.py.
"""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from pipelines.checkpoint import Progress
from pipelines.data.manifest import class_names, make_manifest
from pipelines.data.stream import View, training_stream
from pipelines.finetune import finetune
from pipelines.interrupts import Interrupts
from pipelines.run import Run
from pipelines.session import build_session
from pipelines.training import Watch, fit
from pipelines.validation import validator
from resnet_tf.workers import Workers
from tests.conftest import small_config

FIGURES = ("loss", "accuracy", "val_accuracy", "val_log_loss")


@pytest.fixture(scope="module")
def manifest(images):
    """All images in order of their classes, ten of each."""
    return make_manifest(images, 0.2, 0.0, 0).sort_values("path", ignore_index=True)


def parts(manifest, train, val):
    """The manifest with the first images of each class for training, and the next ones for validation.

    Args:
        train: How many of each class.
        val: Likewise.
    """
    rows = manifest.assign(split="")
    for label, first, second in zip(class_names(manifest), train, val, strict=True):
        places = rows.index[rows["label"] == label]
        rows.loc[places[:first], "split"] = "train"
        rows.loc[places[first : first + second], "split"] = "val"
    return rows


def trained(manifest, images, folder, strategy, **settings):
    """The figures of each epoch, as the history has them, and the variables."""
    tf.keras.utils.set_random_seed(0)
    config = small_config(images, folder, strategy=strategy, precision="float32", **settings)
    session = build_session(config, manifest, class_names(manifest), images, None, Workers())
    progress = Progress()
    with Interrupts() as interrupts:
        watch = Watch(
            Run(folder),
            progress,
            checkpoint=None,
            interrupts=interrupts,
            workers=session.workers,
            validate=validator(session),
            save_best=lambda: None,
            chance=1.0,
            patience=10,
            epochs=config.epochs,
            open_end=None,
            seconds=3600.0,
        )
        fit(Run(folder), session, progress, watch)
    return [[row[name] for name in FIGURES] for row in progress.rows], session.model.get_weights()


def labels_of_replicas(manifest, images, batch_size):
    """The labels of the first batch, as two replicas share it."""
    rows = manifest[manifest["split"] == "train"]
    stream = training_stream(rows, images, class_names(manifest), View(32), batch_size=batch_size, seed=0)
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
    np.testing.assert_allclose(found, expected, rtol=1e-3)  # sums of other parts, which steps amplify
    for a, b in zip(variables, alone, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3 * max(1.0, np.abs(b).max()))


def test_replicas_that_are_cut_off_within_an_epoch_go_on_with_its_metrics(images, tiny, tmp_path, monkeypatch):
    settings = {"arch": tiny, "strategy": "mirrored", "precision": "float32", "checkpoint_seconds": 0.0}
    whole = finetune(small_config(images, tmp_path / "whole", **settings))
    original = Watch.on_train_batch_end

    def cut(self, batch, logs=None):
        original(self, batch, logs)
        if batch == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(Watch, "on_train_batch_end", cut)
    with pytest.raises(KeyboardInterrupt):
        finetune(small_config(images, tmp_path / "cut", **settings))
    monkeypatch.setattr(Watch, "on_train_batch_end", original)
    continued = finetune(small_config(images, tmp_path / "cut", **settings))
    histories = [pd.read_csv(run.history)[list(FIGURES)] for run in (whole, continued)]
    np.testing.assert_allclose(*histories, rtol=1e-3)
