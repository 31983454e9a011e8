"""Predictions of all labelled images, each by a head that has not learned its label: the head is fitted to folds."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

from pipelines.console.terminal import progress
from pipelines.data.groups import divisible, tied_units
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference, named_images_of, outputs
from pipelines.evaluation.integrity import load_network
from pipelines.evaluation.label_issues import LabelsLookedAt, label_issue_table, label_issues, pairs_to_merge
from pipelines.evaluation.predictions import BATCH_SIZE, input_spec_of
from pipelines.runs.directory import Run
from pipelines.runs.state import progress_of
from pipelines.training.linear_probe import standards
from resnet_tf.classifier import feature_extractor

FOLDS = 5
# The regularization of a network without a head that was fitted by us: the middle of those that are tried.
_USUAL_STRENGTH = 3e-2


def look_at_labels(run: Run, manifest: pd.DataFrame, root: Path, classes: list[str]) -> LabelsLookedAt:
    """Looks for wrong labels among all labelled images of a run.

    Args:
        run: Finished run.
        manifest: Its manifest.
        root: Folder that the paths are relative to.
        classes: Names of the classes.

    Raises:
        LostImage: One of the images is missing or can no longer be read.
    """
    labels = label_numbers(manifest, classes)
    features = _features(run, manifest, root)
    strength = (progress_of(run) or {}).get("head_strength") or _USUAL_STRENGTH
    units = tied_units(manifest["similar"], manifest["group"])
    found = out_of_fold_probabilities(features, labels, len(classes), units, strength=strength)
    table = label_issue_table(label_issues(labels, found), manifest["path"].tolist(), classes)
    return LabelsLookedAt(len(manifest), table, pairs_to_merge(labels, found, classes))


def out_of_fold_probabilities(
    features: np.ndarray, labels: np.ndarray, classes: int, units: np.ndarray, *, strength: float, folds: int = FOLDS
) -> np.ndarray:
    """Returns the probabilities of each image by logistic regression of the images in the other folds.

    Args:
        features: float [n, channels].
        labels: int [n], label of each image.
        classes: Number of classes.
        units: int [n], equal for images that stay in one fold: the label of a near-identical picture would give away
            the image's own.
        strength: Inverse regularization, on standardized features.
        folds: Number of folds; there are fewer where no class has as many images, or where there are fewer units.

    Returns:
        float64 [n, classes]; 0 for a class all of whose images are in the image's own fold.
    """
    found = np.zeros((len(labels), classes))
    parts = folds_of(labels, units, folds)
    for learned, judged in progress(parts, len(parts), "labels looked at", "fold"):
        mean, deviation = standards(features[learned])
        if len(np.unique(labels[learned])) < 2:
            found[judged, labels[learned][0]] = 1.0
            continue
        regression = LogisticRegression(C=strength, max_iter=1000, tol=1e-3)
        regression.fit((features[learned] - mean) / deviation, labels[learned])
        found[np.ix_(judged, regression.classes_)] = regression.predict_proba((features[judged] - mean) / deviation)
    return found


def folds_of(labels: np.ndarray, units: np.ndarray, folds: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns the images that each fold learns from and those that it judges, as pairs of int arrays.

    A single unit is divided, since nothing could be judged otherwise. Args are those of `out_of_fold_probabilities`.
    """
    units = divisible(units)
    most = min(folds, len(np.unique(units)), int(np.bincount(labels).max()))
    divided = StratifiedGroupKFold(most, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it has an image in as many folds as it can
        return list(divided.split(labels, labels, units))


def _features(run: Run, rows: pd.DataFrame, root: Path) -> np.ndarray:
    model, spec = load_network(run)[0], input_spec_of(run)
    pictures = named_images_of(rows, root, spec, BATCH_SIZE)
    extract = Inference(feature_extractor(model))
    return outputs(extract, pictures, len(rows), BATCH_SIZE, "features of all labelled images")
