"""finetune --minutes: the end follows from the measured speed, and is planned anew as the speed changes."""

import re

import pandas as pd
import pytest

from pipelines.cli import main
from pipelines.config.finetune import FinetuneConfig, merged_settings
from pipelines.console.clock import Stopwatch, in_minutes
from pipelines.finetune import finetune
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.explain import explain
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.runs.files import read_json
from pipelines.training import look as look_module
from pipelines.training.checkpoint import Progress, load_checkpoint
from pipelines.training.network import build_network
from pipelines.training.setup import make_plan
from pipelines.training.timed_end import Speed, TimedEnd, first_cooldown_step, steps_that_fit
from resnet_tf.errors import UserError
from resnet_tf.workers import Workers
from tests.conftest import cut_off_before_epoch, small_config


class Clock:
    """A clock that only a test moves."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.mark.parametrize("seconds", [0.0, 3.0, 14.0, 15.0, 16.0, 100.0, 119.9, 1234.5])
@pytest.mark.parametrize("steps_done", [0, 4, 10])
def test_the_steps_that_fit_take_no_longer_than_the_time_and_hardly_less(seconds, steps_done):
    speed, steps = Speed(1.0, 5.0), 10
    number = steps_that_fit(seconds, speed, steps, steps_done)
    assert number >= 0
    taken = speed.seconds(number, steps, steps_done)
    assert taken <= seconds or number == steps - steps_done == 0
    assert taken > seconds - 5.0 - 1.0 - 1.0  # a validation more, with a tenth of an epoch, would not end in time


def test_the_rate_falls_for_a_third_of_all_steps_and_for_an_epoch_at_least():
    assert first_cooldown_step(8, 90, steps=10) == 60
    assert first_cooldown_step(0, 20, steps=10) == 10
    assert first_cooldown_step(3, 6, steps=10) == 3
    assert first_cooldown_step(80, 90, steps=10) == 80


def train(clock, minutes, seconds_of, *, log_loss=lambda epoch: 1 / epoch, steps=10, latest=10_000):
    """Returns the progress of a training with `seconds_of(step)` a step and 5 s a validation, and what it said."""
    recipe = recipe_of(decide(small_config("data", "run", weights="x", epochs=None, minutes=minutes), images=80))
    end = TimedEnd(PlateauSchedule(0.1, 3), recipe, steps, Stopwatch(clock), Workers())
    progress, said, step = Progress(), [], 0
    end.begin(progress, lambda: setattr(clock, "seconds", clock.seconds + 5.0))
    while not progress.stopped:
        end.mark()
        for _ in range(steps):
            clock.seconds += seconds_of(step)
            step += 1
            progress.steps_done += 1
            end.step_done()
            said += [end.plan(progress, step)] if end.is_due() else []
            if end.is_over(progress, step):
                break
        clock.seconds += 5.0
        progress.epochs_done, progress.steps_done = progress.epochs_done + 1, 0
        progress.rows.append({"epoch": progress.epochs_done, "val_log_loss": log_loss(progress.epochs_done)})
        said.append(end.after_epoch(progress, step))
        assert step < latest
    assert float(end.schedule(step)) == pytest.approx(0.0, abs=1e-6)
    return progress, [words for words in said if words]


def test_the_plan_is_said_beforehand_and_kept():
    clock = Clock()
    progress, said = train(clock, 3, lambda step: 1.0)
    plan = "about 10 epochs of 15 s fit into 3 minutes (0:13 are spent)"
    assert said[0] == f"{plan}: 6.6 at the full rate, then 3.4 with a falling one"
    assert clock.seconds - 1000.0 == 155.0  # three averages and the calibration of 5 s follow
    assert "the learning rate goes to 0 until epoch 10" in said[1]
    assert progress.stopped == "10 epochs, all that fit into 3 minutes"


@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_machine_that_becomes_slower_or_faster_keeps_the_time(factor):
    clock = Clock()
    train(clock, 10, lambda step: 1.0 if step < 150 else factor)
    assert clock.seconds - 1000.0 == pytest.approx(600.0 - 15.0, abs=0.03 * 600.0)


def test_an_epoch_that_does_not_fit_is_done_in_part():
    clock = Clock()
    progress, said = train(clock, 3, lambda step: 1.0, steps=1000)
    assert said == ["an epoch of 16:45 does not fit into 3 minutes (0:13 are spent): 0.15 epochs with a falling rate"]
    assert (progress.epochs_done, clock.seconds - 1000.0) == (1, pytest.approx(160.0, abs=1.0))


def test_it_ends_early_and_says_so_when_validation_no_longer_improves():
    clock = Clock()
    progress, said = train(clock, 60, lambda step: 1.0, log_loss=lambda epoch: abs(epoch - 4))
    assert "validation has not improved for 5 epochs: the learning rate goes to 0 until epoch 14" in said
    assert progress.stopped == "14 epochs, more would not help"
    assert clock.seconds - 1000.0 == 5.0 + 14 * 15.0


def minutes_config(images, run, **settings):
    return small_config(images, run, **{"epochs": None, "learning_rate": 1e-3, **settings})


@pytest.fixture
def clock(monkeypatch):
    """Returns a clock that a training step moves by two seconds, and nothing else."""
    clock, step_done = Clock(), TimedEnd.step_done

    def slow(self):
        clock.seconds += 2.0
        step_done(self)

    monkeypatch.setattr(TimedEnd, "step_done", slow)
    return clock


def test_a_run_from_random_weights_ends_in_time_and_says_the_plan(images, tiny, tmp_path, clock, capsys):
    config = minutes_config(images, tmp_path / "run", arch=tiny, minutes=0.5)
    run = finetune(config, stopwatch=Stopwatch(clock))
    assert clock.seconds - 1000.0 == 30.0
    out, history = capsys.readouterr().out, pd.read_csv(run.history)
    assert "as many epochs of sgd as fit into 0.5 minutes: as asked" in out
    plan = r"^about 5 epochs of 6 s with those that are done fit into 0.5 minutes \(0:06 are spent\): 3.3 at the"
    assert re.search(plan, out, re.M)
    assert re.search(r"^epoch 3/≈5 .* s; 0:12 remain", out, re.M)
    assert len(history) == 5
    assert history["learning_rate"].iloc[:3].tolist() == pytest.approx([1e-3] * 3)
    assert history["learning_rate"].iloc[-1] == pytest.approx(0.0, abs=1e-9)
    assert read_json(run.config)["arguments"]["minutes"] == 0.5
    assert load_checkpoint(run).progress.spent == clock.seconds - 1000.0


def test_a_run_that_is_continued_spends_only_what_is_left(images, tiny, tmp_path, clock, capsys):
    config = minutes_config(images, tmp_path / "run", arch=tiny, minutes=0.5)
    with cut_off_before_epoch(2):
        finetune(config, stopwatch=Stopwatch(clock))
    clock.seconds += 12345.0  # nobody works on the run
    continued = Stopwatch(clock)
    clock.seconds += 8.0  # the second call inspects the images again
    run = finetune(config, stopwatch=continued)
    assert clock.seconds - 12345.0 - 1000.0 == pytest.approx(30.0, abs=3.0)
    progress = load_checkpoint(run).progress
    assert progress.spent == clock.seconds - 12345.0 - 1000.0
    assert len(progress.rows) == progress.epochs_done < 5
    with pytest.raises(UserError, match=r"minutes 0\.5, now 2"):
        finetune(minutes_config(images, tmp_path / "run", arch=tiny, minutes=2))


def test_without_time_for_an_epoch_the_head_alone_is_kept(images, small, small_weights, tmp_path, clock, capsys):
    late = Stopwatch(clock)
    clock.seconds += 31.0  # there would be time for averages of a network that is not trained
    before = clock.seconds
    config = minutes_config(images, tmp_path / "late", arch=small, weights=str(small_weights), minutes=0.5)
    run = finetune(config, stopwatch=late)
    assert "0:31 of 0.5 minutes are spent, which leaves no time to train all layers" in capsys.readouterr().out
    assert pd.read_csv(run.history)["phase"].tolist() == ["head"]
    assert load_checkpoint(run).progress.finished == "no time was left after 0 epochs"
    assert clock.seconds == before


def test_minutes_and_epochs_exclude_each_other(images, tmp_path, capsys):
    words = ["finetune", str(images), "--run", str(tmp_path / "run"), "--weights", "none"]
    assert main([*words, "--minutes", "3", "--epochs", "auto"]) == 2
    message = "error: --minutes 3 and --epochs auto both say when training ends; leave one out\n"
    assert capsys.readouterr().err == message
    assert main([*words, "--minutes", "0"]) == 2
    assert capsys.readouterr().err == "error: --minutes must be a positive number, received 0.0\n"
    assert main([*words, "--minutes", "1e300"]) == 2
    assert capsys.readouterr().err == "error: --minutes must be between 0.0 and 1000000.0, received 1e+300\n"
    assert not (tmp_path / "run").exists()


def test_the_one_replaces_the_other_of_a_run_that_is_repeated():
    assert merged_settings({"epochs": 3, "seed": 1}, {"minutes": 5.0}) == {"minutes": 5.0, "seed": 1}
    assert merged_settings({"minutes": 3.0, "seed": 1}, {"epochs": 5}) == {"epochs": 5, "seed": 1}
    assert merged_settings({"minutes": 3.0}, {"seed": 1}) == {"minutes": 3.0, "seed": 1}


def test_a_repeated_recipe_has_another_end_if_one_is_asked_for(images):
    timed = FinetuneConfig("photos", "run", minutes=10)
    recorded = vars(recipe_of(decide(timed, images=1000)))
    assert recipe_of(decide(FinetuneConfig("photos", "run"), 1000, recorded)).epochs == 3
    assert recipe_of(decide(FinetuneConfig("photos", "run", minutes=5), 1000, recorded)).minutes == 5
    lines = explain(decide(timed, images=1000)).splitlines()
    assert "  as many epochs of adamw as fit into 10 minutes: as asked" in lines
    assert any("for two thirds of them, or until validation has not improved for 5 epochs" in line for line in lines)
    scratch = recipe_of(decide(FinetuneConfig("photos", "run", weights="none", minutes=5), images=1000))
    assert (scratch.augment, scratch.mix, scratch.warmup_steps) == ("light", "none", 32)
    assert in_minutes(1) == "1 minute"


def test_the_look_takes_a_tenth_of_the_time_at_most(images, small, small_weights, tmp_path, monkeypatch, capsys):
    clock, outputs = Clock(), look_module.outputs

    def slow(*arguments):
        clock.seconds += 4.0
        return outputs(*arguments)

    monkeypatch.setattr(look_module, "outputs", slow)
    for minutes, views in ((1, ["crop"]), (2, ["crop", "squeeze"])):
        asked = {"arch": small, "weights": str(small_weights), "minutes": minutes, "view": None}
        config = minutes_config(images, tmp_path / "run", **asked)
        plan = make_plan(config)
        found = look_module.look(plan, build_network(plan).model, Stopwatch(clock))
        assert [one.choice for one in found.views] == views
        said = capsys.readouterr().out
        assert ("--minutes 1 leaves no time to compare the view with squeeze" in said) == (minutes == 1)
