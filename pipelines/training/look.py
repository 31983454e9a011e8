"""Looks at a part of the pictures through the frozen network, to find out what these pictures need.

The log loss of a linear classifier of the features, in cross-validation, says which view shows what matters, and how
much of the classes the weights already know. Such a classifier predicts well what fine-tuning gains (Kornblith et al.
2018, "Do better ImageNet models transfer better?", arXiv 1805.08974).
"""

import warnings
from dataclasses import replace
from functools import partial

import keras
import numpy as np
import pandas as pd
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pipelines.console.clock import Stopwatch
from pipelines.console.terminal import of_part, say
from pipelines.data.groups import divisible, tied_units
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference, images_of, outputs
from pipelines.evaluation.score import BALANCED_LOG_LOSS
from pipelines.images.lost_images import lost_images_named
from pipelines.images.stream import ImageSource, evaluation_stream
from pipelines.recipe.findings import (
    UNCERTAIN,
    Compared,
    Findings,
    best_of,
    candidate_views,
    compare,
    entropy_of,
    larger_sizes,
)
from pipelines.training.linear_probe import standards
from pipelines.training.network import build_network, build_trainer
from pipelines.training.plan import Plan
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import averaged_features, feature_extractor

# The number of images that are looked at. More would cost more time than they bring certainty.
MOST_IMAGES = 800
# The number of images of a class that are looked at, if it has them and not all images are looked at. With fewer, a
# class is a stranger to the regression, whose losses then say that everything is uncertain.
LEAST_OF_A_CLASS = 8
FOLDS = 3
SHARE_OF_TIME = 0.1  # of --minutes
# Inverse regularization strengths, on standardized features.
STRENGTHS = (3e-1, 3e-2, 3e-3)
# No answer counts as more certain than this, since a class may be missing in a part of the cross-validation.
LEAST_PROBABILITY = 1e-4


def informed_trainer(plan: Plan, stopwatch: Stopwatch | None = None) -> Trainer:
    """Builds the network, looks at the pictures through it if the recipe depends on that, and builds the trainer.

    All workers must call this together.

    Args:
        plan: Plan as it is before anybody has looked.
        stopwatch: Stopwatch of the command, for --minutes; None starts one now.

    Returns:
        The trainer of the plan that follows from the look.

    Raises:
        UserError: The weights do not fit the network.
        LostImage: An image is missing or can no longer be read.
    """
    network = build_network(plan)
    if plan.wants_look:
        plan = plan.informed(look(plan, network.model, stopwatch))
    return build_trainer(plan, network)


def look(plan: Plan, model: keras.Model, stopwatch: Stopwatch | None = None) -> Findings:
    """Compares views by the frozen features of some of the images for training and validation.

    Where these leave much uncertain, it compares larger sizes as well. With --minutes, it tries only what its share of
    the time allows, and at least the usual view. All workers must call this together.

    Args:
        plan: Plan, which says what is decided already.
        model: The plan's network with its weights.
        stopwatch: Stopwatch of the command, for --minutes; None starts one now.
    """
    looker = _Looker(plan, model, stopwatch or Stopwatch())
    widths, heights = (looker.rows[side].to_numpy() for side in ("width", "height"))
    views = (plan.recipe.view,) if plan.decided("view") else candidate_views(widths, heights)
    usual = plan.recipe.image_size
    seen = [(view, looker.losses(view, usual)) for view in views if not looker.known or looker.has_time()]
    if len(seen) < len(views):
        unseen = " and ".join(views[len(seen) :])
        say(f"--minutes {plan.recipe.minutes:g} leaves no time to compare the view with {unseen}")
    found = looker.findings(compare(seen))
    if plan.decided("image_size") or model.input.shape[1] is not None or found.uncertainty <= UNCERTAIN:
        return found
    tried = [(usual, looker.losses(found.view, usual))]
    for size in larger_sizes(widths, heights):
        if not looker.has_time(size / usual):
            break
        tried.append((size, looker.losses(found.view, size)))
        if best_of(compare(tried)).choice != size:  # a still larger one, which takes longer, is not tried
            break
    return replace(found, sizes=compare(tried))


class _Looker:
    """Computes the log losses of some images with a view and a size, the same on all workers."""

    def __init__(self, plan: Plan, model: keras.Model, stopwatch: Stopwatch) -> None:
        self.stopwatch, self.began = stopwatch, stopwatch.seconds
        self.plan, self.workers = plan, plan.devices.workers
        self.rows = some_of(plan.manifest[plan.manifest["split"] != "test"], plan.config.seed)
        self.labels = label_numbers(self.rows, plan.classes)
        self.units = tied_units(self.rows["similar"], self.rows["group"])
        self.extract = Inference(feature_extractor(model), strategy=plan.devices.strategy)
        self.averages = averaged_features(model)
        self.balanced = plan.recipe.choose_by == BALANCED_LOG_LOSS
        self.known: dict[tuple[str, int], np.ndarray] = {}

    def findings(self, views: tuple[Compared, ...]) -> Findings:
        counted = np.unique(self.labels) if self.balanced else self.labels
        return Findings(len(self.rows), entropy_of(counted), views, figure=self.plan.recipe.choose_by)

    def has_time(self, scale: float = 1.0) -> bool:
        """Returns whether one more choice would end within the look's share of --minutes.

        Args:
            scale: Side of what would be looked at, as a multiple of the usual one.
        """
        minutes = self.plan.recipe.minutes
        if minutes is None:
            return True

        def fits() -> bool:
            spent = self.stopwatch.seconds - self.began
            return spent + scale**2 * spent / len(self.known) <= SHARE_OF_TIME * 60 * minutes

        return self.workers.from_chief(fits)

    def losses(self, view: str, size: int) -> np.ndarray:
        """Returns the log loss of each image, float [images]."""
        if (view, size) not in self.known:
            features = self._features(view, size)[:, : self.averages]
            # Machines may round a loss in different ways, but they must agree on what follows.
            losses = partial(held_out_losses, features, self.labels, self.units, self.balanced)
            self.known[view, size] = np.array(self.workers.from_chief(lambda: losses().tolist()))
        return self.known[view, size]

    def _features(self, view: str, size: int) -> np.ndarray:
        """Returns what the head would see of the images, float32 [images, channels]."""
        plan, workers = self.plan, self.workers
        spec = replace(plan.input_spec, view=view, size=size)
        part, batch_size = workers.part_of(self.rows), plan.config.batch_size // workers.count
        stream = evaluation_stream(ImageSource(part, plan.root, plan.classes), spec, batch_size)
        label = of_part(f"look at {view}, {size} pixels", workers.count)
        with lost_images_named(part, plan.root, batch_size, spec.value_range) as watched:
            values = outputs(self.extract, watched(images_of(stream)), len(part), batch_size, label)
        return workers.together(values, len(self.rows))


def some_of(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Returns at most `MOST_IMAGES` rows of a manifest, with each class's share of them, in the manifest's order.

    A class has at least `LEAST_OF_A_CLASS` of its images among them. Where there are too many classes for that, some
    classes are left out.

    Args:
        rows: Rows of a manifest.
        seed: Seed of the choice.
    """
    if len(rows) <= MOST_IMAGES:
        return rows
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    rank = rows["label"].iloc[order].groupby(rows["label"].iloc[order]).cumcount() + 0.5
    share = rank / rows["label"].map(rows["label"].value_counts()).iloc[order]
    share = share.where(rank > LEAST_OF_A_CLASS, share - 1.0)  # these come first
    classes = np.unique(rows["label"])
    if len(classes) > MOST_IMAGES // LEAST_OF_A_CLASS:
        seen = random.choice(classes, MOST_IMAGES // LEAST_OF_A_CLASS, replace=False)
        share = share[rows["label"].iloc[order].isin(seen)]
    return rows.loc[share.sort_values(kind="stable").index[:MOST_IMAGES].sort_values()]


def held_out_losses(features: np.ndarray, labels: np.ndarray, units: np.ndarray, balanced: bool = False) -> np.ndarray:
    """Returns the log loss of each image by logistic regressions that were fitted to other images.

    Args:
        features: float [images, channels].
        labels: int [images], class of each image.
        units: int [images], the same number for images that stay together.
        balanced: Whether every class counts the same, so that the mean is the balanced log loss. The probabilities are
            then those for equally frequent classes.

    Returns:
        float [images], for the regularization with the lowest mean.
    """
    folds = folds_of(labels, units)
    probabilities = np.zeros((len(STRENGTHS), len(labels), int(labels.max()) + 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is cut short compares views well enough
        for fold in np.unique(folds):
            fitted, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
            mean, deviation = standards(features[fitted])
            seen, new = ((features[part] - mean) / deviation for part in (fitted, held_out))
            for answers, strength in zip(probabilities, STRENGTHS, strict=True):
                answers[held_out] = _answers(seen, labels[fitted], new, strength, answers.shape[1])
                if balanced:
                    answers[held_out] /= np.maximum(np.bincount(labels[fitted], minlength=answers.shape[1]), 1)
                    answers[held_out] /= answers[held_out].sum(axis=1, keepdims=True)
    losses = -np.log(np.maximum(probabilities[:, np.arange(len(labels)), labels], LEAST_PROBABILITY))
    if balanced:
        sizes = np.bincount(labels)
        losses *= len(labels) / (np.count_nonzero(sizes) * sizes[labels])
    return min(losses, key=lambda each: float(each.mean()))


def _answers(seen: np.ndarray, labels: np.ndarray, new: np.ndarray, strength: float, classes: int) -> np.ndarray:
    """Returns the probabilities, float [new, classes], by a regression that is fitted to what was seen."""
    answers = np.zeros((len(new), classes))
    if len(np.unique(labels)) < 2:
        answers[:, labels[0]] = 1.0
        return answers
    regression = LogisticRegression(C=strength, max_iter=200).fit(seen, labels)
    answers[:, regression.classes_] = regression.predict_proba(new)
    return answers


def folds_of(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Returns the fold of each image, int [images]. The units of a class are dealt out one after the other.

    Unlike `pipelines.data.split.assign_folds`, it does not mind that a class has fewer units than there are folds. A
    single unit is divided, since nothing could be compared otherwise.
    """
    _, first, inverse = np.unique(divisible(units), return_index=True, return_inverse=True)
    order = np.lexsort((np.random.default_rng(0).permutation(len(first)), labels[first]))
    folds = np.empty(len(first), int)
    folds[order] = np.arange(len(first)) % FOLDS
    return folds[inverse]
