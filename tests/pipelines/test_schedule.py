"""Learning rates from step to step, and --epochs auto, which ends training when more epochs would not help."""

import math
import re
import signal

import keras
import numpy as np
import pandas as pd
import pytest

from pipelines.finetune import finetune
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.explain import explain
from pipelines.recipe.schedule import PlateauSchedule, make_schedule
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json
from pipelines.training.checkpoint import Progress, load_checkpoint
from pipelines.training.open_end import OpenEnd, plateau_reason
from pipelines.training.setup import make_plan
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
    recipe = recipe_of(decide(small_config(images, "run", epochs=10, learning_rate=0.1), images=80))
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
    assert reason(0.1, 0.2, 0.3, 0.29, 0.28) == ""  # epochs of the warm-up do not count
    assert reason(8, 7, 6, 5, 4, 3, 2) == ""
    assert reason(9, 8, 7, 6, 5, 4, 3, 2) == "it ends after 10 epochs at the latest"


@pytest.mark.parametrize("best", [1, 2, 5, 40, 1000])
def test_training_never_ends_after_the_bound(images, best):
    recipe = recipe_of(decide(small_config(images, "run", weights="x", epochs="auto"), images=80))
    open_end, progress = OpenEnd(PlateauSchedule(0.1, 3), recipe, steps=10), Progress()
    while not progress.stopped:
        progress.epochs_done += 1
        progress.rows.append({"epoch": progress.epochs_done, "val_log_loss": abs(best - progress.epochs_done)})
        open_end.after_epoch(progress, 10 * progress.epochs_done)
    plateau = min(best + recipe.plateau_patience, 24)  # 6 more epochs follow to cool down
    assert progress.plateau_epochs == plateau
    assert (
        progress.epochs_done == open_end.last_epoch(progress) == plateau + math.ceil(plateau / 4) <= recipe.epochs == 30
    )
    assert float(open_end.schedule(10 * progress.epochs_done)) == 0.0


def test_the_decision_is_printed_with_its_reason(images):
    config = small_config(images, "run", weights="x", epochs="auto")
    known = small_config(images, "run", weights="x", epochs=None)
    usual, auto = (recipe_of(decide(each, images=1000)) for each in (known, config))
    assert (usual.epochs, auto.epochs) == (3, 30)
    assert auto.warmup_steps == usual.warmup_steps
    lines = explain(decide(config, images=1000)).splitlines()
    assert "  as many epochs of adamw as help, 30 at most: as asked" in lines
    assert all(": " in line for line in lines[1:])


@pytest.fixture(scope="module")
def command(images, small, small_weights):
    """Returns the arguments of the command without the run directory."""
    options = f"--arch {small} --image-size 32 --view crop --batch-size 8 --precision float32 --deterministic"
    until = "--epochs auto --learning-rate 3e-4"
    return ["finetune", str(images), "--weights", str(small_weights), *options.split(), *until.split()]


@pytest.fixture(scope="module")
def whole(command, tmp_path_factory):
    """Returns a run that was not interrupted, and its output."""
    folder = tmp_path_factory.mktemp("whole")
    code, text = finish(command, folder)
    assert code == 0, text
    return Run(folder / "run"), text


def finish(command, folder, *signals):
    process = start([*command, "--run", str(folder / "run")], folder / "output", signals)
    process.join()
    return process.exitcode, (folder / "output").read_text()


def test_it_stops_early_on_something_easy(whole):
    run, text = whole
    progress, config, history = load_checkpoint(run).progress, read_json(run.config), pd.read_csv(run.history)
    epochs = history[history["phase"] == "all layers"]
    assert progress.finished == f"{len(epochs)} epochs, more would not help"
    assert len(epochs) <= 20 < config["recipe"]["epochs"] == 30
    plateau, cooldown = np.split(epochs["learning_rate"].to_numpy(), [progress.plateau_epochs])
    assert plateau == pytest.approx(config["recipe"]["learning_rate"])
    assert len(cooldown) == math.ceil(progress.plateau_epochs / 4)
    assert cooldown[-1] == 0.0
    assert history["phase"].str.startswith("average").sum() == 3
    assert config["arguments"]["epochs"] == "auto"
    assert "epoch 1/≤30  loss" in text
    assert re.search(r"^epoch 1/≤30 .* s; at most \d+:\d\d remain", text, re.MULTILINE)
    assert f"the learning rate goes to 0 until epoch {len(epochs)}\n" in text
    assert f"epoch {len(epochs)}/{len(epochs)}  loss" in text


def test_a_run_that_is_cut_off_in_its_cool_down_continues_to_the_same_end(command, whole, tmp_path):
    run, expected = Run(tmp_path / "run"), whole[0]
    plateau = load_checkpoint(expected).progress.plateau_epochs
    code, text = finish(command, tmp_path, (plateau, 1, signal.SIGTERM))
    assert code == 143, text
    progress = load_checkpoint(run).progress
    assert (progress.plateau_epochs, progress.epochs_done, progress.steps_done) == (plateau, plateau, 2)
    code, text = finish(command, tmp_path)
    assert code == 0, text
    histories = [pd.read_csv(each.history).drop(columns="seconds") for each in (run, expected)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)
    for a, b in zip(*(load_model(each).variables for each in (run, expected)), strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b), err_msg=a.path)


def test_replicas_end_so_too(images, tiny, tmp_path):
    config = small_config(images, tmp_path / "run", arch=tiny, epochs="auto", strategy="mirrored", precision="float32")
    plan = make_plan(config).changed(epochs=5, plateau_patience=2)
    rates = pd.read_csv(finetune(plan).history)["learning_rate"]
    assert 3 <= len(rates) <= 5
    assert rates.iloc[0] > 0.0
    assert rates.iloc[-1] == 0.0
