"""Fits the new head of a network: a linear probe of the frozen backbone's features becomes its last layer."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from pipelines.console.terminal import say
from pipelines.data.manifest import label_numbers
from pipelines.evaluation.inference import Inference
from pipelines.training.linear_probe import LinearProbe, fit_linear_probe
from pipelines.training.trainer import Trainer
from resnet_tf.classifier import averaged_features, feature_extractor, head
from resnet_tf.distribution import scope
from resnet_tf.workers import Workers


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
    averaged = averaged_features(trainer.model)
    probe = probe_for_all(
        plan.devices.workers, lambda: fit_linear_probe(train, validation, len(plan.classes), averaged)
    )
    with scope(plan.devices.strategy):
        head(trainer.model).set_weights([probe.kernel, probe.bias])
    say(
        f"head on frozen features: val accuracy {probe.accuracy:.4f}  val log loss {probe.log_loss:.4f}  "
        f"(of averages{' and maxima' if probe.channels > averaged else ''}, inverse regularization "
        f"{probe.strength:g})"
    )
    return probe


def probe_for_all(workers: Workers, fit: Callable[[], LinearProbe]) -> LinearProbe:
    """Returns the linear probe that the chief fits. All workers must call this together."""
    if workers.alone:
        return fit()
    arrays = workers.arrays_from_chief(lambda: {name: np.asarray(value) for name, value in asdict(fit()).items()})
    fields: dict[str, Any] = {name: value if value.ndim else value.item() for name, value in arrays.items()}
    return LinearProbe(**fields)
