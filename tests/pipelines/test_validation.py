"""The validator returns accuracy and log loss of the current model, whichever part it computes once and keeps."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss

from pipelines.data.manifest import class_names, label_numbers, make_manifest
from pipelines.evaluation.inference import softmax
from pipelines.images.lost_images import LostImage
from pipelines.images.stream import evaluation_stream
from pipelines.recipe import decide as recipe
from pipelines.training import validation as module
from pipelines.training.trainer import build_session
from pipelines.training.validation import validator
from resnet_tf.weights import find_weights
from resnet_tf.workers import Workers
from tests.conftest import small_config


@pytest.fixture(params=[2, 4])
def session(images, small, small_weights, request, monkeypatch):
    """Returns a session in which one or several tensors pass from the frozen stages to the others."""
    monkeypatch.setattr(recipe, "frozen_stages", lambda parts: parts[: request.param])
    config = small_config(images, "run", arch=small, weights=str(small_weights), precision="float32")
    manifest = make_manifest(images, 0.2, 0.0, 0)
    weights = find_weights(config.weights, config.arch, include_top=False)
    return build_session(config, manifest, class_names(manifest), images, weights, Workers())


def figures_of(session):
    """Returns accuracy and log loss, computed by Keras's own predict on all images at once."""
    rows, labels = session.rows["val"], label_numbers(session.rows["val"], session.classes)
    stream = evaluation_stream(rows, session.root, session.classes, session.view, batch_size=len(rows))
    probabilities = softmax(session.model.predict(next(iter(stream))[0], verbose=0))
    return accuracy_score(labels, probabilities.argmax(axis=1)), log_loss(labels, probabilities, labels=[0, 1, 2])


def learn(session):
    """Changes the trainable variables, and no others."""
    for variable in session.model.trainable_variables:
        variable.assign(variable + 0.01 * np.random.default_rng(0).normal(size=variable.shape))


@pytest.mark.parametrize("most_bytes", [module.MOST_BYTES, 0])
def test_figures_are_those_of_the_present_weights(session, most_bytes, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", most_bytes)
    validate = validator(session)
    before = validate()
    assert before == pytest.approx(figures_of(session), rel=1e-4)
    learn(session)
    assert validate() == pytest.approx(figures_of(session), rel=1e-4)
    assert validate() != before


def test_images_are_read_once_where_there_is_room_for_what_frozen_stages_make_of_them(session, tmp_path, monkeypatch):
    validate, anew = validator(session), validator(session)
    found = validate()
    monkeypatch.setattr(module, "MOST_BYTES", 0)
    without_room = validator(session)
    without_room()
    session.root.rename(tmp_path / "away")
    try:
        assert validate() == found
        for other in (anew, without_room):
            with pytest.raises(LostImage):
                other()
    finally:
        (tmp_path / "away").rename(session.root)
