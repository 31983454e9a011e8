"""All figures of an evaluation in one place: what metrics.json says, and the tables beside it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from pipelines.evaluation.baseline import majority_baseline
from pipelines.evaluation.calibration import Calibration, calibration_of, with_temperature
from pipelines.evaluation.conformal import (
    METHODS,
    ConformalSets,
    conformal_sets,
    halved_conformal_sets,
)
from pipelines.evaluation.intervals import Answers, bootstrap_intervals
from pipelines.evaluation.judged import Judged
from pipelines.evaluation.metrics import summarize
from pipelines.evaluation.refusal import WANTED, Answered, answered_above, choose_threshold, risk_coverage
from pipelines.evaluation.run_calibration import RunCalibration
from pipelines.evaluation.slices import Slice, slices_of

# Wilson's interval holds for the accuracy of independent images; the others are from the bootstrap.
_WILSON = "accuracy"
# The bootstrap does not know the mistakes that it has not seen, and of a single group it always draws the same. Where
# no draw differs, it says nothing of how certain a figure is. The top five of five classes and fewer are certain.
_CERTAIN, _ROUNDING = ("top5_accuracy",), 1e-9
_OF_CALIBRATION = ("log_loss", "brier", "ece", "ece_equal_mass")


@dataclass(frozen=True)
class Figures:
    """Everything that follows from labels and probabilities.

    Args:
        metrics: Content of metrics.json as far as it follows from the images.
        calibration: How far the probabilities can be trusted.
        before: The same without the run's temperature; None where there is none, or where several looks were averaged.
        answered: What is left at each threshold of refusing.
        refusing: What is left at the threshold.
        chosen_here: Whether the threshold was chosen by the same images, so that its figures are a little too good.
        sets: Conformal sets of each method.
        sets_from: In words, which images the sets were calibrated on.
        slices: Accuracy in parts of the images, the weakest first.
    """

    metrics: dict[str, Any]
    calibration: Calibration
    before: Calibration | None
    answered: list[Answered]
    refusing: Answered
    chosen_here: bool
    sets: list[ConformalSets]
    sets_from: str
    slices: list[Slice] = field(default_factory=list)

    def in_words(self) -> str:
        """Returns the sentences about certainty."""
        here = " (the threshold was chosen by the same images)" if self.chosen_here else ""
        return f"{self.refusing.in_words().removesuffix('.')}{here}.\n{self.sets[0].in_words()}"


def figures_of(
    judged: Judged,
    calibration: RunCalibration | None = None,
    facts: pd.DataFrame | None = None,
    *,
    one_look: bool = True,
) -> Figures:
    """Returns everything that follows from labels and probabilities.

    Args:
        judged: Images with their probabilities.
        calibration: Calibration of the run, which has chosen the threshold and calibrated the sets by other images;
            without it, the threshold is chosen here, and each half of the images calibrates the sets of the other one.
        facts: Table with a row per image and a column for each property by which the images are divided into parts.
        one_look: Whether the probabilities are of one look at each image, so that those without the run's temperature
            follow from them.
    """
    labels, found = judged.labels, judged.probabilities
    confidence, right = found.max(axis=1), found.argmax(axis=1) == labels
    temperature = calibration.temperature if calibration else 1.0
    before = calibration_of(labels, with_temperature(found, 1.0 / temperature)) if calibration and one_look else None
    threshold = calibration.threshold if calibration else choose_threshold(confidence, right, WANTED)
    refusing, sets = answered_above(confidence, right, threshold), _sets(judged, calibration)
    now = calibration_of(labels, found)
    return Figures(
        metrics=_metrics(judged, now, before, refusing, sets) | {"temperature": temperature},
        calibration=now,
        before=before,
        answered=risk_coverage(confidence, right),
        refusing=refusing,
        chosen_here=calibration is None,
        sets=sets,
        sets_from=calibration.fitted_on if calibration else "the other half of these images",
        slices=[] if facts is None else slices_of(facts, right),
    )


def _metrics(
    judged: Judged, now: Calibration, before: Calibration | None, refusing: Answered, sets: list[ConformalSets]
) -> dict[str, Any]:
    labels, found, classes = judged.labels, judged.probabilities, judged.classes
    metrics = {**summarize(labels, found, classes), "brier": now.brier, "ece_equal_mass": now.ece_equal_mass}
    intervals = bootstrap_intervals(Answers(labels, found), judged.groups)
    said = {name: ends for name, ends in intervals.items() if name in _CERTAIN or ends[1] - ends[0] > _ROUNDING}
    metrics |= {f"{name}_ci95": ends for name, ends in said.items() if name != _WILSON}
    if before is not None:
        metrics["uncalibrated"] = {name: getattr(before, name) for name in _OF_CALIBRATION}
    metrics["largest_class_share"] = float(np.bincount(labels).max() / len(labels))
    metrics["baseline"] = majority_baseline(labels, classes)
    metrics["refusing"] = refusing.as_dict()
    metrics["sets"] = [each.as_dict() for each in sets]
    if len(judged.apart):
        metrics["unknown"] = {str(name): int(count) for name, count in judged.apart["label"].value_counts().items()}
    return metrics


def _sets(judged: Judged, calibration: RunCalibration | None) -> list[ConformalSets]:
    labels, found = judged.labels, judged.probabilities
    if calibration is not None:
        return [conformal_sets(method, calibration.scores[method], labels, found) for method in METHODS]
    return [halved_conformal_sets(method, labels, found, judged.groups) for method in METHODS]
