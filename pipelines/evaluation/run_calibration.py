"""What a run knows of its own certainty: the temperature of its probabilities, below which confidence it is unsure, and
the scores that sets of classes are made from. It is kept in calibration.json.

All of it comes from images that the model was not fitted to, see `pipelines.training.calibrate`.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from pipelines.evaluation.calibration import TEMPERATURES, calibration_of, fit_temperature
from pipelines.evaluation.conformal import LAC, METHODS, images_needed, quantile_of, scores_of, sets_of
from pipelines.evaluation.inference import softmax
from pipelines.evaluation.refusal import WANTED, Answered, answered_above, choose_threshold
from pipelines.runs.directory import Run
from pipelines.runs.files import read_json, sha256, write_json
from resnet_tf.errors import UserError

UNSURE = "unsure"
_FIGURES = {"log_loss": "log loss", "ece": "calibration error"}


@dataclass(frozen=True)
class RunCalibration:
    """The certainty of a run's model.

    Args:
        temperature: Number that logits are divided by.
        images: Number of images that it was fitted on.
        fitted_on: What these images are, in words.
        before: Log loss and calibration error on these images without the temperature.
        after: The same with the temperature.
        threshold: Confidence below which the run is unsure.
        wanted: Share of right answers for which the threshold was chosen.
        answered: Number of images at or above the threshold.
        right: Number of right answers among them.
        scores: Conformal scores of the true classes, ascending, by the name of the method.
    """

    temperature: float
    images: int
    fitted_on: str
    before: dict[str, float]
    after: dict[str, float]
    threshold: float
    wanted: float
    answered: int
    right: int
    scores: dict[str, np.ndarray] = field(repr=False)

    def in_words(self) -> str:
        """Returns two sentences for people."""
        changed = ", ".join(
            f"{words} {self.before[name]:.4f} → {self.after[name]:.4f}" for name, words in _FIGURES.items()
        )
        return (
            f"calibrated on {self.images} images of {self.fitted_on}: temperature {self.temperature:.3g} ({changed})\n"
            f"there, {_lower_first(Answered(self.threshold, self.images, self.answered, self.right).in_words())}"
        )

    def decisions(self, probabilities: np.ndarray, classes: list[str]) -> list[str]:
        """Returns the name of the likeliest class of each image, or "unsure" where its probability is too low.

        Args:
            probabilities: float [n, classes], calibrated.
            classes: Names of the classes.
        """
        likeliest, sure = probabilities.argmax(axis=1), probabilities.max(axis=1) >= self.threshold
        return [classes[number] if known else UNSURE for number, known in zip(likeliest, sure, strict=True)]

    def quantile(self, level: float) -> float:
        """Returns the conformal score down to which classes belong to a set.

        Args:
            level: Probability with which a set contains the true class.

        Raises:
            UserError: The run was calibrated on too few images for such a level.
        """
        quantile = quantile_of(self.scores[LAC], level)
        if not np.isfinite(quantile):
            raise UserError(
                f"--set {level:g} needs {images_needed(level)} images that the run was calibrated on, and it has "
                f"{self.images}; choose a lower level, of at most {self.images / (self.images + 1):.3g}"
            )
        return quantile

    def sets(self, probabilities: np.ndarray, classes: list[str], level: float) -> list[list[str]]:
        """Returns the conformal set of each image, the likeliest class first.

        Args:
            probabilities: float [n, classes], calibrated.
            classes: Names of the classes.
            level: Probability with which a set contains the true class.

        Raises:
            UserError: The run was calibrated on too few images for such a level.
        """
        inside = sets_of(LAC, probabilities, self.quantile(level))
        order = np.argsort(-probabilities, axis=1, kind="stable")
        return [
            [classes[number] for number in ranked if row[number]] for row, ranked in zip(inside, order, strict=True)
        ]


def fit_calibration(
    labels: np.ndarray, logits: np.ndarray, fitted_on: str, *, balanced: bool = False, wanted: float = WANTED
) -> RunCalibration:
    """Returns the certainty of a model, from images that it was not fitted to.

    Args:
        labels: int [n], true class of each image; there is at least one image.
        logits: float [n, classes], of the model on these images.
        fitted_on: What these images are, in words.
        balanced: Whether every class counts the same in the temperature, as it did in the training.
        wanted: Share of right answers for which the threshold is chosen.
    """
    weights = 1.0 / np.bincount(labels)[labels] if balanced else None
    temperature = fit_temperature(labels, logits, weights)
    plain, calibrated = softmax(logits), softmax(logits / temperature)
    before, after = (calibration_of(labels, each) for each in (plain, calibrated))
    confidence, right = calibrated.max(axis=1), calibrated.argmax(axis=1) == labels
    threshold = choose_threshold(confidence, right, wanted)
    left = answered_above(confidence, right, threshold)
    return RunCalibration(
        temperature=temperature,
        images=len(labels),
        fitted_on=fitted_on,
        before={name: getattr(before, name) for name in _FIGURES},
        after={name: getattr(after, name) for name in _FIGURES},
        threshold=threshold,
        wanted=wanted,
        answered=left.answered,
        right=left.right,
        scores={method: scores_of(method, labels, calibrated) for method in METHODS},
    )


def save_calibration(run: Run, calibration: RunCalibration) -> None:
    """Writes calibration.json of a run, for the model that is there now."""
    scores = {method: [float(f"{score:.7g}") for score in scores] for method, scores in calibration.scores.items()}
    content = {"model_sha256": sha256(run.model), **vars(calibration), "scores": scores}
    write_json(run.calibration, content)


def load_calibration(run: Run) -> RunCalibration | None:
    """Reads the calibration of a run; None if it has none, as runs of earlier versions and imported networks.

    Raises:
        UserError: It cannot be read, or is of another model.
    """
    if not run.calibration.is_file():
        return None
    content = read_json(run.calibration)
    try:
        found = _from(content)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"{str(run.calibration)!r} is no calibration of a run; bring the original back") from error
    if content["model_sha256"] != sha256(run.model):
        raise UserError(
            f"{str(run.calibration)!r} was made for another {run.model.name}; bring the original back, or remove it to "
            "have uncalibrated probabilities"
        )
    return found


def temperature_of(run: Run) -> float:
    """Returns what a run's logits are divided by; 1 if it is not calibrated."""
    calibration = load_calibration(run)
    return 1.0 if calibration is None else calibration.temperature


def copied_calibration(calibration: RunCalibration, chosen_by: Run) -> RunCalibration:
    """Returns the calibration of a run for the model of another training that repeats what the run has chosen."""
    return replace(calibration, fitted_on=f"{calibration.fitted_on} of {chosen_by.path}, which chose this training")


def _from(content: Any) -> RunCalibration:
    """Returns the calibration that JSON contains, after a look at every number."""
    names = RunCalibration.__dataclass_fields__
    found = RunCalibration(**{name: content[name] for name in names})
    scores = {method: np.asarray(content["scores"][method], float) for method in METHODS}
    numbers = [found.temperature, found.threshold, found.wanted, *(found.before[name] for name in _FIGURES)]
    numbers += [found.after[name] for name in _FIGURES]
    sizes = {len(each) for each in scores.values()} | {found.images}
    lowest, highest = TEMPERATURES
    if not np.isfinite([*map(float, numbers), *(sum(each) for each in scores.values())]).all() or len(sizes) > 1:
        raise ValueError
    if not lowest <= found.temperature <= highest or not 0.0 <= found.threshold <= 1.0 or not isinstance(content, dict):
        raise ValueError
    if not 0 <= found.right <= found.answered <= found.images or not isinstance(found.fitted_on, str):
        raise ValueError
    return replace(found, scores={method: np.sort(each) for method, each in scores.items()})


def _lower_first(text: str) -> str:
    return text[0].lower() + text[1:]
