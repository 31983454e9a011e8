"""Fits a linear probe: multinomial logistic regression on the features of a frozen backbone, to convergence."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from pipelines.evaluation.score import LOG_LOSS, Score, score_of

# Inverse regularization strengths, on standardized features. Weak regularization comes first, because it takes fewer
# iterations.
STRENGTHS = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 1e-3, 1e-4)
# A deviation below this share of the largest feature is only rounding. The share is a hundred times the difference
# between float32 computations of one feature. The smallest deviation of real photos' features is 0.002 of the largest
# feature (natural30, grocery30).
ROUNDING = 1e-5


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier of features: its logits are features · kernel + bias.

    Args:
        kernel: float32 [channels, classes], fitted to the training features.
        bias: float32 [classes], fitted to the training features.
        refit_kernel: float32 [channels, classes], fitted to the training and the validation features together.
        refit_bias: float32 [classes], fitted to the training and the validation features together.
        strength: Inverse regularization that was chosen.
        channels: Number of channels that it uses, from the first on; the kernel is 0 for the others.
        score: Score on the validation features of the classifier that has not seen them.
    """

    kernel: np.ndarray
    bias: np.ndarray
    refit_kernel: np.ndarray
    refit_bias: np.ndarray
    strength: float
    channels: int
    score: Score


def fit_linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    classes: int,
    averaged: int | None = None,
    balance: str = "none",
    choose_by: str = LOG_LOSS,
) -> LinearProbe:
    """Fits a linear probe.

    Args:
        train: Features [n, channels] and labels [n] in 0 … classes - 1, each class at least once.
        validation: Features and labels of the validation part; a class may be missing.
        classes: Number of classes.
        averaged: Number of channels, from the first on, that are averages of a stage; the others are maxima, which
            help on some data and harm on others. None if all are averages.
        balance: Value of --balance. With "weights" and "sampling" a class's images have weights that are inversely
            proportional to their number, which is what sampling comes to in the mean. With "logits" the logarithm of
            the class's share is subtracted from the fitted bias. Because biases are not regularized, that is the same
            as a fit whose loss adds it to the logits (Menon et al. 2021, arXiv 2007.07314, section 4).
        choose_by: Figure of the score that is lowest for the best regularization.

    Returns:
        The best probe on the validation part, among those of all channels and of averages alone.
        It is fitted once more, with the same regularization, to the features of both parts.
    """
    features, labels = train
    mean, deviation = standards(features)
    scaled = (features - mean) / deviation, (validation[0] - mean) / deviation
    choices = sorted({averaged or features.shape[1], features.shape[1]})
    path = partial(_path, balance=balance, choose_by=choose_by)
    fits = [path((scaled[0][:, :n], labels), (scaled[1][:, :n], validation[1])) for n in choices]
    score, regression = min(fits, key=lambda fit: getattr(fit[0], choose_by))
    channels = regression.coef_.shape[1]
    both = np.concatenate(scaled)[:, :channels], np.concatenate([labels, validation[1]])
    refit = clone(regression).fit(*both)
    return LinearProbe(
        *_unscaled(regression, mean, deviation, _log_prior(labels, classes, balance)),
        *_unscaled(refit, mean, deviation, _log_prior(both[1], classes, balance)),
        strength=regression.C,
        channels=channels,
        score=score,
    )


def repeat_linear_probe(
    features: np.ndarray, labels: np.ndarray, classes: int, *, strength: float, channels: int, balance: str = "none"
) -> tuple[np.ndarray, np.ndarray]:
    """Fits a linear probe whose regularization and channels were chosen before, on other images.

    Args:
        features: Features [n, channels].
        labels: Classes [n] in 0 … classes - 1, each at least once.
        classes: Number of classes.
        strength: Inverse regularization, as in `LinearProbe`.
        channels: Number of channels that it uses, from the first on.
        balance: Value of --balance, see `fit_linear_probe`.

    Returns:
        Kernel, float32 [channels, classes], and bias, float32 [classes].
    """
    mean, deviation = standards(features)
    regression = _regression(strength, balance).fit(((features - mean) / deviation)[:, :channels], labels)
    return _unscaled(regression, mean, deviation, _log_prior(labels, classes, balance))


def standards(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and deviation of each channel, float [channels] each, by which features are standardized.

    Args:
        features: float [n, channels].
    """
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A constant channel must stay near 0. Its deviation is only rounding, which depends on the machine and the batch.
    return mean, np.where(deviation > ROUNDING * np.abs(features).max(), deviation, 1.0)


def _regression(strength: float, balance: str) -> LogisticRegression:
    weights = "balanced" if balance in ("weights", "sampling") else None
    return LogisticRegression(C=strength, class_weight=weights, max_iter=1000, tol=1e-4)


def _path(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], balance: str, choose_by: str
) -> tuple[Score, LogisticRegression]:
    """Returns the best score along the strengths, with its regression.

    The loss falls and then rises, so the path ends where it begins to rise.
    """
    best = None
    for strength in STRENGTHS:
        regression = _regression(strength, balance).fit(*train)
        probabilities = regression.predict_proba(validation[0])
        if balance == "logits":
            shares = probabilities / np.exp(_log_prior(train[1], probabilities.shape[1], balance))
            probabilities = shares / shares.sum(axis=1, keepdims=True)
        score = score_of(validation[1], probabilities.argmax(axis=1), probabilities)
        if best is not None and getattr(score, choose_by) >= getattr(best[0], choose_by):
            break
        best = score, regression
    assert best is not None
    return best


def _log_prior(labels: np.ndarray, classes: int, balance: str) -> np.ndarray | float:
    """Returns what is subtracted from the bias: float [classes], or 0."""
    return np.log(np.bincount(labels, minlength=classes) / len(labels)) if balance == "logits" else 0.0


def _unscaled(
    regression: LogisticRegression, mean: np.ndarray, deviation: np.ndarray, log_prior: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias that give the same logits, less the log prior, from features that are not standardized.

    The kernel is 0 for channels that were left out.
    """
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the second class's logit over the first's
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    coefficients = np.pad(coefficients, [(0, 0), (0, len(mean) - coefficients.shape[1])])
    kernel = (coefficients / deviation).T
    return kernel.astype(np.float32), (intercepts - mean @ kernel - log_prior).astype(np.float32)
