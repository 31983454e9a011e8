"""statsmodels, MAPIE and cleanlab find the same intervals, sets and label issues.

The judges are for the tests alone; see requirements-dev.txt.
"""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedShuffleSplit
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from pipelines.evaluation.conformal import quantile_of, raps_scores, scores_of, sets_of
from pipelines.evaluation.label_issues import label_issues
from pipelines.evaluation.shares import wilson
from pipelines.evaluation.slices import holm
from tests.pipelines.test_figures import answers_of


def test_statsmodels_finds_the_same_intervals():
    images = np.array([1, 3, 10, 288, 50_000])
    for right in (images * 0, images // 3, images):
        low, high = proportion_confint(right, images, method="wilson")
        np.testing.assert_allclose(wilson(right, images), (low, high), atol=1e-12)


def test_statsmodels_corrects_in_the_same_way():
    chances = np.random.default_rng(0).random(40) ** 3
    np.testing.assert_allclose(holm(list(chances)), multipletests(chances, method="holm")[1], atol=1e-12)


def test_cleanlab_finds_the_same_labels():
    from cleanlab.filter import find_label_issues

    for seed, sharpness in ((0, 0.5), (1, 1.0), (2, 3.0)):
        labels, logits = answers_of(800, sharpness=sharpness, seed=seed)
        found = softmax(logits, axis=1)
        ours = [issue.image for issue in label_issues(labels, found)]
        theirs = find_label_issues(
            labels, found, filter_by="confident_learning", return_indices_ranked_by="self_confidence", n_jobs=1
        )
        assert ours == theirs.tolist()
        assert ours


class Known(ClassifierMixin, BaseEstimator):
    """A classifier whose features are its probabilities."""

    def __init__(self, classes: int = 5) -> None:
        self.classes = classes
        self.classes_ = np.arange(classes)

    def fit(self, features, labels):
        return self

    def predict_proba(self, features):
        return features

    def predict(self, features):
        return features.argmax(axis=1)

    def __sklearn_is_fitted__(self):
        return True


def test_mapie_makes_the_same_lac_sets():
    from mapie.classification import SplitConformalClassifier

    labels, logits = answers_of(600)
    found = softmax(logits, axis=1)
    mapie = SplitConformalClassifier(Known(), confidence_level=0.9, conformity_score="lac", prefit=True)
    mapie.conformalize(found[:300], labels[:300])
    theirs = mapie.predict_set(found[300:])[1][:, :, 0]
    quantile = quantile_of(scores_of("lac", labels[:300], found[:300]), 0.9)
    np.testing.assert_array_equal(sets_of("lac", found[300:], quantile), theirs)


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_mapie_makes_the_same_raps_sets(level):
    from mapie.classification import SplitConformalClassifier
    from mapie.conformity_scores import RAPSConformityScore

    labels, logits = answers_of(900, classes=12)
    found = softmax(logits, axis=1)
    score = RAPSConformityScore()
    mapie = SplitConformalClassifier(Known(12), confidence_level=level, conformity_score=score, random_state=0)
    mapie.conformalize(found[:600], labels[:600])
    theirs = mapie.predict_set(found[600:], conformity_score_params={"include_last_label": False})[1][:, :, 0]
    # MAPIE holds images back, by which it chooses the penalty and the number of free ranks, and calibrates at random.
    chosen = mapie._mapie_classifier.conformity_score_function_
    left, _ = next(
        StratifiedShuffleSplit(1, test_size=chosen.size_raps, random_state=0).split(found[:600], labels[:600])
    )
    rule = {"penalty": float(chosen.lambda_star), "free": int(chosen.k_star[0])}
    ours = raps_scores(found[left], np.random.RandomState(0).uniform(size=len(left)), **rule)
    ours = ours[np.arange(len(left)), labels[left]]
    quantile = quantile_of(np.sort(ours), level)
    assert quantile == pytest.approx(float(chosen.quantiles_[0]))
    np.testing.assert_array_equal(_with_likeliest(raps_scores(found[600:], **rule) <= quantile, found[600:]), theirs)


def _with_likeliest(inside: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    inside[np.arange(len(inside)), probabilities.argmax(axis=1)] = True
    return inside
