"""The temperature of a run comes from images that its model was not fitted to, and every answer has it."""

import io
import json
import shutil
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image

from pipelines.config.judging import EvaluateConfig, PredictConfig
from pipelines.data.manifest import label_numbers, load_manifest
from pipelines.data.sample import draw_image
from pipelines.evaluate import evaluate, judge
from pipelines.evaluation.calibration import fit_temperature
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.pictures import predict_images
from pipelines.evaluation.predictions import input_spec_of, probability_columns
from pipelines.evaluation.run_calibration import fit_calibration, load_calibration, save_calibration
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.predict import predict
from pipelines.report.evaluation_files import Evaluation
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


@pytest.fixture(scope="module")
def own(noise) -> Evaluation:
    """Returns the evaluation of the run on its test."""
    return evaluate(noise)


@pytest.fixture(scope="module")
def new(noise) -> np.ndarray:
    """Returns the logits of the test images, by another way than the project's."""
    return logits_of_run(noise, "test")[1]


@pytest.fixture(scope="module")
def exported(noise) -> tuple[Path, str]:
    """Returns the folder of the SavedModel, and what was said of it."""
    with redirect_stdout(io.StringIO()) as said:
        folder = export(noise)
    return folder, said.getvalue()


def logits_of_run(run: Run, split: str) -> tuple[np.ndarray, np.ndarray]:
    manifest, classes = load_manifest(run.manifest), load_classes(run)
    rows = manifest[manifest["split"] == split].reset_index(drop=True)
    source = ImageSource(rows, run.path.parent, classes)
    batches = images_of(evaluation_stream(source, input_spec_of(run), 32))
    return label_numbers(rows, classes), outputs(Inference(load_model(run)), batches, len(rows), 32, "")


def test_a_model_that_has_seen_validation_does_not_choose_its_own_temperature(noise, new):
    labels, seen = logits_of_run(noise, "val")
    assert (seen.argmax(axis=1) == labels).mean() > 0.9  # the kept head has learned these labels by heart
    leaking = fit_temperature(labels, seen)
    calibration = load_calibration(noise)
    assert calibration.images == 30
    assert leaking < 1.0
    assert calibration.temperature > 2.0
    confidences = [softmax(new / temperature).max(axis=1).mean() for temperature in (leaking, calibration.temperature)]
    assert confidences[0] > 0.8
    assert confidences[1] < 0.62  # a third of the answers is right


def test_every_answer_has_the_temperature(noise, own, new, exported, tmp_path, capsys):
    calibration, classes, evaluation = load_calibration(noise), load_classes(noise), own
    expected = softmax(new / calibration.temperature)
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
    last = said.splitlines()[-2]  # before "… and 10 more"
    assert last.endswith(f"set: {', '.join(sets[predicted['path'] == last.split('  ')[0]].item())}")
    images = [np.asarray(Image.open(file)) for file in files[:3]]
    np.testing.assert_allclose(predict_images(noise, images)[columns], expected[:3], atol=1e-6)
    served = tf.saved_model.load(str(exported[0])).signatures["serving_default"]
    answer = served(images=tf.constant(images[0][None]))["probabilities"].numpy()
    np.testing.assert_allclose(answer, expected[:1], atol=1e-5)
    assert json.loads(noise.export_report.read_text())[0]["temperature"] == calibration.temperature
    assert "probabilities are calibrated" in exported[1]


def test_a_run_without_a_calibration_behaves_as_before(noise, own, new, tmp_path):
    old = Run(shutil.copytree(noise.path, tmp_path / "old"))
    old.calibration.unlink()
    table = predict_images(old, [noise.path.parent / path for path in own.judged.paths[:2]])
    assert "decision" not in table
    np.testing.assert_allclose(table[probability_columns(load_classes(old))], softmax(new[:2]), atol=1e-6)
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


@pytest.fixture(scope="module")
def others(noise, tmp_path_factory) -> Path:
    """Returns a folder of the run's test photos under other names: a and b, and c under a name of its own."""
    folder, manifest = tmp_path_factory.mktemp("others") / "new", load_manifest(noise.manifest)
    for number, row in enumerate(manifest[manifest["split"] == "test"].itertuples()):
        label = {"c": "C-Class"}.get(row.label, row.label)
        (folder / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(noise.path.parent / row.path, folder / label / f"{number}.png")
    return folder


def test_other_photos_are_judged_without_a_shift_of_labels(noise, own, others, tmp_path):
    by_content = {row.sha256: row for row in load_manifest(noise.manifest).itertuples()}
    expected = own.predictions.set_index("path")
    shutil.copytree(others, tmp_path / "new")
    manifest = load_manifest(noise.manifest)
    learned = manifest[(manifest["split"] == "train") & (manifest["label"] == "a")].iloc[0]
    shutil.copy(noise.path.parent / learned["path"], tmp_path / "new" / "a" / "learned.png")
    evaluation = judge(EvaluateConfig(str(noise.path), data=str(tmp_path / "new")))
    assert evaluation.folder.parent == noise.path / "evaluation"
    assert evaluation.folder.name.startswith("photos-new-")
    assert evaluation.judged.classes == ["a", "b", "c"]
    for row, probabilities in zip(evaluation.judged.rows.itertuples(), evaluation.judged.probabilities, strict=True):
        known = by_content[row.sha256]
        assert row.label == known.label
        if known.split == "test":
            columns = ["p:a", "p:b", "p:c"]
            np.testing.assert_allclose(probabilities, expected.loc[known.path, columns].astype(float), atol=1e-6)
    counts = manifest[manifest["split"] == "test"]["label"].value_counts()
    assert evaluation.metrics["unknown"] == {"C-Class": counts["c"]}
    assert evaluation.metrics["n"] == counts["a"] + counts["b"] + 1
    said = str(evaluation)
    assert "'C-Class' (" in said
    assert "1 of these photos are among those that the run was made from, such as 'a/learned.png'" in said
    assert {"slices.csv", "unknown.csv"} <= {file.name for file in evaluation.folder.iterdir()}


def test_ten_crops_and_scales_are_means_of_probabilities(noise, own):
    temperature, model, spec = load_calibration(noise).temperature, load_model(noise), input_spec_of(noise)
    picture = np.asarray(Image.open(noise.path.parent / own.judged.paths[0]))

    def mean(views):
        return np.mean([softmax(np.asarray(model(view[None])) / temperature)[0] for view in views], axis=0)

    crops = [
        replace(spec, place=place).for_evaluation(tf.constant(picture)).numpy()
        for place in ((0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5))
    ]
    ten = judge(EvaluateConfig(str(noise.path), crops=10, out=str(noise.path / "ten")))
    np.testing.assert_allclose(ten.judged.probabilities[0], mean([*crops, *(c[:, ::-1] for c in crops)]), atol=1e-5)
    assert ten.metrics["crops"] == 10
    scaled = judge(EvaluateConfig(str(noise.path), scales=(48, 64), out=str(noise.path / "scaled")))
    larger = tf.cast(tf.round(tf.image.resize(picture, (64, 64), antialias=True)), tf.uint8).numpy()
    np.testing.assert_allclose(scaled.judged.probabilities[0], mean([picture, larger]), atol=1e-5)
    assert "shorter sides of 48, 64 pixels" in str(scaled)


def test_labels_are_looked_at_where_that_is_asked_for(noise):
    evaluation = judge(EvaluateConfig(str(noise.path), labels=True))
    table = pd.read_csv(evaluation.folder / "label_issues.csv")
    assert list(table.columns) == ["path", "label", "suggested", "score"]
    assert evaluation.metrics["labels"]["images"] == 90
    assert evaluation.metrics["labels"]["issues"] == len(table) > 0  # the labels are drawn by lot
    assert (table["label"] != table["suggested"]).all()


def test_predictions_of_another_program_are_judged_by_the_labels_of_the_run(noise, own, tmp_path):
    table = own.predictions.drop(columns=["label", "decision"]).sample(frac=1, random_state=0)
    table.assign(path=[str(noise.path.parent.absolute() / path) for path in table["path"]]).to_csv(tmp_path / "p.csv")
    judged = judge(EvaluateConfig(str(noise.path), predictions=str(tmp_path / "p.csv")))
    assert judged.metrics["log_loss"] == pytest.approx(own.metrics["log_loss"])
    assert judged.folder.name.startswith("predictions-p.csv-")
    table.head(20).to_csv(tmp_path / "p.csv")
    with pytest.raises(UserError, match="has no prediction for 10 of 30 images"):
        judge(EvaluateConfig(str(noise.path), predictions=str(tmp_path / "p.csv")))
    table.rename(columns={"p:a": "p:z"}).to_csv(tmp_path / "p.csv")
    with pytest.raises(UserError, match="probabilities of 'z', which is none of the run's 3 classes"):
        judge(EvaluateConfig(str(noise.path), predictions=str(tmp_path / "p.csv")))


def test_an_exported_model_is_judged_like_the_run(noise, own, exported, others, tmp_path):
    folder, _ = exported
    served = judge(EvaluateConfig(str(noise.path), model=str(folder)))
    np.testing.assert_allclose(served.judged.probabilities, own.judged.probabilities, atol=1e-5)
    alone = judge(EvaluateConfig(model=str(folder), data=str(others), out=str(tmp_path / "alone")))
    assert alone.metrics["n"] == served.metrics["n"] - alone.metrics["unknown"]["C-Class"]
    for unknown in (tmp_path, noise.model):
        with pytest.raises(UserError, match="is of no kind that can be judged"):
            judge(EvaluateConfig(str(noise.path), model=str(unknown)))
    with pytest.raises(UserError, match="there is no model"):
        judge(EvaluateConfig(model=str(tmp_path / "none.onnx"), data=str(others), out=str(tmp_path / "none")))
    with pytest.raises(UserError, match="there is no model"):
        judge(EvaluateConfig(str(noise.path), model=str(tmp_path / "none.onnx")))


def test_an_onnx_file_is_judged_like_the_run(noise, tmp_path):
    pytest.importorskip("onnxruntime")
    helper = pytest.importorskip("onnx").helper
    kernel = np.random.default_rng(0).normal(0, 0.05, (3, 3)).astype("float32")
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=1),
        helper.make_node("ReduceMean", ["floats", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "kernel"], ["logits"]),
    ]
    constants = [
        helper.make_tensor("axes", 7, [2], [1, 2]),
        helper.make_tensor("kernel", 1, [3, 3], kernel.ravel()),
    ]
    taken = helper.make_tensor_value_info("images", 2, ["n", 32, 32, 3])
    given = helper.make_tensor_value_info("logits", 1, ["n", 3])
    graph = helper.make_graph(nodes, "means", [taken], [given], constants)
    file = tmp_path / "model.onnx"
    file.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )
    judged = judge(EvaluateConfig(str(noise.path), model=str(file)))
    spec, first = input_spec_of(noise), Image.open(noise.path.parent / judged.judged.paths[0])
    means = spec.for_evaluation(tf.constant(np.asarray(first))).numpy().astype(float).mean(axis=(0, 1))
    expected = softmax((means @ kernel)[None] / load_calibration(noise).temperature)[0]
    np.testing.assert_allclose(judged.judged.probabilities[0], expected, atol=1e-5)
    with pytest.raises(UserError, match="is not the folder of a SavedModel, which alone is judged without a RUN"):
        judge(EvaluateConfig(model=str(file), data=str(noise.path.parent), out=str(tmp_path / "alone")))
    file.write_bytes(b"no model")
    with pytest.raises(UserError, match="is no ONNX model that can be run"):
        judge(EvaluateConfig(str(noise.path), model=str(file)))
