"""Fits a linear probe: multinomial logistic regression on the features of a frozen backbone, to convergence."""

from dataclasses import dataclass

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

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
        accuracy: Accuracy on the validation features of the classifier that has not seen them.
        log_loss: Log loss on the validation features of the classifier that has not seen them.
    """

    kernel: np.ndarray
    bias: np.ndarray
    refit_kernel: np.ndarray
    refit_bias: np.ndarray
    strength: float
    channels: int
    accuracy: float
    log_loss: float


def fit_linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    classes: int,
    averaged: int | None = None,
) -> LinearProbe:
    """Fits a linear probe.

    Args:
        train: Features [n, channels] and labels [n] in 0 … classes - 1, each class at least once.
        validation: Features and labels of the validation part; a class may be missing.
        classes: Number of classes.
        averaged: Number of channels, from the first on, that are averages of a stage; the others are maxima, which
            help on some data and harm on others. None if all are averages.

    Returns:
        The probe with the lowest log loss on the validation part, among those of all channels and of averages alone.
        It is fitted once more, with the same regularization, to the features of both parts.
    """
    features, labels = train
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A constant channel must stay near 0. Its deviation is only rounding, which depends on the machine and the batch.
    deviation = np.where(deviation > ROUNDING * np.abs(features).max(), deviation, 1.0)
    scaled = (features - mean) / deviation, (validation[0] - mean) / deviation
    choices = sorted({averaged or features.shape[1], features.shape[1]})
    fits = [_path((scaled[0][:, :n], labels), (scaled[1][:, :n], validation[1]), classes) for n in choices]
    loss, accuracy, regression = min(fits, key=lambda fit: fit[0])
    channels = regression.coef_.shape[1]
    both = np.concatenate(scaled)[:, :channels], np.concatenate([labels, validation[1]])
    refit = clone(regression).fit(*both)
    return LinearProbe(
        *_unscaled(regression, mean, deviation),
        *_unscaled(refit, mean, deviation),
        strength=regression.C,
        channels=channels,
        accuracy=accuracy,
        log_loss=loss,
    )


def _path(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], classes: int
) -> tuple[float, float, LogisticRegression]:
    """Returns the best log loss along the strengths, with its accuracy and its regression.

    The log loss falls and then rises, so the path ends where it begins to rise.
    """
    best = None
    for strength in STRENGTHS:
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-4).fit(*train)
        probabilities = regression.predict_proba(validation[0])
        loss = float(log_loss(validation[1], probabilities, labels=np.arange(classes)))
        if best is not None and loss >= best[0]:
            break
        best = loss, float(accuracy_score(validation[1], probabilities.argmax(axis=1))), regression
    assert best is not None
    return best


def _unscaled(regression: LogisticRegression, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns kernel and bias that give the same logits from features that are not standardized.

    The kernel is 0 for channels that were left out.
    """
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the second class's logit over the first's
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    coefficients = np.pad(coefficients, [(0, 0), (0, len(mean) - coefficients.shape[1])])
    kernel = (coefficients / deviation).T
    return kernel.astype(np.float32), (intercepts - mean @ kernel).astype(np.float32)
