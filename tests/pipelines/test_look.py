"""Tests that a look at the pictures decides on the view, and on how much is trained."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipelines.config.finetune import FinetuneConfig
from pipelines.evaluate import evaluate
from pipelines.finetune import finetune
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import DATA, USER, recipe_of
from pipelines.recipe.explain import explain
from pipelines.recipe.findings import (
    UNCERTAIN,
    Compared,
    Findings,
    best_of,
    candidate_views,
    compare,
    entropy_of,
    larger_sizes,
    standard_error,
)
from pipelines.training.look import LEAST_OF_A_CLASS, MOST_IMAGES, held_out_losses, some_of
from pipelines.training.setup import make_plan
from tests.conftest import small_config

# The numbers of steps, which follow from the epochs.
STEPS: dict = {"warmup_steps": 0, "drop_steps": (), "total_steps": 0}


def config(**settings: object) -> FinetuneConfig:
    return small_config("data", "run", weights="x", epochs=None, batch_size=32, **{"view": None, **settings})


def findings(uncertainty: float, *others: Compared) -> Findings:
    return Findings(100, 2.0, (Compared("crop", 2.0 * uncertainty), *others))


@pytest.mark.parametrize(
    ("widths", "heights", "views"),
    [
        ([200] * 10, [200] * 10, ("crop", "squeeze")),
        ([200] * 99 + [900], [200] * 100, ("crop", "squeeze")),  # one panorama among squares
        ([200] * 10, [100] * 10, ("crop", "squeeze", "pad")),
        ([100] * 10, [280] * 10, ("crop", "squeeze", "pad")),
    ],
)
def test_padding_is_tried_where_pictures_are_not_square(widths, heights, views):
    assert candidate_views(np.array(widths), np.array(heights)) == views


def test_a_view_is_taken_only_if_it_is_certainly_better():
    noise = np.random.default_rng(0).normal(0, 0.5, (2, 200))
    usual = np.full(200, 1.0)
    found = compare([("crop", usual), ("squeeze", usual - 0.02 + noise[0]), ("pad", usual + noise[1])])
    assert best_of(found).choice == "crop"
    found = compare([("crop", usual), ("squeeze", usual - 0.3 + noise[0]), ("pad", usual + noise[1])])
    assert best_of(found).choice == "squeeze"
    words = Findings(200, 2.0, found).in_words(found)
    assert words.startswith(
        "certainly better, by log loss of the frozen features of 200 images: crop 1.000, squeeze 0.7"
    )


def test_a_few_images_seldom_make_a_view_certainly_better_by_chance():
    random, few = np.random.default_rng(0), 4
    noise = random.normal(0.0, 1.0, (4000, few))
    taken = [best_of(compare([("crop", np.ones(few)), ("squeeze", 1.0 + each)])).choice for each in noise]
    # With many images two standard errors are exceeded in 2.3 % of all cases; without a correction four have 9 %.
    assert np.mean(np.array(taken) == "squeeze") < 0.035
    many = random.normal(0.0, 1.0, 144)
    assert standard_error(many) == many.std() / 12


def test_entropy_is_that_of_the_classes_shares():
    assert entropy_of(np.array([0, 1, 2, 3])) == pytest.approx(np.log(4))
    assert entropy_of(np.array([0, 0, 0, 3])) == pytest.approx(-0.75 * np.log(0.75) - 0.25 * np.log(0.25))
    assert entropy_of(np.zeros(5, int)) == 0.0


def test_larger_sizes_are_for_pictures_that_have_the_pixels():
    assert larger_sizes(np.array([300] * 3), np.array([200] * 3)) == ()
    assert larger_sizes(np.array([200, 200, 900]), np.array([400, 400, 100])) == (320,)
    assert larger_sizes(np.array([4000] * 3), np.array([3000] * 3)) == (320, 448)


def test_a_larger_size_is_taken_with_its_cost():
    sizes = (Compared(224, 1.2), Compared(320, 1.0, -0.2, 0.05), Compared(448, 0.95, -0.25, 0.2))
    found = Findings(100, 2.0, (Compared("crop", 1.2),), sizes)
    rows = {row.setting: row for row in decide(config(image_size=None), 1000, findings=found)}
    assert rows["image_size"].value == 320
    assert rows["image_size"].reason.endswith("training and prediction take 2.0 times as long")
    assert found.uncertainty == pytest.approx(0.5)
    rows = {row.setting: row for row in decide(config(image_size=96), 1000, findings=found)}
    assert (rows["image_size"].value, rows["image_size"].decided_by) == (96, USER)


def test_classes_that_features_do_not_tell_apart_get_more_epochs():
    near, far = (recipe_of(decide(config(), 1000, findings=findings(UNCERTAIN + way))) for way in (-0.01, 0.01))
    assert near == recipe_of(decide(config(), 1000))  # nobody has looked
    assert far.epochs > near.epochs
    assert replace(far, epochs=near.epochs, **STEPS) == replace(near, **STEPS)
    rows = {row.setting: row for row in decide(config(), 1000, findings=findings(0.8))}
    assert rows["epochs"].decided_by == DATA
    assert "the frozen features leave 80% of the uncertainty about a class" in rows["epochs"].reason
    assert findings(1.4).uncertainty == 1.0  # worse than the classes' shares is no more than all of it


def test_nobody_looks_where_nothing_is_left_to_find_out(images, small, small_weights):
    asked = {"arch": small, "weights": str(small_weights)}
    assert not make_plan(small_config(images, "run", **asked)).wants_look
    assert not make_plan(small_config(images, "run", arch=small, view=None, epochs=None)).wants_look  # no weights
    for left in ("view", "image_size", "epochs"):
        plan = make_plan(small_config(images, "run", **asked, **{left: None}))
        assert plan.wants_look
        assert not plan.changed(**{left: getattr(plan.recipe, left)}).wants_look


def test_the_user_takes_precedence_over_the_look():
    squeezed = findings(0.8, Compared("squeeze", 0.5, -1.1, 0.1))
    rows = {row.setting: row for row in decide(config(), 1000, findings=squeezed)}
    assert (rows["view"].value, rows["view"].decided_by) == ("squeeze", DATA)
    rows = {row.setting: row for row in decide(config(view="pad"), 1000, findings=squeezed)}
    assert (rows["view"].value, rows["view"].decided_by) == ("pad", USER)
    assert recipe_of(decide(config(), 1000, passed={"epochs": 2}, findings=findings(0.8))).epochs == 2
    assert "squeezed to a square: certainly better" in explain(decide(config(), 1000, findings=squeezed))


def test_some_of_many_images_keep_the_classes_shares():
    labels = ["a"] * 3000 + ["b"] * 1000 + ["c"] * 2
    rows = pd.DataFrame({"label": labels, "path": range(len(labels))})
    some = some_of(rows, seed=0)
    assert len(some) == MOST_IMAGES
    assert some["path"].is_monotonic_increasing
    counts = some["label"].value_counts()
    assert counts["a"] == pytest.approx(0.75 * MOST_IMAGES, abs=2)
    assert counts["b"] == pytest.approx(0.25 * MOST_IMAGES, abs=2)
    assert some_of(rows, seed=0).equals(some)
    assert not some_of(rows, seed=1).equals(some)
    assert some_of(rows[:50], seed=0).equals(rows[:50])


def test_no_class_is_a_stranger_among_some_of_many_images():
    rare = pd.DataFrame({"label": ["a"] * 5000 + ["b"] * 2 + ["c"] * 30})
    counts = some_of(rare, seed=0)["label"].value_counts()
    assert (counts["b"], counts["c"], counts.sum()) == (2, LEAST_OF_A_CLASS, MOST_IMAGES)
    for classes in (150, 1000):  # each of which would have five images, or not one
        many = pd.DataFrame({"label": [f"class {number:04d}" for number in range(classes)] * 20})
        counts = some_of(many, seed=0)["label"].value_counts()
        assert (counts == LEAST_OF_A_CLASS).all()
        assert counts.sum() == MOST_IMAGES


def test_the_loss_is_that_of_images_which_the_fit_has_not_seen():
    random = np.random.default_rng(0)
    labels = np.arange(120) % 3
    told = np.eye(3)[labels] * 5 + random.normal(0, 0.5, (120, 3))
    assert held_out_losses(told, labels, np.arange(120)).mean() < 0.25
    untold = random.normal(0, 1, (120, 40))
    assert held_out_losses(untold, labels, np.arange(120)).mean() > 0.9 * np.log(3)
    # Four shots of each scene have the same features, and nothing else tells the class.
    scenes = np.repeat(np.arange(30), 4)
    labels, shots = (np.arange(30) % 3)[scenes], random.normal(0, 1, (30, 40))[scenes]
    assert held_out_losses(shots, labels, scenes).mean() > 0.9 * np.log(3)
    assert held_out_losses(shots, labels, np.arange(120)).mean() < 0.5


def test_every_class_counts_the_same_in_a_balanced_loss():
    random = np.random.default_rng(0)
    labels = np.repeat([0, 1], [108, 12])
    untold = random.normal(0, 1, (120, 2))
    plain, balanced = (held_out_losses(untold, labels, np.arange(120), each) for each in (False, True))
    # Nothing tells the classes apart, so that the best answers are their shares, or equal ones.
    assert plain.mean() == pytest.approx(entropy_of(labels), rel=0.1)
    assert balanced.mean() == pytest.approx(np.log(2), rel=0.1)
    told = np.eye(2)[labels] * 5 + random.normal(0, 0.5, (120, 2))
    assert held_out_losses(told, labels, np.arange(120), True).mean() < 0.25


@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 2, 3, 4, 5]])
def test_classes_with_hardly_any_images_have_finite_losses(labels):
    features = np.random.default_rng(0).normal(0, 1, (6, 4))
    losses = held_out_losses(features, np.array(labels), np.arange(6))
    assert np.isfinite(losses).all()
    assert losses.shape == (6,)


@pytest.mark.parametrize("units", [[0, 0, 0, 1, 1, 1], [0] * 6])
def test_images_of_hardly_any_groups_have_finite_losses(units):
    features = np.random.default_rng(0).normal(0, 1, (6, 4))
    losses = held_out_losses(features, np.array([0, 1, 0, 1, 0, 1]), np.array(units))
    assert np.isfinite(losses).all()


def test_a_run_sees_the_whole_of_pictures_whose_ends_matter(tmp_path, small, small_weights):
    colours = {"left": [(230, 30, 30), (30, 30, 230)], "right": [(30, 30, 230), (230, 30, 30)]}
    random = np.random.default_rng(0)
    for label, ends in colours.items():  # both classes have the same centre, and the same colours
        (tmp_path / "data" / label).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(90, 160, (32, 128, 3), np.uint8)
            pixels[:, :40], pixels[:, -40:] = ends
            pixels[:, :16] += np.uint8(number)
            Image.fromarray(pixels).save(tmp_path / "data" / label / f"{number}.png")
    settings = {
        "arch": small,
        "weights": str(small_weights),
        "epochs": 0,
        "image_size": 64,
        "view": None,
    }
    run = finetune(small_config(tmp_path / "data", tmp_path / "run", similar="keep", **settings))
    content = json.loads(run.config.read_text())
    assert content["recipe"]["view"] in ("squeeze", "pad")
    assert {one["choice"] for one in content["findings"]["views"]} == {"crop", "squeeze", "pad"}
    assert evaluate(run).metrics["accuracy"] == 1.0
    assert content["preprocessing"]["view"] == content["recipe"]["view"]
