"""Learning rates from step to step, and --epochs auto: training ends when more would not help."""

import math
import signal

import keras
import numpy as np
import pandas as pd
import pytest

from pipelines.checkpoint import Progress, load_checkpoint
from pipelines.explain import explain
from pipelines.finetune import finetune
from pipelines.recipe import decide
from pipelines.run import Run, load_model, read_json
from pipelines.schedule import OpenEnd, PlateauSchedule, make_schedule, plateau_reason
from tests.conftest import small_config
from tests.pipelines.processes import start


def rates(schedule, steps):
    return np.array([float(schedule(step)) for step in range(steps)])


def test_the_rate_rises_stays_and_goes_down_when_told_to():
    schedule = PlateauSchedule(0.1, warmup_steps=4)
    np.testing.assert_allclose(rates(schedule, 9), [0, 0.025, 0.05, 0.075, 0.1, 0.1, 0.1, 0.1, 0.1], rtol=1e-6)
    schedule.cool_down(6, 4)
    expected = [0.1, *(0.1 * (1 - math.sqrt(share)) for share in (0, 0.25, 0.5, 0.75, 1, 1))]
    np.testing.assert_allclose(rates(schedule, 12)[5:], expected, rtol=1e-5)
    assert float(PlateauSchedule(0.1, warmup_steps=0)(0)) == pytest.approx(0.1)


def test_epochs_that_are_known_have_a_cosine(images):
    recipe = decide(small_config(images, "run", epochs=10, learning_rate=0.1), images=80)
    assert recipe.schedule == "cosine"
    found = rates(make_schedule(recipe), 100)
    assert found.argmax() == recipe.warmup_steps == 10
    assert found[0] == 0.0
    assert found[-1] < 1e-4


def test_the_plateau_ends_when_validation_has_not_improved_for_some_epochs():
    def reason(*log_losses):
        return plateau_reason(log_losses, warmup_epochs=2, patience=2, most_epochs=10)

    assert reason() == ""
    assert reason(0.9, 0.8, 0.7, 0.71) == ""
    assert reason(0.9, 0.8, 0.7, 0.71, 0.72) == "validation has not improved for 2 epochs"
    assert reason(0.9, 0.8, 0.7, 0.71, 0.69, 0.7) == ""
    assert reason(0.1, 0.2, 0.3, 0.29, 0.28) == ""  # what was in the warm-up does not count
    assert reason(8, 7, 6, 5, 4, 3, 2) == ""
    assert reason(9, 8, 7, 6, 5, 4, 3, 2) == "it ends after 10 epochs at the latest"


@pytest.mark.parametrize("best", [1, 2, 5, 40, 1000])
def test_training_never_ends_after_the_bound(images, best):
    recipe = decide(small_config(images, "run", weights="x", epochs="auto"), images=80)
    open_end, progress = OpenEnd(PlateauSchedule(0.1, 3), recipe, steps=10), Progress()
    while not progress.stopped:
        progress.epochs_done += 1
        progress.rows.append({"epoch": progress.epochs_done, "val_log_loss": abs(best - progress.epochs_done)})
        open_end.after_epoch(progress, 10 * progress.epochs_done)
    plateau = min(best + recipe.plateau_patience, 24)  # and 6 to cool down
    assert progress.plateau_epochs == plateau
    assert (
        progress.epochs_done == open_end.last_epoch(progress) == plateau + math.ceil(plateau / 4) <= recipe.epochs == 30
    )
    assert float(open_end.schedule(10 * progress.epochs_done)) == 0.0


def test_the_decision_is_printed_with_its_reason(images):
    config = small_config(images, "run", weights="x", epochs="auto")
    usual, auto = (
        decide(each, images=1000) for each in (small_config(images, "run", weights="x", epochs=None), config)
    )
    assert (usual.epochs, auto.epochs) == (3, 30)
    assert auto.warmup_steps == usual.warmup_steps
    lines = explain(auto, config, images=1000).splitlines()
    assert "  as many epochs of adamw as help, 30 at most: as asked" in lines
    assert all(": " in line for line in lines[1:])


def test_it_stops_early_on_something_easy(images, tmp_path, capsys):
    run = finetune(small_config(images, tmp_path / "run", arch="cifar_resnet20", epochs="auto"))
    history, config = pd.read_csv(run.history), read_json(run.config)
    progress = load_checkpoint(run).progress
    assert progress.finished == f"{len(history)} epochs, more would not help"
    assert len(history) < config["recipe"]["epochs"] / 4
    plateau = history["learning_rate"].to_numpy()[6 : progress.plateau_epochs]
    assert plateau == pytest.approx(config["recipe"]["learning_rate"])
    cooldown = history["learning_rate"].to_numpy()[progress.plateau_epochs :]
    assert (np.diff(cooldown) < 0).all()
    assert cooldown[-1] == 0.0
    assert len(cooldown) == math.ceil(progress.plateau_epochs / 4)
    assert config["arguments"]["epochs"] == "auto"
    out = capsys.readouterr().out
    assert f"the learning rate goes to 0 until epoch {len(history)}\n" in out


def test_a_head_that_was_fitted_before_and_replicas_train_so_too(images, torch_weights, tmp_path):
    settings = {"weights": str(torch_weights), "strategy": "mirrored", "learning_rate": 3e-3}
    run = finetune(small_config(images, tmp_path / "run", epochs="auto", **settings))
    history = pd.read_csv(run.history)
    assert history["phase"].str.startswith("average").sum() == 3
    trained = history[history["phase"] == "all layers"]
    assert trained["learning_rate"].iloc[-1] == 0.0
    assert len(trained) < read_json(run.config)["recipe"]["epochs"]


def test_a_run_that_is_cut_off_in_its_cool_down_continues_to_the_same_end(images, tmp_path):
    options = "--arch cifar_resnet20 --weights none --image-size 32 --batch-size 8 --precision float32 --deterministic"
    command = ["finetune", str(images), *options.split(), "--epochs", "auto", "--learning-rate", "0.05"]

    def run(name, *signals):
        arguments, output = [*command, "--run", str(tmp_path / name)], tmp_path / f"{name}.txt"
        process = start(arguments, output, signals)
        process.join()
        return process.exitcode, output.read_text()

    code, text = run("whole")
    assert code == 0, text
    whole, cut = Run(tmp_path / "whole"), Run(tmp_path / "cut")
    plateau = load_checkpoint(whole).progress.plateau_epochs
    code, text = run("cut", (plateau, 1, signal.SIGTERM))
    assert code == 143, text
    assert load_checkpoint(cut).progress.steps_done == 2
    code, text = run("cut")
    assert code == 0, text
    histories = [pd.read_csv(each.history).drop(columns="seconds") for each in (whole, cut)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    for a, b in zip(*(load_model(each).variables for each in (whole, cut)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), err_msg=a.path)
