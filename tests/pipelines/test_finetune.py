"""finetune: the run directory, continuing a run, and what happens when training goes wrong."""

import json
import shutil
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from pipelines.data.manifest import load_manifest, make_manifest
from pipelines.evaluation.inference import Inference, images_of, outputs, softmax
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.score import Score
from pipelines.finetune import Collapsed, finetune
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.explain import explain
from pipelines.recipe.pretrained import frozen_stages
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json
from pipelines.training import setup as module
from pipelines.training.callback import collapse_reason
from pipelines.training.checkpoint import Progress
from pipelines.training.history import HISTORY_COLUMNS
from pipelines.training.linear_probe import fit_linear_probe
from pipelines.training.network import build_network
from pipelines.training.setup import make_plan
from resnet_tf.classifier import build_classifier, feature_extractor, head
from resnet_tf.errors import UserError
from tests.conftest import cut_off_before_epoch, small_config


def test_the_run_directory_has_what_the_design_names(finished, images):
    files = {path.relative_to(finished.path).as_posix() for path in finished.path.rglob("*") if path.is_file()}
    assert {"config.json", "classes.json", "manifest.csv", "history.csv", "curves.png", "model.keras"} <= files
    assert any(name.startswith("tensorboard/train/events") for name in files)
    assert any(name.startswith("checkpoints/") for name in files)
    assert not any(".writing" in name for name in files)
    assert read_json(finished.classes) == sorted(path.name for path in images.iterdir())
    config = read_json(finished.config)
    assert config["arguments"]["data"] == str(images)
    assert len(config["weights"]["sha256"]) == len(config["data"]["fingerprint"]) == 64
    assert set(config["versions"]) >= {"python", "tensorflow", "keras", "resnet_tf"}


def test_the_history_has_the_head_and_each_epoch(finished):
    history = pd.read_csv(finished.history)
    assert list(history.columns) == list(HISTORY_COLUMNS)
    assert history["phase"].tolist()[:2] == ["head", "all layers"]
    assert history["epoch"].tolist() == [0, 1, 1, 1, 1]
    assert history["phase"].tolist()[2].startswith("average: 0.25 of epoch 1")


def head_scores(run, images):
    """Returns two log losses of the best model on validation: with a head fitted to training alone, and its own."""
    manifest, classes = load_manifest(run.manifest), read_json(run.classes)
    rows, model = {split: manifest[manifest["split"] == split] for split in ("train", "val")}, load_model(run)
    inference = Inference(feature_extractor(model))
    features = {}
    for split, part in rows.items():
        stream = evaluation_stream(ImageSource(part, images, classes), input_spec_of(run), 4)
        labels = part["label"].map(classes.index).to_numpy()
        features[split] = outputs(inference, images_of(stream), len(part), 4, split), labels
    fitted, (values, labels) = fit_linear_probe(features["train"], features["val"], len(classes), 896), features["val"]
    logits = [values @ kernel + bias for kernel, bias in ((fitted.kernel, fitted.bias), head(model).get_weights())]
    return [sk.log_loss(labels, softmax(each), labels=range(len(classes))) for each in logits]


def test_the_best_model_is_the_best_row_of_the_history_and_its_head_has_seen_validation_too(
    images, torch_weights, tmp_path
):
    settings = {"weights": str(torch_weights), "precision": "float32"}  # as the saved model computes
    run = finetune(small_config(images, tmp_path / "run", epochs=0, **settings))
    judged, kept = head_scores(run, images)
    assert judged == pytest.approx(pd.read_csv(run.history)["val_log_loss"].min(), rel=1e-4)
    assert kept < judged


def test_a_finished_run_has_nothing_left_to_do(finished, images, small, small_weights, capsys):
    before = finished.model.stat().st_mtime_ns
    finetune(small_config(images, finished.path, arch=small, weights=str(small_weights)))
    assert "nothing is left to do" in capsys.readouterr().out
    assert finished.model.stat().st_mtime_ns == before


def test_a_run_with_other_settings_is_not_touched(finished, images, small, small_weights):
    with pytest.raises(UserError, match=r"exists with other settings \(seed 0, now 1\); choose another --run"):
        finetune(small_config(images, finished.path, arch=small, weights=str(small_weights), seed=1))


def test_a_folder_that_is_no_run_is_not_touched(images, tmp_path):
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(UserError, match="is no run directory"):
        finetune(small_config(images, tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_place_that_cannot_be_written_is_named_before_any_work(images, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the run"):
        finetune(small_config(images, tmp_path / "file" / "run"))


def test_weights_of_another_architecture_leave_no_run_behind(images, torch_weights, tmp_path):
    with pytest.raises(UserError, match="for another architecture"):
        finetune(small_config(images, tmp_path / "run", arch="resnet34", weights=str(torch_weights)))
    assert not (tmp_path / "run").exists()


def variables(run):
    return {variable.path: np.asarray(variable) for variable in load_model(run).variables}


def test_a_run_that_was_cut_off_continues_to_the_same_end(images, tiny, tmp_path):
    whole = finetune(small_config(images, tmp_path / "whole", arch=tiny, epochs=3))

    with cut_off_before_epoch(2):
        finetune(small_config(images, tmp_path / "cut", arch=tiny, epochs=3))
    assert Run(tmp_path / "cut").model.is_file()  # the best model so far is kept
    continued = finetune(small_config(images, tmp_path / "cut", arch=tiny, epochs=3))

    columns = ["epoch", "loss", "accuracy", "val_accuracy", "val_log_loss", "learning_rate"]
    a, b = (pd.read_csv(run.history)[columns] for run in (whole, continued))
    assert len(b) == 3
    # Threads add numbers in a different order each time; after three epochs in float32, about four digits agree.
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)


def test_the_same_seed_gives_the_same_split_and_start(images, tiny, tmp_path):
    plans = [make_plan(small_config(images, tmp_path / name, arch=tiny)) for name in ("a", "b")]
    assert plans[0].manifest.equals(plans[1].manifest)
    starts = [build_network(plan).model.get_weights() for plan in plans]
    assert all(np.array_equal(one, other) for one, other in zip(*starts, strict=True))


def test_mirrored_replicas_train_and_save_a_plain_model(images, tmp_path, small, small_weights):
    settings = {"arch": small, "weights": str(small_weights)}
    run = finetune(small_config(images, tmp_path / "run", strategy="mirrored", **settings))
    assert len(pd.read_csv(run.history)) == 5
    assert load_model(run).get_layer("conv1_conv").compute_dtype == "float32"


def test_a_batch_that_cannot_be_divided_among_devices_is_named(images, tmp_path):
    with pytest.raises(UserError, match="--batch-size 7 cannot be divided among 2 devices"):
        finetune(small_config(images, tmp_path / "run", strategy="mirrored", batch_size=7))


def test_a_bfloat16_run_saves_a_float32_model(images, tiny, tmp_path):
    run = finetune(small_config(images, tmp_path / "run", arch=tiny, precision="bfloat16"))
    model = load_model(run)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {"float32"}
    assert read_json(run.config)["precision"] == "bfloat16"


def test_a_loss_that_becomes_nan_is_named_and_the_best_model_kept(images, tmp_path, small, small_weights):
    settings = {"arch": small, "weights": str(small_weights), "learning_rate": 1e20, "epochs": 3}
    with pytest.raises(
        Collapsed, match=r"the loss became NaN.*best model kept: head on frozen features.*--learning-rate 5e-05"
    ):
        finetune(small_config(images, tmp_path / "run", **settings))
    for value in variables(Run(tmp_path / "run")).values():
        assert np.isfinite(value).all()


def test_a_fall_to_chance_is_a_collapse():
    assert collapse_reason([1.0, 1.0], 0.04, best_accuracy=0.9, chance=0.033).startswith(
        "validation accuracy fell from 0.900"
    )
    assert collapse_reason([1.0, 1.0], 0.30, best_accuracy=0.9, chance=0.033) == ""
    assert collapse_reason([1.0, 1.0], 0.04, best_accuracy=0.05, chance=0.033) == ""  # it had not learned anything yet
    for losses in ([float("nan"), 1.0], [1.0, float("nan")]):
        assert "NaN" in collapse_reason(losses, 0.9, best_accuracy=0.9, chance=0.033)


def test_better_is_a_lower_log_loss():
    def improves(progress, log_loss, choose_by="log_loss"):
        return progress.improves(Score(0.9, log_loss, 0.3, 2.0), choose_by)

    assert improves(Progress(), 3.0)
    assert not improves(Progress(), float("nan"))
    progress = Progress(best="epoch 1", best_accuracy=0.8, best_log_loss=0.5, best_balanced_log_loss=1.9)
    assert improves(progress, 0.4)
    assert not improves(progress, 0.5)
    assert not improves(progress, 0.4, "balanced_log_loss")


def test_training_stops_early_without_improvement(images, tiny, tmp_path, capsys):
    run = finetune(small_config(images, tmp_path / "run", arch=tiny, epochs=30, patience=1, learning_rate=1e-9))
    assert len(pd.read_csv(run.history)) < 30
    first = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch 1/30"))
    assert "; at most " in first


def test_a_damaged_checkpoint_is_one_sentence(images, tiny, tmp_path):
    run = finetune(small_config(images, tmp_path / "run", arch=tiny))
    file = next(run.checkpoints.iterdir())
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(UserError, match="is damaged"):
        finetune(small_config(images, tmp_path / "run", arch=tiny))


def test_no_validation_images_is_an_error(images, tmp_path):
    config = small_config(images, tmp_path / "run", val_fraction=0.0)
    with pytest.raises(UserError, match="--val-fraction above 0"):
        finetune(config)
    manifest = make_manifest(images, 0.0, 0.2, 0)  # such as that of a training on all images
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    with pytest.raises(UserError, match=r"by in '.*manifest.csv'; take the manifest of a run that has some"):
        finetune(replace(config, val_fraction=0.15, manifest=str(tmp_path / "manifest.csv")))


def test_a_class_that_validation_does_not_have_is_named_before_the_training(images, tmp_path, capsys):
    manifest = make_manifest(images, 0.2, 0.2, 0)
    absent = manifest["label"].iloc[0]
    moved = (manifest["label"] == absent) & (manifest["split"] == "val")
    manifest.assign(split=manifest["split"].mask(moved, "train")).to_csv(tmp_path / "manifest.csv", index=False)
    make_plan(small_config(images, tmp_path / "run", manifest=str(tmp_path / "manifest.csv")))
    assert f"validation has no image of 1 of the classes ({absent!r}), so that nothing is" in capsys.readouterr().out


def test_a_batch_of_more_images_than_there_are_is_said(images, tmp_path):
    large, usual = (str(make_plan(small_config(images, tmp_path / "run", batch_size=size))) for size in (64, 32))
    assert "a step has 64 images, more than the " in large
    assert "a step has" not in usual


def test_a_folder_for_the_test_alone_has_nothing_to_train_with(images, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "test").symlink_to(images)
    config = small_config(tmp_path / "data", tmp_path / "run", follow_links=True)
    with pytest.raises(UserError, match=r"data' has images for test alone, and none to train with; .*evaluate RUN"):
        finetune(config)


def test_a_class_without_training_images_is_named(images, tmp_path):
    rows = [(path.relative_to(images).as_posix(), path.parent.name) for path in sorted(images.rglob("*.jpg"))]
    first = min(label for _, label in rows)
    table = pd.DataFrame(rows, columns=["path", "label"])
    table["split"] = ["test" if label == first else "" for label in table["label"]]
    folder = shutil.copytree(images, tmp_path / "images")
    table.to_csv(folder / "labels.csv", index=False)
    with pytest.raises(UserError, match=f"the class '{first}' has no training images"):
        finetune(small_config(folder / "labels.csv", tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_imagenet_weights_are_asked_for_by_default(images, tmp_path, monkeypatch):
    asked = {}

    def find(weights, arch, include_top):
        asked.update(weights=weights, arch=arch, include_top=include_top)
        raise UserError("no network here")

    monkeypatch.setattr(module, "find_weights", find)
    from pipelines.config.finetune import FinetuneConfig

    with pytest.raises(UserError, match="no network here"):
        finetune(FinetuneConfig(str(images), str(tmp_path / "run")))
    assert asked == {"weights": "imagenet", "arch": "resnet50", "include_top": False}
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("classes", [2, 5])
def test_the_head_is_logistic_regression_to_convergence(classes):
    random = np.random.default_rng(0)
    centres = random.normal(0, 1, (classes, 8)) * 3
    labels = np.arange(40 * classes) % classes
    features = (centres[labels] + random.normal(0, 1, (len(labels), 8))) * 100 + 500  # far from mean 0 and deviation 1
    features[:, 3] = 7.0  # a constant channel
    fitted = fit_linear_probe((features, labels), (features, labels), classes)
    logits = features @ fitted.kernel + fitted.bias
    assert fitted.kernel.shape == (8, classes)
    assert (logits.argmax(axis=1) == labels).mean() == fitted.score.accuracy > 0.95
    loss = float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits))
    assert loss == pytest.approx(fitted.score.log_loss, abs=1e-3)


def test_a_channel_of_rounding_errors_weighs_nothing():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = np.eye(3)[labels] * 50 + random.normal(0, 15, (60, 3))
    features = np.concatenate([features, random.normal(0, 5e-6, (60, 20))], axis=1)  # noise of float32 around 50
    fitted = fit_linear_probe((features[:30], labels[:30]), (features[30:], labels[30:]), 3)
    otherwise = features + random.normal(0, 5e-6, features.shape)  # rounded as in a different batch
    for kernel in (fitted.kernel, fitted.refit_kernel):
        assert np.abs(features @ kernel).max() > 1.0
        np.testing.assert_allclose(otherwise @ kernel, features @ kernel, atol=1e-4)


def test_maxima_that_harm_are_left_out_of_the_head():
    random = np.random.default_rng(0)
    labels = np.arange(60) % 3
    useful = np.eye(3)[labels] + random.normal(0, 0.3, (60, 3))
    noise = random.normal(0, 1, (60, 40))
    features = np.concatenate([useful, noise], axis=1)
    fitted = fit_linear_probe((features[:30], labels[:30]), (features[30:], labels[30:]), 3, averaged=3)
    assert fitted.channels == 3
    assert fitted.kernel.shape == (43, 3)
    assert not fitted.kernel[3:].any()
    assert not fitted.refit_kernel[3:].any()
    helpful = np.concatenate([noise, useful], axis=1)
    assert fit_linear_probe((helpful[:30], labels[:30]), (helpful[30:], labels[30:]), 3, averaged=40).channels == 43


def test_the_recipe_follows_from_the_data_and_the_user_goes_first(images):
    pretrained = recipe_of(decide(small_config(images, "run", weights="x", epochs=None, batch_size=32), images=1000))
    scratch = recipe_of(decide(small_config(images, "run", epochs=None, batch_size=32), images=1000))
    assert (pretrained.head_first, pretrained.freeze_batch_norms) == (True, True)
    assert (scratch.head_first, scratch.freeze_batch_norms) == (False, False)
    assert scratch.epochs > pretrained.epochs
    assert pretrained.total_steps == 32 * pretrained.epochs
    assert (pretrained.label_smoothing, scratch.label_smoothing) == (0.0, 0.1)
    asked = recipe_of(decide(small_config(images, "run", epochs=7, learning_rate=0.5), images=1000))
    assert (asked.epochs, asked.learning_rate) == (7, 0.5)
    smoothed = recipe_of(decide(small_config(images, "run", weights="x", label_smoothing=0.2), images=1000))
    assert smoothed.label_smoothing == 0.2


def test_stem_and_first_stage_stay_frozen():
    assert frozen_stages(("conv1", "conv2", "conv3", "conv4", "conv5")) == ("conv1", "conv2")


def test_each_decision_is_printed_with_its_reason(images):
    config = small_config(images, "run", weights="x", epochs=7)
    lines = explain(decide(config, images=1000)).splitlines()
    assert lines[0] == "recipe:"
    assert "  7 epochs of adamw: as asked" in lines
    assert "  then conv1 to conv2 stay frozen: edges are the same everywhere (Yosinski et al. 2014)" in lines
    assert all(": " in line for line in lines[1:])


def test_the_saved_model_has_our_layers_and_loads_in_safe_mode(finished, small):
    model = load_model(finished)
    assert type(model.get_layer("conv1_bn")).__name__ == "FusedBatchNormalization"
    reference = build_classifier(small, 3, head_stages=3, head_pooling="avg+max")
    assert [layer.name for layer in model.layers] == [layer.name for layer in reference.layers]


def test_settings_of_another_run_can_be_repeated(finished, tmp_path):
    from pipelines.cli import main

    copy = tmp_path / "config.json"
    shutil.copy(finished.config, copy)
    data = read_json(copy)["arguments"]["data"]
    assert main(["finetune", data, "--run", str(tmp_path / "again"), "--config", str(copy), "--epochs", "0"]) == 0
    again = read_json(tmp_path / "again" / "config.json")["arguments"]
    assert again == {**read_json(copy)["arguments"], "epochs": 0}
    copy.write_text(json.dumps({"arguments": {"colour": "red"}}))
    assert main(["finetune", data, "--run", str(tmp_path / "other"), "--config", str(copy)]) == 2
