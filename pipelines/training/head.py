"""A new head on a frozen backbone: multinomial logistic regression on its features, to convergence."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

from resnet_tf.workers import Workers

# Inverse regularization strengths, on standardized features, from weak regularization on: those take fewer iterations.
STRENGTHS = (1.0, 3e-1, 1e-1, 3e-2, 1e-2, 1e-3, 1e-4)
# Of the largest feature: a hundred times what float32 computations of one feature differ by. The smallest deviation of
# real photos' features is 0.002 of it (natural30, grocery30).
ROUNDING = 1e-5


@dataclass(frozen=True)
class Head:
    """Logits are features · kernel + bias.

    Args:
        kernel: float32 [channels, classes], fitted to the training features.
        bias: float32 [classes], likewise.
        refit_kernel: As the kernel, fitted to the training and the validation features together.
        refit_bias: Likewise.
        strength: The inverse regularization that was chosen.
        channels: How many it uses, from the first on; the kernel is 0 for the others.
        accuracy: Of the head that has not seen them, on the validation features.
        log_loss: Likewise.
    """

    kernel: np.ndarray
    bias: np.ndarray
    refit_kernel: np.ndarray
    refit_bias: np.ndarray
    strength: float
    channels: int
    accuracy: float
    log_loss: float


def fit_head(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    classes: int,
    averaged: int | None = None,
) -> Head:
    """Fits the head.

    Args:
        train: Features [n, channels] and labels [n] in 0 … classes - 1, each class at least once.
        validation: Likewise; a class may be missing.
        classes: Number of classes.
        averaged: How many channels, from the first on, are averages of a stage; the others are maxima, which help
            on some data and harm on others. None where there are no others.

    Returns:
        The head with the lowest log loss on the validation part, among those of all channels and of averages alone;
        with its regularization it is fitted once more, to all features.
    """
    features, labels = train
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    # A channel that is always the same stays 0, up to rounding, which another machine or batch does otherwise.
    deviation = np.where(deviation > ROUNDING * np.abs(features).max(), deviation, 1.0)
    scaled = (features - mean) / deviation, (validation[0] - mean) / deviation
    choices = sorted({averaged or features.shape[1], features.shape[1]})
    fits = [_path((scaled[0][:, :n], labels), (scaled[1][:, :n], validation[1]), classes) for n in choices]
    loss, accuracy, regression = min(fits, key=lambda fit: fit[0])
    channels = regression.coef_.shape[1]
    both = np.concatenate(scaled)[:, :channels], np.concatenate([labels, validation[1]])
    refit = clone(regression).fit(*both)
    return Head(
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
    """The best log loss along the strengths, with its accuracy and its regression. It falls and then rises, so that
    the path ends where it begins to rise."""
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
    """The same logits from features that are not standardized; channels that were left out weigh nothing."""
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the second class's logit over the first's
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    coefficients = np.pad(coefficients, [(0, 0), (0, len(mean) - coefficients.shape[1])])
    kernel = (coefficients / deviation).T
    return kernel.astype(np.float32), (intercepts - mean @ kernel).astype(np.float32)


def head_for_all(workers: Workers, fit: Callable[[], Head]) -> Head:
    """The head that the chief fits. Collective."""
    if workers.alone:
        return fit()
    arrays = workers.arrays_from_chief(lambda: {name: np.asarray(value) for name, value in asdict(fit()).items()})
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in arrays.items()}
    return Head(**fields)
