"""The view: the crop at the centre, the whole picture squeezed, or the whole picture padded; everywhere the same."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

import resnet_tf
from pipelines.cli import main
from pipelines.config.shared import VIEWS
from pipelines.data.inspect import inspect_image
from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import softmax
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import temperature_of
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.images.augment import choose_region, key_of
from pipelines.images.decode import decode_pillow, decode_region_of_bytes
from pipelines.images.regions import MEAN_COLOUR
from pipelines.images.stream import InputSpec
from pipelines.recipe.earlier import differences, read_earlier, repeated_recipe
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, write_json
from pipelines.training.setup import make_plan
from resnet_tf.errors import UserError
from resnet_tf.weights import preprocessing
from tests.conftest import small_config
from tests.pipelines.test_decode import of_file, photo, with_orientation

# Wide, tall, square, tiny and very long pictures, height × width.
SHAPES = [(200, 300), (301, 77), (100, 100), (20, 30), (7, 3), (1, 1), (5, 400), (1, 1000)]


def key(number):
    return key_of(0, tf.constant(0, tf.int64), tf.constant(number, tf.int64))


def by_pillow(image, size, view, resample):
    """Returns what Pillow makes of a picture, int [size, size, 3]."""
    if view == "squeeze":
        return np.asarray(image.resize((size, size), resample)).astype(int)
    scale = size / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (size, size), MEAN_COLOUR)
    canvas.paste(image.resize((width, height), resample), ((size - width) // 2, (size - height) // 2))
    return np.asarray(canvas).astype(int)


def test_the_names_of_the_setting_are_those_of_the_preprocessing():
    assert VIEWS == preprocessing.VIEWS


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("view", ["squeeze", "pad"])
@pytest.mark.parametrize(("height", "width"), SHAPES)
def test_the_whole_picture_is_seen_as_pillow_makes_it(height, width, view, interpolation):
    image, spec = photo(height, width), InputSpec(56, interpolation=interpolation, view=view)
    found = spec.for_evaluation(tf.constant(np.asarray(image))).numpy().astype(int)
    expected = by_pillow(image, 56, view, Image.Resampling[interpolation.upper()])
    assert np.abs(found - expected).max() <= 1  # the two round differently


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("view", ["squeeze", "pad"])
def test_stream_serving_and_memory_see_a_turned_photo_alike(orientation, view, tmp_path):
    path, spec = tmp_path / "photo.jpg", InputSpec(48, view=view)
    photo(70, 93).save(path, exif=with_orientation(orientation))
    found = of_file(path, inspect_image(path, tmp_path), spec.evaluation_region)
    np.testing.assert_array_equal(found, spec.for_evaluation(tf.constant(decode_pillow(path))))
    encoded = tf.constant(path.read_bytes())
    np.testing.assert_array_equal(found, decode_region_of_bytes(encoded, spec.evaluation_region))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("view", ["squeeze", "pad"])
def test_a_photo_decoded_at_a_smaller_scale_shows_the_same(orientation, view, tmp_path):
    """The sides are no multiples of 8, so that libjpeg fills them up.

    The tolerance is that of `test_a_scaled_window_shows_what_the_unscaled_one_shows`.
    """
    path, spec = tmp_path / "photo.jpg", InputSpec(40, view=view)
    photo(333, 651).save(path, exif=with_orientation(orientation), quality=95)
    picture = tf.constant(decode_pillow(path))
    assert int(spec.evaluation_region(tf.shape(picture)[:2]).ratio_index()) == 3
    found = of_file(path, inspect_image(path, tmp_path), spec.evaluation_region)
    expected = spec.for_evaluation(picture).numpy()
    assert np.abs(found.astype(int) - expected).mean() < 1.5
    np.testing.assert_array_equal(np.all(found == MEAN_COLOUR, -1), np.all(expected == MEAN_COLOUR, -1))
    np.testing.assert_array_equal(found, decode_region_of_bytes(tf.constant(path.read_bytes()), spec.evaluation_region))


@pytest.mark.parametrize("augment", ["light", "paper", "cifar"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_no_dark_line_is_between_a_picture_and_its_padding(augment, orientation, tmp_path):
    """A white picture and the padding make two colours, whatever is cropped and at whatever scale it is decoded."""
    path = tmp_path / "white.jpg"
    for height, width in ((33, 301), (301, 33), (201, 167), (5, 9)):
        Image.new("RGB", (width, height), "white").save(path, exif=with_orientation(orientation))
        facts = inspect_image(path, tmp_path)
        for number in range(4):
            choose = lambda shape, n=number: choose_region(augment, shape, key(n), 32, 0.08, "bilinear", "pad")  # noqa: E731
            colours = {tuple(colour) for colour in of_file(path, facts, choose).reshape(-1, 3).tolist()}
            assert (255, 255, 255) in colours
            assert colours <= {(255, 255, 255), MEAN_COLOUR}


@pytest.mark.parametrize("shape", [(100, 250), (250, 100), (9, 300)])
def test_random_crops_of_a_squeezed_picture_are_distorted_as_it_is(shape):
    """The aspect ratio is the picture's own times 3/4 to 4/3; the slack is for the whole pixels of the fine square."""
    for number in range(40):
        region = choose_region("light", tf.constant(shape), key(number), 32, 0.35, "bilinear", "squeeze")
        begin, extent = region.begin.numpy(), region.extent.numpy()
        shares = extent / shape
        assert 0.749 < shares[1] / shares[0] < 1.335
        assert 0.349 < shares.prod() <= 1.0
        assert np.all(begin >= 0)
        assert np.all(begin + extent <= shape)


@pytest.mark.parametrize("shape", [(100, 250), (250, 100), (9, 300)])
def test_random_crops_of_a_padded_picture_lie_in_the_square_and_show_half_of_what_they_can(shape):
    longer = max(shape)
    padding = (longer - np.array(shape)) // 2
    beyond = 0
    for number in range(40):
        region = choose_region("light", tf.constant(shape), key(number), 32, 0.2, "bilinear", "pad")
        begin, extent = region.begin.numpy(), region.extent.numpy()
        assert 0.74 < extent[1] / extent[0] < 1.35  # whole pixels
        assert 0.19 < extent.prod() / longer**2 <= 1.0
        assert np.all(begin >= -padding)
        assert np.all(begin + extent <= longer - padding)
        shown = np.minimum(begin + extent, shape) - np.maximum(begin, 0)
        assert np.all(shown >= np.minimum(extent, shape) / 2)
        beyond += bool(np.any(begin < 0))
    assert beyond > 20


@pytest.mark.parametrize("view", ["squeeze", "pad"])
def test_scale_jitter_magnifies_the_squeezed_or_padded_square(view):
    scales = []
    for number in range(60):
        region = choose_region("paper", tf.constant((200, 400)), key(number), 224, 0.35, "bilinear", view)
        begin, extent = region.begin.numpy(), region.extent.numpy()
        scales.append(224 / extent[1] * 400)  # the length of the square that the wide side became
        ratio = extent[1] / extent[0]
        assert ratio == pytest.approx(2.0 if view == "squeeze" else 1.0, rel=0.01)  # whole pixels of the resized sides
        assert np.all(begin + extent > 0)
        assert np.all(begin < (200, 400))
    assert 255.9 < min(scales) < 300
    assert 430 < max(scales) < 480.1


@pytest.mark.parametrize("view", VIEWS)
def test_training_without_crops_sees_what_evaluation_sees(view):
    shape = tf.constant((60, 90))
    region = choose_region("cifar", shape, key(0), 32, 0.35, "bilinear", view)
    expected = InputSpec(32, crop_fraction=1.0, view=view).evaluation_region(shape)
    for found, wanted in ((region.begin, expected.begin), (region.extent, expected.extent)):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("view", ["squeeze", "pad"])
def test_crops_are_the_same_eagerly_and_in_a_stream(view):
    image = tf.constant(np.asarray(photo(50, 90)))

    def seen(number):
        region = choose_region("light", tf.shape(image)[:2], key_of(0, 0, number), 32, 0.35, "bilinear", view)
        return region.of(image)

    for number, found in enumerate(tf.data.Dataset.range(5).map(seen)):
        np.testing.assert_array_equal(found, seen(tf.constant(number, tf.int64)))


@pytest.fixture(scope="module")
def long_photos(tmp_path_factory):
    """Returns a folder of two classes of wide and tall photos."""
    root = tmp_path_factory.mktemp("long") / "photos"
    for number in range(16):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        height, width = (40, 90) if number % 4 < 2 else (100, 36)
        photo(height, width, number).save(folder / f"{number}.jpg")
    return root


@pytest.fixture(scope="module", params=["squeeze", "pad"])
def run(request, long_photos, tmp_path_factory):
    """Returns a finished run with each view, which tests must not change."""
    path = tmp_path_factory.mktemp("views") / request.param
    settings = {"arch": "cifar_resnet20", "precision": "float32", "view": request.param}
    return finetune(small_config(long_photos, path, **settings))


def test_evaluate_predict_and_the_saved_model_see_a_runs_own_view(run, long_photos, tmp_path):
    view = run.path.name
    evaluated = evaluate(run).predictions
    files = [long_photos / path for path in evaluated["path"]]
    classifier = resnet_tf.load(run.path)
    assert classifier.preprocessing.view == view
    seen = np.stack([by_pillow(Image.open(file), 32, view, Image.Resampling.BILINEAR) for file in files])
    expected = softmax(classifier.model.predict(seen.astype(np.uint8), verbose=0) / temperature_of(run))
    # Pillow's pixels differ by one level at most. The views differ by tens, and the probabilities by much more.
    np.testing.assert_allclose(evaluated[["p:a", "p:b"]], expected, atol=0.01)

    words = ["predict", str(run.path), *map(str, files), "--out", str(tmp_path / "out.csv")]
    assert main(words) == 0
    predicted = pd.read_csv(tmp_path / "out.csv")
    np.testing.assert_allclose(predicted[["p:a", "p:b"]], evaluated[["p:a", "p:b"]], atol=1e-6)  # rounding

    folder = export(run)  # which compares the pixels that serving_default sees
    served = tf.saved_model.load(str(folder)).signatures["serve_bytes"]
    answer = served(encoded=tf.constant([file.read_bytes() for file in files]))
    np.testing.assert_allclose(answer["probabilities"], evaluated[["p:a", "p:b"]], atol=1e-5)  # rounding


def test_a_model_that_is_imported_keeps_its_view(run, tmp_path):
    words = ["import", str(run.model), "--arch", "cifar_resnet20", "--run", str(tmp_path / "imported")]
    assert main(words) == 0
    assert input_spec_of(Run(tmp_path / "imported")).view == run.path.name


def test_a_config_that_says_another_view_than_the_model_is_refused(run, tmp_path):
    copy = Run(shutil.copytree(run.path, tmp_path / "copy"))
    content = read_json(copy.config)
    content["preprocessing"]["view"] = "crop"
    write_json(copy.config, content)
    with pytest.raises(UserError, match="disagree about the size, the view"):
        input_spec_of(copy)


def test_a_run_of_an_earlier_version_saw_the_crop(finished, images, small, small_weights, tmp_path):
    copy = Run(shutil.copytree(finished.path, tmp_path / "copy"))
    content = read_json(copy.config)
    for part in ("arguments", "recipe", "preprocessing"):
        assert content[part].pop("view") in (None, "crop")
    write_json(copy.config, content)
    assert input_spec_of(copy).view == "crop"
    config, earlier = small_config(images, copy.path, arch=small, weights=str(small_weights)), read_earlier(copy.config)
    assert repeated_recipe(earlier, config)["view"] == "crop"
    assert not any("view" in line for line in differences(earlier, config, content["structure"], content["data"], {}))


def test_a_plan_takes_another_view_and_says_it(images, tmp_path):
    plan = make_plan(small_config(images, tmp_path / "run"))
    assert (plan.recipe.view, plan.input_spec.view) == ("crop", "crop")
    changed = plan.changed(view="squeeze")
    assert (changed.input_spec.view, changed.preprocessing.view) == ("squeeze", "squeeze")
    assert json.loads(json.dumps(changed.content()))["recipe"]["view"] == "squeeze"
    assert "the network sees the whole of each picture, squeezed to a square: as passed" in str(changed)
    with pytest.raises(UserError, match="the view must be one of crop, squeeze, pad, received 'whole'"):
        plan.changed(view="whole")


@pytest.mark.parametrize("words", [["finetune", "--run", "run"], ["show-batch", "--out", "batch.png"]])
def test_a_wrong_view_is_one_line(words, images, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([words[0], str(images), *words[1:], "--view", "whole"]) == 2
    assert capsys.readouterr().err == "error: --view must be one of crop, squeeze, pad, received 'whole'\n"
    assert not list(tmp_path.iterdir())


def test_show_batch_draws_the_view(long_photos, tmp_path):
    out = tmp_path / "batch.png"
    words = ["show-batch", str(long_photos), "--out", str(out), "--image-size", "64", "--images", "4", "--view", "pad"]
    assert main(words) == 0
    assert np.all(np.asarray(Image.open(out).convert("RGB")) == MEAN_COLOUR, -1).sum() > 1000
