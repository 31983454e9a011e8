"""Where classes are far from equal: what is optimized is said, --balance makes classes count the same, and a class that
the kept model never recognizes is named.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

from pipelines.evaluate import evaluate
from pipelines.evaluation.inference import softmax
from pipelines.evaluation.missed import missed_classes, missed_in_words
from pipelines.evaluation.score import balanced_log_loss, log_loss, score_from, score_of
from pipelines.finetune import finetune
from pipelines.images.balance import log_prior
from pipelines.recipe.balance import imbalance_in_words
from pipelines.recipe.decide import decide
from pipelines.recipe.decision import recipe_of
from pipelines.recipe.earlier import Earlier, repeated_recipe
from pipelines.recipe.explain import explain
from pipelines.recipe.schedule import PlateauSchedule
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json
from pipelines.training.checkpoint import Progress, load_checkpoint, with_progress, without_progress
from pipelines.training.continuation import check_choice
from pipelines.training.head import probe_for_all
from pipelines.training.linear_probe import fit_linear_probe
from pipelines.training.open_end import OpenEnd
from pipelines.training.setup import make_plan
from pipelines.training.training_run import what_is_missed
from resnet_tf.errors import UserError
from resnet_tf.losses import SmoothedCrossentropy
from tests.conftest import small_config

CLASSES = ["crack", "fray", "free"]
BALANCES = ("weights", "sampling", "logits")


def unequal(seed):
    """Returns features [n, 4] and labels [n] of three classes that overlap, with 8, 12 and 200 images."""
    random = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], [8, 12, 200])
    return np.eye(4)[labels] * 1.5 + random.normal(0, 1, (len(labels), 4)), labels


def test_in_a_balanced_log_loss_every_class_counts_the_same():
    labels = np.array([0, 2, 2, 2, 2])  # class 1 has no images
    probabilities = np.array([[0.2, 0.3, 0.5], *[[0.05, 0.05, 0.9]] * 4])
    expected = -(np.log(0.2) + np.log(0.9)) / 2
    assert balanced_log_loss(labels, probabilities) == pytest.approx(expected)
    score = score_of(labels, probabilities.argmax(axis=1), probabilities)
    assert (score.accuracy, score.balanced_accuracy) == (0.8, 0.5)
    assert score.log_loss == pytest.approx(-(np.log(0.2) + 4 * np.log(0.9)) / 5)


def test_outputs_that_are_not_finite_have_no_log_loss():
    score = score_of(np.array([0, 1]), np.array([0, 0]), np.full((2, 2), np.nan))
    assert np.isnan([score.log_loss, score.balanced_log_loss]).all()
    assert not any(Progress().improves(score, name) for name in ("log_loss", "balanced_log_loss"))


@pytest.mark.parametrize("balance", BALANCES)
def test_a_balanced_head_recognizes_rare_classes(balance):
    fits = {
        name: fit_linear_probe(unequal(0), unequal(1), 3, None, name, by)
        for name, by in (("none", "log_loss"), (balance, "balanced_log_loss"))
    }
    features, labels = unequal(2)
    for kernel, bias in (("kernel", "bias"), ("refit_kernel", "refit_bias")):
        plain, balanced = (
            balanced_accuracy_score(labels, (features @ getattr(fit, kernel) + getattr(fit, bias)).argmax(axis=1))
            for fit in (fits["none"], fits[balance])
        )
        assert balanced > plain + 0.1
    features, labels = unequal(1)
    found = softmax(features @ fits[balance].kernel + fits[balance].bias)
    assert fits[balance].score.balanced_log_loss == pytest.approx(balanced_log_loss(labels, found), rel=1e-4)
    assert fits[balance].score.log_loss == pytest.approx(log_loss(labels, found), rel=1e-4)


def test_a_head_with_adjusted_logits_is_the_plain_one_with_another_bias():
    plain, adjusted = (fit_linear_probe(unequal(0), unequal(1), 3, None, name) for name in ("none", "logits"))
    same = LogisticRegression(C=adjusted.strength, max_iter=1000, tol=1e-4)
    features, labels = unequal(0)
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    logits = same.fit((features - mean) / deviation, labels).decision_function((features - mean) / deviation)
    prior = log_prior(pd.Series(labels), [0, 1, 2])
    expected, found = softmax(logits - prior), softmax(features @ adjusted.kernel + adjusted.bias)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert plain.score.accuracy > adjusted.score.accuracy


def test_two_classes_can_be_balanced():
    labels = np.repeat([0, 1], [6, 94])
    features = labels[:, None] + np.random.default_rng(0).normal(0, 1, (100, 2))
    for balance in BALANCES:
        fit = fit_linear_probe((features, labels), (features, labels), 2, None, balance, "balanced_log_loss")
        assert fit.score.balanced_accuracy > 0.6
        predicted = (features @ fit.kernel + fit.bias).argmax(axis=1)
        assert fit.score.balanced_accuracy == balanced_accuracy_score(labels, predicted)


def test_the_loss_of_adjusted_logits_is_that_of_logits_with_the_log_prior():
    logits, labels = np.random.default_rng(0).normal(size=(8, 3)).astype("float32"), np.arange(8) % 3
    prior = log_prior(pd.Series(["a", "b", "b", "c"]), ["a", "b", "c"])
    np.testing.assert_allclose(np.exp(prior), [0.25, 0.5, 0.25])
    loss = SmoothedCrossentropy(0.1, log_prior=prior)
    plain = SmoothedCrossentropy(0.1)(labels, logits + np.array(prior, "float32"))
    assert float(loss(labels, logits)) == pytest.approx(float(plain), rel=1e-6)
    again = SmoothedCrossentropy.from_config(loss.get_config())
    assert float(again(labels, logits)) == float(loss(labels, logits))


def test_workers_get_the_probe_of_the_chief_with_its_score():
    probe = fit_linear_probe(unequal(0), unequal(1), 3)
    sent = []

    def arrays_from_chief(make):
        return {name: value.copy() for name, value in make().items()}

    def from_chief(make):
        sent.append(make())
        return sent[-1]

    workers = SimpleNamespace(alone=False, arrays_from_chief=arrays_from_chief, from_chief=from_chief)
    found = probe_for_all(workers, lambda: probe)
    assert found.score == probe.score
    assert (found.strength, found.channels) == (probe.strength, probe.channels)
    np.testing.assert_array_equal(found.refit_kernel, probe.refit_kernel)


def test_a_class_is_missed_if_its_recall_is_less_than_a_quarter_of_the_accuracy():
    labels = np.repeat([0, 1, 2, 3], [2, 16, 10, 100])
    predicted = labels.copy()
    predicted[:2] = 3  # two images are too few to say anything
    predicted[2:17] = 3  # one of 16 is recognized
    predicted[18:25] = 3  # three of ten are recognized
    (missed,) = missed_classes(labels, predicted)
    assert (missed.label, missed.images, missed.recognized, missed.taken_for, missed.taken) == (1, 16, 1, 3, 15)
    predicted[17] = 2
    assert missed_classes(labels, predicted)[0].recognized == 0
    assert missed_classes(labels, labels) == ()


def test_missed_classes_are_named_with_what_to_try():
    predicted = np.repeat([2, 2, 1, 2], [15, 1, 1, 40])
    labels = np.repeat([0, 1, 2], [16, 1, 40])
    score = score_of(labels, predicted, np.eye(3)[predicted] * 0.85 + 0.05)
    assert score_from({**vars(score), "missed": [vars(each) for each in score.missed]}) == score
    missed = [each.named(CLASSES) for each in score.missed]
    recipe = {"balance": "none", "view": "crop", "image_size": 224}
    assert missed_in_words(missed, "validation", recipe) == (
        "of 16 validation images of 'crack' none is recognized (16 are called 'free'); try --balance logits, "
        "--view squeeze, a larger --image-size, or more pictures of what is missed"
    )
    tried = {"balance": "logits", "view": "squeeze", "image_size": 448}
    assert missed_in_words(missed * 5, "test", tried).endswith(
        "(16 are called 'free'); and 2 more classes are like that; try more pictures of what is missed"
    )
    assert missed_in_words(missed, "test", {}).endswith("; try more pictures of what is missed")
    assert missed_in_words([], "validation", recipe) == ""


def test_what_is_optimized_is_said_where_classes_are_far_from_equal():
    assert imbalance_in_words(pd.Series({"a": 20, "b": 99}), "none") == ""
    said = imbalance_in_words(pd.Series({"a": 24, "b": 555}), "none")
    assert said.startswith("classes have 24 to 555 training images; every image counts the same, so rare classes")
    assert imbalance_in_words(pd.Series({"a": 24, "b": 555}), "logits").startswith(
        "classes have 24 to 555 training images; every class counts the same, by --balance logits"
    )


@pytest.mark.parametrize(
    ("imbalance", "settings", "balance", "decided_by"),
    [
        (4.9, {}, "none", "data"),
        (5.0, {}, "logits", "data"),
        (23.0, {"balance": "none"}, "none", "user"),
        (1.0, {"balance": "weights"}, "weights", "user"),
    ],
)
def test_every_class_counts_the_same_where_classes_are_far_from_equal(images, imbalance, settings, balance, decided_by):
    rows = {row.setting: row for row in decide(small_config(images, "run", **settings), 80, imbalance=imbalance)}
    assert (rows["balance"].value, rows["balance"].decided_by) == (balance, decided_by)
    assert rows["choose_by"].value == ("log_loss" if balance == "none" else "balanced_log_loss")


def test_a_run_of_an_earlier_version_keeps_its_balance(images):
    config = small_config(images, "run")
    recorded = {"choose_by": "log_loss", "epochs": 3}
    earlier = Earlier("a", {"arguments": {**config.as_arguments(), "balance": "none"}, "recipe": recorded})
    rows = {row.setting: row for row in decide(config, 80, repeated_recipe(earlier, config), "a", imbalance=23.0)}
    assert (rows["balance"].value, rows["choose_by"].value) == ("none", "log_loss")
    asked = replace(config, balance="weights")
    rows = {row.setting: row for row in decide(asked, 80, repeated_recipe(earlier, asked), "a", imbalance=23.0)}
    assert (rows["balance"].value, rows["choose_by"].value) == ("weights", "balanced_log_loss")


def test_the_recipe_says_how_the_best_model_is_chosen(images):
    for settings, choose_by, line in (
        ({}, "log_loss", "the best model has the lowest log loss on validation: every image counts the same"),
        ({"balance": "logits"}, "balanced_log_loss", "in which every class counts the same: as --balance logits asks"),
    ):
        decisions = decide(small_config(images, "run", weights="x", **settings), images=1000)
        assert recipe_of(decisions).choose_by == choose_by
        assert line in explain(decisions)


def test_the_open_end_watches_the_figure_that_chooses(images):
    config = small_config(images, "run", weights="x", epochs="auto", balance="logits")
    recipe = recipe_of(decide(config, images=80))
    open_end, progress = OpenEnd(PlateauSchedule(0.1, 3), recipe, steps=10), Progress()
    for epoch in range(1, 6):
        progress.epochs_done = epoch
        progress.rows.append({"epoch": epoch, "val_log_loss": 9.0 - epoch, "val_balanced_log_loss": 1.0 + epoch})
        if "not improved" in open_end.after_epoch(progress, 10 * epoch):
            break
    assert progress.plateau_epochs == 1 + recipe.plateau_patience + recipe.warmup_steps // 10


def test_a_best_model_that_an_earlier_version_chose_otherwise_is_one_sentence():
    progress = Progress(best="epoch 1", best_log_loss=0.5)
    check_choice(Run("run"), progress, "log_loss")
    with pytest.raises(UserError, match="begun by an earlier version, which did not choose by balanced log loss"):
        check_choice(Run("run"), progress, "balanced_log_loss")


@pytest.fixture(scope="module")
def rare(images):
    """Returns a table of the drawn images in which the labels are far from equal.

    The rare class has images of all kinds, which nothing tells from the others.
    """
    paths = sorted(path.relative_to(images).as_posix() for path in images.rglob("*.jpg"))
    labels = ["rare" if number % 6 == 0 else "common" for number, _ in enumerate(paths)]
    splits = ["val" if number % 12 < 5 else "train" for number, _ in enumerate(paths)]
    table = images.parent / "rare.csv"  # a table is above its images
    rows = {"path": [f"{images.name}/{path}" for path in paths], "label": labels, "split": splits}
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def test_a_class_that_is_given_up_is_named_by_finetune_and_evaluate(
    images, rare, small, small_weights, tmp_path, capsys
):
    settings = {"arch": small, "weights": str(small_weights), "precision": "float32"}
    plan = make_plan(small_config(rare, tmp_path / "run", epochs=0, balance="none", **settings))
    run = finetune(plan.changed(refit_head=False))  # so that evaluate judges the head that validation has judged
    named = "images of 'rare' none is recognized (3 are called 'common'); try --balance logits"
    assert f"warning: of 3 validation {named}" in capsys.readouterr().err
    progress = load_checkpoint(run).progress
    assert [each["class"] for each in progress.best_missed] == ["rare"]
    assert progress.best_balanced_accuracy == 0.5
    again = without_progress(run.checkpoints, with_progress({}, progress)).progress  # as a continued run reads it
    recipe = recipe_of(decide(small_config(rare, "run", balance="none"), 80))
    assert what_is_missed(again, recipe).startswith(f"of 3 validation {named}")
    found = evaluate(run, "val")
    assert found.metrics["never_recognized"] == progress.best_missed
    assert f"warning: of 3 val {named}" in (found.folder / "summary.txt").read_text()


def test_a_balanced_run_keeps_the_model_with_the_lowest_balanced_log_loss(rare, small, small_weights, tmp_path, capsys):
    settings = {"arch": small, "weights": str(small_weights), "precision": "float32", "learning_rate": 3e-3}
    run = finetune(small_config(rare, tmp_path / "run", epochs=2, balance="logits", **settings))
    history, progress = pd.read_csv(run.history), load_checkpoint(run).progress
    assert progress.best_balanced_log_loss == history["val_balanced_log_loss"].min()
    assert progress.best_log_loss > history["val_log_loss"].min()
    assert read_json(run.config)["recipe"]["choose_by"] == "balanced_log_loss"
    assert "val balanced log loss" in capsys.readouterr().out
