"""Builds the network of a plan on its devices, with its weights, compiles it, and writes it as model.keras."""

from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from pipelines.console.terminal import say
from pipelines.images.balance import class_weights, log_prior
from pipelines.recipe.decision import Recipe
from pipelines.recipe.schedule import make_schedule
from pipelines.runs.files import write_atomically
from pipelines.training.plan import Plan
from pipelines.training.trainer import Trainer
from resnet_tf.architectures import find_architecture
from resnet_tf.classifier import (
    HeadChange,
    build_classifier,
    change_head,
    freeze_batch_norms,
    freeze_stages,
    synchronize_batch_norms,
)
from resnet_tf.distribution import scope
from resnet_tf.loss_scaling import AgreedLossScaleOptimizer
from resnet_tf.losses import SmoothedCrossentropy
from resnet_tf.optimizers import FusedSGD, PenalizedSGD
from resnet_tf.weights import load_weights


@dataclass(frozen=True)
class Network:
    """A plan's network with its weights.

    Args:
        model: Network, built in the strategy's scope and not yet compiled.
        random_layers: Names of the layers that the weights say nothing of.
    """

    model: keras.Model
    random_layers: tuple[str, ...] = ()


def build_network(plan: Plan) -> Network:
    """Builds the network on the chosen devices and loads the weights.

    Args:
        plan: Plan of the training.

    Raises:
        UserError: The weights do not fit the network.
    """
    keras.utils.set_random_seed(plan.config.seed)
    if plan.config.deterministic:
        tf.config.experimental.enable_op_determinism()
    with scope(plan.devices.strategy):
        model = _build(plan)
        if plan.weights is None:
            return Network(model)
        report = load_weights(model, plan.weights, verbose=False)
        say(str(report))
        return Network(model, tuple(report.random_layers))


def build_trainer(plan: Plan, network: Network | None = None) -> Trainer:
    """Freezes what is not trained, and compiles the network.

    Args:
        plan: Plan of the training.
        network: Network that was built for this plan, or for one with a different training; None builds it.

    Raises:
        UserError: The weights do not fit the network.
    """
    recipe, strategy = plan.recipe, plan.devices.strategy
    network = network or build_network(plan)
    model, random_layers = network.model, network.random_layers
    with scope(strategy):
        freeze_stages(model, recipe.frozen_stages, but=random_layers)
        if recipe.freeze_batch_norms:
            freeze_batch_norms(model, but=random_layers)
        if strategy is not None:
            synchronize_batch_norms(model)
        schedule = make_schedule(recipe)
        _compile(model, plan, schedule)
    return Trainer(plan, schedule, model)


def save_model(trainer: Trainer, path: Path, head_change: HeadChange | None = None) -> None:
    """Writes the present network in float32; only the chief of several workers does so.

    Whatever the precision of the training, evaluation and export then compute the same everywhere.

    Args:
        trainer: Trainer of the network.
        path: Path of the file, model.keras of a run.
        head_change: Values to add to the head in the file, or None.
    """
    if not trainer.plan.devices.workers.chief:
        return
    writer = trainer.writer
    writer.twin.take_values(trainer.model)
    if head_change is not None:
        change_head(writer.twin.model, head_change)
    write_atomically(path, writer.write)


def _build(plan: Plan) -> keras.Model:
    config, recipe, structure = plan.config, plan.recipe, plan.structure
    return build_classifier(
        config.arch,
        len(plan.classes),
        image_size=recipe.image_size if find_architecture(config.arch).hidden else None,
        preprocessing=plan.preprocessing,
        shortcut=structure.shortcut,
        stride_at=structure.stride_at,
        stem_pool=structure.stem_pool,
        head_stages=recipe.head_stages,
        head_pooling=recipe.head_pooling,
        precision=plan.devices.precision,
    )


def _compile(model: keras.Model, plan: Plan, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
    recipe = plan.recipe
    optimizer = _optimizer(recipe, schedule)
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    if plan.devices.precision == "float16":
        optimizer = AgreedLossScaleOptimizer(optimizer)
    labels, balance = plan.rows["train"]["label"], plan.recipe.balance
    loss = SmoothedCrossentropy(
        recipe.label_smoothing,
        class_weights(labels, plan.classes) if balance == "weights" else None,
        log_prior(labels, plan.classes) if balance == "logits" else None,
    )
    mixed = recipe.mix != "none"
    accuracy = keras.metrics.CategoricalAccuracy if mixed else keras.metrics.SparseCategoricalAccuracy
    model.compile(optimizer, loss, metrics=[accuracy(name="accuracy")])
    optimizer.build(model.trainable_variables)


def _optimizer(recipe: Recipe, schedule: keras.optimizers.schedules.LearningRateSchedule) -> keras.optimizers.Optimizer:
    if recipe.optimizer == "adamw":
        return keras.optimizers.AdamW(schedule, weight_decay=recipe.weight_decay, name="optimizer")
    if recipe.optimizer == "momentum":
        return PenalizedSGD(schedule, penalty=recipe.weight_decay, momentum=0.9, name="optimizer")
    return FusedSGD(schedule, momentum=0.9, nesterov=True, weight_decay=recipe.weight_decay, name="optimizer")
