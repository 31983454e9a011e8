"""Images that grow in training: which sizes, in which epochs, and that a training that goes on sees the same ones."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.data.manifest import class_names, make_manifest
from pipelines.data.stream import training_stream
from pipelines.explain import explain
from pipelines.recipe import decide
from pipelines.session import build_session
from pipelines.steps import epochs_stream
from resnet_tf.workers import Workers
from tests.conftest import small_config


@pytest.mark.parametrize(
    ("size", "epochs", "expected"),
    [
        (224, None, (160, 192, 224)),
        (224, 2, (160, 224)),
        (224, 1, (224,)),
        (224, 30, (160, 192, 224)),  # early stopping must not come before the size that counts
        (320, 3, (224, 272, 320)),
        (128, 3, (96, 112, 128)),
        (112, 3, (112,)),
    ],
)
def test_images_grow_to_the_size_that_counts(images, size, epochs, expected):
    config = small_config(images, "run", weights="x", image_size=size, epochs=epochs)
    recipe = decide(config, 1000)
    assert recipe.sizes == expected
    words = f"images of {', '.join(map(str, expected))} pixels, epoch by epoch"
    assert (words in explain(recipe, config, 1000)) == (len(expected) > 1)


def test_with_more_images_they_grow_in_four_epochs(images):
    config = small_config(images, "run", weights="x", image_size=224, epochs=None)
    assert decide(config, 5000).sizes == (160, 176, 208, 224)


@pytest.mark.parametrize("settings", [{"weights": "none"}, {"arch": "vgg16"}, {"epochs": "auto"}])
def test_from_scratch_in_one_size_networks_and_without_a_known_end_they_do_not(images, settings):
    config = small_config(images, "run", **{"weights": "x", "image_size": 224, "epochs": 3, **settings})
    assert decide(config, 1000).sizes == (224,)


@pytest.mark.parametrize(("before", "now"), [(3, "auto"), ("auto", 3), (3, 2), (2, 3)])
def test_another_end_than_the_repeated_one_has_sizes_of_its_own(images, before, now):
    of = {epochs: small_config(images, "run", weights="x", image_size=224, epochs=epochs) for epochs in (before, now)}
    assert decide(of[now], 1000, vars(decide(of[before], 1000))).sizes == decide(of[now], 1000).sizes


def test_sizes_are_repeated(images):
    config = small_config(images, "run", weights="x", image_size=224, epochs=None)
    recorded = {**vars(decide(config, 1000)), "sizes": (96, 224)}
    assert decide(config, 1000, recorded).sizes == (96, 224)


@pytest.fixture
def growing(images, tiny):
    """A session whose images have 96, 112 and 128 pixels."""
    manifest = make_manifest(images, 0.2, 0.0, 0)
    config = small_config(images, "run", arch=tiny, image_size=128, epochs=3)
    session = build_session(config, manifest, class_names(manifest), images, None, Workers())
    return replace(session, recipe=replace(session.recipe, sizes=(96, 112, 128)))


def test_each_epoch_has_its_size_and_its_order(growing):
    whole = list(epochs_stream(growing, 0, 0, 4).as_numpy_iterator())
    assert [batch.shape for batch, _ in whole[::3]] == [(8, size, size, 3) for size in (96, 112, 128, 128)]
    rows, order = growing.rows["train"], {"batch_size": 8, "seed": growing.config.seed}
    for epoch in range(4):
        view = growing.view_in(epoch)
        alone = training_stream(rows, growing.root, growing.classes, view, first_epoch=epoch, **order)
        for expected, found in zip(alone.as_numpy_iterator(), whole[3 * epoch : 3 * epoch + 3], strict=True):
            np.testing.assert_array_equal(expected[0], found[0])
            np.testing.assert_array_equal(expected[1], found[1])
