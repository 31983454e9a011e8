"""--config repeats what a run decided, and so does the run itself when it continues; differences are reported."""

import copy
import json

import numpy as np
import pandas as pd
import pytest

from pipelines.cli import main
from pipelines.config.finetune import FinetuneConfig
from pipelines.finetune import finetune
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.earlier import Earlier, differences, repeated_precision, repeated_recipe
from pipelines.recipe.explain import explain
from pipelines.runs.directory import Run, load_model
from pipelines.runs.files import read_json, write_json
from resnet_tf.errors import UserError
from tests.conftest import cut_off_before_epoch, small_config
from tests.pipelines.processes import start

# Decisions that an earlier version may have made.
OTHER = {"epochs": 2, "learning_rate": 3e-4, "weight_decay": 0.25, "frozen_stages": ["conv1"], "augment": "colour"}


@pytest.fixture
def config(images, torch_weights):
    return FinetuneConfig(str(images), "run", arch="resnet18", weights=str(torch_weights), batch_size=8)


@pytest.fixture
def earlier(config):
    """Returns the config.json of a run on 40 images whose recipe differs from today's."""
    recipe = {**vars(recipe_of(decide(config, 40))), **OTHER, "warmup_steps": 4, "total_steps": 10}
    content = {"arguments": config.as_arguments(), "recipe": recipe, "precision": "bfloat16"}
    return Earlier("old/config.json", json.loads(json.dumps(content)))


def changed(config, **settings):
    return FinetuneConfig(**{**vars(config), **settings})


def finish(words, output):
    process = start(words, output)
    process.join()
    assert process.exitcode == 0, output.read_text()


def test_a_repeated_run_has_the_same_recipe_and_the_same_bits(images, small, small_weights, tmp_path):
    options = f"--arch {small} --image-size 32 --batch-size 8 --precision float32 --deterministic --epochs 1 --seed 3"
    first, second = Run(tmp_path / "first"), Run(tmp_path / "second")
    words = ["finetune", str(images), "--run", str(first.path), "--weights", str(small_weights), *options.split()]
    finish(words, tmp_path / "output")
    words = ["finetune", str(images), "--run", str(second.path), "--config", str(first.config)]
    finish(words, tmp_path / "output")
    assert read_json(second.config) == read_json(first.config)
    for a, b in zip(load_model(first).variables, load_model(second).variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b), err_msg=a.path)
    assert str(first.config) not in (tmp_path / "output").read_text()  # nothing differs


def test_what_would_be_decided_otherwise_now_is_repeated_and_said(config, earlier):
    repeated = decide(config, 40, repeated_recipe(earlier, config), earlier.source)
    assert json.loads(json.dumps(vars(recipe_of(repeated)))) == earlier.content["recipe"]
    lines = explain(repeated).splitlines()
    assert "  2 epochs of adamw: as in old/config.json" in lines
    assert "  then conv1 to conv1 stay frozen: as in old/config.json" in lines
    assert "  label smoothing 0: the best model is chosen by log loss, which it raises" in lines
    assert repeated_precision(earlier, config) == "bfloat16"


def test_a_repeated_run_may_leave_no_stage_frozen(config, earlier):
    earlier.content["recipe"]["frozen_stages"] = []
    lines = explain(decide(config, 40, repeated_recipe(earlier, config), earlier.source)).splitlines()
    assert "  then all stages learn: as in old/config.json" in lines


def test_an_option_goes_before_what_is_repeated(config, earlier):
    asked = changed(config, epochs=5, label_smoothing=0.2, precision="float32")
    repeated = recipe_of(decide(asked, 40, repeated_recipe(earlier, asked)))
    assert (repeated.epochs, repeated.label_smoothing) == (5, 0.2)
    assert (repeated.learning_rate, repeated.augment) == (OTHER["learning_rate"], OTHER["augment"])
    assert (repeated.total_steps, repeated.warmup_steps) == (25, 2)
    assert repeated_precision(earlier, asked) == "float32"


def test_steps_follow_from_the_images_there_are(config, earlier):
    more = recipe_of(decide(config, 10_000, repeated_recipe(earlier, config)))
    assert (more.epochs, more.frozen_stages) == (2, ("conv1",))  # although 10,000 images are many
    assert (more.total_steps, more.warmup_steps) == (2500, 250)


@pytest.mark.parametrize("settings", [{"arch": "resnet34"}, {"batch_size": 16}, {"weights": "none", "recipe": "he"}])
def test_another_network_or_batch_is_decided_anew_and_that_is_said(config, earlier, settings):
    other = changed(config, **settings)
    assert repeated_recipe(earlier, other) == {}
    assert decide(other, 40, repeated_recipe(earlier, other)) == decide(other, 40)
    lines = differences(earlier, other, {}, {"fingerprint": None}, {})
    assert any(line.startswith("old/config.json: the recipe is decided anew, since ") for line in lines)
    assert all(name in lines[0] for name in settings)


def test_each_difference_is_said(config, earlier):
    content = copy.deepcopy(earlier.content)
    del content["recipe"]["schedule"]
    content |= {"structure": {"shortcut": "A"}, "data": {"fingerprint": "1"}, "versions": {"keras": "3.10.0"}}
    found = differences(Earlier("old", content), config, {"shortcut": "B"}, {"fingerprint": "2"}, {"keras": "3.15.0"})
    assert found == [
        "old: it decides nothing of schedule; that is decided now",
        "old: the network is another one: {'shortcut': 'B'}, there {'shortcut': 'A'}",
        "old: the images or their splits are others",
        "old: it was made with keras 3.10.0, now 3.15.0",
    ]
    assert recipe_of(decide(config, 40, repeated_recipe(Earlier("old", content), config))).schedule == "cosine"


def test_a_decision_of_a_later_version_is_named(config, earlier):
    earlier.content["recipe"]["teacher"] = "resnet152"
    with pytest.raises(UserError, match=r"has decisions that this version does not know: teacher"):
        repeated_recipe(earlier, config)


def test_other_weights_under_the_same_name_are_refused(finished, images, tmp_path, capsys):
    file, new = tmp_path / "config.json", tmp_path / "new"
    content = read_json(finished.config)
    now, content["weights"]["sha256"] = content["weights"]["sha256"], "0" * 64
    write_json(file, content)
    assert main(["finetune", str(images), "--run", str(new), "--config", str(file)]) == 2
    error = capsys.readouterr().err
    assert f"have the SHA-256 {now}, but {str(file)!r} was made with {'0' * 64}" in error
    assert not new.exists()


def test_a_run_that_goes_on_keeps_what_it_decided_and_is_not_mixed_with_another(images, tiny, tmp_path, capsys):
    settings = small_config(images, tmp_path / "run", arch=tiny, epochs=2)
    with cut_off_before_epoch(1):
        finetune(settings)
    run = Run(tmp_path / "run")
    content = read_json(run.config)
    assert content["recipe"]["total_steps"] == 6
    content["recipe"] |= {"learning_rate": 0.0025, "warmup_steps": 2, "weight_decay": 0.125}  # of a different version
    write_json(run.config, content)
    other = copy.deepcopy(content)
    other["recipe"]["learning_rate"] = 0.5
    capsys.readouterr()
    finetune(settings, Earlier("other/config.json", other))
    printed = capsys.readouterr().out
    assert f"peak rate 0.0025 after 2 of 6 steps, then a cosine to 0: as in {run.config}" in printed
    assert f"weight decay 0.125 of kernels: as in {run.config}" in printed
    assert pd.read_csv(run.history)["learning_rate"].iloc[-1] == pytest.approx(0.0, abs=1e-9)
    assert read_json(run.config) == content
