"""The temperature of a run comes from images that its model was not fitted to, and every answer has it."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.config.verbs import PredictConfig
from pipelines.data.manifest import label_numbers, load_manifest
from pipelines.data.sample import draw_image
from pipelines.evaluate import evaluate
from pipelines.evaluation.calibration import fit_temperature
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.predictions import input_spec_of, probability_columns
from pipelines.evaluation.run_calibration import fit_calibration, load_calibration, save_calibration
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.predict import predict, predict_images
from pipelines.runs.directory import Run, load_classes, load_model
from pipelines.training import linear_probe
from resnet_tf.errors import UserError
from tests.conftest import small_config
from tests.pipelines.test_figures import answers_of


@pytest.fixture(scope="module")
def noise(tmp_path_factory, small, small_weights) -> Run:
    """Returns a run on pictures whose labels are drawn by lot, so that it can learn them by heart and nothing else."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    names = [f"{number:03d}.png" for number in range(90)]
    for name in names:
        draw_image("striped_star", 48, random).save(folder / name)
    splits = np.repeat(["train", "val", "test"], 30)
    table = pd.DataFrame(
        {"path": names, "label": random.choice(["a", "b", "c"], 90), "split": random.permutation(splits)}
    )
    table.to_csv(folder / "noise.csv", index=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear_probe, "STRENGTHS", (1.0,))  # weak enough to learn by heart
        return finetune(small_config(folder / "noise.csv", folder / "run", arch=small, weights=str(small_weights)))


def logits_of_run(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    manifest, classes = load_manifest(run.manifest), load_classes(run)
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    source = ImageSource(rows, run.path.parent, classes)
    batches = images_of(evaluation_stream(source, input_spec_of(run), 32))
    return label_numbers(rows, classes), outputs(Inference(load_model(run)), batches, len(rows), 32, "")


def test_a_model_that_has_seen_validation_does_not_choose_its_own_temperature(noise):
    labels, seen = logits_of_run(noise, "val")
    assert (seen.argmax(axis=1) == labels).mean() > 0.9  # the kept head has learned these labels by heart
    leaking = fit_temperature(labels, seen)
    calibration = load_calibration(noise)
    assert calibration.images == 30
    assert leaking < 1.0
    assert calibration.temperature > 2.0
    labels, new = logits_of_run(noise, "test")
    confidences = [softmax(new / temperature).max(axis=1).mean() for temperature in (leaking, calibration.temperature)]
    assert confidences[0] > 0.8
    assert confidences[1] < 0.62  # a third of the answers is right


def test_every_answer_has_the_temperature(noise, tmp_path, capsys):
    _, logits = logits_of_run(noise, "test")
    calibration, classes = load_calibration(noise), load_classes(noise)
    expected = softmax(logits / calibration.temperature)
    evaluation = evaluate(noise)
    columns = probability_columns(classes)
    np.testing.assert_allclose(evaluation.predictions[columns], expected, atol=1e-6)
    assert evaluation.metrics["temperature"] == calibration.temperature
    assert "temperature" in str(evaluation)
    folder, out = noise.path.parent, tmp_path / "answers.csv"
    files = tuple(str(folder / path) for path in evaluation.predictions["path"])
    capsys.readouterr()
    predict(PredictConfig(str(noise.path), files, out=str(out), level=0.9))
    said = capsys.readouterr().out
    predicted = pd.read_csv(out)
    np.testing.assert_allclose(predicted[columns], expected, atol=1e-6)
    assert "calibrated: temperature" in said
    unsure = expected.max(axis=1) < calibration.threshold
    assert unsure.sum() > 0
    assert list(predicted["decision"] == "unsure") == list(unsure)
    assert list(predicted["decision"][~unsure]) == list(predicted["predicted"][~unsure])
    sets = predicted["set"].map(json.loads)
    assert all(row["predicted"] == found[0] for (_, row), found in zip(predicted.iterrows(), sets, strict=True))
    assert sets.map(len).mean() > 1.5  # of three classes, since the labels are drawn by lot
    assert said.splitlines()[-1].endswith(f"set: {', '.join(sets.iloc[-1])}")
    images = [np.asarray(Image.open(file)) for file in files[:3]]
    np.testing.assert_allclose(predict_images(noise, images)[columns], expected[:3], atol=1e-6)
    served = tf.saved_model.load(str(export(noise))).signatures["serving_default"]
    answer = served(images=tf.constant(images[0][None]))["probabilities"].numpy()
    np.testing.assert_allclose(answer, expected[:1], atol=1e-5)
    assert json.loads(noise.export_report.read_text())["temperature"] == calibration.temperature
    assert "probabilities are calibrated" in capsys.readouterr().out


def test_a_run_without_a_calibration_behaves_as_before(noise, tmp_path):
    _, logits = logits_of_run(noise, "test")
    old = Run(shutil.copytree(noise.path, tmp_path / "old"))
    old.calibration.unlink()
    table = predict_images(old, [noise.path.parent / path for path in evaluate(noise).predictions["path"][:2]])
    assert "decision" not in table
    np.testing.assert_allclose(table[probability_columns(load_classes(old))], softmax(logits[:2]), atol=1e-6)
    with pytest.raises(UserError, match=r"--set 0\.9 needs a calibrated run"):
        predict(PredictConfig(str(old.path), (str(noise.path.parent),), level=0.9))


def test_sets_need_enough_images(noise):
    with pytest.raises(UserError, match=r"--set 0\.99 needs 99 images .* it has 30; .* at most 0\.968"):
        predict(PredictConfig(str(noise.path), (str(noise.path.parent),), level=0.99))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_sha256": "0"}, "was made for another model.keras"),
        ({"temperature": 0}, "is no calibration of a run"),
        ({"temperature": "1"}, "is no calibration of a run"),
        ({"scores": {"lac": [0.5]}}, "is no calibration of a run"),
        ({"threshold": float("nan")}, "is no calibration of a run"),
    ],
)
def test_a_calibration_that_does_not_belong_to_the_model_is_refused(noise, tmp_path, change, said):
    run = Run(tmp_path)
    for file in (noise.model, noise.calibration):
        shutil.copy(file, tmp_path)
    run.calibration.write_text(json.dumps({**json.loads(noise.calibration.read_text()), **change}))
    with pytest.raises(UserError, match=said):
        load_calibration(run)


def test_a_calibration_comes_back_from_its_file(noise):
    calibration = load_calibration(noise)
    save_calibration(noise, calibration)
    again = load_calibration(noise)
    assert again.in_words() == calibration.in_words()
    np.testing.assert_array_equal(again.scores["raps"], calibration.scores["raps"])


def test_balanced_training_calibrates_every_class_alike():
    labels, logits = answers_of(3000, sharpness=3.0)
    rare = labels == 0
    logits[rare] /= 3.0  # of a rare class the model is unsure
    keep = ~rare | (np.arange(3000) % 10 == 0)
    by_image, by_class = (
        fit_calibration(labels[keep], logits[keep], "these", balanced=balanced).temperature
        for balanced in (False, True)
    )
    assert by_class < by_image - 0.1
