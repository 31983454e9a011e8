"""Fits the new head of a network: a linear probe of the frozen backbone's features becomes its last layer."""

from collections.abc import Callable
from dataclasses import asdict
from functools import cache

import numpy as np

from pipelines.console.terminal import say
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference
from pipelines.evaluation.score import score_from
from pipelines.training.linear_probe import LinearProbe, fit_linear_probe, repeat_linear_probe
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import averaged_features, feature_extractor, head
from resnet_tf.distribution import scope
from resnet_tf.workers import Workers

_ARRAYS = ("kernel", "bias", "refit_kernel", "refit_bias")


def fit_head(trainer: Trainer) -> LinearProbe:
    """Fits the head to the frozen backbone's features and puts it into the network.

    All workers must call this together. The features are computed once, on the evaluation's view of the images; the fit
    then takes seconds.

    Args:
        trainer: Trainer whose network gets a new last layer.

    Returns:
        The linear probe that is now the last layer.
    """
    plan = trainer.plan
    extract = Inference(feature_extractor(trainer.model), strategy=plan.devices.strategy)
    train, validation = (
        (trainer.outputs(extract, split, f"features of {split}"), label_numbers(plan.rows[split], plan.classes))
        for split in ("train", "val")
    )
    averaged, choose_by = averaged_features(trainer.model), plan.recipe.choose_by
    probe = probe_for_all(
        plan.devices.workers,
        lambda: fit_linear_probe(train, validation, len(plan.classes), averaged, plan.recipe.balance, choose_by),
    )
    with scope(plan.devices.strategy):
        head(trainer.model).set_weights([probe.kernel, probe.bias])
    say(
        f"head on frozen features: {probe.score.in_words(choose_by)}  "
        f"(of averages{' and maxima' if probe.channels > averaged else ''}, inverse regularization "
        f"{probe.strength:g})"
    )
    return probe


def repeat_head(trainer: Trainer, strength: float, channels: int) -> None:
    """Fits the head to the frozen backbone's features of the training images, as it was chosen before, and puts it into
    the network.

    All workers must call this together.

    Args:
        trainer: Trainer whose network gets a new last layer.
        strength: Inverse regularization that was chosen.
        channels: Number of features that were chosen, from the first on.
    """
    plan = trainer.plan
    extract = Inference(feature_extractor(trainer.model), strategy=plan.devices.strategy)
    features = trainer.outputs(extract, "train", "features of all images")
    labels, classes, balance = label_numbers(plan.rows["train"], plan.classes), len(plan.classes), plan.recipe.balance

    def fit() -> dict[str, np.ndarray]:
        fitted = repeat_linear_probe(features, labels, classes, strength=strength, channels=channels, balance=balance)
        return dict(zip(("kernel", "bias"), fitted, strict=True))

    fitted = plan.devices.workers.arrays_from_chief(fit)
    with scope(plan.devices.strategy):
        head(trainer.model).set_weights([fitted["kernel"], fitted["bias"]])
    say(f"head on frozen features of {len(labels)} images")


def probe_for_all(workers: Workers, fit: Callable[[], LinearProbe]) -> LinearProbe:
    """Returns the linear probe that the chief fits. All workers must call this together."""
    if workers.alone:
        return fit()
    fitted = cache(fit)
    arrays = workers.arrays_from_chief(lambda: {name: getattr(fitted(), name) for name in _ARRAYS})
    strength, channels = workers.from_chief(lambda: [fitted().strength, fitted().channels])
    score = score_from(workers.from_chief(lambda: asdict(fitted().score)))
    kernel, bias, refit_kernel, refit_bias = (arrays[name] for name in _ARRAYS)
    return LinearProbe(kernel, bias, refit_kernel, refit_bias, strength, channels, score)
