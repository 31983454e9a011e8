"""Training from random weights: He et al.'s recipe is the paper's, and the modern one differs where it says so."""

import numpy as np
import pandas as pd
import pytest

from pipelines.config.finetune import FinetuneConfig
from pipelines.finetune import finetune
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.explain import explain
from pipelines.recipe.scratch import LONG_TRAINING, MANY_IMAGES, scratch_epochs
from pipelines.runs.directory import load_model
from pipelines.runs.files import read_json
from resnet_tf.errors import UserError
from tests.conftest import small_config


def recipe(images=45_000, **settings):
    return recipe_of(decide(FinetuneConfig("data", "run", weights="none", **settings), images))


def test_the_papers_numbers_of_epochs_are_on_the_curve():
    assert scratch_epochs(45_000) == 182  # 64,000 steps of 128
    assert scratch_epochs(1_281_167) == 120  # 600,000 steps of 256
    assert scratch_epochs(1_000) > scratch_epochs(10_000) > 182


def test_the_paper_on_cifar_10():
    paper = recipe(recipe="he", arch="cifar_resnet56", batch_size=128)
    assert (paper.learning_rate, paper.weight_decay, paper.label_smoothing) == (0.1, 1e-4, 0.0)
    assert (paper.augment, paper.mix, paper.optimizer) == ("cifar", "none", "momentum")
    assert paper.total_steps == pytest.approx(64_000, rel=2e-3)  # rounded to whole epochs
    assert paper.drop_steps == pytest.approx((32_000, 48_000), rel=2e-3)
    assert paper.warmup_steps == 0


def test_110_layers_warm_up():
    assert recipe(recipe="he", arch="cifar_resnet110", batch_size=128).warmup_steps == 400
    assert recipe(recipe="he", arch="cifar_resnet110", batch_size=64).warmup_steps == 800
    few = recipe(images=1_000, recipe="he", arch="cifar_resnet110", batch_size=100, epochs=10)
    assert (few.total_steps, few.warmup_steps) == (100, 10)


def test_the_paper_on_imagenet():
    paper = recipe(images=1_281_167, recipe="he", arch="resnet50", batch_size=256)
    assert paper.learning_rate == 0.1
    assert paper.augment == "paper"
    assert paper.total_steps == pytest.approx(600_000, rel=2e-3)
    assert np.array(paper.drop_steps) / paper.total_steps == pytest.approx([1 / 3, 2 / 3, 8 / 9], abs=1e-5)
    assert recipe(recipe="he", arch="resnet50", batch_size=64).learning_rate == 0.025
    assert recipe(recipe="he", arch="vgg16", batch_size=256).learning_rate == pytest.approx(0.01)


def test_a_long_modern_training_is_made_harder_than_a_short_one():
    short, long = (recipe(recipe="modern", epochs=epochs) for epochs in (LONG_TRAINING - 1, LONG_TRAINING))
    assert (short.augment, short.mix) == ("light", "none")
    assert (long.augment, long.mix) == ("trivial", "cutmix")
    asked = recipe(recipe="modern", epochs=LONG_TRAINING, augment="colour", mix="mixup")
    assert (asked.augment, asked.mix) == ("colour", "mixup")


def test_many_images_need_less_decay():
    few, many = (recipe(images=images, recipe="modern", epochs=10) for images in (MANY_IMAGES - 1, MANY_IMAGES))
    assert few.weight_decay > many.weight_decay
    assert few.min_area > many.min_area


@pytest.mark.parametrize("arch", ["resnet18", "cifar_resnet20"])
def test_a_standstill_of_one_rate_stops_nothing(arch):
    found = recipe(recipe="he", arch=arch)
    longest = np.diff((0, *found.drop_steps, found.total_steps)).max()
    assert found.patience * found.total_steps / found.epochs >= longest - 1


def test_a_recipe_is_for_random_weights():
    with pytest.raises(UserError, match=r"--recipe he is for random weights; leave it out, or give --weights none"):
        FinetuneConfig("data", "run", recipe="he")


@pytest.mark.parametrize("name", ["he", "modern"])
def test_each_decision_is_printed_with_its_true_reason(name):
    config = FinetuneConfig("data", "run", weights="none", recipe=name)
    lines = explain(decide(config, 1000)).splitlines()
    assert all(": " in line for line in lines[1:])
    epochs = next(line for line in lines if "epochs of sgd" in line)
    assert epochs.startswith(f"  {scratch_epochs(1000)} epochs of sgd: 1000 training images, on a curve through")
    shorter = FinetuneConfig("data", "run", weights="none", recipe=name, epochs=7)
    assert "  7 epochs of sgd: as asked" in explain(decide(shorter, 1000)).splitlines()


def test_hes_rate_falls_at_its_steps(images, tiny, tmp_path):
    run = finetune(small_config(images, tmp_path / "run", arch=tiny, recipe="he", epochs=3))
    written = read_json(run.config)
    assert written["arguments"]["recipe"] == "he"
    assert written["arguments"]["augment"] is None
    assert (written["recipe"]["name"], written["recipe"]["augment"], written["recipe"]["mix"]) == (
        "he",
        "paper",
        "none",
    )
    assert written["recipe"]["drop_steps"] == [3, 6, 8]  # of 9 steps
    rates = pd.read_csv(run.history)["learning_rate"] / written["recipe"]["learning_rate"]  # rate of the next step
    assert rates.tolist() == pytest.approx([0.1, 0.01, 0.001])
    assert all(np.isfinite(np.asarray(variable)).all() for variable in load_model(run).variables)
