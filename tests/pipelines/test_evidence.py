"""The evidence for a class adds up to its logit, and `explain` draws it."""

import keras
import numpy as np
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.config.verbs import ExplainConfig
from pipelines.evaluation.evidence import EXACT, GRAD_CAM, Explainer, smoothed, spread
from pipelines.evaluation.neighbours import compared, nearest
from pipelines.explain import explain, explained
from resnet_tf.classifier import build_classifier
from resnet_tf.errors import UserError
from tests.conftest import randomize
from tests.networks import SMALL, TINY


def pictures(images: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (images, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(
    ("stages", "pooling"), [(1, "avg"), (1, "avg+max"), (3, "avg"), (3, "avg+max"), (4, "avg+max")]
)
@pytest.mark.parametrize("shape", [(64, 64), (70, 52)])
def test_the_maps_sum_and_the_bias_are_the_logit(small, stages, pooling, shape):
    model = build_classifier(SMALL.name, 5, head_stages=stages, head_pooling=pooling)
    randomize(model)
    images = pictures(3, *shape)
    classes = np.array([[0, 4], [3, 1], [2, 2]])
    explainer = Explainer(model)
    found = explainer(images, classes)
    logits = np.asarray(model(images, training=False))
    assert explainer.method == EXACT
    np.testing.assert_allclose(found.logits, logits, atol=1e-4)
    expected = np.take_along_axis(logits, classes, axis=1)
    # Sums of some hundred numbers in float32.
    np.testing.assert_allclose(found.maps.sum(axis=(2, 3)) + found.bias, expected, atol=1e-4)
    np.testing.assert_allclose(smoothed(found.maps, 14).sum(axis=(2, 3)) + found.bias, expected, atol=1e-4)
    np.testing.assert_allclose(explainer.features(images), found.features, atol=1e-6)


def test_the_evidence_lies_where_the_only_thing_in_a_picture_is(tiny):
    model = build_classifier(TINY.name, 2)
    randomize(model)
    images = np.full((2, 64, 64, 3), 124, np.uint8)
    images[1, 40:56, 8:24] = 255
    plain, with_square = (each[0] for each in Explainer(model)(images, np.zeros((2, 1), int)).maps)
    change = np.abs(with_square - plain)
    assert change.shape == (8, 8)
    # The last position sees 35 pixels, so that nothing changes above row 23 and right of column 41.
    assert change[:2].max() < 1e-6
    assert change[:, 6:].max() < 1e-6
    centre = [(change.sum(axis=axis) * (np.arange(8) + 0.5) * 8).sum() / change.sum() for axis in (1, 0)]
    assert centre == pytest.approx([48, 16], abs=6)


def test_positions_with_the_same_largest_value_share_it():
    inputs = keras.Input((4, 6, 3))
    x = keras.layers.Conv2D(5, 1, bias_initializer="ones")(inputs)
    pooled = keras.layers.GlobalMaxPooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, name="predictions")(pooled))
    found = Explainer(model)(np.ones((1, 4, 6, 3), np.float32), np.array([[0, 1]]))
    share = (found.logits - found.bias)[..., None, None] / 24
    np.testing.assert_allclose(found.maps, np.broadcast_to(share, (1, 2, 4, 6)), atol=1e-6)


def test_hidden_layers_have_grad_cam_and_it_says_so():
    # The classifier of a VGG in small: hidden layers between the positions and the logits.
    inputs = keras.Input((32, 32, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(inputs)
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu", padding="same")(x)
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(16, activation="relu")(x)
    model = keras.Model(inputs, keras.layers.Dense(3, name="predictions")(x))
    explainer = Explainer(model)
    images = pictures(2, 32, 32)
    found = explainer(images, np.array([[0, 1], [2, 0]]))
    assert explainer.method == GRAD_CAM
    assert found.maps.shape == (2, 2, 8, 8)
    assert (found.maps >= 0).all()
    assert np.isnan(found.bias).all()
    np.testing.assert_allclose(found.logits, model(images), atol=1e-5)
    assert found.features.shape == (2, 16)
    first, second = explained(explainer, images, ["a", "b"], ["x", "y", "z"], top=2)
    assert first.logits[0] == pytest.approx(found.logits[0].max())
    assert second.maps.shape == (2, 8, 8)


@pytest.mark.parametrize(
    ("old", "new"), [((7, 7), (14, 14)), ((5, 3), (14, 14)), ((28, 20), (14, 14)), ((1, 1), (3, 2))]
)
def test_spreading_keeps_sums_and_places(old, new):
    maps = np.zeros((2, *old))
    maps[0, 0, 0], maps[1, -1, -1] = 2.0, -3.0
    found = spread(maps, new)
    np.testing.assert_allclose(found.sum(axis=(1, 2)), [2.0, -3.0])
    rows, columns = (-(-each // before) for each, before in zip(new, old, strict=True))
    assert found[0, rows:].sum() == pytest.approx(0.0)
    assert found[0, :, columns:].sum() == pytest.approx(0.0)


def test_the_nearest_photo_is_the_one_that_points_the_same_way():
    features = np.array([[1.0, 0.0], [0.0, 2.0]])
    among = np.array([[0.1, 5.0], [9.0, 1.0], [1.0, 1.0], [-1.0, 0.0]])
    found = nearest(features, among, 3)
    assert found.places[:, 0].tolist() == [1, 0]
    assert found.similarity[0, 0] == pytest.approx(9 / np.sqrt(82))
    assert (np.diff(found.similarity, axis=1) <= 0).all()
    assert nearest(features, among[:2]).places.shape == (2, 2)
    assert len(set(compared(100_000))) == 2000


def test_explain_draws_each_photo_with_its_likeliest_classes(finished, images, tmp_path):
    photos = sorted(images.rglob("*.jpg"))[:2]
    out = tmp_path / "why.png"
    found = explain(ExplainConfig(str(finished.path), tuple(map(str, photos)), str(out), top=2))
    with Image.open(out) as picture:
        assert picture.width > picture.height > 200
    assert [each.name for each in found] == list(map(str, photos))
    for each in found:
        assert len(each.classes) == 2
        assert each.logits[0] >= each.logits[1]
        np.testing.assert_allclose(each.maps.sum(axis=(1, 2)) + each.bias, each.logits, atol=1e-4)


def test_explain_says_in_one_line_what_it_cannot_draw(finished, images, tmp_path, capsys):
    run, photo = str(finished.path), str(next(images.rglob("*.jpg")))
    (tmp_path / "a.jpg").write_text("a text")
    wrong = {
        "must end in .png": [run, photo, "--out", "why.jpg"],
        "is a readable image": [run, str(tmp_path / "a.jpg"), "--out", str(tmp_path / "why.png")],
        "no file is named or matched by 'none.jpg'": [run, "none.jpg", "--out", str(tmp_path / "why.png")],
        "there is no run directory": ["nowhere", photo, "--out", str(tmp_path / "why.png")],
        "--top must be": [run, photo, "--out", str(tmp_path / "why.png"), "--top", "0"],
    }
    for words, arguments in wrong.items():
        assert main(["explain", *arguments]) == 2
        said = capsys.readouterr().err
        assert words in said.splitlines()[-1], said
    assert not (tmp_path / "why.png").exists()
    with pytest.raises(UserError, match="41 photos are too many"):
        explain(ExplainConfig(run, (photo,) * 41, str(tmp_path / "why.png")))
