"""Looks at a part of the pictures through the frozen network, to find out what these pictures need.

The log loss of a linear classifier of the features, in cross-validation, says which view shows what matters, and how
much of the classes the weights already know. Such a classifier predicts well what fine-tuning gains (Kornblith et al.
2018, "Do better ImageNet models transfer better?", arXiv 1805.08974).
"""

import warnings
from dataclasses import asdict, replace
from typing import Any

import keras
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pipelines.console.terminal import of_part
from pipelines.data.groups import tied_units
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.recipe.findings import Findings, ViewScore, candidate_views, findings_of
from pipelines.training.linear_probe import ROUNDING
from pipelines.training.network import build_network, build_trainer
from pipelines.training.plan import Plan
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import averaged_features, feature_extractor

# The number of images that are looked at. More would cost more time than they bring certainty.
MOST_IMAGES = 800
FOLDS = 3
# Inverse regularization strengths, on standardized features.
STRENGTHS = (3e-1, 3e-2, 3e-3)
# No answer counts as more certain than this, since a class may be missing in a part of the cross-validation.
LEAST_PROBABILITY = 1e-4


def informed_trainer(plan: Plan) -> Trainer:
    """Builds the network, looks at the pictures through it if the recipe depends on that, and builds the trainer.

    All workers must call this together.

    Args:
        plan: Plan as it is before anybody has looked.

    Returns:
        The trainer of the plan that follows from the look.

    Raises:
        UserError: The weights do not fit the network.
        LostImage: An image is missing or can no longer be read.
    """
    network = build_network(plan)
    if plan.wants_look:
        plan = plan.informed(look(plan, network.model))
    return build_trainer(plan, network)


def look(plan: Plan, model: keras.Model) -> Findings:
    """Compares views by the frozen features of some of the images for training and validation.

    All workers must call this together.

    Args:
        plan: Plan, which says whether the view is decided already.
        model: The plan's network with its weights.
    """
    rows = some_of(plan.manifest[plan.manifest["split"] != "test"], plan.config.seed)
    views = (
        (plan.recipe.view,)
        if plan.decided("view")
        else candidate_views(rows["width"].to_numpy(), rows["height"].to_numpy())
    )
    extract = Inference(feature_extractor(model), strategy=plan.devices.strategy)
    averages = averaged_features(model)
    features = {view: _features(plan, extract, rows, view)[:, :averages] for view in views}

    def find() -> dict[str, Any]:
        labels, units = label_numbers(rows, plan.classes), tied_units(rows["similar"], rows["group"])
        losses = [(view, held_out_losses(seen, labels, units)) for view, seen in features.items()]
        return asdict(findings_of(labels, losses))

    # Machines may round a loss in different ways, but they must agree on what follows.
    found = plan.devices.workers.from_chief(find)
    return Findings(**{**found, "views": tuple(ViewScore(**score) for score in found["views"])})


def some_of(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Returns at most `MOST_IMAGES` rows of a manifest, with each class's share of them, in the manifest's order."""
    if len(rows) <= MOST_IMAGES:
        return rows
    order = np.random.default_rng(seed).permutation(len(rows))
    rank = rows["label"].iloc[order].groupby(rows["label"].iloc[order]).cumcount() + 0.5
    share = rank / rows["label"].map(rows["label"].value_counts()).iloc[order]
    return rows.loc[share.sort_values(kind="stable").index[:MOST_IMAGES].sort_values()]


def held_out_losses(features: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Returns the log loss of each image by logistic regressions that were fitted to other images.

    Args:
        features: float [images, channels].
        labels: int [images], class of each image.
        units: int [images], the same number for images that stay together.

    Returns:
        float [images], for the regularization with the lowest mean.
    """
    tried = [_held_out(features, labels, units, strength) for strength in STRENGTHS]
    return min(tried, key=lambda losses: float(losses.mean()))


def folds_of(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Returns the fold of each image, int [images]. The units of a class are dealt out one after the other.

    Unlike `pipelines.data.split.assign_folds`, it does not mind that a class has fewer units than there are folds.
    """
    _, first, inverse = np.unique(units, return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(0).permutation(len(first)), labels[first]))
    folds = np.empty(len(first), int)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[inverse]


def _held_out(features: np.ndarray, labels: np.ndarray, units: np.ndarray, strength: float) -> np.ndarray:
    probabilities = np.zeros((len(labels), int(labels.max()) + 1))
    folds = folds_of(labels, units)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is cut short compares views well enough
        for fold in range(FOLDS):
            fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            mean, deviation = features[fitted].mean(axis=0), features[fitted].std(axis=0)
            deviation = np.where(deviation > ROUNDING * np.abs(features[fitted]).max(), deviation, 1.0)
            if len(np.unique(labels[fitted])) < 2:
                probabilities[held_out, labels[fitted][0]] = 1.0
                continue
            regression = LogisticRegression(C=strength, max_iter=200)
            regression.fit((features[fitted] - mean) / deviation, labels[fitted])
            answers = regression.predict_proba((features[held_out] - mean) / deviation)
            probabilities[np.ix_(held_out, regression.classes_)] = answers
    own = probabilities[np.arange(len(labels)), labels]
    return -np.log(np.maximum(own, LEAST_PROBABILITY))


def _features(plan: Plan, extract: Inference, rows: pd.DataFrame, view: str) -> np.ndarray:
    """Returns what the head would see of the images, float32 [images, channels], on all workers."""
    workers, spec = plan.devices.workers, replace(plan.input_spec, view=view)
    part, batch_size = workers.part_of(rows), plan.config.batch_size // workers.count
    stream = evaluation_stream(ImageSource(part, plan.root, plan.classes), spec, batch_size)
    label = of_part(f"look at {view}", workers.count)
    with lost_images_named(part, plan.root, batch_size, spec.value_range) as watched:
        values = outputs(extract, watched(images_of(stream)), len(part), batch_size, label)
    return workers.together(values, len(rows))
