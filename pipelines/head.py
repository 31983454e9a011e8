"""A new head on a frozen backbone: multinomial logistic regression on its features, to convergence."""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss

# Inverse regularization strengths, on standardized features; the best by validation log loss is kept.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Head:
    """Logits are features · kernel + bias.

    Args:
        kernel: float32 [channels, classes].
        bias: float32 [classes].
        strength: The inverse regularization that was chosen.
        accuracy: On the validation features.
        log_loss: Likewise.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    accuracy: float
    log_loss: float


def fit_head(train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], classes: int) -> Head:
    """Fits the head.

    Args:
        train: Features [n, channels] and labels [n] in 0 … classes - 1, each class at least once.
        validation: Likewise; a class may be missing.
        classes: Number of classes.

    Returns:
        The head with the lowest log loss on the validation part.
    """
    features, labels = train
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    deviation = np.where(deviation > 1e-6, deviation, 1.0)  # a channel that is always the same stays 0
    scaled, scaled_validation = (features - mean) / deviation, (validation[0] - mean) / deviation
    heads = []
    for strength in STRENGTHS:
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-4).fit(scaled, labels)
        probabilities = regression.predict_proba(scaled_validation)
        heads.append(
            Head(
                *_unscaled(regression, mean, deviation),
                strength=strength,
                accuracy=float(accuracy_score(validation[1], probabilities.argmax(axis=1))),
                log_loss=float(log_loss(validation[1], probabilities, labels=np.arange(classes))),
            )
        )
    return min(heads, key=lambda head: head.log_loss)


def _unscaled(regression: LogisticRegression, mean: np.ndarray, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same logits from features that are not standardized."""
    coefficients, intercepts = regression.coef_, regression.intercept_
    if len(coefficients) == 1:  # two classes: scikit-learn keeps one row, the second class's logit over the first's
        coefficients = np.concatenate([np.zeros_like(coefficients), coefficients])
        intercepts = np.concatenate([[0.0], intercepts])
    kernel = (coefficients / deviation).T
    return kernel.astype(np.float32), (intercepts - mean @ kernel).astype(np.float32)
