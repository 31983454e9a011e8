"""Finds out what a report says beside the figures: how far certainty can be trusted, and what to look at again."""

from collections.abc import Sequence

import numpy as np

from pipelines.evaluation.calibration import calibration_of, with_temperature
from pipelines.evaluation.conformal import LEVEL, METHODS, ConformalSets, conformal_sets, halved_conformal_sets
from pipelines.evaluation.refusal import answered_above, risk_coverage
from pipelines.evaluation.run_calibration import RunCalibration
from pipelines.report.content import Certainty


def certainty_of(
    labels: np.ndarray,
    probabilities: np.ndarray,
    groups: np.ndarray,
    calibration: RunCalibration | None = None,
    mirror: bool = False,
) -> Certainty:
    """Returns how far probabilities can be trusted, and what can be done with them.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        probabilities: float [n, classes], with the run's temperature.
        groups: int [n], equal for images that belong together.
        calibration: What the run knows of its certainty; None for nothing.
        mirror: Whether the probabilities are means over mirror images, from which no temperature can be taken away.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    temperature = 1.0 if calibration is None else calibration.temperature
    scaled = temperature != 1.0 and not mirror
    sets, sets_from = _sets(labels, probabilities, groups, calibration)
    return Certainty(
        calibration_of(labels, probabilities),
        calibration_of(labels, with_temperature(probabilities, 1.0 / temperature)) if scaled else None,
        temperature,
        _words(calibration),
        risk_coverage(confidence, right),
        answered_above(confidence, right, calibration.threshold) if calibration else None,
        sets,
        sets_from,
    )


def _sets(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, calibration: RunCalibration | None
) -> tuple[Sequence[ConformalSets], str]:
    """Returns conformal sets, calibrated on the run's own images or else on the other half of these."""
    if calibration is not None:
        scores = calibration.scores
        sets = [conformal_sets(method, scores[method], labels, probabilities, LEVEL) for method in METHODS]
        return sets, _words(calibration)
    if len(np.unique(groups)) < 2:
        return [], ""
    sets = [halved_conformal_sets(method, labels, probabilities, groups, LEVEL) for method in METHODS]
    return sets, "one half of these photos for the other half, and the other way round"


def _words(calibration: RunCalibration | None) -> str:
    return f"{calibration.images:,} photos of {calibration.fitted_on}" if calibration else ""
