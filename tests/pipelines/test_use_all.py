"""finetune --use-all: a second training on all images, which repeats what the run has chosen."""

import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from pipelines.cli import main
from pipelines.data.manifest import load_manifest
from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.evaluation.predictions import input_spec_of
from pipelines.evaluation.run_calibration import load_calibration
from pipelines.export import export
from pipelines.finetune import finetune
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.recipe.chosen import Chosen, everything, repeated_decisions
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.explain import explain
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json
from pipelines.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from pipelines.training.everything import plan_for_all
from pipelines.training.setup import make_plan
from resnet_tf.classifier import feature_extractor, head
from resnet_tf.errors import UserError
from tests.conftest import cut_off_before_epoch, small_config

SETTINGS = {"image_size": 32, "epochs": 2, "precision": "float32", "deterministic": True, "view": "crop"}
KEPT_HEAD = ("head on frozen features", 0, 0.0)
KEPT_FIRST, KEPT_LAST = ("epoch 1", 1, 1.0), ("epoch 2", 2, 1.0)
KEPT_AVERAGE = ("average: 0.5 of epoch 2", 2, 0.5)


@pytest.fixture(scope="module")
def config(images, small, small_weights):
    """Returns settings of a run that fits a head and trains two epochs of all layers, with "" in place of its path."""
    return small_config(images, "", arch=small, weights=str(small_weights), **SETTINGS)


@pytest.fixture(scope="module")
def chosen(config, tmp_path_factory):
    """Returns a finished run that was not told to use all images, which tests copy."""
    return finetune(replace(config, run=str(tmp_path_factory.mktemp("chosen") / "run")))


def as_if_kept(chosen, path, kept):
    """Returns a copy of a finished run whose best model seems to have been another one: name, epoch and share."""
    run = Run(shutil.copytree(chosen.path, path))
    progress = load_checkpoint(run).progress
    progress.best, progress.best_epoch, progress.best_share = kept
    save_checkpoint(run, None, progress)
    return run


@pytest.fixture(scope="module")
def repeated(config, chosen, tmp_path_factory):
    """Returns a function that trains on all images as if a model had been kept, once for each model."""
    folder, made = tmp_path_factory.mktemp("repeated"), {}

    def repeat(kept):
        if kept not in made:
            made[kept] = as_if_kept(chosen, folder / str(len(made)), kept)
            finetune(replace(config, run=str(made[kept].path), use_all="test"))
        return made[kept]

    return repeat


def values(run):
    return {variable.path: np.asarray(variable) for variable in load_model(run).variables}


def test_all_images_are_for_training_and_the_run_itself_does_not_change(chosen, repeated):
    run = repeated(KEPT_LAST)
    assert read_json(run.all.config)["data"]["splits"] == {"train": 30}
    before, after = load_manifest(run.manifest), load_manifest(run.all.manifest)
    assert set(before["split"]) == {"train", "val", "test"}
    assert set(after["split"]) == {"train"}
    pd.testing.assert_frame_equal(before.drop(columns="split"), after.drop(columns="split"))
    assert run.model.read_bytes() == chosen.model.read_bytes()
    assert run.config.read_text() == chosen.config.read_text()
    assert run.history.read_text() == chosen.history.read_text()


def test_the_head_is_a_fit_to_all_images_with_the_regularization_that_was_chosen(chosen, repeated, images):
    run = repeated(KEPT_HEAD)
    rows, classes, model = load_manifest(run.manifest), read_json(run.classes), load_model(run.all)
    stream = evaluation_stream(ImageSource(rows, images, classes), input_spec_of(run), 8)
    features = outputs(Inference(feature_extractor(model)), images_of(stream), len(rows), 8, "")
    labels, progress = rows["label"].map(classes.index).to_numpy(), load_checkpoint(chosen).progress
    used = features[:, : progress.head_channels]
    deviation = used.std(axis=0)
    scaled = (used - used.mean(axis=0)) / np.where(deviation > 1e-4, deviation, 1.0)  # some channels are constant
    regression = LogisticRegression(C=progress.head_strength, max_iter=1000, tol=1e-6).fit(scaled, labels)
    kernel, bias = head(model).get_weights()
    logits, expected = features @ kernel + bias, regression.decision_function(scaled)
    # Both solvers stop near the optimum, and features of other batch sizes are rounded in other ways.
    np.testing.assert_allclose(logits, expected, atol=2e-2)
    assert pd.read_csv(run.all.history)["phase"].tolist() == ["head"]


def test_the_epochs_and_rates_are_those_of_the_model_that_was_kept(chosen, repeated):
    whole, cut = (pd.read_csv(repeated(kept).all.history) for kept in (KEPT_LAST, KEPT_FIRST))
    assert whole["epoch"].tolist() == [0, 1, 2]
    assert cut["epoch"].tolist() == [0, 1]
    assert cut["learning_rate"][1] == whole["learning_rate"][1] > whole["learning_rate"][2]
    before = pd.read_csv(chosen.history)["learning_rate"]
    assert whole["learning_rate"][1] == pytest.approx(before[1], rel=0.5)  # three steps an epoch there, four here
    assert whole["val_log_loss"].isna().all()


def test_the_average_has_the_share_that_was_kept(repeated):
    start, end, average = (values(repeated(kept).all) for kept in (KEPT_HEAD, KEPT_LAST, KEPT_AVERAGE))
    changed = [name for name in start if not np.array_equal(start[name], end[name])]
    assert any("kernel" in name for name in changed)
    for name in start:
        np.testing.assert_allclose(average[name], (start[name] + end[name]) / 2, rtol=1e-5, atol=1e-6, err_msg=name)


def test_the_figures_of_the_run_that_chose_are_kept_beside_the_model_and_evaluate_names_them(repeated, capsys):
    run = repeated(KEPT_AVERAGE)
    best = load_checkpoint(run).progress
    content = read_json(run.all.chosen_by)
    assert content["run"] == str(run.path)
    assert content["validation"]["accuracy"] == best.best_accuracy
    assert content["validation"]["log_loss"] == best.best_log_loss
    assert content["test"] is None
    metrics = evaluate(run).metrics
    tested = read_json(run.all.chosen_by)["test"]
    assert (tested["n"], tested["log_loss"]) == (metrics["n"], metrics["log_loss"])
    capsys.readouterr()
    assert main(["evaluate", str(run.all.path)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: '{run.all.path}' has learned from all 30 images")
    assert f"accuracy {best.best_accuracy:.4f}" in error
    assert f"accuracy {metrics['accuracy']:.4f}" in error
    assert error.endswith("(evaluation/test there)")


def test_an_export_says_what_the_model_has_learned_from(repeated):
    run = repeated(KEPT_HEAD)
    export(run.all)
    (entry,) = read_json(run.all.export_report)
    assert entry["trained_on"].startswith("all 30 images")
    assert entry["split"] == "train"


def test_the_model_of_all_images_has_the_calibration_of_the_run_that_chose_it(repeated):
    run = repeated(KEPT_HEAD)
    own, of_all = load_calibration(run), load_calibration(run.all)
    assert of_all.temperature == own.temperature
    assert of_all.fitted_on == f"validation of {run.path}, which chose this training"


def test_another_choice_is_refused(config, repeated):
    run = repeated(KEPT_HEAD)
    with pytest.raises(UserError, match=r"repeats another choice \(use_all 'test', now 'val'\); move that folder away"):
        finetune(replace(config, run=str(run.path), use_all="val"))


def test_a_training_on_all_images_is_neither_continued_nor_repeated_by_itself(config, repeated, tmp_path, capsys):
    run = repeated(KEPT_HEAD)
    with pytest.raises(UserError, match=f"--run {run.path} --use-all test continues it"):
        finetune(replace(config, run=str(run.all.path)))
    assert main(["finetune", "data", "--run", str(tmp_path / "new"), "--config", str(run.all.config)]) == 2
    assert f"repeat the run that chose it, '{run.path}'" in capsys.readouterr().err


def test_a_run_that_recorded_less_is_named(config, chosen, tmp_path):
    run = Run(shutil.copytree(chosen.path, tmp_path / "run"))
    progress = load_checkpoint(run).progress
    progress.head_strength = None
    save_checkpoint(run, None, progress)
    with pytest.raises(UserError, match="an earlier version, which did not record all that it chose"):
        finetune(replace(config, run=str(run.path), use_all="val"))
    assert not run.all.path.exists()


def test_it_can_be_added_later_and_continues_after_an_interruption(images, tiny, tmp_path, capsys):
    config = small_config(images, tmp_path / "run", arch=tiny, epochs=3, use_all=None)
    run = finetune(config)
    as_if_kept(run, tmp_path / "cut", ("epoch 3", 3, 1.0))
    as_if_kept(run, tmp_path / "whole", ("epoch 3", 3, 1.0))
    whole = finetune(replace(config, run=str(tmp_path / "whole"), use_all="val"))
    config = replace(config, run=str(tmp_path / "cut"), use_all="val")
    with cut_off_before_epoch(2):
        finetune(config)
    cut = Run(tmp_path / "cut")
    assert not cut.all.model.exists()
    finetune(replace(config, cache="ram"))
    assert "cut is finished (all 3 epochs)\n" in capsys.readouterr().out
    columns = ["epoch", "loss", "accuracy", "learning_rate"]
    a, b = (pd.read_csv(each.all.history)[columns] for each in (whole, cut))
    # Threads add numbers in a different order each time; after three epochs in float32, about four digits agree.
    np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-3)

    metrics = evaluate(cut.all).metrics  # the test is left
    splits = load_manifest(run.manifest)["split"].value_counts()
    assert read_json(cut.all.config)["data"]["splits"] == {"train": 30 - splits["test"], "test": splits["test"]}
    assert metrics["n"] == splits["test"]
    assert metrics["trained_on"] == f"{30 - splits['test']} of 30 images, those of validation among them"
    with pytest.raises(UserError, match="'val' has no image to evaluate it on"):
        evaluate(cut.all, "val")


def test_an_interruption_says_which_training_is_finished(images, tiny, tmp_path, monkeypatch):
    def interrupt(training):
        raise KeyboardInterrupt

    config = small_config(images, tmp_path / "run", arch=tiny, use_all="val")
    monkeypatch.setattr("pipelines.finetune.learn_from_all", interrupt)
    with pytest.raises(KeyboardInterrupt, match=r"run is finished, and .*all is not; the same command continues"):
        finetune(config)


def test_a_run_without_a_model_has_nothing_to_repeat(images, tiny, tmp_path):
    config = small_config(images, tmp_path / "run", arch=tiny, use_all="val")
    with pytest.raises(UserError, match="has kept no model, so that --use-all has nothing to repeat"):
        plan_for_all(make_plan(config), Run(tmp_path / "run"), Progress())


def test_a_wrong_value_is_one_line(images, tmp_path, capsys):
    assert main(["finetune", str(images), "--run", str(tmp_path / "run"), "--use-all", "train"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: --use-all must be one of val, test, received 'train'"


@pytest.mark.parametrize(("use_all", "splits"), [("val", ["train", "train", "test"]), ("test", ["train"] * 3)])
def test_the_test_is_used_only_if_it_is_named(use_all, splits):
    manifest = pd.DataFrame({"split": ["train", "val", "test"]})
    assert everything(manifest, use_all)["split"].tolist() == splits


def test_a_plateau_is_left_at_the_epoch_at_which_it_was_left_before(images):
    decisions = decide(small_config(images, "run", epochs="auto"), images=80)
    chosen = Chosen("RUN", "val", "epoch 12", 12, 1.0, plateau_epochs=10)
    repeated = repeated_decisions(decisions, chosen, steps_before=10, steps_now=12)
    before, recipe = recipe_of(decisions), recipe_of(repeated)
    assert recipe == replace(
        before,
        epochs=12,
        refit_head=False,
        choose_by="nothing",
        warmup_steps=round(before.warmup_steps * 1.2),
        total_steps=round(before.total_steps * 1.2),
    )
    lines = explain(repeated)
    assert "12 epochs of sgd: those of the model that RUN has kept (epoch 12); the rate falls after epoch 10" in lines
    assert "without a better validation" not in lines
