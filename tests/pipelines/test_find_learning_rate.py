"""finetune --find-learning-rate: the curve, its reading, the picture, and that nothing else is written."""

import dataclasses
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from pipelines import find_learning_rate as module
from pipelines.cli import main
from pipelines.config.finetune import FinetuneConfig
from pipelines.config.verbs import RangeTestConfig
from pipelines.find_learning_rate import RangeTest, Sweep, find_learning_rate
from pipelines.images.stream import ImageSource, Order, training_stream
from pipelines.training.head import fit_head
from pipelines.training.network import build_trainer
from pipelines.training.range_curve import has_diverged, read_curve
from pipelines.training.setup import make_plan
from tests.conftest import small_config

STEPS, CLASSES = 100, 30
RATES = np.geomspace(1e-7, 1e-1, STEPS)


def curve(fall_at, rise_at, noise=0.05, seed=0):
    """Returns a loss that falls from 1 to 0.5 around one rate and rises around another."""
    fall = 0.5 / (1 + (fall_at / RATES) ** 2)
    rise = (RATES / rise_at) ** 2
    return 1.0 - fall + rise + np.random.default_rng(seed).normal(0, noise, STEPS)


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_is_suggested_at_which_the_loss_rises_again(seed):
    reading = read_curve(RATES, curve(1e-4, 2e-2, seed=seed), CLASSES)
    assert reading.start == pytest.approx(1.0, abs=0.05)
    assert reading.lowest == pytest.approx(0.52, abs=0.05)
    assert 5e-4 < reading.best_rate < 3e-3
    assert 2e-3 < reading.suggestion == reading.rises_from < 1e-2  # the rise is (rate / 2e-2)², the noise is 0.07


def test_a_loss_that_only_rises_suggests_nothing():
    flat = 0.2 + (RATES / 2e-2) ** 2 + np.random.default_rng(0).normal(0, 0.05, STEPS)
    reading = read_curve(RATES, flat, CLASSES)
    assert reading.suggestion is None
    assert 2e-3 < reading.rises_from < 1e-2


def test_noise_is_not_taken_for_a_fall():
    random = np.random.default_rng(0)
    readings = [read_curve(RATES, random.normal(0.3, 0.1, STEPS), CLASSES) for _ in range(200)]
    assert sum(reading.falls for reading in readings) <= 10  # 5 % of them fall by chance


def test_a_last_loss_that_runs_away_does_not_hide_the_fall():
    reading = read_curve(RATES[:71], [*curve(1e-4, 1e9)[:70], 1e8], CLASSES)
    assert reading.falls
    assert 3e-4 < reading.suggestion < RATES[70] < 2e-3
    assert max(reading.smoothed) < 10


def test_what_comes_down_to_guessing_has_learned_nothing():
    guessing = np.log(CLASSES)
    down = guessing + 0.6 / (1 + RATES / 1e-4) + np.random.default_rng(0).normal(0, 0.05, STEPS)
    assert not read_curve(RATES, down, CLASSES).falls
    assert read_curve(RATES, down - 0.5 / (1 + (1e-3 / RATES) ** 2), CLASSES).falls


def test_divergence_is_four_times_the_best_or_no_number():
    def diverged(*last, calm=1.0):
        losses = [calm] * 20 + list(last)
        return has_diverged(RATES[: len(losses)], losses, CLASSES)

    assert not diverged()
    assert diverged(float("nan"))
    assert not diverged(9.0)  # a single batch may be bad
    assert diverged(*[5.0] * 5)
    assert not diverged(*[0.01] * 5, calm=0.001)  # still far below the loss of guessing, 3.4
    assert has_diverged(RATES[:1], [float("inf")], CLASSES)


@pytest.fixture
def few_steps(monkeypatch):
    """Reduces the number of steps, for tests that do not depend on it."""
    monkeypatch.setattr(module, "ADAM", Sweep(1e-7, 1e-1, 30))
    monkeypatch.setattr(module, "MOMENTUM", Sweep(1e-4, 1e1, 60))


def test_training_from_scratch_draws_a_picture_and_nothing_else(images, tmp_path, capsys, monkeypatch, few_steps):
    monkeypatch.chdir(tmp_path)
    options = "--arch cifar_resnet20 --weights none --image-size 32 --batch-size 8 --find-learning-rate range.png"
    assert main(["finetune", str(images), *options.split()]) == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["range.png"]
    with Image.open("range.png") as picture:
        assert picture.format == "PNG"
        assert picture.width > picture.height > 400
    lines = capsys.readouterr().out.splitlines()
    assert lines[-4].startswith("range test: ")
    assert lines[-3].startswith("training loss: from ")
    assert "the recipe's is 5.0e-03" in lines[-2]
    assert lines[-1] == "wrote range.png"


def test_the_suggestion_is_printed_as_the_option_that_takes_it():
    reading = read_curve(RATES, curve(1e-4, 2e-2), CLASSES)
    plan = SimpleNamespace(config=FinetuneConfig("photos", "run"), recipe=SimpleNamespace(head_first=True))
    text = module._describe(RangeTest(list(RATES), [], reading, 1e-3), plan)
    expected = f"suggested: --learning-rate {reading.rises_from:.1e} (the recipe's is 1.0e-03"
    assert text.splitlines()[1].startswith(expected)


def test_each_loss_is_that_of_its_batch_on_replicas_too_behind_a_fitted_head(
    images, small, small_weights, tmp_path, capsys, few_steps
):
    settings = {"arch": small, "weights": str(small_weights), "precision": "float32", "learning_rate": 1e-3}
    config = small_config(images, tmp_path / "run", **settings)
    plan = make_plan(config)
    trainer = build_trainer(plan)
    fit_head(trainer)
    stream = training_stream(
        ImageSource(plan.rows["train"], plan.root, plan.classes), plan.input_spec, Order(batch_size=8, seed=0, epochs=2)
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = [float(loss(labels, trainer.model(pictures))) for pictures, labels in stream]
    capsys.readouterr()

    config = dataclasses.replace(config, strategy="mirrored")
    found = find_learning_rate(RangeTestConfig(config, str(tmp_path / "range.png")))
    np.testing.assert_allclose(found.losses[:6], expected, rtol=0.02)  # the first rates change almost nothing
    np.testing.assert_allclose(found.rates, np.geomspace(1e-7, 1e-1, 30)[: len(found.rates)], rtol=1e-4)
    assert found.suggestion is None
    out = capsys.readouterr().out
    assert "no suggestion: the loss does not fall by more than" in out
    assert "since the head is fitted already; yours is 1.0e-03, where it" in out
    assert not (tmp_path / "run").exists()


def test_float16_steps_that_overflow_are_left_out(images, tmp_path, few_steps):
    config = small_config(images, "", arch="cifar_resnet20", precision="float16")
    found = find_learning_rate(RangeTestConfig(config, str(tmp_path / "range.png")))
    assert np.isfinite(found.losses).all()
    assert (np.diff(found.rates) > 0).all()
