"""float16: a step that loss scaling skips does not count as a collapse."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipelines.finetune import Collapsed, finetune
from pipelines.training import callback as training
from pipelines.training.overflow import Overflows
from resnet_tf.loss_scaling import AgreedLossScaleOptimizer
from tests.conftest import small_config


class Steps(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.overflows, self.skipped = Overflows(), []

    def on_epoch_begin(self, epoch, logs=None):
        self.overflows.begin(self.model)

    def on_train_batch_end(self, batch, logs=None):
        self.skipped.append(self.overflows.skipped(self.model))


@pytest.mark.parametrize("bad", [0, 1])
def test_a_skipped_step_counts_in_no_metric(bad):
    images = np.ones((3, 4, 2), np.float32)
    images[bad] = np.inf
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, kernel_initializer="zeros")])
    # The loss is 1 at the start, and the good steps do not change it at this rate.
    model.compile(AgreedLossScaleOptimizer(keras.optimizers.SGD(1e-9)), "mse", jit_compile=False)
    steps = Steps()
    stream = tf.data.Dataset.from_tensor_slices((images, np.ones((3, 4, 1), np.float32)))
    history = model.fit(stream, callbacks=[steps], verbose=0).history
    assert steps.skipped == [step == bad for step in range(3)]
    assert history["loss"] == pytest.approx([1.0], rel=1e-5)
    assert np.isfinite(model.get_weights()[0]).all()


def test_overflows_without_end_are_named(images, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "HOPELESS", 2)
    settings = {"arch": "cifar_resnet20", "precision": "float16", "learning_rate": 1e20, "batch_size": 4}
    with pytest.raises(Collapsed, match="the gradients overflowed in 2 steps in a row in epoch 1"):
        finetune(small_config(images, tmp_path / "run", **settings))
