"""The figures of an evaluation: intervals, calibration, refusal, sets, slices and label issues."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from pipelines.evaluation.baseline import majority_baseline
from pipelines.evaluation.calibration import (
    calibration_error,
    calibration_of,
    fit_temperature,
    reliability,
    with_temperature,
)
from pipelines.evaluation.conformal import (
    METHODS,
    conformal_sets,
    guarantee_of,
    halved_conformal_sets,
    images_needed,
    quantile_of,
    raps_scores,
    scores_of,
    sets_of,
)
from pipelines.evaluation.figures import figures_of
from pipelines.evaluation.intervals import Answers, bootstrap_intervals, resamples
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.label_issues import label_issue_table, label_issues, pairs_to_merge
from pipelines.evaluation.metrics import confusion_matrix, summarize
from pipelines.evaluation.refusal import NEVER, answered_above, choose_threshold, risk_coverage
from pipelines.evaluation.shares import wilson
from pipelines.evaluation.slices import holm, slices_of
from pipelines.evaluation.summary import summary_text


def answers_of(images: int, classes: int = 5, sharpness: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels that are drawn from probabilities, and the logits of a model that multiplies the true ones."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (images, classes))
    labels = (softmax(logits, axis=1).cumsum(axis=1) > random.random((images, 1))).argmax(axis=1)
    return labels, logits * sharpness


# Intervals


def test_wilson_of_no_image_is_unknown_and_of_all_right_ends_at_1():
    low, high = wilson([0, 3, 0], [0, 3, 3])
    assert np.isnan(low[0])
    assert np.isnan(high[0])
    assert high[1] == 1.0
    assert low[2] == 0.0
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)  # Wilson 1927, by hand


def test_figures_of_weights_are_those_of_repeated_images():
    labels, logits = answers_of(60)
    found = softmax(logits, axis=1)
    weights = next(resamples(np.arange(60), 1, seed=3))
    repeated = np.repeat(np.arange(60), weights.astype(int))
    of_weights = Answers(labels, found).figures(weights)
    by_sklearn = summarize(labels[repeated], found[repeated], list("abcde"))
    for name in sorted(set(of_weights) & set(by_sklearn)):
        assert of_weights[name] == pytest.approx(by_sklearn[name], abs=1e-12), name


def test_images_of_a_group_are_drawn_together_and_widen_the_interval():
    labels, logits = answers_of(40, seed=1)
    found, groups = softmax(logits, axis=1), np.arange(40)
    tripled = Answers(np.tile(labels, 3), np.tile(found, (3, 1)))
    alone = bootstrap_intervals(Answers(labels, found), groups, replicates=300)
    together = bootstrap_intervals(tripled, np.tile(groups, 3), replicates=300)
    apart = bootstrap_intervals(tripled, np.arange(120), replicates=300)
    assert together["log_loss"] == pytest.approx(alone["log_loss"])
    assert np.ptp(apart["log_loss"]) < 0.75 * np.ptp(together["log_loss"])


def test_an_interval_contains_the_truth_about_as_often_as_it_says():
    truth = Answers(*(lambda labels, logits: (labels, softmax(logits, axis=1)))(*answers_of(50_000, seed=9))).figures()
    hits = dict.fromkeys(("balanced_accuracy", "macro_f1", "log_loss", "brier"), 0)
    for seed in range(60):
        labels, logits = answers_of(150, seed=seed)
        found = bootstrap_intervals(Answers(labels, softmax(logits, axis=1)), np.arange(150), replicates=200)
        for name in hits:
            hits[name] += found[name][0] <= truth[name] <= found[name][1]
    # 60 intervals of 95 % hold the truth 51 times or more in 99 of 100 cases.
    assert min(hits.values()) >= 51, hits


def test_the_largest_class_alone_is_what_to_beat():
    labels = np.array([0, 0, 0, 1, 2, 2])
    found = majority_baseline(labels, ["a", "b", "c"])
    shares = np.array([3, 1, 2]) / 6
    assert found == {
        "class": "a",
        "accuracy": 0.5,
        "balanced_accuracy": pytest.approx(1 / 3),
        "macro_f1": pytest.approx(sk.f1_score(labels, np.zeros(6), average="macro", zero_division=0.0)),
        "log_loss": pytest.approx(-(shares * np.log(shares)).sum()),
    }


# Calibration


def test_bins_have_all_images_and_their_error_is_the_mean_distance():
    labels, logits = answers_of(500, sharpness=2.0)
    found = softmax(logits, axis=1)
    for equal in ("width", "mass"):
        bins = reliability(labels, found, 10, equal)
        assert sum(each.images for each in bins) == 500
        assert all(each.low <= each.confidence <= each.high + 1e-12 for each in bins)
        assert all(each.accuracy_low <= each.accuracy <= each.accuracy_high for each in bins)
        assert calibration_error(bins) == pytest.approx(
            np.average([abs(each.accuracy - each.confidence) for each in bins], weights=[each.images for each in bins])
        )
    assert {each.images for each in reliability(labels, found, 10, "mass")} == {50}


def test_temperature_finds_by_how_much_a_model_is_too_sure():
    labels, logits = answers_of(4000, sharpness=2.5)
    temperature = fit_temperature(labels, logits)
    assert temperature == pytest.approx(2.5, rel=0.08)  # the deviation of the estimate is about 0.03
    before, after = softmax(logits, axis=1), with_temperature(softmax(logits, axis=1), temperature)
    np.testing.assert_allclose(after, softmax(logits / temperature, axis=1), atol=1e-12)
    assert calibration_of(labels, after).ece < 0.3 * calibration_of(labels, before).ece
    assert (after.argmax(axis=1) == before.argmax(axis=1)).all()


def test_the_brier_score_is_that_of_scikit_learn():
    labels, logits = answers_of(200)
    found = softmax(logits, axis=1)
    expected = sk.brier_score_loss(labels, found, labels=np.arange(5), scale_by_half=False)
    assert calibration_of(labels, found).brier == pytest.approx(expected)


@pytest.mark.parametrize("all_right", [True, False])
def test_a_figure_that_no_resample_changes_has_no_interval(all_right):
    labels, classes = np.arange(12) % 2, ["a", "b"]
    found = np.where(np.eye(2)[labels] > 0, 0.9, 0.1) if all_right else np.tile([0.7, 0.3], (12, 1))
    rows = pd.DataFrame({"path": list("abcdefghijkl"), "label": [classes[label] for label in labels]})
    rows["group"] = [str(number) for number in range(12)] if all_right else "one shop"
    metrics = figures_of(Judged("test", classes, rows, found)).metrics
    named = {name.removesuffix("_ci95") for name in metrics if name.endswith("_ci95")}
    assert named == {"accuracy", "top5_accuracy"}
    assert metrics["accuracy_ci95"][0] < metrics["accuracy_ci95"][1]
    matrix = confusion_matrix(labels, found.argmax(axis=1), classes)
    text = summary_text({**metrics, "classes": classes, "split": "test", "mirror": False}, matrix)
    assert f"balanced accuracy  {metrics['balanced_accuracy']:.4f}\n" in text
    assert "top-5" not in text  # with two classes it says nothing


# Refusal


def test_the_threshold_is_the_lowest_that_leaves_the_wanted_share():
    confidence = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
    right = np.array([True, True, False, True, False])
    assert choose_threshold(confidence, right, 0.75) == 0.6
    assert choose_threshold(confidence, right, 0.9) == 0.8
    assert choose_threshold(confidence, right, 0.6) == 0.0
    assert choose_threshold(confidence, ~right, 0.9) == NEVER
    left = answered_above(confidence, right, 0.6)
    assert (left.answered, left.right, left.coverage) == (4, 3, 0.8)
    assert left.in_words().startswith("Refuse below 0.6: 75.0 % of the remaining answers are right (95 % interval 30.1")
    assert left.in_words().endswith("on 80 % of the images.")
    # The threshold is of other images, or all answers are as sure as can be; it says nothing of how many are right.
    for threshold, surest in ((0.0, confidence), (NEVER, np.ones(5))):
        assert answered_above(surest, ~right, threshold).in_words().startswith("No answer is refused: 40.0 % of the")


def test_equal_confidences_are_refused_together():
    curve = risk_coverage(np.array([0.5, 0.5, 0.9]), np.array([True, False, True]))
    assert [(each.threshold, each.answered, each.right) for each in curve] == [(0.5, 3, 2), (0.9, 1, 1)]


def test_a_curve_of_many_images_keeps_its_ends():
    labels, logits = answers_of(3000)
    found = softmax(logits, axis=1)
    curve = risk_coverage(found.max(axis=1), found.argmax(axis=1) == labels, most=50)
    assert len(curve) == 50
    assert curve[0].coverage == 1.0
    assert curve[-1].answered == 1


# Sets


@pytest.mark.parametrize("method", METHODS)
def test_sets_contain_the_true_class_as_often_as_guaranteed(method):
    labels, logits = answers_of(6000, sharpness=3.0)  # too sure of itself: the guarantee does not need calibration
    found = softmax(logits, axis=1)
    low, high = guarantee_of(1000, 0.9)
    sets = conformal_sets(method, scores_of(method, labels[:1000], found[:1000]), labels[1000:], found[1000:], 0.9)
    assert low - 0.02 < sets.covered / sets.images
    assert method == "raps" or sets.covered / sets.images < high + 0.02
    assert sum(sets.sizes.values()) == 5000
    assert f"{100 * sets.covered / 5000:.1f} % of the sets contain" in sets.in_words()
    halves = halved_conformal_sets(method, labels, found, np.arange(6000), 0.9)
    assert halves.calibrated_on == 3000
    assert halves.covered / 6000 == pytest.approx(sets.covered / 5000, abs=0.03)


def test_too_few_calibration_images_leave_all_classes_in_the_set():
    assert images_needed(0.95) == 19
    scores = np.linspace(0, 1, 18)
    assert quantile_of(scores, 0.95) == np.inf
    assert sets_of("lac", np.array([[0.9, 0.1]]), np.inf).all()
    assert guarantee_of(18, 0.95) == (1.0, 1.0)
    assert quantile_of(np.linspace(0, 1, 19), 0.95) == 1.0


def test_a_set_is_never_empty():
    assert sets_of("lac", np.array([[0.6, 0.4]]), 0.1).tolist() == [[True, False]]


def test_a_random_share_of_the_own_probability_makes_the_coverage_exact():
    labels, logits = answers_of(20_000)
    found, uniform = softmax(logits, axis=1), np.random.default_rng(0).random(20_000)
    scores = raps_scores(found, uniform)
    threshold = np.quantile(scores[np.arange(10_000), labels[:10_000]], 0.8)
    covered = scores[np.arange(10_000, 20_000), labels[10_000:]] <= threshold
    assert covered.mean() == pytest.approx(0.8, abs=0.015)  # three deviations of 10,000 images


# Slices


def test_the_weakest_part_comes_first_and_is_corrected_for_looking_at_many():
    random = np.random.default_rng(0)
    facts = pd.DataFrame(
        {
            "brightness": random.random(400),
            "camera": np.where(np.arange(400) < 80, "old", "new"),
            "name": [f"{number}.jpg" for number in range(400)],
        }
    )
    right = random.random(400) < np.where(facts["camera"] == "old", 0.6, 0.95)
    slices = slices_of(facts, right)
    assert slices[0].name == "camera: old"
    assert slices[0].images == 80
    assert slices[0].p < slices[0].p_adjusted < 0.001
    assert len([each for each in slices if each.column == "brightness"]) == 4
    assert sum(each.images for each in slices if each.column == "brightness") == 400
    assert all(each.p_adjusted > 0.05 for each in slices if each.column == "brightness")
    assert not [each for each in slices if each.column == "name"]


def test_unknown_values_are_in_no_part():
    facts = pd.DataFrame({"speed": ["", *map(str, range(60)), ""], "note": ["", *["x"] * 40, *[""] * 21]})
    slices = slices_of(facts, np.arange(62) % 3 > 0)
    assert sum(each.images for each in slices if each.column == "speed") == 60
    assert [(each.value, each.images) for each in slices if each.column == "note"] == [("x", 40)]


def test_a_column_with_an_infinite_number_is_divided_by_its_texts(recwarn):
    facts = pd.DataFrame({"distance": ["inf"] * 20 + [str(number) for number in range(1, 9)] * 10})
    slices = slices_of(facts, np.arange(100) % 3 > 0)
    assert {each.value for each in slices} == {"inf", *map(str, range(1, 9))}
    assert not recwarn.list


def test_holm_corrects_the_smallest_most():
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([]) == []


# Labels


def test_labels_that_a_model_contradicts_are_found_and_the_surest_come_first():
    labels = np.arange(600) % 5
    logits = 4.0 * np.eye(5)[labels] + np.random.default_rng(0).normal(0, 1, (600, 5))
    given = labels.copy()
    given[:30] = (given[:30] + 1) % 5
    issues = label_issues(given, softmax(logits, axis=1))
    found = {issue.image for issue in issues}
    assert len(found & set(range(30))) >= 25
    assert len(found - set(range(30))) <= 3
    assert all(issue.suggested == labels[issue.image] for issue in issues)
    assert [issue.score for issue in issues] == sorted(issue.score for issue in issues)
    table = label_issue_table(issues, [f"{number}.jpg" for number in range(600)], list("abcde"))
    assert list(table.columns) == ["path", "label", "suggested", "score"]


def test_two_classes_of_the_same_images_may_be_one():
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 40)
    logits = 6.0 * np.eye(4)[truth] + random.normal(0, 1, (120, 4))
    logits[truth == 2, 3] = logits[truth == 2, 2] + random.normal(0, 1, 40)
    labels = np.where((truth == 2) & (np.arange(120) % 2 == 0), 3, truth)  # class 2 is labelled 2 or 3 at random
    pairs = pairs_to_merge(labels, softmax(logits, axis=1), list("abcd"))
    assert [(pair.first, pair.second, pair.images) for pair in pairs] == [("c", "d", 40)]
