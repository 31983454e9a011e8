"""Figures are of what they seem to be: a finished run, its own images, its own classes, and numbers."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.cli import main
from pipelines.data.manifest import label_numbers
from pipelines.evaluate import evaluate
from pipelines.evaluation.metrics import confusion_matrix
from pipelines.evaluation.predictions import probabilities_from
from pipelines.finetune import finetune
from pipelines.report.figures import MOST_NAMED, draw_confusion_matrix
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, write_json
from pipelines.runs.state import state_of
from resnet_tf.errors import UserError
from tests.conftest import cut_off_before_epoch, small_config


@pytest.fixture(scope="module")
def whole(images, small, tmp_path_factory):
    """Returns a finished run of a small network, which tests must not change."""
    return finetune(small_config(images, tmp_path_factory.mktemp("whole") / "run", arch=small))


@pytest.fixture
def copy(whole, tmp_path):
    """Returns a copy of a finished run, which a test may change."""
    return Run(shutil.copytree(whole.path, tmp_path / "run"))


@pytest.fixture
def photos(images, tmp_path):
    """Returns a copy of the images, which a test may change."""
    return shutil.copytree(images, tmp_path / "photos")


@pytest.fixture
def unfinished(photos, tiny, tmp_path):
    """Returns a run that was cut off after the first of two epochs, and its settings."""
    settings = small_config(photos, tmp_path / "cut", arch=tiny, epochs=2)
    with cut_off_before_epoch(1):
        finetune(settings)
    return Run(tmp_path / "cut"), settings


def error_of(words, capsys):
    """Runs a command that cannot run; returns its one line."""
    assert main(list(map(str, words))) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_what_is_made_of_an_unfinished_run_says_so(unfinished, photos, tmp_path, capsys):
    run, settings = unfinished
    assert evaluate(run, "val").metrics["finished"] is False
    assert "the run is not finished: 1 epoch is done; these figures are of its best model" in capsys.readouterr().out
    assert read_json(run.evaluation("val") / "metrics.json")["finished"] is False
    assert "not finished" in (run.evaluation("val") / "summary.txt").read_text()
    picture = next(photos.rglob("*.jpg"))
    assert main(["predict", str(run.path), str(picture)]) == 0
    assert "the run is not finished" in capsys.readouterr().err
    assert "export its best model so far with --unfinished" in error_of(["export", run.path], capsys)
    assert not run.saved_model.exists()
    assert main(["export", str(run.path), "--unfinished"]) == 0
    assert read_json(run.export_report)[0]["finished"] is False
    finetune(settings)
    assert state_of(run).finished is True
    assert evaluate(run, "val").metrics["finished"] is True


def test_a_run_without_checkpoints_cannot_say_whether_it_is_finished(copy):
    shutil.rmtree(copy.checkpoints)
    assert state_of(copy).finished is None
    assert "nothing says whether the run is finished" in state_of(copy).text


def test_other_pictures_under_the_same_names_are_not_evaluated(copy, photos, capsys):
    rows = pd.read_csv(copy.manifest)
    name = rows.loc[rows["split"] == "test", "path"].iloc[0]
    with Image.open(photos / name) as picture:
        picture.rotate(90).save(photos / name)
    error = error_of(["evaluate", copy.path, "--data", photos], capsys)
    assert f"1 of {(rows['split'] == 'test').sum()} images in" in error
    assert f"such as {name!r}: their SHA-256 differ" in error
    assert not copy.evaluation("test").exists()
    assert "their SHA-256 differ" in error_of(["export", copy.path, "--data", photos], capsys)


def test_moved_pictures_are_evaluated(copy, photos):
    assert main(["evaluate", str(copy.path), "--data", str(photos)]) == 0


def test_a_manifest_that_was_cut_short_or_changed_is_refused(copy, capsys):
    lines = copy.manifest.read_text().splitlines(keepends=True)
    copy.manifest.write_text("".join(lines[:9]))
    error = error_of(["evaluate", copy.path, "--split", "train"], capsys)
    assert "is not the table that the run was made with: it has 8 images, and config.json is of 30" in error
    assert "is not the table" in error_of(["export", copy.path], capsys)
    copy.manifest.write_text("".join(lines).replace(",test,", ",val,", 1))
    assert "is not the table" in error_of(["evaluate", copy.path, "--split", "val"], capsys)


CLASSES = {
    '["a", "b", "c", "d"]': "names 4 classes, but the model has 3 outputs",
    '["a", "b"]': "names 2 classes, but the model has 3 outputs",
    '["a", "a", "b"]': "names the class 'a' twice",
    '{"a": 1}': "is no list of class names",
    "[1, 2, 3]": "is no list of class names",
    "[": "is not JSON",
}


@pytest.mark.parametrize("content", CLASSES)
def test_names_that_are_not_those_of_the_outputs_are_refused(content, copy, images, capsys):
    copy.classes.write_text(content)
    for words in (["predict", copy.path, next(images.rglob("*.jpg"))], ["export", copy.path]):
        assert CLASSES[content] in error_of(words, capsys)


def test_numbers_that_are_none_are_a_failure():
    with pytest.raises(UserError, match="NaN or infinite for 2 of 3 images"):
        probabilities_from(np.array([[0.0, 1.0], [np.nan, 0.0], [np.inf, 0.0]], "float32"))
    np.testing.assert_allclose(probabilities_from(np.array([[0.0, 1e38]], "float32")), [[0.0, 1.0]])


@pytest.mark.parametrize("value", [np.nan, 1e38])
def test_a_model_that_says_nothing_ends_every_verb(value, copy, images, capsys):
    import keras

    from pipelines.runs.directory import load_model

    copy.calibration.unlink()  # it knows that it is of another model, and would say so first
    model = load_model(copy)
    layer = model.get_layer("conv1_conv")
    layer.set_weights([np.full_like(layer.get_weights()[0], value)])
    keras.saving.save_model(model, copy.model)
    verbs = (["predict", copy.path, next(images.rglob("*.jpg"))], ["evaluate", copy.path], ["export", copy.path])
    for words in verbs:
        assert f"the model's variable 'conv1_conv/kernel' has the value {value:g}" in error_of(words, capsys)
    assert not copy.saved_model.exists()


def test_a_negative_variance_is_refused(copy, images, capsys):
    import keras

    from pipelines.runs.directory import load_model

    model = load_model(copy)
    layer = model.get_layer("conv1_bn")
    layer.moving_variance.assign(-layer.moving_variance)
    keras.saving.save_model(model, copy.model)
    assert "'conv1_bn/moving_variance' is negative" in error_of(["evaluate", copy.path], capsys)


def test_a_run_whose_images_have_moved_continues(unfinished, photos, tmp_path, capsys):
    run, settings = unfinished
    moved = photos.rename(tmp_path / "elsewhere")
    finetune(small_config(moved, run.path, arch=settings.arch, epochs=2))
    assert state_of(run).finished is True
    assert read_json(run.config)["arguments"]["data"] == str(moved)
    assert evaluate(run, "val").metrics["finished"] is True  # it knows the new place


def test_other_images_do_not_continue_a_run(unfinished, photos, tmp_path):
    run, settings = unfinished
    moved = photos.rename(tmp_path / "elsewhere")
    picture = next(moved.rglob("*.jpg"))
    Image.new("RGB", (40, 40)).save(picture)
    with pytest.raises(UserError, match="are not those of the run"):
        finetune(small_config(moved, run.path, arch=settings.arch, epochs=2))


def test_a_run_of_an_earlier_version_that_lacks_a_setting_continues(unfinished):
    run, settings = unfinished
    content = read_json(run.config)
    for name in ("cache", "folds", "stride_at"):
        content["arguments"].pop(name, None)
    write_json(run.config, content)
    finetune(settings)
    assert state_of(run).finished is True


def test_a_config_that_is_none_is_named(copy, images, capsys):
    copy.config.write_text(json.dumps({"arguments": 3}))
    error = error_of(["finetune", images, "--run", copy.path, "--weights", "none"], capsys)
    assert "is no config.json of a run" in error


def test_a_figure_of_many_classes_stays_small(tmp_path):
    sizes = []
    for count in (MOST_NAMED, 3 * MOST_NAMED, 1500):
        labels = np.arange(4 * count) % count
        predicted = np.where(np.arange(4 * count) % 9 == 0, (labels + 1) % count, labels)
        names = [f"class {number}" for number in range(count)]
        draw_confusion_matrix(confusion_matrix(labels, predicted, names), tmp_path / f"{count}.png", "many")
        with Image.open(tmp_path / f"{count}.png") as picture:
            sizes.append(picture.size)
    assert max(max(size) for size in sizes) < 5000
    assert sizes[1] == sizes[2]


def test_names_in_a_script_without_a_font_are_said_once(tmp_path, capsys, recwarn):
    names = ["bonsai", "盆栽", "\U0001f9a4"]
    draw_confusion_matrix(confusion_matrix(np.arange(3), np.arange(3), names), tmp_path / "matrix.png", "文字")
    error = capsys.readouterr().err
    assert error.count("\n") <= 1
    assert error == "" or "no installed font has the letters" in error
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_labels_become_numbers_and_an_unknown_one_is_named():
    rows = pd.DataFrame({"label": ["b", "a", "b"]})
    assert label_numbers(rows, ["a", "b"]).tolist() == [1, 0, 1]
    with pytest.raises(ValueError, match="'b' is none of the classes"):
        label_numbers(rows, ["a"])
