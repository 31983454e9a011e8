"""evaluate, predict and export give the same probabilities for one run."""

import base64
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from sklearn import metrics as sk

from pipelines.config.judging import EvaluateConfig, PredictConfig
from pipelines.data.manifest import describe_data, load_manifest, make_manifest
from pipelines.data.named_files import expand
from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import softmax
from pipelines.evaluation.matching import labelled_otherwise
from pipelines.evaluation.metrics import (
    confusion_matrix,
    expected_calibration_error,
    most_confused,
    per_class,
    summarize,
    top_k_accuracy,
)
from pipelines.evaluation.predictions import input_spec_of, probability_columns
from pipelines.evaluation.run_calibration import temperature_of
from pipelines.evaluation.sources import name_of, rows_of_split
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.predict import predict
from pipelines.report.figures import draw_confusion_matrix
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json, write_csv, write_json
from resnet_tf.errors import UserError
from tests.conftest import small_config


@pytest.fixture(scope="module")
def run(images, small, small_weights, tmp_path_factory) -> Run:
    """Returns a finished run, which tests evaluate and export."""
    path = tmp_path_factory.mktemp("evaluated") / "run"
    return finetune(small_config(images, path, arch=small, weights=str(small_weights)))


@pytest.fixture(scope="module")
def folder(run):
    evaluate(run, "test")
    return run.evaluation("test")


@pytest.fixture(scope="module")
def exported(run):
    return export(run)


def test_the_evaluation_has_what_the_design_names(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "metrics.json",
        "predictions.csv",
        "per_class.csv",
        "confusion_matrix.csv",
        "confusion_matrix.png",
        "slices.csv",
        "photos.csv",
        "summary.txt",
        "report.html",
        "card.md",
    }
    metrics = json.loads((folder / "metrics.json").read_text())
    with_interval = {
        "accuracy",
        "top5_accuracy",
        "balanced_accuracy",
        "macro_f1",
        "cohen_kappa",
        "matthews_corrcoef",
        "log_loss",
        "brier",
        "ece",
    }
    assert all(metrics[f"{name}_ci95"][0] <= metrics[name] <= metrics[f"{name}_ci95"][1] for name in with_interval)
    assert set(metrics) == {
        *with_interval,
        *(f"{name}_ci95" for name in with_interval),
        "n",
        "balanced_log_loss",
        "ece_equal_mass",
        "uncalibrated",
        "temperature",
        "largest_class_share",
        "baseline",
        "refusing",
        "sets",
        "model_sha256",
        "root",
        "never_recognized",
        "classes",
        "split",
        "mirror",
        "finished",
    }


def test_figures_of_the_test_are_of_new_images(folder):
    assert "the model was fitted to" not in (folder / "summary.txt").read_text()


def test_every_file_of_an_evaluation_says_the_same(folder, run):
    metrics = json.loads((folder / "metrics.json").read_text())
    predictions = pd.read_csv(folder / "predictions.csv")
    matrix = pd.read_csv(folder / "confusion_matrix.csv", index_col=0)
    classes = read_json(run.classes)
    columns = ["path", "label", "predicted", "confidence", "decision", *probability_columns(classes)]
    assert list(predictions.columns) == columns
    assert list(matrix.columns) == list(matrix.index) == classes
    assert len(predictions) == metrics["n"] == matrix.to_numpy().sum()
    right = (predictions["label"] == predictions["predicted"]).mean()
    assert right == pytest.approx(metrics["accuracy"])
    assert matrix.to_numpy().trace() / metrics["n"] == pytest.approx(metrics["accuracy"])
    np.testing.assert_allclose(predictions[probability_columns(classes)].sum(axis=1), 1.0, atol=1e-9)
    assert f"{metrics['accuracy']:.4f}" in (folder / "summary.txt").read_text()


def test_the_page_has_each_photo_with_evidence_that_adds_up_and_its_nearest_training_photos(folder, run):
    page = (folder / "report.html").read_text(encoding="utf-8")
    content = json.loads(re.search(r'<script type="application/json" id="photos">(.*?)</script>', page, re.DOTALL)[1])
    predictions, classes = pd.read_csv(folder / "predictions.csv"), read_json(run.classes)
    biases = np.asarray(load_model(run).get_layer("predictions").bias)
    assert len(content["of"]) == len(predictions)
    training = load_manifest(run.manifest).query("split == 'train'").set_index("path")["label"]
    assert all(training[each["path"]] == each["label"] for each in content["training"])
    for image, photo in content["of"].items():
        row = predictions.iloc[int(image)]
        assert set(photo["maps"]) == {str(classes.index(row[name])) for name in ("label", "predicted")}
        assert len(photo["near"]) == 3
        for label, found in photo["maps"].items():
            levels = np.frombuffer(base64.b64decode(found["levels"]), np.int8)
            # 196 positions, each rounded to a 127th of the largest one.
            rounding = 0.5 * np.sqrt(196) * found["most"] / 127
            total = levels.sum() * found["most"] / 127 + biases[int(label)]
            assert total == pytest.approx(found["logit"], abs=0.01 + 4 * rounding)


def test_predict_gives_the_probabilities_of_evaluate(folder, run, images, tmp_path, capsys):
    evaluated = pd.read_csv(folder / "predictions.csv").set_index("path")
    out = tmp_path / "predictions.csv"
    predict(PredictConfig(str(run.path), (str(images),), top=2, out=str(out)))
    predicted = pd.read_csv(out)
    assert len(predicted) == 30
    assert "label" not in predicted
    predicted.index = [path.removeprefix(f"{images}/") for path in predicted["path"]]
    classes = probability_columns(read_json(run.classes))
    # Different images in a batch change the last bits of float32.
    np.testing.assert_allclose(predicted.loc[evaluated.index, classes], evaluated[classes], atol=1e-6)
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(images))]
    assert len(shown) == 20  # the file has the others
    first = shown[-1].split("  ")
    assert len(first) == (4 if first[-1] == "unsure" else 3)  # path and two classes


def test_predict_takes_files_folders_and_globs(images):
    label = next(images.iterdir()).name
    assert expand(str(images / label / "0001.jpg")) == [images / label / "0001.jpg"]
    assert len(expand(str(images / label))) == 10
    assert len(expand(str(images / "*" / "0001.jpg"))) == 3
    with pytest.raises(UserError, match=r"matched by '.*none\.jpg'"):
        expand(str(images / "none.jpg"))


def test_predict_names_what_is_no_image_and_goes_on(run, images, tmp_path, capsys):
    shutil.copy(next(images.rglob("*.jpg")), tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_text("a text")
    assert predict(PredictConfig(str(run.path), (str(tmp_path),))) is True
    assert "b.jpg (not an image, but text)" in capsys.readouterr().err
    with pytest.raises(UserError, match="not one of the 1 files is a readable image"):
        predict(PredictConfig(str(run.path), (str(tmp_path / "b.jpg"),)))


def test_a_split_without_images_is_named(run):
    manifest = load_manifest(run.manifest)
    other = Run(shutil.copytree(run.path, run.path.with_name("other")))
    without = manifest[manifest["split"] != "test"]
    without.to_csv(other.manifest, index=False)
    write_json(other.config, {**read_json(run.config), "data": describe_data(without)})
    with pytest.raises(UserError, match="no images in the split 'test'; it has train, val"):
        evaluate(other, "test")


def test_a_run_without_a_test_is_judged_by_other_photos(images, tmp_path):
    run, manifest = Run(tmp_path / "run"), make_manifest(images, 0.2, 0.0, 0)  # as after --use-all test, too
    write_csv(run.manifest, manifest)
    write_json(run.config, {"arguments": {"data": str(images)}, "data": describe_data(manifest)})
    for label in images.iterdir():
        (tmp_path / "new" / label.name).mkdir(parents=True)
        shutil.copy(next(label.iterdir()), tmp_path / "new" / label.name / "new.jpg")
    assert name_of(EvaluateConfig(str(run.path), data=str(tmp_path / "new")), run).startswith("photos-new-")
    # The images of the run itself are no test, wherever they are.
    shutil.copytree(images, tmp_path / "moved")
    assert name_of(EvaluateConfig(str(run.path), data=str(tmp_path / "moved")), run) == "test"
    with pytest.raises(UserError, match="has no images in the split 'test'; it has train, val"):
        rows_of_split(run, "test")


def test_a_table_has_the_images_that_it_names_and_not_all_of_its_folder(images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    run, table = Run(tmp_path / "run"), tmp_path / "new.csv"
    manifest = make_manifest(tmp_path / "images", 0.2, 0.2, 0)
    manifest = manifest.assign(path="images/" + manifest["path"])
    write_csv(run.manifest, manifest)
    write_json(run.config, {"arguments": {"data": str(tmp_path / "old.csv")}, "data": describe_data(manifest)})
    test = manifest[manifest["split"] == "test"]
    write_csv(table, test[["path", "label"]])
    assert name_of(EvaluateConfig(str(run.path), data=str(table)), run) == "test"
    path = tmp_path / test["path"].iloc[0]
    shutil.copy(path, path.with_name("new.jpg"))  # beside the images of the run
    write_csv(table, pd.DataFrame({"path": [f"images/{path.parent.name}/new.jpg"], "label": [path.parent.name]}))
    assert name_of(EvaluateConfig(str(run.path), data=str(table)), run).startswith("photos-new.csv-")


def test_a_table_that_labels_images_otherwise_is_named():
    rows = pd.DataFrame({"path": ["a.jpg", "b.jpg", "c.jpg"], "label": ["x", "y", "z"]})
    (note,) = labelled_otherwise(rows, {"a.jpg": "x", "b.jpg": "x"}, "new.csv")
    assert note == "'new.csv' labels 1 images otherwise than the run, such as 'b.jpg'; the run's count"
    assert labelled_otherwise(rows, {"a.jpg": "x"}, "new.csv") == ()


def test_images_that_have_moved_are_named_and_found_again(run, images, tmp_path):
    with pytest.raises(UserError, match=r"are not in .* any more, such as .*--data"):
        evaluate(run, "val", data=str(tmp_path))
    with pytest.raises(UserError, match="there is nothing at 'nowhere'"):
        evaluate(run, "val", data="nowhere")
    moved = shutil.copytree(images, tmp_path / "moved")
    assert evaluate(run, "val", data=str(moved)).metrics["n"] > 0
    # After the choice, the head was fitted to validation too. The figures of val say so, those of the test do not.
    assert "the model was fitted to images of val" in (run.evaluation("val") / "summary.txt").read_text()


def test_mirror_averages_the_probabilities_of_image_and_mirror_image_everywhere(run, images, tmp_path):
    classes, file = probability_columns(read_json(run.classes)), tmp_path / "noise.png"
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype("uint8")
    Image.fromarray(picture).save(file)
    seen = input_spec_of(run).for_evaluation(tf.constant(picture))
    model = load_model(run)
    # The views are computed one at a time, as `predict` does, because two together are rounded differently.
    logits = np.concatenate([model.predict(view[np.newaxis], verbose=0) for view in (seen, seen[:, ::-1])])
    each = softmax(logits / temperature_of(run))
    assert np.abs(each[0] - each[1]).max() > 1e-4
    predict(PredictConfig(str(run.path), (str(file),), out=str(tmp_path / "p.csv"), mirror=True))
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[classes], each.mean(axis=0, keepdims=True), atol=1e-6)

    other = Run(shutil.copytree(run.path, tmp_path / "other"))
    served = tf.saved_model.load(str(export(other, mirror=True))).signatures["serve_bytes"]
    answer = served(encoded=tf.constant([file.read_bytes()]))["probabilities"]
    np.testing.assert_allclose(answer, each.mean(axis=0, keepdims=True), atol=1e-5)
    assert read_json(other.export_report)[0]["mirror"] is True

    assert evaluate(other, "test", mirror=True).metrics["mirror"] is True
    evaluated = pd.read_csv(other.evaluation("test") / "predictions.csv")
    files = tuple(str(images / path) for path in evaluated["path"])
    predict(PredictConfig(str(run.path), files, out=str(tmp_path / "p.csv"), mirror=True))
    np.testing.assert_allclose(pd.read_csv(tmp_path / "p.csv")[classes], evaluated[classes], atol=1e-6)
    assert "test, mirror images beside the images: " in (other.evaluation("test") / "summary.txt").read_text()


def test_the_saved_model_was_checked_in_a_fresh_process(exported, run):
    (report,) = read_json(run.export_report)
    assert report["n"] > 0
    assert report["max_probability_difference"] < 1e-4
    assert run.export_report.parent / report["path"] == exported
    assert (exported / "assets" / "labels.txt").read_text().splitlines() == read_json(run.classes)
    assert not any(path.name.startswith(".") for path in exported.parent.iterdir())


def test_both_signatures_give_the_probabilities_of_evaluate(exported, run, folder, images):
    served = tf.saved_model.load(str(exported)).signatures
    classes = read_json(run.classes)
    for row in pd.read_csv(folder / "predictions.csv").to_dict("records"):
        content = (images / row["path"]).read_bytes()
        by_bytes = served["serve_bytes"](encoded=tf.constant([content, content]))
        picture = tf.io.decode_jpeg(content, dct_method="INTEGER_ACCURATE")
        by_image = served["serving_default"](images=picture[None])
        for answer in (by_bytes, by_image):
            expected = [row[name] for name in probability_columns(classes)]
            np.testing.assert_allclose(answer["probabilities"][0], expected, atol=1e-5)
            assert answer["class_name"][0].numpy().decode() == row["predicted"]
            assert classes[int(answer["class_index"][0])] == row["predicted"]


def test_a_served_batch_may_have_any_size(exported):
    served = tf.saved_model.load(str(exported)).signatures["serving_default"]
    for shape in ((1, 31, 77, 3), (5, 300, 200, 3)):
        assert served(images=tf.zeros(shape, tf.uint8))["probabilities"].shape == (shape[0], 3)


def test_a_saved_model_that_disagrees_is_not_kept(run, monkeypatch, tmp_path):
    other = Run(shutil.copytree(run.path, tmp_path / "run"))
    shutil.rmtree(other.path / "export", ignore_errors=True)
    monkeypatch.setattr("pipelines.serving.checked_saved_model._expected", lambda images, *_: np.ones((len(images), 3)))
    with pytest.raises(UserError, match="differ from the Keras model's by"):
        export(other)
    assert list((other.path / "export" / "saved_model").iterdir()) == []


CLASSES = ["a", "b", "c", "d"]


def answers():
    """Returns labels and predictions of eight images of a, b and c; d has no image, but is predicted once."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 2])
    predicted = np.array([0, 0, 1, 1, 1, 2, 3, 0])
    probabilities = np.full((8, 4), 0.1)
    probabilities[np.arange(8), predicted] = 0.7
    return labels, predicted, probabilities


def test_a_class_missing_from_a_split_keeps_its_row_and_column():
    labels, predicted, probabilities = answers()
    matrix = confusion_matrix(labels, predicted, CLASSES)
    assert matrix.loc["d"].tolist() == [0, 0, 0, 0]
    assert matrix["d"].tolist() == [0, 0, 1, 0]
    table = per_class(matrix).set_index("class")
    assert table.loc["d", "images"] == 0
    assert np.isnan(table.loc["d", "recall"])
    assert table.loc["d", "precision"] == 0.0
    assert table.loc["a", "recall"] == pytest.approx(2 / 3)
    figures = summarize(labels, probabilities, CLASSES)
    assert figures["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 3) / 3)


def test_figures_are_those_of_scikit_learn_and_the_textbook():
    labels, predicted, probabilities = answers()
    figures = summarize(labels, probabilities, CLASSES)
    assert figures["accuracy"] == 5 / 8
    low, high = figures["accuracy_ci95"]
    assert (low, high) == (pytest.approx(0.3057, abs=1e-4), pytest.approx(0.8632, abs=1e-4))  # Wilson's, by hand
    assert figures["cohen_kappa"] == pytest.approx(sk.cohen_kappa_score(labels, predicted))
    assert figures["log_loss"] == pytest.approx(-(5 * np.log(0.7) + 3 * np.log(0.1)) / 8)
    assert figures["macro_f1"] == pytest.approx((2 / 3 + 4 / 5 + 1 / 2) / 3)
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.7 - 5 / 8)
    assert top_k_accuracy(labels, probabilities, 4) == 1.0
    assert top_k_accuracy(labels, probabilities, 1) == 5 / 8


def test_one_class_everywhere_gives_numbers_and_no_nan(recwarn):
    figures = summarize(np.zeros(4, int), np.tile([0.9, 0.1], (4, 1)), ["a", "b"])
    assert figures["accuracy"] == 1.0
    assert all(np.isfinite(value) for value in figures.values() if isinstance(value, float))
    assert figures["cohen_kappa"] == figures["matthews_corrcoef"] == 0.0
    assert not recwarn.list  # scikit-learn's own words say nothing to a user


def test_the_most_confused_pairs_come_first():
    labels, predicted = np.array([0] * 5 + [1] * 4), np.array([0, 1, 1, 1, 2, 1, 1, 0, 1])
    matrix = confusion_matrix(labels, predicted, CLASSES)
    assert most_confused(matrix) == [("a", "b", 3, 5), ("a", "c", 1, 5), ("b", "a", 1, 4)]


def test_the_figure_is_a_png_with_odd_class_names_too(tmp_path):
    names = ["$5", "a_very_long_class_name_that_does_not_fit_anywhere", "<b>", "ñ"]
    matrix = confusion_matrix(*answers()[:2], names)
    draw_confusion_matrix(matrix, tmp_path / "matrix.png", "run $x$")
    with Image.open(tmp_path / "matrix.png") as picture:
        assert min(picture.size) > 400
