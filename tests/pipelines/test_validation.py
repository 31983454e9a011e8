"""The validator returns the score of the current model, whichever part it computes once and keeps."""

import shutil

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss

from pipelines.data.manifest import label_numbers, make_manifest
from pipelines.evaluation.inference import softmax
from pipelines.images.lost_images import LostImage
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.training import validation as module
from pipelines.training.network import build_trainer
from pipelines.training.plan import plan_of
from pipelines.training.validation import validator
from resnet_tf.architectures import find_architecture
from resnet_tf.weights import find_weights
from tests.conftest import small_config


@pytest.fixture(params=[2, 4])
def trainer(images, small, small_weights, request, tmp_path):
    """Returns a trainer in which one or several tensors pass from the frozen stages to the others."""
    own = shutil.copytree(images, tmp_path / "images")  # a test moves them away
    config = small_config(own, "run", arch=small, weights=str(small_weights), precision="float32")
    manifest = make_manifest(own, 0.2, 0.0, 0)
    weights = find_weights(config.weights, config.arch, include_top=False)
    frozen = find_architecture(config.arch).parts[: request.param]
    return build_trainer(plan_of(config, manifest, weights).changed(frozen_stages=frozen))


def figures_of(trainer):
    """Returns the figures of the score, computed by Keras's own predict on all images at once."""
    plan, rows = trainer.plan, trainer.plan.rows["val"]
    labels = label_numbers(rows, plan.classes)
    stream = evaluation_stream(ImageSource(rows, plan.root, plan.classes), plan.input_spec, len(rows))
    probabilities = softmax(trainer.model.predict(next(iter(stream))[0], verbose=0))
    predicted = probabilities.argmax(axis=1)
    by_class = [log_loss([k] * sum(labels == k), probabilities[labels == k], labels=[0, 1, 2]) for k in set(labels)]
    return {
        "val_accuracy": accuracy_score(labels, predicted),
        "val_log_loss": log_loss(labels, probabilities, labels=[0, 1, 2]),
        "val_balanced_accuracy": balanced_accuracy_score(labels, predicted),
        "val_balanced_log_loss": np.mean(by_class),
    }


def learn(trainer):
    """Changes the trainable variables, and no others."""
    for variable in trainer.model.trainable_variables:
        variable.assign(variable + 0.01 * np.random.default_rng(0).normal(size=variable.shape))


@pytest.mark.parametrize("most_bytes", [module.MOST_BYTES, 0])
def test_figures_are_those_of_the_present_weights(trainer, most_bytes, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", most_bytes)
    validate = validator(trainer)
    before = validate()
    assert before.columns() == pytest.approx(figures_of(trainer), rel=1e-4)
    learn(trainer)
    assert validate().columns() == pytest.approx(figures_of(trainer), rel=1e-4)
    assert validate() != before


def test_images_are_read_once_where_there_is_room_for_what_frozen_stages_make_of_them(trainer, tmp_path, monkeypatch):
    validate, anew = validator(trainer), validator(trainer)
    found = validate()
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    without_room = validator(trainer)
    without_room()
    trainer.plan.root.rename(tmp_path / "away")
    try:
        assert validate() == found
        for other in (anew, without_room):
            with pytest.raises(LostImage):
                other()
    finally:
        (tmp_path / "away").rename(trainer.plan.root)
